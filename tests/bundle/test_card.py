"""A card that lacks what its task is served by is refused."""

from dataclasses import replace
from typing import Any

import pytest

from nextvit.bundle.card import ModelCard, card_from_plain
from nextvit.bundle.facts import DetectionFacts, SegmentationFacts
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.predictions.kind import output_names
from nextvit.predictions.segmentation import with_scores

HEAD: dict[str, Any] = {"masks": True, "detections": 100, "score_threshold": 0.05, "iou": 0.5}
CARD = ModelCard(
    task="detection",
    classes=("fig", "nut"),
    facts=DetectionFacts(category_ids=(1, 5)),
    input=Preprocess(image_size=(64, 96), resize="pad"),
    variant="nextvit_nano",
    architecture={},
    head=HEAD,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": {}}, r"head of a detector: damaged \(masks cannot be None\)"),
        ({"head": HEAD | {"detections": "many"}}, r"head of a detector: damaged \(detections cannot be 'many'\)"),
        ({"facts": DetectionFacts(category_ids=(1,))}, "detection of 2 classes has 1 category ids"),
        (
            {"input": Preprocess(image_size=(64, 96))},
            r"a detector keeps aspect ratio and pads \(resize pad\), its card says crop",
        ),
    ],
)
def test_a_detectors_card_says_all_that_it_is_served_by(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        replace(CARD, **changes)


def test_scores_are_an_output_of_segmentation_models_alone():
    card = replace(CARD, task="segmentation", facts=SegmentationFacts(), head={})
    assert output_names(card) == ("classes",)
    assert output_names(with_scores(card, True)) == ("classes", "logits")
    with pytest.raises(InputError, match="a card of detection has DetectionFacts, got SegmentationFacts"):
        replace(CARD, facts=SegmentationFacts(scores=True))


def test_cards_of_the_first_format_are_read():
    plain = {name: each for name, each in to_plain(CARD).items() if name != "facts"}
    plain["input"] = {**plain["input"], "resize": "fit"}
    assert card_from_plain({**plain, "category_ids": [1, 5], "thresholds": [], "scores": False}, what="old") == CARD
    with pytest.raises(InputError, match="old: thresholds is no fact of the task 'detection'"):
        card_from_plain({**plain, "category_ids": [1, 5], "thresholds": [0.5, 0.5]}, what="old")
