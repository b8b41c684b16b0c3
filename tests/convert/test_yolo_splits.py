"""The splits that data.yaml, obj.data or lists of images state are the splits, whatever the folders are called."""

from pathlib import Path

import pytest

from nextvit.errors import InputError
from tests.convert.small_sets import convert, write_texts, write_yolo

NAMES = "names: [bolt, nut]\n"


def splits_of(root: Path) -> dict[str, list[str]]:
    _, written = convert(root)
    return {split: sorted(names) for split, names in written.items()}


@pytest.mark.parametrize(
    ("images", "data", "texts", "splits"),
    [
        (
            ["images/a.jpg", "images/b.jpg"],
            "train: train.txt\nval: val.txt",
            {"train.txt": "./images/a.jpg\n", "val.txt": "./images/b.jpg\n"},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/train/a.jpg", "images/test/b.jpg"],
            "path: .\ntrain: images/train\nval: images/test",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/fold1/a.jpg", "images/fold2/b.jpg"],
            "train: images/fold1\nval: images/fold2",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/f1/a.jpg", "images/f2/b.jpg", "images/f3/c.jpg"],
            "train: [images/f1, images/f3]\nval: images/f2",
            {},
            {"train": ["f1/a.jpg", "f3/c.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["train/images/a.jpg", "valid/images/b.jpg"],
            "train: ../train/images\nval: ../valid/images\ntest: ../test/images",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/A/a.jpg", "images/B/b.jpg"],
            "path: /home/someone/set\ntrain: images/A\nval: images/B",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/A/a.jpg", "images/B/b.jpg"],
            "train: /home/someone/set/images/A\nval: C:\\sets\\images\\B",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/A/a.jpg", "images/B/b.jpg"],
            "path: ../datasets/set\ntrain: images/A/\nval: ./images/B",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["sub/images/A/a.jpg", "sub/images/B/b.jpg"],
            "path: sub\ntrain: images/A\nval: images/B",
            {},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/a.jpg", "images/b.jpg"],
            "train: lists/train.txt\nval: lists/val.txt",
            {"lists/train.txt": "/data/x/images/a.jpg\n", "lists/val.txt": "images\\b.jpg\n"},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/train/a.jpg", "images/test/b.jpg"],
            "train: images/train\nval:\ntest: ''",
            {},
            {"train": ["a.jpg"], "test": ["b.jpg"]},
        ),
        (
            ["images/train/a.jpg", "images/val/b.jpg"],
            "train: images/val\nval: images/train",
            {},
            {"train": ["b.jpg"], "val": ["a.jpg"]},
        ),
        (
            ["images/train/a.jpg", "images/val/b.jpg", "images/test/c.jpg"],
            "train: images/train\nval: images/test",
            {},
            {"train": ["a.jpg"], "val": ["c.jpg"], "rest": ["b.jpg"]},
        ),
        (
            ["images/a.jpg", "images/b.jpg"],
            "",
            {"Train.txt": "images/a.jpg\n", "Validation.TXT": "\ufeffimages/b.jpg\n"},
            {"train": ["a.jpg"], "val": ["b.jpg"]},
        ),
        (
            ["images/a b.jpg", "images/c.jpg"],
            "",
            {"train.txt": "images/a b.jpg\n", "val.txt": "c.jpg\n"},
            {"train": ["a b.jpg"], "val": ["c.jpg"]},
        ),
        (["images/train2017/a.jpg"], "train: images/train2017\nval: images/train2017", {}, {"train": ["a.jpg"]}),
        (["images/a.jpg"], "train: .", {}, {"train": ["a.jpg"]}),
    ],
)
def test_what_the_files_state_is_the_split(
    tmp_path: Path, images: list[str], data: str, texts: dict[str, str], splits: dict[str, list[str]]
):
    root = write_yolo(tmp_path / "set", *images, data=f"{NAMES}{data}\n")
    write_texts(root, texts)
    assert splits_of(root) == splits


@pytest.mark.parametrize(("train", "valid"), [("train", "valid"), ("Train", "Validation")])
def test_obj_data_and_its_lists_are_used(tmp_path: Path, train: str, valid: str):
    root = write_yolo(tmp_path / "set", f"obj_{train}_data/a.jpg", f"obj_{valid}_data/b.jpg", data=None)
    data = f"classes = 2\n{train} = data/{train}.txt\n{valid} = data/{valid}.txt\nnames = data/obj.names\nbackup = b/\n"
    write_texts(root, {"obj.data": data, "obj.names": "bolt\nnut\n"})
    write_texts(
        root, {f"{name}.txt": f"data/obj_{name}_data/{image}.jpg\n" for name, image in ((train, "a"), (valid, "b"))}
    )
    found, written = convert(root)
    assert {split: list(names) for split, names in written.items()} == {"train": ["a.jpg"], "val": ["b.jpg"]}
    assert any(f"'data/{train}.txt' was taken as {train}.txt" in line for line in found.remarks)
    assert not found.left_out


def test_without_lists_the_folders_of_cvat_are_splits(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "obj_train_data/a.jpg", "obj_Validation_data/b.jpg", data=None)
    assert splits_of(write_texts(root, {"obj.names": "bolt\n"})) == {"train": ["a.jpg"], "val": ["b.jpg"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_and_labels_in_the_encodings_of_windows(tmp_path: Path, encoding: str):
    root = write_yolo(tmp_path / "set", "images/ä.jpg", "images/b.jpg")
    texts = {"train.txt": "images\\ä.jpg\r\n", "val.txt": "images\\b.jpg\r\n", "labels/b.txt": "1 .5 .5 .1 .1\r\n"}
    write_texts(root, {name: text.encode(encoding) for name, text in texts.items()})
    _, written = convert(root)
    assert {split: list(names) for split, names in written.items()} == {"train": ["ä.jpg"], "val": ["b.jpg"]}
    assert written["val"]["b.jpg"][0]["category_id"] == 1


def test_two_files_that_state_the_same_are_one(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/a.jpg", data=f"{NAMES}train: images\npath: /one\n")
    assert splits_of(write_texts(root, {"set.yaml": f"{NAMES}train: images\nlicence: MIT\n"})) == {"train": ["a.jpg"]}


def test_what_is_passed_over_is_named(tmp_path: Path):
    data = f"{NAMES}train: images/train\nval: images/train\ntest: images/none\n"
    found, _ = convert(write_yolo(tmp_path / "set", "images/train/a.jpg", data=data))
    assert "val: states the same images as train, and is passed over" in found.remarks
    assert "data.yaml: states test as 'images/none', where no images are; left out" in found.remarks


@pytest.mark.parametrize(
    ("data", "texts", "words"),
    [
        ("train: images/A\nval: images/C", {}, "there is no folder 'images/C' with images, which it states as val"),
        ("train: images/A\nval: val.txt", {}, "data.yaml: there is no list 'val.txt'"),
        (
            "train: t.txt",
            {"t.txt": "images/A/a.jpg\nimages/A/c.jpg"},
            "t.txt, line 2: there is no image 'images/A/c.jpg'",
        ),
        ("train: t.txt", {"t.txt": "images/C/a.jpg\n"}, "t.txt, line 1: there is no image 'images/C/a.jpg'"),
        ("train: t.txt", {"t.txt": "same.jpg"}, "image 'same.jpg' may be images/A/same.jpg or images/B/same.jpg"),
        ("train: images/A\nval: v.txt", {"v.txt": "images/A/a.jpg"}, "images/A/a.jpg is in train and in val"),
        ("train: images/A\nval: images/B\nvalid: images/A", {}, "data.yaml: states the split val twice"),
        ("train: {a: b}", {}, "data.yaml: train must be a path or a list of paths"),
        (
            "train: images/A",
            {"fold2.yaml": f"{NAMES}train: images/B\n"},
            "data.yaml and fold2.yaml state different things",
        ),
        ("", {"train.txt": "images/A/a.jpg", "lists/train.txt": "images/B/b.jpg"}, "are both lists of train"),
    ],
)
def test_what_cannot_be_found_or_is_stated_twice_is_refused(
    tmp_path: Path, data: str, texts: dict[str, str], words: str
):
    images = ["images/A/a.jpg", "images/B/b.jpg", "images/A/same.jpg", "images/B/same.jpg"]
    root = write_yolo(tmp_path / "set", *images, data=f"{NAMES}{data}\n")
    write_texts(root, texts)
    with pytest.raises(InputError) as caught:
        convert(root)
    assert words in str(caught.value) and "\n" not in str(caught.value)
