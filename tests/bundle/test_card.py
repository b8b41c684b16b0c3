"""A card that lacks what its task is served by is refused."""

from dataclasses import replace
from typing import Any

import pytest

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess

HEAD: dict[str, Any] = {"masks": True, "detections": 100, "score_threshold": 0.05, "iou": 0.5}
CARD = ModelCard(
    task="detection",
    classes=("fig", "nut"),
    category_ids=(1, 5),
    input=Preprocess(image_size=(64, 96), resize="pad"),
    variant="nextvit_nano",
    architecture={},
    head=HEAD,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": {}}, "head of a detector: masks cannot be 'None'"),
        ({"head": HEAD | {"detections": "many"}}, "head of a detector: detections cannot be 'many'"),
        ({"category_ids": (1,)}, "detection of 2 classes has 1 category ids"),
        (
            {"input": Preprocess(image_size=(64, 96))},
            r"a detector takes whole pictures \(resize fit\), its card says crop",
        ),
    ],
)
def test_a_detectors_card_says_all_that_it_is_served_by(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        replace(CARD, **changes)


def test_scores_are_an_output_of_segmentation_models_alone():
    card = replace(CARD, task="segmentation", category_ids=(), head={})
    assert card.outputs == ("classes",)
    assert replace(card, scores=True).outputs == ("classes", "logits")
    with pytest.raises(InputError, match="scores as an output of its own are for segmentation, not for detection"):
        replace(CARD, scores=True)
