"""A classifier's card."""

from nextvit.bundle.card import ModelCard
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS


def card(**changes: object) -> ModelCard:
    facts = {
        "task": "classification",
        "classes": ("blue", "green", "red"),
        "input": Preprocess(image_size=(32, 32)),
        "variant": "nextvit_nano",
        "architecture": to_plain(VARIANTS["nextvit_nano"]),
    }
    return ModelCard(**{**facts, **changes})
