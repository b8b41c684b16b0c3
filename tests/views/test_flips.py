"""A flipped view of a class with a side shows its counterpart, in every task, and with flips of predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.data.objects import Objects
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess
from nextvit.predictions.multi_scale import average_views
from nextvit.views.detection_view import DetectionView
from nextvit.views.flips import describe_flips, exchanged_by_flips, resolve_flips
from nextvit.views.label_view import build_view
from nextvit.views.labelled_source import LabelledSource
from nextvit.views.segmentation_view import SegmentationView
from nextvit.views.settings import Augment, DetectionAugment, Flipping, SegmentationAugment

PAIRED, ALONE, PLAIN = ("left_door", "hood", "right_door"), ("left_door", "hood"), ("hood", "bright", "copyright")
EXCHANGED = np.array([2, 1, 0])
SETTINGS = [Augment(), DetectionAugment(), SegmentationAugment()]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Black at the left, white at the right."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("classes", "flip", "sides", "line"),
    [
        (PAIRED, 0.5, "exchange", "a flipped view exchanges left_door with right_door"),
        (ALONE, 0.0, "ignore", "views are not flipped, as there is no mirror image of left_door"),
        (PLAIN, 0.5, "ignore", None),
    ],
)
def test_names_of_classes_decide_what_flips_do(
    settings: Flipping, classes: tuple[str, ...], flip: float, sides: str, line: str | None
):
    resolved = resolve_flips(settings, classes)
    assert (resolved.flip, resolved.flip_sides) == (flip, sides)
    said = describe_flips(settings, resolved, classes)
    assert said is None if line is None else said is not None and line in said
    assert resolve_flips(resolved, classes) == resolved  # a resumed run reads its own recipe


def test_a_user_has_the_last_word():
    ignored = resolve_flips(Augment(flip_sides="ignore"), ALONE)
    assert (ignored.flip, exchanged_by_flips(ignored, ALONE)) == (0.5, None)
    without = resolve_flips(Augment(flip=0), PAIRED)
    assert (without.flip_sides, describe_flips(Augment(flip=0), without, PAIRED)) == ("ignore", None)
    with pytest.raises(InputError, match="there is none of left_door; set flip_sides to ignore, or flip to 0"):
        resolve_flips(Augment(flip_sides="exchange"), ALONE)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("labels", [(0,), (1,), (2,), (0, 1), ()])
def test_labels(image: Path, labels: tuple[int, ...], flip: float):
    view = build_view(Augment(flip=flip, crop_scale=(1, 1), crop_aspect=(4 / 3, 4 / 3)), image_size=(48, 64))
    samples = Samples.pack([(image, labels)])
    source = LabelledSource(samples, view, 3, lambda rows: rows, num_labelled=1, exchanged=EXCHANGED)
    pixels, target = source.view(0, np.random.default_rng(0))
    assert bool(pixels[0, 0, 0] > 128) == bool(flip)
    _, targets = source.collate([pixels], [target])
    expected = {2 - label for label in labels} if flip else set(labels)
    assert set(np.flatnonzero(targets.rows[0].numpy()).tolist()) == expected


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_boxes_and_instance_masks(image: Path, flip: float):
    left, right = [2, 4, 20, 40], [40, 4, 60, 44]
    objects = Objects(
        boxes=np.array([left, right], np.float32),
        labels=np.array([0, 2]),
        crowd=np.zeros(2, np.bool_),
        areas=np.ones(2),
        segmentations=tuple([[float(value) for value in polygon(*box)]] for box in (left, right)),
    )
    settings = DetectionAugment(flip=flip, crop=0, scales=(1.0,), flip_sides="exchange")
    view = DetectionView(settings, (48, 64), EXCHANGED)
    pixels, targets = view(image.read_bytes(), objects, name=image, rng=np.random.default_rng(0))
    assert targets.masks is not None
    for box, label, mask in zip(targets.boxes, targets.labels, targets.masks, strict=True):
        at_left = box[2] < 32
        assert label == (0 if at_left else 2)  # what is at the left is the left door, in either view
        assert (mask[:, :32].any(), mask[:, 32:].any()) == (at_left, not at_left)
    assert bool(pixels[0, 0, 0] > 128) == bool(flip)


def polygon(x1: int, y1: int, x2: int, y2: int) -> tuple[int, ...]:
    return x1, y1, x2, y1, x2, y2, x1, y2


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_masks_of_classes_keep_what_is_no_class(image: Path, flip: float):
    mask = np.full((48, 64), 1, np.uint8)
    mask[:, :20], mask[:, 44:], mask[40:] = 0, 2, 255
    settings = SegmentationAugment(flip=flip, scale=(1.0, 1.0), photometric=0, most_of_one_class=1)
    view = SegmentationView(settings, (64, 64), padded=False, exchanged=EXCHANGED)
    _, classes = view(image.read_bytes(), mask, name=image, rng=np.random.default_rng(0))
    assert (classes[0, 0], classes[0, 32], classes[0, -1]) == (0, 1, 2)  # the left door is at the left in either view
    assert set(np.unique(classes[-5:]).tolist()) == {255}


def test_flips_of_a_prediction_exchange_the_probabilities(image: Path):
    """A network that tells the doors by their side alone: both views agree, and the average is as sure as either."""

    def scores_of(pixels: Any) -> Any:
        logits = np.zeros((3, *pixels.shape[:2]), np.float32)
        logits[0, :, :32], logits[2, :, 32:] = 5, 5
        return logits

    with Image.open(image) as opened:
        spec = Preprocess(image_size=(48, 64), resize="stretch")
        once, both = (
            np.concatenate([*average_views(opened, scores_of, spec, scales=(1.0,), flip=flip, exchanged=EXCHANGED)], 1)
            for flip in (False, True)
        )
    assert np.allclose(once, both, atol=1e-6)
