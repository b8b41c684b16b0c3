"""A row means what data.yaml states; without that, what can be read in two ways is refused or said."""

from pathlib import Path

import pytest

from nextvit.errors import InputError
from tests.convert.small_sets import convert, write_texts, write_yolo

BOX = "0 0.5 0.5 0.2 0.2"
CORNERS = "0 .1 .1 .9 .1 .9 .9 .1 .9"


def objects_of(root: Path) -> list[dict]:
    _, written = convert(root)
    return [each for split in written.values() for objects in split.values() for each in objects]


@pytest.mark.parametrize(
    ("shape", "keypoints"),
    [
        ("[4, 3]", "0.41 0.41 2 0.59 0.41 2 0.59 0.59 1 0.41 0.59 0"),
        ("[2, 2]", "0.44 0.47 0.55 0.56"),
        ("[1, 2]", "0.45 0.47"),
        ("[1, 3]", "0 0 0"),
        ("[17, 3]", " ".join(["0.5 0.5 2"] * 17)),
        ("[2, 2]", "12 -3 0.5 700"),
    ],
)
def test_the_box_in_front_of_keypoints_is_the_box(tmp_path: Path, shape: str, keypoints: str):
    data = f"names: [hero]\nkpt_shape: {shape}\n"
    root = write_yolo(tmp_path / "set", "images/train/a.jpg", data=data, rows=f"{BOX} {keypoints}\n")
    found, written = convert(root)
    [record] = written["train"]["a.jpg"]
    assert record["bbox"] == pytest.approx([25.6, 19.2, 12.8, 9.6])
    assert "segmentation" not in record
    assert any("by kpt_shape; left out" in line for line in found.remarks)


@pytest.mark.parametrize(
    ("data", "row", "words"),
    [
        ("kpt_shape: [2, 2]", f"{BOX} 0.4 0.4", "kpt_shape states, which are 9 numbers, got 7"),
        ("kpt_shape: [2, 2]", BOX, "which are 9 numbers, got 5"),
        ("kpt_shape: 4", BOX, "kpt_shape must be a number of keypoints and 2 or 3, got '4'"),
        ("kpt_shape: [4, 5]", BOX, "kpt_shape must be"),
        ("flip_idx: [0, 1]", BOX, "is of keypoints, but states no kpt_shape"),
        ("task: pose", BOX, "is of keypoints, but states no kpt_shape"),
        ("task: Pose", BOX, "is of keypoints, but states no kpt_shape"),
        ("task: obb", BOX, "line 1: expected a class and the 4 corners of a rotated box, as task obb states, got 4"),
        ("task: detect", CORNERS, "line 1: expected a class and 4 numbers for a box, as task detect states, got 8"),
        ("", f"{BOX} 0.87 12", "line 1: 12 is no fraction of the image"),
        ("", f"{BOX} 0.87 1", "are a box with confidence and track number; remove those columns"),
        ("", f"{BOX} 0 0.87", "are a box with confidence and track number; remove those columns"),
        ("", f"{BOX} 0.87", "got 5; a fifth may be the confidence of a prediction or an angle"),
        ("", f"{BOX} 0.41 0.41 2 0.59 0.41 2", "line 1: 2 is no fraction of the image"),
        ("", "0 32 24 12 9", "line 1: 32 is no fraction of the image"),
        ("", "0 -0.2 0.5 0.2 0.2", "line 1: -0.2 is no fraction"),
        ("", "0 0.5 0.5 -0.2 0.2", "a box with a negative side"),
        ("", "0 0.5 0.5 1.2 0.2", "line 1: 1.2 is no fraction"),
        ("", "0 10 10 20 10 20 20", "line 1: 10 is no fraction"),
        ("", "0 0.5 inf 0.2 0.2", "expected a class and 4 numbers for a box"),
        ("", f"{BOX}\n0.5 0.5 0.5 0.2 0.2", "line 2: class 0.5 has no name"),
        ("", "bolt 0.5 0.5 0.2 0.2", "line 1: expected numbers, got 'bolt 0.5 0.5 0.2 0.2'"),
        ("", "0,0.5,0.5,0.2,0.2", "line 1: expected numbers, got '0,0.5,0.5,0.2,0.2'"),
        ("", f"class x y w h\n{BOX}", "line 1: expected numbers, got 'class x y w h'"),
        ("", f"{BOX}\n-1 0.5 0.5 0.2 0.2", "line 2: class -1 has no name"),
    ],
)
def test_rows_of_another_meaning_are_refused(tmp_path: Path, data: str, row: str, words: str):
    root = write_yolo(tmp_path / "set", "images/a.jpg", data=f"names: [bolt, nut]\n{data}\n", rows=row)
    with pytest.raises(InputError) as caught:
        convert(root)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "box", "is_outline"),
    [
        ("1 0.5 0.5 1 1", [0, 0, 64, 48], False),
        ("1 0.5 0.5 1.000001 1", [0, 0, 64, 48], False),
        ("1 0.9 0.5 0.4 0.5", [44.8, 12, 25.6, 24], False),
        ("1 -0.000001 0 1 0 1.00001 1.0", [0, 0, 64, 48], True),
        ("1.0 0.25 0.25 0.75 0.25 0.5 0.75", [16, 12, 32, 24], True),
        ("\ufeff1 0.5 0.5 1 1", [0, 0, 64, 48], False),
        ("\t1  0.5\t0.5 1 1 \r\n\r\n", [0, 0, 64, 48], False),
    ],
)
def test_rounding_is_allowed_and_outlines_have_three_corners_or_more(
    tmp_path: Path, row: str, box: list[float], is_outline: bool
):
    [record] = objects_of(write_yolo(tmp_path / "set", "images/a.jpg", rows=row))
    assert record["bbox"] == pytest.approx(box, abs=1e-2) and record["category_id"] == 1
    assert ("segmentation" in record) == is_outline


