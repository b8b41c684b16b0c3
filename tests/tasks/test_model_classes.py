"""A dataset with some of a model's classes, in any order, is scored as one with all of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextvit.bundle.facts import DetectionFacts
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset, read_split
from nextvit.tasks.task import make_evaluator, match_model
from tests.cli.commands import NUTS
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import Content, draw_objects, spoil
from tests.data.masks_by_hand import draw_masked, repaint
from tests.tasks.by_colour import CARD, by_colour
from tests.tasks.cards import card


def test_labels_follow_the_names_of_classes(tmp_path: Path):
    draw_dataset(tmp_path, train=4, val=2, size=8)
    (tmp_path / "val" / "blue").rename(tmp_path / "val" / "white")
    of_model = card(classes=("red", "black", "white", "green"))
    dataset = match_model(read_split(tmp_path, "val"), of_model)
    assert dataset.classes == of_model.classes
    assert [dataset.classes[each.label] == each.path.parent.name for each in dataset.split("val")] == [True] * 6
    with pytest.raises(
        InputError, match=r"the model has 2 classes \(red, white\), .*; the model does not know 'green'"
    ):
        match_model(read_split(tmp_path, "val"), card(classes=("red", "white")))


def test_category_ids_are_the_models(tmp_path: Path):
    def keep_discs(content: Content) -> None:
        content["categories"] = [each for each in content["categories"] if each["name"] == "disc"]
        content["annotations"] = [each for each in content["annotations"] if each["category_id"] == 7]

    root = draw_objects(tmp_path, train=2, val=2)
    spoil(root, keep_discs, split="val")
    of_model = replace(NUTS, classes=("nut", "disc", "square"), facts=DetectionFacts(category_ids=(4, 5, 6)))
    dataset = match_model(read_split(root, "val"), of_model)
    assert (dataset.classes, dataset.category_ids) == (of_model.classes, (4, 5, 6))
    assert dataset.annotations["val"].labels.tolist() == [1, 1]
    assert [sample.labels for sample in dataset.split("val")] == [(1,), (1,)]


def test_values_of_masks_follow_the_names_in_classes_txt(tmp_path: Path):
    root = draw_masked(tmp_path, train=2, val=3)
    expected = make_evaluator(read_dataset(root), CARD).evaluate(by_colour, split="val").scores
    swap = np.array([1, 2, 0, *range(3, 256)], np.uint8)
    for split in ("train", "val"):
        repaint(root, lambda mask: swap[mask], split=split)
    (root / "classes.txt").write_text("disc\nbackground\nsquare\n")
    assert make_evaluator(read_split(root, "val"), CARD).evaluate(by_colour, split="val").scores == expected


def test_objects_become_masks_of_the_models_classes(tmp_path: Path):
    root = draw_objects(tmp_path, train=2, val=2)
    own = read_dataset(root, task="segmentation").masks["val"][0]
    dataset = match_model(read_split(root, "val"), replace(CARD, classes=("disc", "background", "more", "square")))
    assert np.array_equal(dataset.masks["val"][0], np.array([1, 3, 0], np.uint8)[own])
