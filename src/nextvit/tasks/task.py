"""What a task is: three things. Build the model, compute named losses for a batch, evaluate a predict function."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nextvit.bundle import Predict
from nextvit.card import ModelCard

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


class Task(Protocol):
    """One kind of question with its data."""

    card: ModelCard

    def build(self) -> "nn.Module":
        """A fresh model for this task's data."""
        ...

    def losses(self, model: "nn.Module", images: "Tensor", targets: Any) -> "dict[str, Tensor]":
        """Named losses of a batch of uint8 images (N, 3, H, W) on the model's device; their sum is minimised."""
        ...

    def evaluate(self, predict: Predict, *, split: str) -> Evaluation:
        """The exam, the same for a checkpoint and for every exported file."""
        ...
