"""What the tests of the verbs share."""

import json
from dataclasses import dataclass

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.image.resizing import Preprocess
from nextvit.predictions.results import Detection, Detections

NUTS = ModelCard(
    task="detection",
    classes=("fig", "nut"),
    input=Preprocess(image_size=(64, 107), resize="pad"),
    variant="nextvit_nano",
    architecture={},
    head={"masks": True, "detections": 100, "score_threshold": 0.05, "iou": 0.5},
    facts=DetectionFacts(category_ids=(3, 7)),
)


@dataclass
class Done:
    """What a call left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict:
        """Stdout, which must be one JSON document."""
        return json.loads(self.out)


FAST = ("--model", "nextvit_nano", "--image-size", 32, "--batch-size", 8, "--data.workers", 0, "--optim.lr", 2e-3)


BRIEF = ("--runs", 2, "--seconds", 0, "--quick")


def refused(done, *words: str) -> None:
    assert done.code == 2, done.err
    assert done.out == ""
    [line] = done.err.strip().splitlines()
    assert line.startswith("nextvit: ")
    for word in words:
        assert word in line, line


def found(*labels: str) -> Detections:
    objects = tuple(
        Detection(label=label, category_id=len(label), score=0.9 - index / 10, box=(1.0, 2.0, 30.0, 20.0))
        for index, label in enumerate(labels)
    )
    return Detections(width=64, height=48, objects=objects)
