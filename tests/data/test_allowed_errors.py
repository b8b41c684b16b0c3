"""What cannot be used is refused, or left out and counted where errors are allowed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nextvit.data.findings import Finding, describe_left_out, refuse_errors
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset, read_split
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import Content, draw_objects, spoil
from tests.data.masks_by_hand import draw_masked

FLAG = "--data.allow-errors"


def annotation(**values: object) -> Callable[[Content], object]:
    return lambda content: content["annotations"][0].update(values)


CASES: list[tuple[Callable[[Content], object], str]] = [
    (annotation(segmentation=[[1, 2, 3, 4]]), "left out: 1 annotation"),
    (annotation(bbox=None), "left out: 1 annotation"),
    (annotation(iscrowd=2), "left out: 1 annotation"),
    (annotation(image_id=77), "left out: 1 annotation"),
    (annotation(category_id=77), "left out: 1 annotation"),
    (lambda content: content["images"][3].update(file_name="gone.png"), "left out: 1 image"),
    (lambda content: content["images"][3].update(width=2**31 - 1, height=2**31 - 1), "left out: 1 image"),
    (
        lambda content: [
            content["images"][3].update(file_name="gone.png"),
            content["images"][4].update(file_name="gone2.png"),
            annotation(area="x")(content),
        ],
        "left out: 2 images, 1 annotation",
    ),
]


@pytest.mark.parametrize(("change", "words"), CASES)
def test_records_that_cannot_be_used_are_left_out_where_errors_are_allowed(tmp_path: Path, change, words: str):
    root = draw_objects(tmp_path, train=6, val=2)
    spoil(root, change)
    with pytest.raises(InputError, match=f"; to leave out what cannot be used, pass {FLAG}"):
        read_dataset(root, flag=FLAG)
    lines: list[str] = []
    dataset = read_dataset(root, allow_errors=True, flag=FLAG, say=lines.append)
    assert lines == [f"{words}; nextvit check {root} lists them"]
    images = 6 - words.count("1 image") - 2 * words.count("2 images")
    assert len(dataset.split("train")) == len(dataset.annotations["train"]) == images
    assert dataset.annotations["train"].counts(2).sum() == 2 * images - words.count("annotation")
    assert read_split(root, "val").split("val"), "the errors of train are none of val"


def test_a_list_and_masks_leave_out_what_is_missing(tmp_path: Path):
    draw_dataset(tmp_path / "colours", train=4, val=2, size=8)
    rows = [f"colours/{split}/{name}/0.png,{name},{split}" for split in ("train", "val") for name in ("red", "blue")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows, "gone.png,red,train"]))
    masked = draw_masked(tmp_path / "masked", train=4, val=2)
    for name in ("1", "2"):
        (masked / "masks" / "train" / f"{name}.png").unlink()
    (masked / "images" / "train" / "0.bmp").write_bytes((masked / "images" / "train" / "0.png").read_bytes())
    lines: list[str] = []
    assert len(read_dataset(tmp_path / "list.csv", allow_errors=True, say=lines.append).split("train")) == 2
    assert len(read_dataset(masked, allow_errors=True, say=lines.append).split("train")) == 1
    assert [line.partition(";")[0] for line in lines] == ["left out: 1 row", "left out: 4 images"]


def test_where_the_flag_does_not_help_it_is_not_advised(tmp_path: Path):
    root = draw_objects(tmp_path, train=6, val=2)
    spoil(root, lambda content: [each.update(bbox=[0.1, 0.1, 0.5, 0.5]) for each in content["annotations"]])
    for allow in (False, True):
        with pytest.raises(InputError, match=r"look like fractions of the image$"):
            read_dataset(root, allow_errors=allow, flag=FLAG)


def test_a_refused_training_names_the_finding_and_what_helps():
    copy = Finding("other_mask_of_copy", "a.jpg, b.jpg; the masks agree with a mean IoU of 12.0 %", (0, 1))
    with pytest.raises(InputError) as caught:
        refuse_errors([copy], dataset="photos")
    assert str(caught.value) == (
        "photos: 1 error in the data, first: the same image with different masks (a.jpg, b.jpg; the masks agree with a "
        "mean IoU of 12.0 %); see nextvit check photos, or train anyway with --data.allow-errors"
    )
    refuse_errors([copy], dataset="photos", allowed=True)
    empty = Finding("empty_split", "no pixel is labelled in the split train")
    for allowed in (False, True):
        with pytest.raises(InputError, match=r"see nextvit check photos$"):
            refuse_errors([copy, empty], dataset="photos", allowed=allowed)


def test_what_is_left_out_is_counted_by_its_kind():
    findings = [
        Finding("bad_annotation", "", count=1200),
        Finding("bad_category", ""),
        Finding("bad_category", ""),
        Finding("mask_size_differs", "", (3,)),
        Finding("bad_mask", "", (4, 5)),
        Finding("empty_class", ""),
        Finding("duplicate", "", (1, 2)),
    ]
    assert describe_left_out(findings) == "left out: 1,200 annotations, 2 categories, 3 images, 1 class"
    assert describe_left_out([]) == ""
