"""What a task is: three things. Build the model, compute named losses for a batch, evaluate a predict function."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle import Predict
from nextvit.card import ModelCard
from nextvit.data.samples import Sample, Samples

if TYPE_CHECKING:
    from torch import Tensor, nn


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

    def build(self) -> "nn.Module":
        """A fresh model for this task's data."""
        ...

    def targets(self, samples: Samples, indices: Sequence[int]) -> NDArray[np.float32]:
        """What the model should answer, softened as the recipe says: (len(indices), classes)."""
        ...

    def losses(self, model: "nn.Module", images: "Tensor", targets: "Tensor") -> "dict[str, Tensor]":
        """Named losses, means over a batch of images (N, 3, H, W), 0..255, and targets (N, classes); their sum is
        minimised."""
        ...

    def evaluate(self, predict: Predict, *, split: str, share: Share = ALONE) -> Evaluation:
        """The exam, the same for a checkpoint and for every exported file; each of several processes takes its share."""
        ...

    def judge(
        self, samples: Sequence[Sample], logits: NDArray[np.floating[Any]], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        """The exam's second half: what answers (N, classes) to these samples are worth."""
        ...

    def resampled(
        self, samples: Sequence[Sample], logits: NDArray[np.floating[Any]], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        """The main score of resamples (R,) in which sample n stands `counts_NR[n, r]` times; nan where there is none."""
        ...
