"""The splits of a dataset: one rule for their names in every layout, a third one to score, and one alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nextvit.data.dataset import Dataset
from nextvit.errors import InputError
from nextvit.tasks.reading import FOR_TRAINING, read_dataset, read_split, read_with_findings
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import draw_objects
from tests.data.masks_by_hand import draw_masked

Draw = Callable[[Path, str, str], Path]


def draw_classes(root: Path, train: str, val: str) -> Path:
    draw_dataset(root / "colours", train=4, val=2, size=8)
    (root / "colours" / "train").rename(root / "colours" / train)
    (root / "colours" / "val").rename(root / "colours" / val)
    return root / "colours"


def draw_list(root: Path, train: str, val: str) -> Path:
    folder = draw_classes(root, "train", "val")
    names = {"train": train, "val": val}
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.png"))]
    rows = [f"{path},{path.parts[1]},{names[path.parts[0]]}" for path in paths]
    (root / "list.csv").write_text("Path,Label,Split\n" + "\n".join(f"colours/{row}" for row in rows))
    return root / "list.csv"


def draw_coco(root: Path, train: str, val: str) -> Path:
    draw_objects(root, train=4, val=2)
    for split, name in (("train", train), ("val", val)):
        (root / "images" / split).rename(root / "images" / name)
        (root / "annotations" / f"instances_{split}.json").rename(root / "annotations" / f"instances_{name}.JSON")
    return root


def draw_coco_beside(root: Path, train: str, val: str) -> Path:
    draw_objects(root / "drawn", train=4, val=2)
    for split, name in (("train", train), ("val", val)):
        (root / "drawn" / "images" / split).rename(root / name)
        shutil.move(root / "drawn" / "annotations" / f"instances_{split}.json", root / name / "_annotations.coco.json")
    shutil.rmtree(root / "drawn")
    return root


def draw_fiftyone(root: Path, train: str, val: str) -> Path:
    draw_objects(root / "drawn", train=4, val=2)
    for split, name in (("train", train), ("val", val)):
        (root / name).mkdir()
        (root / "drawn" / "images" / split).rename(root / name / "data")
        shutil.move(root / "drawn" / "annotations" / f"instances_{split}.json", root / name / "labels.json")
    shutil.rmtree(root / "drawn")
    return root


def draw_masks(root: Path, train: str, val: str) -> Path:
    draw_masked(root, train=4, val=2)
    for kind in ("images", "masks"):
        (root / kind / "train").rename(root / kind / train)
        (root / kind / "val").rename(root / kind / val)
    return root


LAYOUTS: list[Draw] = [draw_classes, draw_list, draw_coco, draw_coco_beside, draw_fiftyone, draw_masks]
NAMES = [("train", "Val"), ("Train", "Valid"), ("TRAIN", "VALIDATION"), ("training", "dev"), ("train2017", "val2017")]


def sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(samples) for split, samples in dataset.splits.items()}


def size_of(draw: Draw, images: int) -> int:
    """Of class folders and lists there are three classes."""
    return images * 3 if draw in (draw_classes, draw_list) else images


@pytest.mark.parametrize(("train", "val"), NAMES)
@pytest.mark.parametrize("draw", LAYOUTS)
def test_splits_have_their_usual_names_in_every_layout(tmp_path: Path, draw: Draw, train: str, val: str):
    dataset, findings = read_with_findings(draw(tmp_path, train, val))
    assert sizes(dataset) == {"train": size_of(draw, 4), "val": size_of(draw, 2)}
    assert findings == []


@pytest.mark.parametrize("draw", LAYOUTS)
def test_the_split_test_is_checked_and_scored_and_not_trained_on(tmp_path: Path, draw: Draw):
    # Names that sort before "train" and "val" stay theirs.
    root = draw(tmp_path, "Testing", "val")
    with pytest.raises(InputError, match=r"train"):
        read_dataset(root)
    assert sizes(read_split(root, "test")) == {"test": size_of(draw, 4)}
    assert sizes(read_split(root, "val")) == {"val": size_of(draw, 2)}
    with pytest.raises(InputError, match=r"has no split 'train'; it has val, test"):
        read_split(root, "train")
    with pytest.raises(InputError, match=r"the splits are train, val, test, got 'tset'"):
        read_split(root, "tset")


def test_a_third_split_is_read_by_a_check_and_by_no_training(tmp_path: Path):
    root = draw_classes(tmp_path, "train", "val")
    shutil.copytree(root / "val", root / "Test")
    checked, findings = read_with_findings(root)
    assert (sizes(checked), findings) == ({"train": 12, "val": 6, "test": 6}, [])
    assert sizes(read_dataset(root)) == {"train": 12, "val": 6}
    trained, findings = read_with_findings(root, wanted=FOR_TRAINING)
    assert findings == [], "the images of test are not missed"
    assert trained.classes == checked.classes


def test_images_of_test_with_a_class_of_their_own_are_left_out_with_a_warning(tmp_path: Path):
    root = draw_classes(tmp_path, "train", "val")
    shutil.copytree(root / "val" / "red", root / "test" / "unknown")
    dataset, [finding] = read_with_findings(root)
    assert (finding.kind, finding.severity, finding.count) == ("class_only_in_test", "warning", 2)
    assert "2 images of test are of classes that train does not have: 'unknown'" in finding.message
    assert (dataset.classes, sizes(dataset)) == (("blue", "green", "red"), {"train": 12, "val": 6})
    assert read_split(root, "test").classes == ("unknown",)


def test_images_of_test_without_labels_are_no_error(tmp_path: Path):
    root = draw_classes(tmp_path, "train", "val")
    shutil.copytree(root / "val" / "red", root / "test")
    dataset, [finding] = read_with_findings(root)
    assert (finding.kind, finding.severity) == ("left_out", "warning")
    assert finding.message.startswith("2 images in test: they are in no class folder")
    assert "test" not in dataset.splits


@pytest.mark.parametrize("draw", [draw_classes, draw_masks, draw_coco_beside, draw_coco])
def test_two_folders_of_one_split_are_refused_with_both_names(tmp_path: Path, draw: Draw):
    root = draw(tmp_path, "train", "val")
    for folder in [path for path in root.rglob("val") if path.is_dir()]:
        shutil.copytree(folder, folder.with_name("Valid"))
    with pytest.raises(InputError, match=r"Valid and val are both the split val|Valid.*val.* are both the split val"):
        read_dataset(root)


@pytest.mark.parametrize("split", ["val", "test", "train"])
def test_class_folders_without_a_split_are_the_one_that_is_scored(tmp_path: Path, split: str):
    root = draw_classes(tmp_path, "train", "val") / "val"
    shutil.move(root, tmp_path / "tested")
    assert sizes(read_split(tmp_path / "tested", split)) == {split: 6}
    with pytest.raises(InputError, match=r"has no folder 'train'; move the class folders into"):
        read_dataset(tmp_path / "tested")


@pytest.mark.parametrize("rename", [str.upper, str.capitalize])
@pytest.mark.parametrize("draw", [draw_coco, draw_masks, draw_fiftyone])
def test_capital_letters_do_not_count_in_the_names_of_folders_and_lists(
    tmp_path: Path, draw: Draw, rename: Callable[[str], str]
):
    root = draw(tmp_path / "set", "train", "val")
    expected = read_dataset(root)
    for path in sorted(root.glob("*")):
        path.rename(path.with_name(rename(path.name)))
    for path in [*root.rglob("data"), *root.rglob("labels.json")]:
        path.rename(path.with_name(rename(path.name)))
    dataset, findings = read_with_findings(root)
    assert dataset.classes == expected.classes and sizes(dataset) == sizes(expected)
    assert not [finding for finding in findings if finding.kind in ("left_out", "unlisted_image")]


@pytest.mark.parametrize("draw", [draw_classes, draw_coco, draw_masks])
@pytest.mark.parametrize("wanted", [FOR_TRAINING, ("val",)])
def test_the_folder_above_a_dataset_leads_to_it(tmp_path: Path, draw: Draw, wanted: tuple[str, ...]):
    (tmp_path / "above").mkdir()
    root = draw(tmp_path / "above" / "set", "Train", "val")
    with pytest.raises(InputError, match=rf"is the folder above a dataset; pass {re.escape(str(root))}$"):
        read_dataset(root.parent, wanted=wanted)


def test_the_folder_above_a_dataset_of_another_format_leads_to_convert(tmp_path: Path):
    (tmp_path / "set" / "labels").mkdir(parents=True)
    (tmp_path / "set" / "labels" / "a.txt").write_text("0 .5 .5 1 1")
    with pytest.raises(InputError, match=r"set: is in YOLO's format .* nextvit convert"):
        read_dataset(tmp_path)


def test_a_split_of_another_name_than_the_one_that_is_scored_is_refused(tmp_path: Path):
    root = draw_classes(tmp_path, "train", "val")
    assert sizes(read_split(root / "val", "val")) == {"val": 6}
    with pytest.raises(InputError, match=r"is the split train, not val; pass --split train"):
        read_split(root / "train", "val")


def test_images_and_masks_without_a_split_are_the_one_that_is_scored(tmp_path: Path):
    root = draw_masks(tmp_path, "train", "val")
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / "train")
        for path in (root / kind / "val").iterdir():
            path.rename(root / kind / path.name)
        (root / kind / "val").rmdir()
    assert sizes(read_split(root, "test")) == {"test": 2}


@pytest.mark.parametrize("draw", LAYOUTS)
def test_without_val_a_tenth_of_train_is_scored_and_the_rest_is_train(tmp_path: Path, draw: Draw):
    root = draw(tmp_path, "train", "val")
    for path in [*root.rglob("val"), *root.rglob("instances_val.JSON")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if root.is_file():
        root.write_text("\n".join(row for row in root.read_text().splitlines() if not row.endswith(",val")))
    elif draw in (draw_coco_beside, draw_fiftyone):
        shutil.rmtree(root / "val", ignore_errors=True)
    parts = read_with_findings(root)[0].splits
    for split in ("train", "val"):
        if len(parts[split]):
            assert list(read_split(root, split).split(split).names()) == list(parts[split].names())
    assert len(parts["train"]) + len(parts["val"]) == size_of(draw, 4)


def test_a_list_of_one_split_alone_is_scored_though_other_rows_are_broken(tmp_path: Path):
    path = draw_list(tmp_path, "train", "val")
    path.write_text(path.read_text() + "\ngone.png,red,train\n")
    assert sizes(read_split(path, "val")) == {"val": 6}
    with pytest.raises(InputError, match=r"gone\.png"):
        read_split(path, "train")


def test_a_coco_file_that_is_alone_may_have_any_name(tmp_path: Path):
    root = draw_coco(tmp_path, "default", "val")
    shutil.rmtree(root / "images" / "val")
    (root / "annotations" / "instances_val.JSON").unlink()
    assert sum(sizes(read_dataset(root)).values()) == 4
    assert sizes(read_split(root, "test")) == {"test": 4}


@pytest.mark.parametrize("place", ["images", ".", "images with folders in the names"])
def test_coco_images_may_all_be_in_one_folder(tmp_path: Path, place: str):
    """As CVAT, Datumaro and FiftyOne write them."""
    root = draw_objects(tmp_path, train=4, val=2)
    for split in ("train", "val"):
        path = root / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        for image in content["images"]:
            name = f"{split}-{image['file_name']}"
            old = root / "images" / split / image["file_name"]
            if place.startswith("images with"):
                image["file_name"] = f"images/{split}/{image['file_name']}"
            else:
                image["file_name"] = name
                old.rename(root / place / name)
        path.write_text(json.dumps(content))
    for split in ("train", "val"):
        if not place.startswith("images with"):
            (root / "images" / split).rmdir()
    dataset, findings = read_with_findings(root)
    assert (sizes(dataset), findings) == ({"train": 4, "val": 2}, [])


@pytest.mark.parametrize("content", ["{", "[]", '{"images": [], "annotations": []}'])
def test_a_broken_file_of_test_is_a_warning_of_a_check_and_nothing_to_a_training(tmp_path: Path, content: str):
    root = draw_objects(tmp_path, train=4, val=2)
    (root / "annotations" / "instances_test.json").write_text(content)
    dataset, [finding] = read_with_findings(root)
    assert (finding.kind, finding.severity) == ("nothing_to_test", "warning")
    assert sizes(dataset) == sizes(read_dataset(root)) == {"train": 4, "val": 2}
    with pytest.raises(InputError, match=r"instances_test\.json: "):
        read_split(root, "test")


def test_coco_folders_of_several_years_stay_apart(tmp_path: Path):
    root = draw_objects(tmp_path, train=4, val=2)
    for split in ("train", "val"):
        (root / "images" / split).rename(root / f"{split}2017")
        (root / f"{split}2014").mkdir()
        path = root / "annotations" / f"instances_{split}.json"
        path.rename(path.with_name(f"instances_{split}2017.json"))
    assert sizes(read_dataset(root)) == {"train": 4, "val": 2}


def test_class_folders_that_look_equal_are_one_class(tmp_path: Path):
    root = draw_classes(tmp_path, "train", "val")
    (root / "val" / "red").rename(root / "val" / "red ")
    assert read_dataset(root).classes == ("blue", "green", "red")
