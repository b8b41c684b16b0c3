"""A segmenter that is worth exporting."""

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import SegmentationFacts
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.segmentation import Segmenter
from tests.data.masks_by_hand import CLASSES
from tests.models.segmenters import random_segmenter

FIT = Preprocess(image_size=(64, 96), resize="pad")


def lively(spec: Preprocess = FIT, *, standardise: bool = False) -> tuple[Segmenter, ModelCard]:
    """A model that tells several classes on most images."""
    model = random_segmenter(standardise=standardise).float()
    card = ModelCard(
        task="segmentation",
        classes=(*CLASSES, "ring"),
        input=spec,
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=to_plain(model.segmenter),
        facts=SegmentationFacts(),
    )
    return model, card
