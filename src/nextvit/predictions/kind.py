"""The torch-free half of a task: the network's outputs and how predictions are made from them. `nextvit.tasks` has the
other half."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError, did_you_mean
from nextvit.image.reading import Size
from nextvit.image.resizing import Prepared
from nextvit.predictions.results import Prediction

Outputs = Mapping[str, NDArray[Any]]
"""Of the graph, by name; every array has the batch as its first axis."""
Scorable = Any
"""The outputs of a graph, validated and as small as scoring allows, in the order of the images: logits (N, classes) of
a classifier, a list with the `Detections` of each image, or one with its `PackedClassMap`."""

KINDS: dict[str, str] = {
    # task: module:class
    "classification": "nextvit.predictions.classification:ClassificationKind",
    "multilabel": "nextvit.predictions.multilabel:MultiLabelKind",
    "detection": "nextvit.predictions.detection:DetectionKind",
    "segmentation": "nextvit.predictions.segmentation:SegmentationKind",
}


class Parity(Protocol):
    """How the outputs of an exported model compare with PyTorch's; a dataclass, whose fields a manifest records."""

    @property
    def images(self) -> int: ...
    @property
    def max_error(self) -> float: ...
    @property
    def mean_error(self) -> float: ...
    @property
    def agreement(self) -> float: ...

    def failures(self, precision: Precision) -> list[str]:
        """One line for each bound of the precision that is not kept; none means proven."""
        ...


class PredictionKind(Protocol):
    """From outputs to predictions, for the model of one card."""

    card: ModelCard
    batch_size: int
    """Images in a run of the graph, by default."""
    own_canvas: bool
    """Whether a run of the graph takes only images with canvases of one size, because the padding around an image
    influences the prediction of every pixel."""
    can_be_tiled: bool
    """Whether predictions of tiles and scales of an image can be put together."""
    min_score: float | None
    """Least score of predictions that are shown, by default; None: predictions are not filtered by score."""
    columns: tuple[str, ...]
    """Column titles for the texts of `summary`."""
    same: str
    """What two models agree on, in words: "same objects"."""
    parity_note: str
    """How to read `parity_rows`, a sentence or two."""
    max_error_note: str
    """The unit of `Parity.max_error`, in words."""

    def output_meanings(self, *, classes_type: str = "uint8") -> dict[str, str]:
        """The outputs of the graph in their order, each with its shape, type and meaning in one line."""
        ...

    def exported_with(self, *, scores: bool, fixed_size: Size | None) -> ModelCard:
        """The card of an exported file.

        Args:
            scores: with the logits as a further output.
            fixed_size: height and width to which every image is stretched; None: as the card says.

        Raises:
            InputError: models of this task do not have that option.
        """
        ...

    def exported_like(self, other: ModelCard) -> ModelCard:
        """This trained model's card with the export options of `other`, the card of an exported file."""
        ...

    def reduce(self, outputs: Outputs, images: Sequence[Prepared]) -> Scorable:
        """Validate the outputs for these images, and keep what evaluation needs.

        Raises:
            InputError: they are not the outputs of a model of this card.
        """
        ...

    def join(self, parts: Sequence[Scorable]) -> Scorable:
        """Join the reduced outputs of several batches, at least one, in order."""
        ...

    def read(self, outputs: Outputs, images: Sequence[Prepared]) -> Sequence[Prediction]:
        """A prediction for each image.

        Raises:
            InputError: as `reduce`.
        """
        ...

    def comparison(self) -> "Comparison":
        """An empty comparison with another model's outputs."""
        ...

    def compare(self, expected: Scorable, got: Scorable) -> Parity:
        """Compare two models' outputs for the same images, at least one."""
        ...

    def parity_rows(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        """A recorded parity as a table for people: names and values."""
        ...

    def parity_line(self, record: dict[str, Any]) -> str:
        """A recorded parity in one line."""
        ...

    def card_rows(self) -> dict[str, Any]:
        """What the card says about the predictions, for people: names and values."""
        ...

    def summary(self, prediction: Any) -> tuple[str, ...]:
        """A prediction in a few words, one text for each of `columns`."""
        ...

    def filter(self, prediction: Any, min_score: float) -> Any:
        """The part of a prediction that has at least this score; called where `min_score` is not None."""
        ...

    def draw(self, image: Image.Image, prediction: Any) -> Image.Image:
        """The image with the prediction drawn on it."""
        ...

    def draw_indices(self, prediction: Any) -> Image.Image | None:
        """The prediction as an image of class indices, where it is a map."""
        ...


class Comparison:
    """The outputs of two models for the same images, added batch by batch."""

    def __init__(self, kind: Any) -> None:
        self.kind: PredictionKind = kind
        self.expected_parts: list[Scorable] = []
        self.got_parts: list[Scorable] = []

    def add(self, expected: Outputs, got: Outputs, images: Sequence[Prepared]) -> None:
        """Add a batch: outputs of both models for the same images."""
        self.expected_parts.append(self.kind.reduce(expected, images))
        self.got_parts.append(self.kind.reduce(got, images))

    @property
    def expected(self) -> Scorable:
        return self.kind.join(self.expected_parts)

    @property
    def got(self) -> Scorable:
        return self.kind.join(self.got_parts)

    def parity(self) -> Parity:
        """Compare what was added, at least one batch."""
        return self.kind.compare(self.expected, self.got)


def kind_of(card: ModelCard) -> PredictionKind:
    """The kind of a card's task, for that card.

    Raises:
        InputError: this version has no such task.
    """
    if card.task not in KINDS:
        raise InputError(f"unknown task {card.task!r}; {did_you_mean(card.task, KINDS)}")
    module, name = KINDS[card.task].split(":")
    return getattr(import_module(module), name)(card)


def refuse_export_options(card: ModelCard, *, scores: bool, fixed_size: Size | None) -> ModelCard:
    """The card unchanged.

    Raises:
        InputError: an option is given that only segmentation models have.
    """
    for option, given in (("--scores", scores), ("--fixed-size", fixed_size is not None)):
        if given:
            raise InputError(f"{option} is for segmentation models, and this is one for {card.task}; leave it out")
    return card


def output_names(card: ModelCard) -> tuple[str, ...]:
    """The outputs of the graph, in its order."""
    return tuple(kind_of(card).output_meanings())


def check_finite(outputs: Outputs) -> None:
    """Raise InputError where an output holds NaN or infinity."""
    if not all(np.isfinite(each).all() for each in outputs.values()):
        raise InputError("the model puts out NaN or infinity; it diverged: train again with a lower --optim.lr")
