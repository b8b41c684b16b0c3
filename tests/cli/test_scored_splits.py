"""eval and verify need the split that they score and no other, and its classes may be some of the model's."""

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import refused


@pytest.fixture
def tested(pictures: Path, tmp_path: Path) -> Path:
    """Labelled images of a few classes alone, without splits."""
    folder = tmp_path / "tested"
    for name in ("green", "red"):
        shutil.copytree(pictures / "val" / name, folder / name)
    return folder


def write_list(path: Path, folder: Path, split: str) -> Path:
    rows = [f"{image},{image.parent.name},{split}" for image in sorted(folder.rglob("*.png"))]
    path.write_text("\n".join(["path,label,split", *rows]))
    return path


def test_eval_scores_class_folders_a_list_and_a_third_split_alike(bundle: Path, tested: Path, tmp_path: Path, call):
    of_folders = call("eval", bundle, tested, "--json")
    assert of_folders.code == 0, of_folders.err
    document = of_folders.document
    assert document["images"] == len(list(tested.rglob("*.png")))
    assert document["details"]["classes"] == ["blue", "green", "red"]
    assert document["details"]["class_images"] == [0, document["images"] // 2, document["images"] // 2]
    of_list = call("eval", bundle, write_list(tmp_path / "list.csv", tested, "val"), "--json").document
    third = tmp_path / "third"
    shutil.copytree(tested, third / "Test")
    (third / "train" / "broken").mkdir(parents=True)
    of_test = call("eval", bundle, third, "--split", "test", "--json").document
    assert document["scores"] == of_list["scores"] == of_test["scores"]
    assert (document["split"], of_test["split"]) == ("val", "test")


def test_verify_scores_a_split_of_its_own(bundle: Path, tested: Path, tmp_path: Path, call):
    plain = call("verify", bundle, "--data", tested, "--json")
    assert plain.code == 0, plain.err
    third = tmp_path / "third"
    shutil.copytree(tested, third / "testing")
    of_test = call("verify", bundle, "--data", third, "--split", "test", "--json").document
    assert plain.document["exam"] == of_test["exam"]
    refused(call("verify", bundle, "--data", third), "has no split 'val'; it has test")


def test_what_cannot_be_scored_is_refused_in_one_line(bundle: Path, tested: Path, tmp_path: Path, call):
    refused(call("eval", bundle, tested, "--split", "tset"), "the splits are train, val, test, got 'tset'")
    (tested / "red").rename(tested / "purple")
    refused(call("eval", bundle, tested), "the model has 3 classes", "the model does not know 'purple'")
    path = write_list(tmp_path / "list.csv", tested, "test")
    refused(call("eval", bundle, path), "has no split 'val'; it has test")


def test_eval_leaves_out_what_is_broken_where_it_may(bundle: Path, tested: Path, tmp_path: Path, call):
    path = write_list(tmp_path / "list.csv", tested, "val")
    path.write_text(path.read_text() + "\ngone.png,red,val\n")
    refused(call("eval", bundle, path), "no such file", "to leave out what cannot be used, pass --allow-errors")
    done = call("eval", bundle, path, "--allow-errors", "--json")
    assert done.code == 0 and "left out: 1 row" in done.err
    assert done.document["images"] == len(list(tested.rglob("*.png")))
