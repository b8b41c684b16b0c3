"""Every mistake gets one clear line and exit code 2, and leaves nothing half-written behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nextvit.cli import main as command_line
from tests.cli.commands import FAST, refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian", "photos"], ['Unknown command "trian"', 'Did you mean "train"']),
        (["train", "photos", "--oot", "x"], ["--oot", "--out"]),
        (["train", "photos"], ["--out"]),
        (["train", "photos", "--out", "x", "--optim.lrr", "1"], ["--optim.lrr", "--optim.lr"]),
        (["train", "photos", "--out", "x", "--optim.lr", "fast"], ["--optim.lr", "fast"]),
        (["train", "photos", "--out", "x", "--heads.decoder", "none"], ["--heads.decoder", "none", "fpn", "uper"]),
        (["train", "photos", "--out", "x", "--optim.lr=-1"], ["optim.lr must be positive, got -1"]),
        (["train", "photos", "--out", "x", "--recipe", "fintune"], ["did you mean 'finetune'"]),
        (["train", "photos", "--out", "x", "--image-size", "16"], ["at least 32 px a side, got 16x16"]),
        (["train", "photos", "--out", "x", "--config", "no.yaml"], ["no.yaml", "No such file"]),
        (["train", "photos", "--out", "x"], ["photos: no such folder"]),
        (["train", "photos", "--out", "x", "--resume"], ["x: no run to resume"]),
        (["shard", "photos", "--out", "x"], ["photos: no such folder"]),
        (["shard", "photos", "--out", "x", "--shard-size", "0"], ["--shard-size must be at least 1 MiB, got 0"]),
        (["eval", "nothing", "photos"], ["no such folder"]),
        (["predict", "nothing", "image.jpg"], ["image.jpg: no such file or folder"]),
        (["export", "nothing"], ["nothing: no such run, checkpoint or bundle"]),
        (["verify", "nothing"], ["nothing: no such bundle"]),
        (["bench"], ["no model given"]),
        (["bench", "nothing", "--batch", "one"], ["--batch takes numbers with commas"]),
        (["bench", "nothing", "--runtimes", "onxn"], ["did you mean 'onnx'"]),
        (["bench", "nothing", "--precisions", "int9"], ["no precision 'int9'"]),
        (["bench", "nothing", "--threads", "0"], ["--threads must be at least 1"]),
        (["bench", "nothing"], ["nothing: no such run, checkpoint or bundle, and no name of a network"]),
        (["bench", "nothing", "--fail-if", "p51>5"], ["p51"]),
        (["bench", "nothing", "--compare", "timm:resnet1001"], ["no such run"]),
        (["info", "nothing"], ["nothing: no such run"]),
        (["check", "nothing"], ["no such folder"]),
        (["report"], ["no run given"]),
        (["report", "nothing"], ["nothing: not a run"]),
        (["report", *map(str, range(9))], ["at most 8 runs", "got 9"]),
        (["check", "photos", "--report", "no/check.html"], ["no/check.html: there is no folder no"]),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], words: list[str], call, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(call(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["train", "photo", "--out", "x"], "photos"),
        (["train", "photos", "--out", "x", "--config", "mine.yml"], "mine.yaml"),
        (["train", "photos", "--out", "x", "--weights", "model.safetensor"], "model.safetensors"),
        (["train", "photos", "--out", "x", "--weights", "none", "--teacher", "model.safetensor"], "model.safetensors"),
        (
            [
                "train",
                "photos",
                "--out",
                "x",
                "--weights",
                "none",
                "--teacher",
                "model.safetensors",
                "--distill.unlabelled",
                "mor-photos",
            ],
            "more-photos",
        ),
        (["check", "fotos/train"], "photos/train"),
        (["shard", "photo", "--out", "x"], "photos"),
        (["convert", "photo", "--out", "x"], "photos"),
        (["eval", "model.safetensors", "photo"], "photos"),
        (["eval", "model.safetensor", "photos"], "model.safetensors"),
        (["predict", "model.safetensors", "photos/train/red/00.png"], "photos/train/red/0.png"),
        (["predict", "model.safetensor", "photos"], "model.safetensors"),
        (["export", "model.safetensor"], "model.safetensors"),
        (["verify", "a.nextvt"], "a.nextvit"),
        (["verify", "a.nextvit", "--key", "key.pm"], "key.pem"),
        (["bench", "model.safetensor"], "model.safetensors"),
        (["info", "model.safetensor"], "model.safetensors"),
        (["report", "run"], "runs"),
    ],
)
def test_a_mistyped_path_gets_the_nearest_one(
    arguments: list[str], nearest: str, call, shared_colours: Path, tmp_path: Path, monkeypatch
):
    shutil.copytree(shared_colours, tmp_path / "photos")
    for name in ("more-photos", "runs"):
        (tmp_path / name).mkdir()
    for name in ("mine.yaml", "model.safetensors", "key.pem"):
        (tmp_path / name).touch()
    shutil.copytree(tmp_path / "runs", tmp_path / "a.nextvit")
    (tmp_path / "a.nextvit" / "manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.code == 2 and done.out == ""
    assert done.err.splitlines()[-1].endswith(f"; did you mean {Path(nearest)}?"), done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim: {lrr: 1}", ["optim has no field 'lrr'", "did you mean 'lr'"]),
        ("optimm: {lr: 1}", ["optimm"]),
        ("optim: {lr: fast}", ["optim", "lr cannot be 'fast'", "mine.yaml"]),
        ("optim: [1", ["mine.yaml: line 1: not valid YAML"]),
        ("just text", ["expected sections"]),
    ],
)
def test_mistakes_in_a_config_file(text: str, words: list[str], call, pictures: Path, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(text)
    refused(call("train", pictures, "--out", tmp_path / "run", "--config", tmp_path / "mine.yaml"), *words)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_overwritten(call, pictures: Path, run_folder: Path):
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")}
    refused(call("train", pictures, "--out", run_folder, *FAST), "already holds a run", "--resume")
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*")} == before


def test_a_run_of_other_classes_is_refused_by_eval(call, pictures: Path, run_folder: Path, tmp_path: Path):
    shutil.copytree(pictures, tmp_path / "other")
    for split in ("train", "val"):
        (tmp_path / "other" / split / "red").rename(tmp_path / "other" / split / "rouge")
    refused(call("eval", run_folder, tmp_path / "other"), "has 3 classes (blue, green, red)", "(blue, green, rouge)")


def test_with_json_an_error_is_a_document_too(call, tmp_path: Path):
    done = call("info", tmp_path / "nothing", "--json")
    assert done.code == 2
    assert done.document == {"error": f"{tmp_path / 'nothing'}: no such run, checkpoint or bundle", "exit_code": 2}


def test_an_image_is_no_model(call, pictures: Path):
    picture = pictures / "val" / "red" / "0.png"
    refused(call("info", picture), "0.png: no checkpoint (neither safetensors nor written by torch.save)")


def test_verify_against_a_model_of_another_size_is_refused(call, pictures: Path, bundle: Path, tmp_path: Path):
    call("train", pictures, "--out", tmp_path / "other", *FAST[:2], "--image-size", 48, *FAST[4:], "--epochs", 1)
    refused(call("verify", bundle, "--against", tmp_path / "other"), "differ in input, so their predictions")


@pytest.mark.parametrize("text", ["optim: [1", "text", "optim: {lr: 1}", "dataset: [1]"])
def test_a_damaged_recipe_of_a_run(call, run_folder: Path, tmp_path: Path, text: str):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_text(text)
    refused(call("export", tmp_path / "run"), "recipe.yaml: ")


def test_a_negative_drop_is_refused_before_any_work(call, run_folder: Path):
    refused(call("export", run_folder, "--max-drop=-1"), "--max-drop must be between 0 and 100 points, got -1")


def test_broken_datasets(call, pictures: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    refused(call("train", tmp_path / "empty", "--out", tmp_path / "run"), "has no folder 'train'")
    shutil.copytree(pictures, tmp_path / "hollow")
    (tmp_path / "hollow" / "train" / "yellow").mkdir()
    refused(call("train", tmp_path / "hollow", "--out", tmp_path / "run"), "yellow: class without images")
    shutil.copytree(pictures, tmp_path / "extra")
    shutil.copytree(pictures / "val" / "red", tmp_path / "extra" / "val" / "pink")
    refused(call("train", tmp_path / "extra", "--out", tmp_path / "run"), "'pink' is in val but not in train")
    assert not (tmp_path / "run").exists()


def test_too_many_unreadable_images_stop_the_training(call, pictures: Path, tmp_path: Path):
    shutil.copytree(pictures, tmp_path / "bad")
    for index in range(5):
        (tmp_path / "bad" / "train" / "red" / f"{index}.png").write_bytes(b"")
    done = call("train", tmp_path / "bad", "--out", tmp_path / "run", *FAST, "--epochs", 1)
    assert done.code == 2
    last = done.err.strip().splitlines()[-1]
    assert "training images cannot be read, more than data.max_unreadable 0.02" in last
    assert "nextvit check" in last


def test_a_truncated_checkpoint(call, pictures: Path, run_folder: Path, tmp_path: Path):
    shutil.copytree(run_folder, tmp_path / "run")
    weights = tmp_path / "run" / "checkpoints" / "best" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    for arguments in (
        ["eval", tmp_path / "run", pictures],
        ["export", tmp_path / "run"],
        ["info", tmp_path / "run"],
        ["train", pictures, "--out", tmp_path / "new", "--model", "nextvit_nano", "--weights", weights],
    ):
        refused(call(*arguments), "model.safetensors: damaged")
    assert not (tmp_path / "new").exists()


def test_a_changed_bundle(call, pictures: Path, bundle: Path, tmp_path: Path):
    shutil.copytree(bundle, tmp_path / "b.nextvit")
    content = bytearray((tmp_path / "b.nextvit" / "model.onnx").read_bytes())
    content[-1] ^= 1
    (tmp_path / "b.nextvit" / "model.onnx").write_bytes(content)
    for arguments in (["verify"], ["predict", pictures / "val" / "red"], ["info"], ["bench"]):
        refused(call(arguments[0], tmp_path / "b.nextvit", *arguments[1:]), "model.onnx: damaged or changed")


def test_a_missing_package_is_named_with_its_install_line(bundle: Path, tmp_path: Path):
    """In a process where onnxruntime cannot be imported."""
    (tmp_path / "onnxruntime.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnxruntime'\", name='onnxruntime')"
    )
    command = [sys.executable, "-m", "nextvit", "verify", str(bundle)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert (
        done.stderr
        == "nextvit: 'onnxruntime' is not installed; install it with: pip install '.[onnx]' in a clone of nextvit\n"
    )


@pytest.mark.training
@pytest.mark.serial
def test_interrupting_a_training_says_how_to_go_on(pictures: Path, tmp_path: Path):
    import signal
    import time

    out = tmp_path / "run"
    arguments = [*map(str, FAST[:6]), "--epochs", "1000", "--data.workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nextvit", "train", str(pictures), "--out", str(out), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # the whole group, as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"go on with: nextvit train {pictures} --out {out} --resume" in err
    assert "nextvit: interrupted" in err


def test_every_verb_has_its_module():
    folder = Path(command_line.__file__).parent
    shared = {"__init__", "main", "settings", "console", "prediction_folder", "recipe_flags", "run_report", "tiling"}
    assert {path.stem for path in folder.glob("*.py")} - shared == set(command_line.VERBS)
