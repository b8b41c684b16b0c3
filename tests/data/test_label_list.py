"""Reading CSV lists of images with several labels."""

from pathlib import Path

import pytest

from nextvit.data.dataset import Dataset
from nextvit.data.hold_out import is_held_out
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset


def write_list(folder: Path, *rows: str, columns: str = "path,labels,split") -> Path:
    """A list of empty files that are there."""
    for row in rows:
        (folder / row.partition(",")[0]).write_bytes(b"")
    (folder / "list.csv").write_text("\n".join((columns, *rows)), encoding="utf-8")
    return folder / "list.csv"


def names(dataset: Dataset, split: str) -> list[list[str]]:
    return [sorted(dataset.classes[label] for label in sample.labels) for sample in dataset.split(split)]


def test_an_image_may_have_several_labels_or_none(tmp_path: Path):
    rows = ("a.png,red|light blue,train", "b.png,,train", "c.png, red ,val", "d.png,light blue | red|red,")
    dataset = read_dataset(write_list(tmp_path, *rows))
    assert (dataset.task, dataset.classes) == ("multilabel", ("light blue", "red"))
    assert names(dataset, "train") == [["light blue", "red"], [], ["light blue", "red"]]
    assert names(dataset, "val") == [["red"]]
    assert dataset.split("train").targets([0, 1], 2).tolist() == [[1, 1], [0, 0]]


def test_one_class_is_enough_where_an_image_may_have_none(tmp_path: Path):
    assert read_dataset(write_list(tmp_path, "a.png,red,train", "b.png,,train", "c.png,red,val")).classes == ("red",)


def test_without_val_a_tenth_is_held_out_by_file_name(tmp_path: Path):
    rows = [f"{index}.png,{'red|blue' if index % 2 else 'blue'}" for index in range(200)]
    dataset = read_dataset(write_list(tmp_path, *rows, columns="path,labels"))
    assert all(is_held_out(sample.path) for sample in dataset.split("val"))
    assert not any(is_held_out(sample.path) for sample in dataset.split("train"))
    assert len(dataset.split("train")) + len(dataset.split("val")) == 200
    assert 10 <= len(dataset.split("val")) <= 35


def test_a_class_that_is_held_out_whole_is_named(tmp_path: Path):
    held_out = next(f"{index}.png" for index in range(100) if is_held_out(Path(f"{index}.png")))
    kept = next(f"{index}.png" for index in range(100) if not is_held_out(Path(f"{index}.png")))
    with pytest.raises(InputError, match="every image of class 'rare' was held out for val"):
        read_dataset(write_list(tmp_path, f"{held_out},rare", f"{kept},red", columns="path,labels"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,labels\na,b", r"\(or path,labels\) and optionally split; got file,labels"),
        ("path,label,labels\nimage.png,red,red", r"\(or path,labels\) and optionally split; got path,label,labels"),
        ("path,labels\nnowhere.png,red", "line 2: no such file"),
        ("path,labels\n,red", "line 2: path or labels is missing; an image without labels is written as path,"),
        ("path,labels\nimage.png", "line 2: path or labels is missing; an image without labels is written as path,"),
        ("path,labels\nimage.png,red||blue", r"line 2: a name between \| is empty in 'red\|\|blue'"),
        ("path,labels\nimage.png,red\nimage.png,blue", "line 3: image.png already has a row"),
        ("path,labels,split\nimage.png,red,fold1", "line 2: split must be train, val or test, got 'fold1'"),
        ("path,labels,split\nimage.png,red,val", "no rows for the split train"),
        ("path,labels,split\nimage.png,red,train\nother.png,rde,val", "'rde' is in val but not in train; did you mean"),
        ("path,labels,split\nimage.png,red,train\nother.png,,val", "no image in val has a label"),
        ("path,labels,split\nimage.png,,train\nother.png,,val", "no image in train has a label"),
    ],
)
def test_bad_lists_get_one_clear_line(tmp_path: Path, text: str, message: str):
    for name in ("image.png", "other.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(tmp_path / "list.csv")
    assert "\n" not in str(caught.value)


def test_what_is_no_csv_file_is_refused(tmp_path: Path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_dataset(tmp_path / "list.csv")
