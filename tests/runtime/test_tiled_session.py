"""A segmentation model run on tiles of an image, or at several scales and mirrored, against plain computations."""

import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import NoFacts, SegmentationFacts
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME, Preprocess
from nextvit.predictions.kind import output_names
from nextvit.predictions.multi_scale import softmax
from nextvit.predictions.results import ClassMap
from nextvit.predictions.segmentation import with_scores
from nextvit.runtime.predictor import Predictor, card_at, make_predictor
from nextvit.runtime.tiled_session import Tiling, check_tiling

Arrays = Mapping[str, NDArray[Any]]
FIT = Preprocess(image_size=(64, 96), resize="pad")
CARD = ModelCard(
    task="segmentation",
    classes=("red", "green", "blue"),
    input=FIT,
    variant="by hand",
    architecture={},
    facts=SegmentationFacts(scores=True),
)


class Colours:
    """The scores of a cell are its mean colour; what it saw is kept."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = inputs[INPUT_NAME]
        self.seen.append(images.shape)
        assert (SIZES_NAME in inputs) == (images.shape[1:3] != (32, 32)), "stretched images have no canvas"
        count, height, width, _ = images.shape
        logits = images.reshape(count, height // 4, 4, width // 4, 4, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2) / 16
        return {"classes": np.zeros((count, height, width), np.uint8), "logits": logits.astype(np.float32)}

    def facts(self) -> dict[str, Any]:
        return {"backend": "by hand"}


def smooth(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(1).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def clear(image: Image.Image) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The brightest channel of each pixel, and where there is no doubt of it."""
    channels = np.sort(np.asarray(image).astype(int), axis=2)
    return np.asarray(image).argmax(axis=2), channels[:, :, 2] - channels[:, :, 1] > 25


@pytest.mark.parametrize(
    ("spec", "tiling", "seen"),
    [
        (FIT, Tiling(window_px=64), (4, 64, 64, 3)),
        (FIT, Tiling(window_px=256), (1, 256, 256, 3)),
        (replace(FIT, image_size=(32, 32), resize="stretch"), Tiling(window_px=32), (4, 32, 32, 3)),
        (FIT, Tiling(scales=(0.5, 1.5), flip=True), (1, 32, 64, 3)),
        (FIT, Tiling(flip=True), (1, 64, 96, 3)),
    ],
)
def test_every_pixel_of_an_image_of_any_size_gets_its_class(spec: Preprocess, tiling: Tiling, seen: tuple[int, ...]):
    session = Colours()
    predictor = make_predictor(session, replace(CARD, input=spec), tiling)
    pictures = [smooth(210, 140), smooth(140, 211)]
    for picture, answer in zip(pictures, predictor(pictures), strict=True):
        assert isinstance(answer, ClassMap) and answer.labels.shape == (picture.height, picture.width)
        expected, sure = clear(picture)
        assert sure.mean() > 0.5 and (answer.labels[sure] == expected[sure]).mean() > 0.99
    assert session.seen[0] == seen


def test_windows_see_the_images_own_pixels():
    """Stripes of 4 px, which resizing would blur, are told apart."""
    stripes = np.zeros((300, 400, 3), np.uint8)
    stripes[:, np.arange(400) % 8 < 4, 0] = 255
    stripes[:, np.arange(400) % 8 >= 4, 2] = 255
    [answer] = make_predictor(Colours(), CARD, Tiling(window_px=64))([stripes])
    assert isinstance(answer, ClassMap)
    middle = np.isin(np.arange(400) % 4, (1, 2))
    assert np.array_equal(answer.labels[:, middle], (stripes.argmax(axis=2))[:, middle])


def test_the_scores_are_those_that_the_classes_come_from():
    picture = np.asarray(smooth(96, 64))
    session = Colours()
    predictor = make_predictor(session, CARD, Tiling(flip=True), scores=True)
    assert predictor.card.facts == SegmentationFacts(scores=True)
    outputs = predictor.session.run({INPUT_NAME: picture[None]})
    assert outputs["logits"].shape == (1, 3, 64, 96)
    assert np.array_equal(outputs["logits"].argmax(axis=1), outputs["classes"])
    probabilities = softmax(outputs["logits"][0], axis=0)
    assert np.abs(probabilities - np.exp(outputs["logits"][0])).max() < 1e-5
    assert np.abs(probabilities - softmax(picture.transpose(2, 0, 1) / 16, axis=0)).mean() < 0.05
    without = make_predictor(Colours(), CARD, Tiling(flip=True)).session.run({INPUT_NAME: picture[None]})
    assert without.keys() == {"classes"} and np.array_equal(without["classes"], outputs["classes"])


def test_what_was_looked_at_how_is_said():
    facts = make_predictor(Colours(), CARD, Tiling(window_px=64)).session.facts()
    assert facts == {"backend": "by hand", "views": {"window_px": 64, "scales": (1.0,), "flip": False}}


def test_without_tiling_the_session_is_used_as_it_is():
    session = Colours()
    assert make_predictor(session, CARD, None).session is session


