"""Scores of a multi-label classifier: average precision and sets of labels. Needs no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.bundle.manifest import Predict
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.metrics.average_precision import average_precision_scores, mean_average_precision_scores
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.metrics.label_sets import exact_match_score, micro_f1_score, precision_scores, recall_scores
from nextvit.predictions.activations import sigmoid
from nextvit.predictions.multilabel import is_present
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard, check_classes

WORST_SHOWN = 24
EXAMPLES_SHOWN = 12

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]


class MultiLabelEvaluator:
    """Scores on a dataset in which an image has any number of classes."""

    further_scores: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, card: ModelCard) -> None:
        check_classes(dataset, card)
        assert isinstance(card.facts, MultiLabelFacts)
        self.dataset, self.card, self.thresholds = dataset, card, card.facts.thresholds

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        return self.score(*predict_split(predict, self.dataset, self.card, split=split, shard=shard))

    def score(self, samples: Sequence[Sample], scorable: Floats, unreadable: Sequence[str] = ()) -> Evaluation:
        logits = scorable
        true = true_labels(samples, logits)
        if not true.any():
            raise InputError(f"{self.dataset.root}: none of the readable images has a label, so nothing can be scored")
        predicted = is_present(logits, self.thresholds)
        class_scores = average_precision_scores(logits, true)
        return Evaluation(
            scores={
                "mean_ap_score": float(np.mean([score for score in class_scores if score is not None])),
                "micro_f1_score": micro_f1_score(predicted, true),
                "exact_match_score": exact_match_score(predicted, true),
                "loss": binary_cross_entropy(logits, true),
            },
            main_score="mean_ap_score",
            interval_95=interval_95(self.resampled_scores(samples, logits, resample_counts(len(samples)))),
            images=len(samples),
            details={
                "classes": list(self.card.classes),
                "class_scores": class_scores,
                "class_images": true.sum(axis=0).tolist(),
                "class_precisions": precision_scores(predicted, true),
                "class_recalls": recall_scores(predicted, true),
                "mistakes": self.worst_mistakes(samples, logits, true),
                "examples": self.examples(samples, logits, true),
            },
            unreadable=list(unreadable),
        )

    def resampled_scores(self, samples: Sequence[Sample], scorable: Floats, counts_NR: NDArray[np.int32]) -> Floats:
        return mean_average_precision_scores(scorable, true_labels(samples, scorable), counts_NR)

    def worst_mistakes(self, samples: Sequence[Sample], logits: Floats, true: Booleans) -> list[dict[str, Any]]:
        """The most confident wrong sets of labels."""
        predicted = is_present(logits, self.thresholds)
        order = np.argsort(-set_probabilities(logits, predicted), kind="stable")
        wrong: list[int] = order[(predicted != true).any(axis=1)[order]].tolist()
        return [self.describe(samples[index], logits[index], true[index]) for index in wrong[:WORST_SHOWN]]

    def examples(self, samples: Sequence[Sample], logits: Floats, true: Booleans) -> list[dict[str, Any]]:
        """The first image of each class, right or wrong; one image may be the first of several classes."""
        first = dict.fromkeys(int(column.argmax()) for column in true.T if column.any())
        return [self.describe(samples[index], logits[index], true[index]) for index in list(first)[:EXAMPLES_SHOWN]]

    def describe(self, sample: Sample, logits: Floats, true: Booleans) -> dict[str, Any]:
        """One image with its labels and its prediction as plain values; the probability is that of the whole set of
        labels."""
        predicted = is_present(logits, self.thresholds)
        return {
            "path": str(sample.path),
            "label": self.join_names(true),
            "guess": self.join_names(predicted),
            "probability": float(set_probabilities(logits, predicted)),
        }

    def join_names(self, chosen: Booleans) -> str:
        """The names of a set of labels in one text."""
        return ", ".join(name for name, is_chosen in zip(self.card.classes, chosen, strict=True) if is_chosen) or "none"


def set_probabilities(logits: Floats, chosen: Booleans) -> Floats:
    """The probability of sets of labels (..., classes) -> (...), with each class independent of the others."""
    return np.prod(sigmoid(np.where(chosen, logits, -logits)), axis=-1)


def binary_cross_entropy(logits: Floats, true: Booleans) -> float:
    """The mean over images and classes of the negative log-likelihood, in float64."""
    return float(np.logaddexp(0.0, np.where(true, -logits, logits).astype(np.float64)).mean())


def true_labels(samples: Sequence[Sample], logits: Floats) -> Booleans:
    """Which classes each image has: (N, classes)."""
    true = np.zeros(logits.shape, np.bool_)
    for row, sample in zip(true, samples, strict=True):
        row[list(sample.labels)] = True
    return true
