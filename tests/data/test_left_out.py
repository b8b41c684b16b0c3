"""Nothing of a dataset vanishes without a word: images below its folder are used, or named with a reason."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nextvit.data.findings import Finding
from nextvit.data.image_files import find_image_files
from nextvit.tasks.reading import read_dataset, read_with_findings
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import draw_objects
from tests.data.masks_by_hand import draw_masked


def draw_classes(root: Path) -> Path:
    draw_dataset(root, train=4, val=2, size=8)
    return root


def draw_list(root: Path) -> Path:
    draw_dataset(root, train=4, val=2, size=8)
    paths = [path.relative_to(root) for path in sorted(root.rglob("*.png"))]
    (root / "list.csv").write_text("path,label,split\n" + "\n".join(f"{p},{p.parts[1]},{p.parts[0]}" for p in paths))
    return root / "list.csv"


def draw_coco(root: Path) -> Path:
    return draw_objects(root, train=4, val=2)


def draw_masks(root: Path) -> Path:
    return draw_masked(root, train=4, val=2)


def copies(source: str, *targets: str) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        for target in targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / source, root / target)

    return change


CASES: list[tuple[Callable[[Path], Path], Callable[[Path], object], str]] = [
    (draw_classes, copies("train/red/0.png", "train/a.png", "train/b.png"), "2 images in train: they are in no class"),
    (draw_classes, copies("train/red/0.png", "a.png"), "1 image in .: only the class folders in train, val and test"),
    (draw_classes, copies("train/red/0.png", "extra/red/a.png", "extra/red/b.png"), "2 images in extra/red: only the"),
    (draw_classes, copies("train/red/0.png", "holdout/a.JPG"), "1 image in holdout: only the class folders"),
    (draw_coco, copies("images/train/0.png", "images/extra/a.png"), "1 image in images/extra: no annotation file"),
    (draw_coco, copies("images/train/0.png", "images/test/a.png"), "1 image in images/test: no annotation file"),
    (
        draw_coco,
        copies("images/train/0.png", "images/a.png", "images/b.png"),
        "2 images are not listed in annotations/",
    ),
    (
        draw_coco,
        copies("images/train/0.png", "images/val/a.png"),
        "1 image is not listed in annotations/instances_val.",
    ),
    (
        draw_coco,
        copies("annotations/instances_train.json", "annotations/instances_extra.json", "annotations/captions.json"),
        "2 files in annotations: only instances_<split>.json are read, not captions.json, instances_extra.json",
    ),
    (draw_masks, copies("images/train/0.png", "images/test/a.png"), "1 image in images/test: images and masks are"),
    (draw_masks, copies("images/train/0.png", "images/a.png"), "1 image in images: images and masks are read from"),
    (draw_masks, copies("masks/train/0.png", "masks/extra/a.png"), "1 image in masks/extra: images and masks are read"),
    (draw_masks, copies("masks/train/0.png", "masks/train/a.png"), "1 mask has no image, first: "),
    (draw_list, copies("train/red/0.png", "train/red/a.png", "val/red/b.png"), "2 images are not listed in list.csv"),
]


@pytest.mark.parametrize(("draw", "change", "words"), CASES)
def test_what_is_not_used_is_named_with_its_number_and_the_reason(tmp_path: Path, draw, change, words: str):
    root = draw(tmp_path / "data")
    assert read_with_findings(root)[1] == []
    before = count_images(tmp_path / "data")
    change(tmp_path / "data")
    dataset, findings = read_with_findings(root)
    assert any(words in finding.message for finding in findings), findings
    assert {finding.severity for finding in findings} == {"warning"}
    used = sum(map(len, dataset.splits.values())) + sum(map(len, dataset.masks.values()))
    named = sum(finding.count for finding in findings if "files in annotations" not in finding.message)
    assert (used, used + named) == (before, count_images(tmp_path / "data"))


def count_images(root: Path) -> int:
    return len(find_image_files(root, []))


def test_a_training_says_what_it_does_not_use(tmp_path: Path):
    root = draw_classes(tmp_path)
    copies("train/red/0.png", "extra/a.png", "test/red/a.png")(root)
    lines: list[str] = []
    read_dataset(root, say=lines.append)
    assert lines == [
        "not used: 1 image in extra: only the class folders in train, val and test are read; first: extra/a.png"
    ]


@pytest.mark.parametrize("of_folders", [True, False])
def test_files_that_are_used_by_links_are_not_missed(tmp_path: Path, of_folders: bool):
    root = draw_classes(tmp_path / "data")
    shutil.move(root / "train", root / "all")
    for folder in sorted((root / "all").iterdir()):
        (root / "train").mkdir(exist_ok=True)
        if of_folders:
            (root / "train" / folder.name).symlink_to(folder)
        else:
            (root / "train" / folder.name).mkdir()
            for path in folder.iterdir():
                (root / "train" / folder.name / path.name).symlink_to(path)
    dataset, findings = read_with_findings(root)
    assert (len(dataset.split("train")), findings) == (12, [])


def test_a_finding_counts_itself_once_unless_it_says_otherwise():
    assert Finding("tiny", "small").count == 1