def test_a_batch_is_one_image():
    predictor = make_predictor(Colours(), CARD, Tiling(window_px=64))
    with pytest.raises(InputError, match="a batch is one image, got 2"):
        predictor([smooth(50, 50), smooth(60, 60)], batch_size=2)
    with pytest.raises(InputError, match="a batch is one image, got 2"):
        predictor.predict_pixels(np.zeros((2, 70, 50, 3), np.uint8))
    assert len(predictor([smooth(50, 50), smooth(60, 60)])) == 2
    predictor.warm_up()
    [answer] = predictor.predict_pixels(np.zeros((1, 70, 50, 3), np.uint8))
    assert isinstance(answer, ClassMap) and answer.labels.shape == (70, 50)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"window_px": 50}, "a multiple of 32 px from 32 to 4096, got 50"),
        ({"window_px": 0}, "a multiple of 32 px from 32 to 4096, got 0"),
        ({"window_px": 2**20}, "a multiple of 32 px"),
        ({"scales": ()}, "scales are one or more numbers above 0, at most 4, got"),
        ({"scales": (1.0, -1.0)}, "scales are one or more numbers above 0"),
        ({"scales": (float("nan"),)}, "scales are one or more numbers above 0"),
        ({"scales": (5.0,)}, "at most 4"),
        ({"window_px": 64, "flip": True}, "use them without scales and flips"),
        ({"window_px": 64, "scales": (0.5,)}, "use them without scales and flips"),
    ],
)
def test_impossible_tilings_are_refused(given: dict[str, Any], words: str):
    with pytest.raises(InputError, match=words):
        Tiling(**given)


def refuse(card: ModelCard, tiling: Tiling, words: str, *, any_size: bool = True) -> None:
    what = Path("model")
    with pytest.raises(InputError, match=words):
        check_tiling(tiling, card, what=what, card_of=lambda size: card_at(card, size, what=what, any_size=any_size))


def test_models_without_tiling_are_refused():
    windows, scales = Tiling(window_px=64), Tiling(scales=(0.5, 1.0))
    photos = replace(CARD, task="classification", facts=NoFacts())
    refuse(photos, windows, "model: windows, scales and flips are for segmentation, this is a model for classification")
    refuse(with_scores(CARD, False), scales, "model: puts out classes alone, .* export it again with --scores")
    fixed = replace(CARD, input=Preprocess(image_size=(96, 96), resize="stretch"))
    refuse(fixed, windows, "takes images of height 96, width 96 alone, got height 64", any_size=False)
    refuse(fixed, scales, "takes images of height 96, width 96 alone, got height 48", any_size=False)
    sided = replace(CARD, classes=("road", "left_lane", "kerb"))
    refuse(sided, Tiling(flip=True), "model: .* left_lane, classes with a side but no counterpart; leave out --flip")
    check_tiling(scales, sided, what=Path("model"), card_of=lambda size: sided)
    check_tiling(Tiling(window_px=96), fixed, what=Path("model"), card_of=lambda size: fixed)
    check_tiling(windows, CARD, what=Path("model"), card_of=lambda size: pytest.fail("frames take any size"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda logits: logits[:, :2], r"the model puts out logits \(1, 2, 16, 16\); its card has 3 classes"),
        (lambda logits: logits[:, 0], "the model puts out logits"),
        (lambda logits: np.full_like(logits, np.nan), "the model puts out NaN or infinity"),
        (lambda logits: logits[:, :, ::2], r"must be of shape \(1, classes, 16, 16\)"),
    ],
)
def test_scores_that_cannot_be_are_refused(change: Any, words: str):
    class Changed(Colours):
        def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
            outputs = super().run(inputs)
            return {**outputs, "logits": change(outputs["logits"])}

    predictor = Predictor(Changed(), CARD)
    with pytest.raises(InputError, match=words):
        make_predictor(predictor.session, CARD, Tiling(window_px=64))([smooth(50, 50)])


def test_one_view_of_a_whole_image_is_the_networks_own_prediction():
    torch = pytest.importorskip("torch", reason="needs nextvit[train]")
    from nextvit.models.deployed import DeployedSegmenter
    from nextvit.runtime.torch_session import TorchSession
    from tests.models.segmenters import CLASSES, random_segmenter

    card = replace(CARD, classes=tuple(map(str, range(CLASSES))))
    with torch.no_grad():
        network = DeployedSegmenter(random_segmenter().float(), FIT, scores=True)
    session = TorchSession(network, outputs=output_names(card))
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    [plain], [tiled] = (make_predictor(session, card, tiling)([picture]) for tiling in (None, Tiling()))
    assert isinstance(plain, ClassMap) and isinstance(tiled, ClassMap)
    assert len(np.unique(plain.labels)) > 1
    assert (plain.labels == tiled.labels).mean() > 0.999


def test_an_image_is_let_go_before_its_prediction_is_used():
    class Watched(Preprocess):
        """Keeps no image, but knows whether another does."""

        def prepare(self, image: Any) -> Any:
            found = super().prepare(image)
            alive.append(weakref.ref(found))
            return found

    alive: list[weakref.ref[Any]] = []
    predictor = make_predictor(Colours(), CARD, Tiling(window_px=64))
    spec = predictor.card.input
    predictor.card = replace(
        predictor.card, input=Watched(image_size=spec.image_size, resize="original", mean=spec.mean, std=spec.std)
    )
    answers = predictor.stream([smooth(50, 50)], workers=0)
    assert isinstance(next(answers), ClassMap)
    assert [each() for each in alive] == [None]
