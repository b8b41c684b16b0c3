"""Classification: one class for each image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.image.reading import Size
from nextvit.image.resizing import Prepared
from nextvit.predictions.activations import softmax
from nextvit.predictions.draw_probabilities import draw_probabilities
from nextvit.predictions.kind import Comparison, Outputs, refuse_export_options
from nextvit.predictions.logits_parity import LogitsParity, compare_logits
from nextvit.predictions.results import Classification, ClassProbability

Floats = NDArray[np.floating[Any]]
TOP = 5
"""Classes that a prediction lists."""


class LogitsKind:
    """Common base of the classifiers' kinds: one logit for each class."""

    probabilities: str
    batch_size, own_canvas, can_be_tiled = 32, False, False
    min_score: float | None = None
    columns = ("prediction", "probability")
    same = "same prediction"
    max_error_note = "relative to the standard deviation of PyTorch's logits"
    parity_note = (
        "Differences are relative to the standard deviation of PyTorch's logits over all these images: 1e-3 is a "
        "thousandth of it."
    )

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def output_meanings(self, *, classes_type: str = "uint8") -> dict[str, str]:
        return {
            "logits": f"(N, classes) float32: one value for each class, in the card's order; {self.probabilities}",
        }

    def exported_with(self, *, scores: bool, fixed_size: Size | None) -> ModelCard:
        return refuse_export_options(self.card, scores=scores, fixed_size=fixed_size)

    def exported_like(self, other: ModelCard) -> ModelCard:
        return self.card

    def reduce(self, outputs: Outputs, images: Sequence[Prepared]) -> Floats:
        logits = outputs["logits"]
        if logits.shape != (len(images), len(self.card.classes)):
            raise InputError(
                f"the model puts out {logits.dtype} {logits.shape} for {len(images)} images; "
                f"its card has {len(self.card.classes)} classes"
            )
        return logits

    def join(self, parts: Sequence[Floats]) -> Floats:
        return np.concatenate(parts)

    def comparison(self) -> Comparison:
        return Comparison(self)

    def parity_rows(self, record: dict[str, Any]) -> list[tuple[str, str]]:
        rows = [
            ("same prediction", f"{float(record['agreement']):.2%}"),
            ("largest difference / standard deviation", f"{float(record['max_error']):.2e}"),
        ]
        if "cosine" in record:
            rows.append(("least cosine similarity", f"{float(record['cosine']):.6f}"))
        return rows

    def parity_line(self, record: dict[str, Any]) -> str:
        return f"{record['images']} images, largest error {record['max_error']:.1e}"

    def card_rows(self) -> dict[str, Any]:
        return {}

    def filter(self, prediction: Any, min_score: float) -> Any:
        return prediction

    def draw_indices(self, prediction: Any) -> Image.Image | None:
        return None


class ClassificationKind(LogitsKind):
    """The most probable class."""

    probabilities = "softmax gives probabilities"

    def read(self, outputs: Outputs, images: Sequence[Prepared]) -> list[Classification]:
        return to_classifications(self.reduce(outputs, images), classes=self.card.classes)

    def compare(self, expected: Floats, got: Floats) -> LogitsParity:
        return compare_logits(expected, got)

    def summary(self, prediction: Classification) -> tuple[str, ...]:
        return prediction.label, f"{prediction.probability:.1%}"

    def draw(self, image: Image.Image, prediction: Classification) -> Image.Image:
        return draw_probabilities(image, prediction.top[:1], prediction.top[1:])


def to_classifications(logits: Floats, *, classes: tuple[str, ...], top: int = TOP) -> list[Classification]:
    """A prediction for each row of logits (N, classes); equal probabilities keep the order of the classes."""
    predictions: list[Classification] = []
    for row in softmax(logits):
        best: list[int] = np.argsort(-row, kind="stable")[:top].tolist()
        listed = tuple(ClassProbability(label=classes[index], probability=float(row[index])) for index in best)
        predictions.append(Classification(top=listed))
    return predictions
