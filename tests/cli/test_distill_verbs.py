"""Every verb on a run that learnt from a teacher alone."""

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import FAST, Done, refused
from tests.tasks.onnx_teachers import write_teacher


@pytest.fixture(scope="module")
def photos(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of the classifier without their labels."""
    folder = tmp_path_factory.mktemp("distill") / "photos"
    folder.mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        shutil.copy(path, folder / f"{number}.png")
    return folder


@pytest.mark.backend
def test_every_verb_works_on_a_run_without_labels_or_says_why_not(
    call, photos: Path, pictures: Path, run_folder: Path, tmp_path: Path
):
    student = tmp_path / "student"
    done: Done = call(
        "train",
        photos,
        "--recipe",
        "distill",
        "--teacher",
        run_folder,
        "--out",
        student,
        *FAST,
        "--epochs",
        1,
        "--json",
    )
    assert done.code == 0, done.err
    assert done.document["scores"].keys() == {"agreement_score", "loss"} and 0 < done.document["teacher_share"] < 1
    assert f"without labels, taught by {run_folder}" in done.err
    page = (student / "report.html").read_text()
    assert "Divergence from the teacher" in page and "Where they differ most" in page and "The teacher took" in page

    checked = call("check", photos, "--task", "distillation", "--report", tmp_path / "check.html", "--json").document
    assert checked["classes"] == {} and checked["images"] == {"train": 74, "val": 10}
    assert "without labels" in (tmp_path / "check.html").read_text()
    assert call("shard", photos, "--task", "distillation", "--out", tmp_path / "shards").code == 0
    assert call("check", tmp_path / "shards").code == 0
    exported = call("export", student, "--json").document
    assert exported["verification"]["images"] == 84 and "before" not in exported["verification"]
    assert call("info", student, "--json").document["task"] == "classification"
    [predicted] = call("predict", exported["bundle"], photos / "0.png", "--json").document["predictions"]
    assert predicted["top"][0]["label"] in ("blue", "green", "red")
    assert call("eval", student, pictures, "--json").document["main_score"] == "top1_score"
    assert call("verify", exported["bundle"], "--against", student).code == 0
    assert call("report", student).code == 0
    refused(call("eval", student, photos), "has no folder 'train'")
    refused(call("eval", student, tmp_path / "shards"), "trained for classification", "distillation")


def test_what_cannot_be_learnt_is_refused_in_one_line(call, photos: Path, pictures: Path, tmp_path: Path):
    out = ("--out", tmp_path / "run", "--recipe", "distill")
    refused(call("train", photos, *out), "need a teacher", "--teacher")
    refused(call("train", pictures, *out, "--teacher", "x"), "has labels", "--recipe finetune and --teacher")
    refused(call("train", photos, *out, "--teacher", tmp_path / "nowhere"), "no such run, checkpoint or bundle")
    refused(call("train", photos, *out, "--distill.weight", 1), "distill.weight is for classification and multilabel")
    refused(call("train", photos, "--out", tmp_path / "run", "--teacher", "x"), "has no folder 'train'")
    assert not (tmp_path / "run").exists()


@pytest.mark.backend
def test_an_onnx_file_teaches_by_what_is_stated_of_it(call, photos: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="needs nextvit[onnx]")
    teacher, names = write_teacher(tmp_path / "t.onnx", shape=("N", 3, "H", "W"), softmax=True), tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\ndog\n")
    command = ("train", photos, "--recipe", "distill", "--teacher", teacher, "--out", tmp_path / "run", *FAST)
    refused(call(*command), "--onnx-teacher.size")
    stated = ("--onnx-teacher.size", 32, "--onnx-teacher.values", "probabilities", "--onnx-teacher.classes", names)
    done = call(*command, *stated, "--epochs", 1)
    assert done.code == 0, done.err
    assert "4 classes" in done.err and "the teacher took" in done.out
    assert list(call("info", tmp_path / "run", "--json").document["classes"]) == ["ant", "bee", "cat", "dog"]
