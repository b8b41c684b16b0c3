"""Scores of a classifier: accuracy, calibration and confusions. Needs no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Predict
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.metrics.accuracy import (
    class_precisions,
    class_scores,
    confusion_matrix,
    mean_class_score,
    most_confused_pairs,
    top_k_score,
    wilson_interval,
)
from nextvit.metrics.calibration import Reliability, bin_by_confidence
from nextvit.predictions.activations import softmax
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard, check_classes

WORST_SHOWN = 24
EXAMPLES_SHOWN = 12
PAIRS_SHOWN = 12


class ClassificationEvaluator:
    """Scores on a dataset in which each image has one class."""

    further_scores: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, card: ModelCard) -> None:
        check_classes(dataset, card)
        self.dataset, self.card = dataset, card

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        return self.score(*predict_split(predict, self.dataset, self.card, split=split, shard=shard))

    def score(
        self, samples: Sequence[Sample], scorable: NDArray[np.floating[Any]], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        logits = scorable
        labels = np.array([sample.label for sample in samples])
        predicted = logits.argmax(axis=1)
        confusion = confusion_matrix(predicted, labels, num_classes=len(self.card.classes))
        calibration = bin_by_confidence(softmax(logits).max(axis=1), predicted == labels)
        scores = {f"top{k}_score": top_k_score(logits, labels, k=k) for k in (1, 5) if k < len(self.card.classes)}
        return Evaluation(
            scores={
                **scores,
                "mean_class_score": mean_class_score(confusion),
                "ece": 100 * calibration.ece,
                "loss": cross_entropy(logits, labels),
            },
            main_score="top1_score",
            interval_95=wilson_interval(scores["top1_score"], len(samples)),
            images=len(samples),
            details={
                **self.class_details(confusion),
                "confusion": confusion.tolist(),
                "calibration": plain_reliability(calibration),
                "mistakes": self.worst_mistakes(samples, logits),
                "examples": self.examples(samples, logits),
            },
            unreadable=list(unreadable),
        )

    def resampled_scores(
        self, samples: Sequence[Sample], scorable: NDArray[np.floating[Any]], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        right_N = scorable.argmax(axis=1) == np.array([sample.label for sample in samples])
        return 100 * (right_N @ counts_NR) / counts_NR.sum(axis=0)

    def class_details(self, confusion: NDArray[np.integer[Any]]) -> dict[str, Any]:
        """Statistics of each class and of pairs of classes from the confusion matrix, as plain values."""
        classes = list(self.card.classes)
        scores, counts = class_scores(confusion), confusion.sum(axis=1).tolist()
        return {
            "classes": classes,
            "class_scores": scores,
            "class_intervals": [
                wilson_interval(score or 0.0, count) for score, count in zip(scores, counts, strict=True)
            ],
            "class_precisions": class_precisions(confusion),
            "class_images": counts,
            "class_training_images": self.training_counts(),
            "confused_pairs": [
                {"label": classes[label], "guess": classes[guess], "count": count, "share": share}
                for label, guess, count, share in most_confused_pairs(confusion, limit=PAIRS_SHOWN)
            ],
        }

    def training_counts(self) -> list[int] | list[None]:
        """The number of training images of each class; None where the training images were not read."""
        if "train" not in self.dataset.splits:
            return [None] * len(self.card.classes)
        return self.dataset.split("train").counts(len(self.card.classes)).tolist()

    def worst_mistakes(self, samples: Sequence[Sample], logits: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
        """The most confident wrong predictions."""
        labels = np.array([sample.label for sample in samples])
        wrong = [int(index) for index in np.argsort(-softmax(logits).max(axis=1), kind="stable")]
        wrong = [index for index in wrong if logits[index].argmax() != labels[index]]
        return [self.describe(samples[index], logits[index]) for index in wrong[:WORST_SHOWN]]

    def examples(self, samples: Sequence[Sample], logits: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
        """The first image of each class, right or wrong."""
        first = {sample.label: index for index, sample in reversed(list(enumerate(samples)))}
        return [self.describe(samples[first[label]], logits[first[label]]) for label in sorted(first)[:EXAMPLES_SHOWN]]

    def describe(self, sample: Sample, logits: NDArray[np.floating[Any]]) -> dict[str, Any]:
        """One image with its label and its prediction, as plain values."""
        probabilities = softmax(logits)
        return {
            "path": str(sample.path),
            "label": self.card.classes[sample.label],
            "guess": self.card.classes[int(probabilities.argmax())],
            "probability": float(probabilities.max()),
        }


def cross_entropy(logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> float:
    """Mean negative log-likelihood of the true classes, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_likelihood = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0] - np.log(np.exp(shifted).sum(axis=1))
    return float(-log_likelihood.mean())


def plain_reliability(calibration: Reliability) -> dict[str, list[float]]:
    """The bins as plain values."""
    return {name: values.tolist() for name, values in vars(calibration).items()}
