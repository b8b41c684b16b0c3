"""What a task is: three things. Build the model, compute named losses for a batch, evaluate a predict function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Predict
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nextvit.models.network import Network
    from nextvit.views.training_batches import Framed


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised: cross-entropy against soft targets, or its binary form where a picture has several labels; for
    detection the losses of Mask R-CNN; for segmentation a sum of losses with weights."""

    label_smoothing: float = 0.1
    """Of classifiers: probability mass taken from the true class and spread over all."""
    proposal_samples: int = 256
    """Of detectors: reference boxes of each picture that region proposals learn from."""
    region_samples: int = 512
    """Of detectors: regions of each picture that classes and boxes learn from."""
    cross_entropy: float = 1.0
    """For segmentation: weight of the cross-entropy of each pixel."""
    dice: float = 0.0
    """For segmentation: weight of 1 - Dice, for which a class of few pixels counts like any other."""
    tversky: float = 0.0
    """For segmentation: weight of 1 - Tversky's index, in which missing a pixel and taking one for too much weigh differently."""
    missed: float = 0.7
    """For segmentation: in Tversky's index, how much a missed pixel weighs; one too much weighs the rest to 1."""
    auxiliary: float = 0.4
    """For segmentation: weight of all of these at the auxiliary head, where there is one."""
    balance: float = 0.0
    """For segmentation: how much more a pixel of a rare class weighs in the cross-entropy, 0..1: as its class's share of the
    training pixels to the power of -balance."""
    mean_over: Literal["labelled", "all"] = "labelled"
    """For segmentation: the pixels whose mean the cross-entropy is; "all" counts ignored ones as zeros, as was published."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"loss.label_smoothing must be in [0, 1), got {self.label_smoothing}")
        for name in ("proposal_samples", "region_samples"):
            if getattr(self, name) < 1:
                raise InputError(f"loss.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("cross_entropy", "dice", "tversky", "auxiliary"):
            if not getattr(self, name) >= 0:
                raise InputError(f"loss.{name} must not be negative, got {getattr(self, name)}")
        if self.cross_entropy + self.dice + self.tversky == 0:
            raise InputError("one of loss.cross_entropy, loss.dice and loss.tversky must be above 0")
        if not 0 < self.missed < 1:
            raise InputError(f"loss.missed must be above 0 and below 1, got {self.missed}")
        if not 0 <= self.balance <= 1:
            raise InputError(f"loss.balance must be between 0 and 1, got {self.balance}")


UNSMOOTHED = Loss(label_smoothing=0.0)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an exam gave. Values that end in `_score` are better when higher."""

    scores: dict[str, float]
    main_score: str
    """The one of `scores` by which the best checkpoint is chosen."""
    interval_95: tuple[float, float]
    """The 95 % confidence interval of the main score, given the number of images."""
    images: int
    details: dict[str, Any] = field(default_factory=dict)
    """Plain JSON values for reports: confusion matrix, scores of each class, the worst mistakes."""
    unreadable: list[str] = field(default_factory=list)
    """Messages of images that could not be read, and so were not judged."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which part of an exam this process takes, and how the parts come together."""

    index: int = 0
    count: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]
    """The values of all processes, in order, given to each of them."""


ALONE = Share()


class Task(Protocol):
    """One kind of question with its data."""

    card: ModelCard

    def build(self) -> "Network":
        """A fresh model for this task's data."""
        ...

    def targets(self, samples: Samples, indices: Sequence[int]) -> NDArray[np.float32]:
        """What the model should answer, softened as the recipe says: (len(indices), classes)."""
        ...

    def losses(self, model: "nn.Module", images: "Tensor", targets: "Tensor | Framed") -> "dict[str, Tensor]":
        """Named losses, means over a batch of images (N, 3, H, W), 0..255, and targets: (N, classes), the objects on the
        images, or the classes (N, H, W) of their pixels; their sum is minimised."""
        ...

    def evaluate(self, predict: Predict, *, split: str, share: Share = ALONE) -> Evaluation:
        """The exam, the same for a checkpoint and for every exported file; each of several processes takes its share."""
        ...

    def judge(self, samples: Sequence[Sample], answers: Any, unreadable: Sequence[str] = ()) -> Evaluation:
        """The exam's second half: what `nextvit.tasks.answers.Answers` to these samples are worth."""
        ...

    def resampled(
        self, samples: Sequence[Sample], answers: Any, counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        """The main score of resamples (R,) in which sample n stands `counts_NR[n, r]` times; nan where there is none."""
        ...
