"""What a check finds in data with masks: small broken datasets, each with a message of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.check.masks import count_class_pixels, survey_masks
from nextvit.data.findings import KINDS, Finding
from nextvit.data.reading import convert_objects_to_masks, read_segmented
from nextvit.data.split_names import SPLITS
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.task import get_task
from tests.data.coco_by_hand import draw_objects
from tests.data.masks_by_hand import HEIGHT, WIDTH, Mask, draw_ade20k, draw_masked, read_mask, repaint

Change = Callable[[Path], object]


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw_masked(tmp_path / "shapes")


def findings(root: Path) -> list[Finding]:
    faults: list[Finding] = []
    dataset = read_segmented(root, faults, SPLITS)
    return [*faults, *get_task(dataset.task).check(dataset).findings]


def classes(text: str | bytes) -> Change:
    """A change of classes.txt."""
    return lambda root: (root / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())


def masks(change: Callable[[Mask], Mask], *, split: str = "train", only: int | None = None) -> Change:
    return lambda root: repaint(root, change, split=split, only=only)


def both(change: Callable[[Mask], Mask]) -> Change:
    return lambda root: [repaint(root, change, split=split) for split in ("train", "val")]


def mask_as(content: bytes) -> Change:
    return lambda root: (root / "masks" / "train" / "0.png").write_bytes(content)


def jpeg_mask(root: Path) -> None:
    path = root / "masks" / "train" / "0.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


def cut_off(root: Path) -> None:
    path = root / "masks" / "train" / "0.png"
    path.write_bytes(path.read_bytes()[:60])


def with_other_mask(root: Path) -> None:
    shutil.copy(root / "images" / "train" / "0.png", root / "images" / "train" / "1.png")


def with_nearly_the_same_mask(root: Path) -> None:
    for kind in ("images", "masks"):
        shutil.copy(root / kind / "train" / "0.png", root / kind / "train" / "1.png")
    repaint(root, one_pixel(1), only=1)


def without(label: int) -> Callable[[Mask], Mask]:
    return lambda mask: np.where(mask == label, 0, mask).astype(np.uint8)


def one_pixel(value: int) -> Callable[[Mask], Mask]:
    def change(mask: Mask) -> Mask:
        mask[0, 0] = value
        return mask

    return change


NO_DATASET: list[tuple[Change, str]] = [
    (lambda root: (root / "classes.txt").unlink(), "classes.txt: no such file; it lists the names of the classes"),
    (classes("\n \n"), "classes.txt: is empty; expected the names of the classes, one a line"),
    (classes("background\n\nsquare\ndisc"), "classes.txt: line 2 is empty, so no class has the value 1"),
    (classes("background\nsquare\nsquare"), "classes.txt: 'square' is on line 2 and on line 3"),
    (classes("\n".join(map(str, range(256)))), "classes.txt: lists 256 classes; masks of one byte hold 255 at most"),
    (classes(b"caf\xe9"), "classes.txt: is no text in UTF-8"),
    (lambda root: shutil.rmtree(root / "masks" / "train"), "has images/train but no folder masks/train"),
    (lambda root: shutil.rmtree(root / "images" / "train"), "has masks/train but no folder images/train"),
    (lambda root: shutil.rmtree(root / "masks" / "val"), "has images/val but no folder masks/val"),
    (
        lambda root: shutil.copytree(root / "masks" / "val", root / "masks" / "Valid"),
        "/masks/Valid and val are both the split val",
    ),
    (
        lambda root: [shutil.rmtree(root / kind / "train") for kind in ("images", "masks")],
        "has no folder images/train; expected images/train/NAME.jpg and masks/train/NAME.png",
    ),
    (
        lambda root: [
            path.rename(path.with_stem(f"{path.stem}_mask")) for path in (root / "masks" / "train").iterdir()
        ],
        "masks/train: no mask has the name of an image, such as 0.png; they are named like 0_mask.png",
    ),
    (
        lambda root: [path.unlink() for path in (root / "images" / "train").iterdir()],
        "images/train: no images; expected train",
    ),
]


@pytest.mark.parametrize(("change", "words"), NO_DATASET)
def test_what_is_no_dataset_is_refused_in_one_line(shapes: Path, change: Change, words: str):
    change(shapes)
    with pytest.raises(InputError) as caught:
        read_segmented(shapes, [], SPLITS)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(shapes))


NO_ADE20K: list[tuple[Change, str]] = [
    (
        lambda root: (root / "objectInfo150.txt").unlink(),
        "in ADE20K's layout, but has neither objectInfo150.txt nor classes",
    ),
    (
        lambda root: (root / "objectInfo150.txt").write_text("Idx\tName\n2\twall\n"),
        "row 1 is not the class 1, but '2 wall'",
    ),
    (lambda root: (root / "objectInfo150.txt").write_text("Idx\tName\n"), "objectInfo150.txt: is empty"),
]


@pytest.mark.parametrize(("change", "words"), NO_ADE20K)
def test_ade20k_needs_the_names_of_its_classes(tmp_path: Path, change: Change, words: str):
    change(draw_ade20k(tmp_path))
    with pytest.raises(InputError) as caught:
        read_segmented(tmp_path, [], SPLITS)
    assert words in str(caught.value) and "\n" not in str(caught.value)


FINDINGS: list[tuple[str, Change, str]] = [
    (
        "image_without_mask",
        lambda root: (root / "masks" / "train" / "3.png").unlink(),
        "images/train: 1 image has no mask, first: {root}/images/train/3.png; expected {root}/masks/train/3.png",
    ),
    (
        "mask_without_image",
        lambda root: (root / "images" / "train" / "3.png").unlink(),
        "masks/train: 1 mask has no image, first: {root}/masks/train/3.png",
    ),
    (
        "ambiguous_mask",
        lambda root: shutil.copy(root / "images/train/0.png", root / "images/train/0.jpg"),
        "images/train: 2 images share the one mask '0': 0.jpg and 0.png; keep one",
    ),
    (
        "ambiguous_mask",
        lambda root: shutil.copy(root / "masks/train/0.png", root / "masks/train/0.bmp"),
        "masks/train: 2 masks belong to the one image '0': 0.bmp and 0.png; keep one",
    ),
    ("single_class", classes("background\n"), "classes.txt: a single class, 'background'; list at least two"),
    (
        "nothing_to_validate",
        lambda root: [path.unlink() for path in (root / "images" / "val").iterdir()],
        "no images in the split val; add some",
    ),
    ("bad_mask", cut_off, "the mask of images/train/0.png: damaged"),
    ("bad_mask", mask_as(b"no image"), "the mask of images/train/0.png: not an image in a known format"),
    ("bad_mask", jpeg_mask, "the mask of images/train/0.png: a mask in JPEG does not keep its values; save it as PNG"),
    ("unreadable", lambda root: (root / "images/train/0.png").write_bytes(b"none"), "images/train/0.png: not an image"),
    (
        "mask_in_colours",
        both(lambda mask: np.stack([mask * 60] * 3, axis=2)),
        (
            "the mask of 16 images is in colours (RGB), such as (0, 0, 0); "
            "expected one channel of class indices; first: {root}/"
        ),
    ),
    (
        "value_out_of_range",
        masks(lambda mask: mask.astype(np.uint16) * 1000, only=0),
        "the mask of 1 image has the value 2000; a mask's values are 0 to 255; first: {root}/masks/train/0.png",
    ),
    (
        "value_out_of_range",
        masks(one_pixel(77), only=5),
        "the value 77 in the mask of 1 image, first: images/train/5.png; a class is 0 to 2, and 255 is no label",
    ),
    (
        "value_out_of_range",
        both(lambda mask: mask * 100),
        "a class is 0 to 2, and 255 is no label; all are multiples of 100: were they scaled to be visible?",
    ),
    (
        "class_not_listed",
        masks(one_pixel(3), only=5),
        "the value 3 in the mask of 1 image, first: images/train/5.png; the last of the 3 classes is 2, 'disc'",
    ),
    ("class_not_listed", classes("background\nsquare"), "the value 2 in the mask of 16 images"),
    ("class_not_listed", both(lambda mask: mask + 1), "is 2, 'disc'; no pixel is 0: do the masks count from 1?"),
    (
        "white_mask",
        both(lambda mask: np.where(mask > 0, 255, 0).astype(np.uint8)),
        (
            "every pixel is 0, 'background', or 255, no label, so 'background' is the "
            "only class that can be learned; first: images/train/0.png"
        ),
    ),
    ("mask_size_differs", masks(lambda mask: mask[::2, ::2], only=0), "images/train/0.png: is 48x36, its mask 24x18"),
    (
        "mask_size_differs",
        masks(lambda mask: np.ascontiguousarray(mask.T), only=0),
        "is 48x36, its mask 36x48; one of the two was rotated, perhaps the image by its EXIF",
    ),
    ("other_mask_of_copy", with_other_mask, "images/train/0.png, images/train/1.png; the masks agree with a mean IoU"),
    (
        "nearly_other_mask_of_copy",
        with_nearly_the_same_mask,
        "images/train/0.png, images/train/1.png; the masks agree with a mean IoU of 9",
    ),
    (
        "some_white_masks",
        masks(lambda mask: np.where(mask > 0, 255, 0).astype(np.uint8), only=4),
        "the mask of 1 image has only 0, 'background', and 255, no label; others have 1 and more: images/train/4.png",
    ),
    ("empty_split", masks(lambda mask: np.full_like(mask, 255)), "no pixel is labelled in the split train"),
    (
        "nothing_to_validate",
        masks(lambda mask: np.full_like(mask, 255), split="val"),
        "no pixel is labelled in the split val",
    ),
    (
        "unlabelled",
        masks(lambda mask: np.where(mask == 2, 255, mask).astype(np.uint8), only=7),
        "% of the pixels in train, on 1",
    ),
    (
        "mostly_unlabelled",
        masks(lambda mask: np.where(mask == 0, 255, mask).astype(np.uint8), only=7),
        "1 image in train with more than half of the pixels unlabelled, first: images/train/7.png",
    ),
    ("class_only_in_val", masks(without(2)), "pixels in val and none in train"),
    ("class_only_in_train", masks(without(2), split="val"), "class 'disc' has no validation pixels"),
    ("class_without_pixels", classes("background\nsquare\ndisc\nstar"), "class 'star' has no pixel"),
    (
        "tiny_class",
        lambda root: [repaint(root, without(1), only=index) for index in range(2, 12)],
        "class 'square' is on only 2 training images",
    ),
    ("single_class", both(np.zeros_like), "every labelled pixel in train is 'background'"),
    (
        "imbalance",
        masks(lambda mask: one_pixel(2)(without(2)(mask))),
        "% of the labelled training pixels are 'background', 0.",
    ),
]

FOLLOW = {
    "mask_without_image": {"image_without_mask"},
    "single_class": {"class_not_listed", "class_without_pixels"},
    "nothing_to_validate": {"mask_without_image", "empty_split", "image_without_mask"},
    "empty_split": {"class_only_in_val"},
    "white_mask": {"unlabelled"},
    "other_mask_of_copy": {"duplicate"},
    "nearly_other_mask_of_copy": {"duplicate"},
    "some_white_masks": {"unlabelled"},
    "mostly_unlabelled": {"unlabelled"},
    "ambiguous_mask": {"wrong_suffix"},
    "tiny_class": {"imbalance"},
}


@pytest.mark.parametrize(("kind", "change", "words"), FINDINGS)
def test_each_fault_is_found_and_named(shapes: Path, kind: str, change: Change, words: str):
    change(shapes)
    found = findings(shapes)
    messages = [finding.message for finding in found if finding.kind == kind]
    assert any(words.format(root=shapes) in message for message in messages), found
    assert {finding.kind for finding in found} <= {kind} | FOLLOW.get(kind, set()), found
    assert all("\n" not in finding.message for finding in found)


def test_who_has_a_rare_class_is_told_what_helps(shapes: Path):
    masks(lambda mask: one_pixel(2)(without(2)(mask)))(shapes)
    [message] = [finding.message for finding in findings(shapes) if finding.kind == "imbalance"]
    assert message.endswith("; see --loss.balance and --masks.rare-crops")


def test_masks_with_the_same_fault_are_one_finding_and_no_class_is_said_to_be_missing_on_them(shapes: Path):
    """What training refuses them for is their fault, not that they have no pixels."""
    for path in (shapes / "masks" / "train").glob("*.png"):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    [finding] = findings(shapes)
    assert finding.kind == "bad_mask" and finding.positions == tuple(range(12))
    assert finding.message == (
        "the mask of 12 images: a mask in JPEG does not keep its values; save it as PNG; first: "
        f"{shapes / 'masks' / 'train' / '0.jpg'}"
    )


@pytest.mark.parametrize(
    ("kind", "change"), [("bad_mask", mask_as(b"no image")), ("value_out_of_range", masks(one_pixel(77), only=5))]
)
def test_classes_that_may_be_what_no_mask_tells_are_not_missing(shapes: Path, kind: str, change: Change):
    repaint(shapes, without(2))
    assert {each.kind for each in findings(shapes)} == {"class_only_in_val"}
    change(shapes)
    assert {each.kind for each in findings(shapes)} == {kind}


def test_there_are_more_than_25_broken_datasets_with_distinct_messages():
    messages = [words for *_, words in [*NO_DATASET, *NO_ADE20K, *FINDINGS]]
    assert len(set(messages)) == len(messages) >= 45
    kinds = {kind for kind, *_ in FINDINGS}
    assert kinds <= KINDS.keys() and len(kinds) >= 20


def test_a_good_dataset_has_no_findings(shapes: Path, tmp_path: Path):
    assert findings(shapes) == []
    assert [(each.kind, each.severity, each.message) for each in findings(draw_ade20k(tmp_path / "ade"))] == [
        ("unlabelled", "note", "2.1 % of the pixels in train, on 12 images"),
        ("unlabelled", "note", "2.1 % of the pixels in val, on 4 images"),
    ]


def test_findings_name_the_images_by_their_positions(shapes: Path):
    repaint(shapes, one_pixel(77), split="val", only=2)
    [finding] = findings(shapes)
    assert finding.positions == (14,)


def test_pixels_are_counted_by_class(shapes: Path):
    repaint(shapes, one_pixel(255), only=0)
    repaint(shapes, one_pixel(9), only=1)
    dataset = read_segmented(shapes, [], SPLITS)
    counts = count_class_pixels(survey_masks(dataset).counts, dataset.masks["train"].encoding)
    assert counts.shape == (16, 4)
    for row, sample in zip(counts, dataset.splits["train"], strict=False):
        mask = read_mask(shapes / "masks" / "train" / sample.path.name)
        assert row.tolist() == [int((mask == value).sum()) for value in (0, 1, 2, 255)]
    assert counts[0].sum() == HEIGHT * WIDTH == counts[1].sum() + 1


def test_masks_drawn_from_objects_are_checked_alike(tmp_path: Path):
    dataset = convert_objects_to_masks(read_dataset(draw_objects(tmp_path)))
    assert get_task(dataset.task).check(dataset).findings == []


def test_real_datasets_are_judged_by_what_they_are(real_data):
    for name, kinds in (("camvid", {"unlabelled"}), ("magnetic_tile", {"imbalance"})):
        found = {finding.kind for finding in findings(real_data(name))}
        assert kinds <= found and not {kind for kind in found if KINDS[kind].severity == "error"} - {
            "duplicate_across_splits"
        }
