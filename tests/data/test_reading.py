"""Reading class folders and CSV lists."""

import os
import shutil
from pathlib import Path

import pytest

from nextvit.data.hold_out import is_held_out
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from tests.conftest import draw_dataset


def test_folders_are_classes_in_sorted_order(colours: Path):
    dataset = read_dataset(colours)
    assert dataset.classes == ("blue", "green", "red")
    assert {name: len(samples) for name, samples in dataset.splits.items()} == {"train": 24, "val": 12}
    assert all(dataset.classes[sample.label] == sample.path.parent.name for sample in dataset.split("train"))


def test_without_val_a_tenth_is_held_out_by_file_name(tmp_path: Path):
    root = draw_dataset(tmp_path, train=100, val=0, size=4)
    shutil.rmtree(root / "val")
    dataset = read_dataset(root)
    train, val = dataset.split("train"), dataset.split("val")
    assert len(train) + len(val) == 300
    assert 15 <= len(val) <= 50
    assert all(is_held_out(sample.path) for sample in val)
    assert not any(is_held_out(sample.path) for sample in train)


def test_other_files_and_hidden_ones_are_left_out(colours: Path):
    (colours / "train" / "red" / "notes.txt").write_text("hello")
    (colours / "train" / "red" / ".hidden.png").write_text("hello")
    (colours / "train" / ".cache").mkdir()
    assert len(read_dataset(colours).split("train")) == 24


def test_a_link_back_is_followed_once(colours: Path):
    (colours / "train" / "red" / "loop").symlink_to(colours / "train" / "red")
    assert len(read_dataset(colours).split("train")) == 24


def test_a_split_instead_of_the_dataset_is_told(colours: Path):
    with pytest.raises(InputError, match="is one split of a dataset; pass the folder above it"):
        read_dataset(colours / "train")


def test_a_name_that_is_not_utf8_is_refused(colours: Path):
    (Path(os.fsdecode(os.fsencode(colours / "train" / "red") + b"/caf\xe9.png"))).write_bytes(b"")
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        read_dataset(colours)


def test_csv_lists_are_read_relative_to_the_file(colours: Path):
    lines = ["path,label,split"]
    for path in sorted(colours.rglob("*.png")):
        relative = path.relative_to(colours)
        lines.append(f"{relative},{relative.parts[1]},{relative.parts[0]}")
    (colours / "list.csv").write_text("\n".join(lines))
    from_list, from_tree = read_dataset(colours / "list.csv"), read_dataset(colours)
    assert from_list.classes == from_tree.classes
    for split in ("train", "val"):
        assert list(from_list.split(split)) == list(from_tree.split(split))


def leave_nothing_to_hold_out(root: Path) -> None:
    shutil.rmtree(root / "val")
    for path in root.rglob("*.png"):
        if is_held_out(path):
            path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda root: [shutil.rmtree(root), root.mkdir()], "has no folder 'train'"),
        (lambda root: [shutil.rmtree(root / "train"), (root / "train").mkdir()], "no images"),
        (lambda root: (root / "train" / "yellow").mkdir(), "yellow: class without images"),
        (lambda root: shutil.copytree(root / "val" / "red", root / "val" / "rde"), "'rde' is in val but not in train"),
        (lambda root: leave_nothing_to_hold_out(root), "too few to hold some out"),
        (lambda root: [shutil.rmtree(root / split) for split in ("train", "val")] + [(root / "images").mkdir()],
         "no annotations file; expected annotations.instances_train.json"),
        (lambda root: [shutil.move(root / "train" / "red", root / "red"), shutil.rmtree(root / "train")],
         "move the class folders into"),
        (lambda root: (root / "train").rename(root / "trainval"), "in trainval are the classes, rename it to 'train'"),
    ],
)  # fmt: skip
def test_bad_folders_get_one_clear_line(colours: Path, change, message: str):
    change(colours)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(colours)
    assert str(colours) in str(caught.value) and "\n" not in str(caught.value)


def test_one_class_is_not_enough(colours: Path):
    for split in ("train", "val"):
        shutil.rmtree(colours / split / "red")
        shutil.rmtree(colours / split / "blue")
    with pytest.raises(InputError, match="single class 'green'"):
        read_dataset(colours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got an empty file"),
        ("file,class\na,b", r"columns path,label \(or path,labels\) and optionally split; got file,class"),
        ("path,label\nnowhere.png,red", "line 2: no such file"),
        ("path,label\n,red", "line 2: path or label is empty"),
        ("path,label,split\nimage.png,red,fold1", "line 2: split must be train, val or test, got 'fold1'"),
        ("path,label\n", "no rows for the split train"),
    ],
)
def test_bad_lists_get_one_clear_line(tmp_path: Path, text: str, message: str):
    (tmp_path / "image.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "is an image; pass the folder of a dataset, or a CSV list"),
        ("set.ZIP", "is an archive; unpack it, and pass the folder"),
        ("set.tar.gz", "is an archive; unpack it, and pass the folder"),
        ("data.yaml", "is one file of a dataset; pass the folder above its annotations and images"),
        ("annotations.xml", "is one file of a dataset; pass the folder above its annotations and images"),
    ],
)
def test_a_file_that_is_no_list_leads_to_the_folder(tmp_path: Path, name: str, message: str):
    (tmp_path / name).write_bytes(b"\xff\x00big")
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_a_split_that_is_not_there_is_named(colours: Path):
    with pytest.raises(InputError, match="no split 'valid'; did you mean 'val'"):
        read_dataset(colours).split("valid")
