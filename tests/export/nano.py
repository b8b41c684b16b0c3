"""The smallest network with calibrated norms, its card, and its export."""

from pathlib import Path
from typing import Any

import torch

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Manifest
from nextvit.export.export import export_bundle
from nextvit.export.proof_images import ProofImages, plain
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from tests.models.calibrated import calibrate

CLASSES = ("blue", "green", "red")


def build_card(height: int, width: int, variant: str = "nextvit_nano") -> ModelCard:
    return ModelCard(
        task="classification",
        classes=CLASSES,
        input=Preprocess(image_size=(height, width)),
        variant=variant,
        architecture=to_plain(VARIANTS[variant]),
    )


def calibrated_model(variant: str = "nextvit_nano") -> Classifier:
    torch.manual_seed(0)
    model = calibrate(create_model(variant, num_classes=3)).float()
    assert isinstance(model, Classifier)
    return model


def export_nano(out: Path, images: list[Path], **changes: Any) -> Manifest:
    """Export the calibrated nano model at 64 px, or with changes to the request."""
    request = {"backend": "onnx", "precision": "fp32", "images": unlabelled(images), "out": out, **changes}
    return export_bundle(calibrated_model(), build_card(64, 64), **request)


def unlabelled(images: list[Path]) -> ProofImages:
    return ProofImages(samples=plain(images), source="colours")