def test_a_file_may_hold_boxes_and_outlines(tmp_path: Path):
    rows = f"{BOX}\n1 .1 .1 .9 .1 .5 .9\n{CORNERS}\n"
    found, written = convert(write_yolo(tmp_path / "set", "images/a.jpg", rows=rows))
    assert [len(each.get("segmentation", [[]])[0]) for each in written["train"]["a.jpg"]] == [0, 6, 8]
    assert "masks: 2 of 3 objects, from their outlines" in found.remarks
    assert not any("corners" in line for line in found.remarks)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (CORNERS, "every outline has 4 corners: rotated boxes (OBB)"),
        ("0 .5 .5 .2 .2 .45 .47", "every outline has 3 corners"),
    ],
)
def test_outlines_of_one_number_of_corners_are_said(tmp_path: Path, row: str, words: str):
    found, _ = convert(write_yolo(tmp_path / "set", "images/a.jpg", "images/b.jpg", rows=row))
    assert any(line.startswith(words) and "state kpt_shape in data.yaml" in line for line in found.remarks)


@pytest.mark.parametrize(("task", "row"), [("obb", CORNERS), ("OBB", CORNERS), ("segment", "0 .1 .1 .9 .1 .9 1")])
def test_a_stated_task_leaves_no_doubt(tmp_path: Path, task: str, row: str):
    data = f"names: [bolt]\ntask: {task}\n"
    found, written = convert(write_yolo(tmp_path / "set", "images/a.jpg", data=data, rows=row))
    assert written["train"]["a.jpg"][0]["segmentation"]
    assert not any("corners" in line for line in found.remarks)


def test_suffixes_are_compared_without_regard_to_case(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "Images/Train/A.JPG", data=None)
    (root / "Labels" / "Train").mkdir(parents=True)
    (root / "Images" / "Train" / "A.txt").rename(root / "Labels" / "Train" / "A.TXT")
    write_texts(root, {"Classes.txt": "bolt\n"})
    _, written = convert(root)
    assert len(written["train"]["A.JPG"]) == 1
