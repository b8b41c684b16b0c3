"""Multi-label classification: any number of classes for each image. The exam needs no torch; building and training do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Predict
from nextvit.data.reading import Dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.metrics.average_precision import average_precision_scores, mean_average_precision_scores
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.metrics.label_sets import exact_match_score, micro_f1_score, precision_scores, recall_scores
from nextvit.predictions.postprocess import present, sigmoid
from nextvit.tasks.answers import answers, check_classes
from nextvit.tasks.task import ALONE, UNSMOOTHED, Evaluation, Loss, Share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nextvit.models.classification import Classifier

WORST_SHOWN = 24
EXAMPLES_SHOWN = 12

Floats = NDArray[np.floating[Any]]
Booleans = NDArray[np.bool_]


class MultiLabelTask:
    """A dataset whose images have several labels, and the exam on it."""

    def __init__(self, dataset: Dataset, card: ModelCard, *, loss: Loss = UNSMOOTHED) -> None:
        check_classes(dataset, card)
        self.dataset, self.card, self.label_smoothing = dataset, card, loss.label_smoothing

    def build(self) -> "Classifier":
        from nextvit.models.classification import classifier_for

        return classifier_for(self.card)

    def targets(self, samples: Samples, indices: Sequence[int]) -> NDArray[np.float32]:
        """Smoothing draws each class halfway: being there or not are the two answers it is spread over."""
        rows = samples.targets(indices, len(self.card.classes))
        return (1 - self.label_smoothing) * rows + np.float32(self.label_smoothing / 2)

    def losses(self, model: "nn.Module", images: "Tensor", targets: "Tensor") -> "dict[str, Tensor]":
        """The mean over images and classes, so that loss and learning rate mean the same for 5 classes and for 500."""
        from torch import nn

        from nextvit.models.deployed import normalise

        logits = model(normalise(images, self.card.input))
        return {"binary_cross_entropy": nn.functional.binary_cross_entropy_with_logits(logits.float(), targets)}

    def evaluate(self, predict: Predict, *, split: str = "val", share: Share = ALONE) -> Evaluation:
        samples, logits, unreadable = answers(predict, self.dataset, self.card, split=split, share=share)
        return self.judge(samples, logits, unreadable)

    def judge(self, samples: Sequence[Sample], logits: Floats, unreadable: Sequence[str] = ()) -> Evaluation:
        true = true_labels(samples, logits)
        if not true.any():
            raise InputError(f"{self.dataset.root}: none of the readable images has a label, so nothing can be scored")
        answered = present(logits, self.card.thresholds)
        class_scores = average_precision_scores(logits, true)
        return Evaluation(
            scores={
                "mean_ap_score": float(np.mean([score for score in class_scores if score is not None])),
                "micro_f1_score": micro_f1_score(answered, true),
                "exact_match_score": exact_match_score(answered, true),
                "loss": binary_cross_entropy(logits, true),
            },
            main_score="mean_ap_score",
            interval_95=interval_95(self.resampled(samples, logits, resample_counts(len(samples)))),
            images=len(samples),
            details={
                "classes": list(self.card.classes),
                "class_scores": class_scores,
                "class_images": true.sum(axis=0).tolist(),
                "class_precisions": precision_scores(answered, true),
                "class_recalls": recall_scores(answered, true),
                "mistakes": self.worst_mistakes(samples, logits, true),
                "examples": self.examples(samples, logits, true),
            },
            unreadable=list(unreadable),
        )

    def resampled(self, samples: Sequence[Sample], logits: Floats, counts_NR: NDArray[np.int32]) -> Floats:
        return mean_average_precision_scores(logits, true_labels(samples, logits), counts_NR)

    def worst_mistakes(self, samples: Sequence[Sample], logits: Floats, true: Booleans) -> list[dict[str, Any]]:
        """The most confident wrong sets of labels, for people to look at."""
        answered = present(logits, self.card.thresholds)
        order = np.argsort(-set_probabilities(logits, answered), kind="stable")
        wrong: list[int] = order[(answered != true).any(axis=1)[order]].tolist()
        return [self.shown(samples[index], logits[index], true[index]) for index in wrong[:WORST_SHOWN]]

    def examples(self, samples: Sequence[Sample], logits: Floats, true: Booleans) -> list[dict[str, Any]]:
        """The first image of each class, right or wrong; one image may stand for several classes."""
        first = dict.fromkeys(int(column.argmax()) for column in true.T if column.any())
        return [self.shown(samples[index], logits[index], true[index]) for index in list(first)[:EXAMPLES_SHOWN]]

    def shown(self, sample: Sample, logits: Floats, true: Booleans) -> dict[str, Any]:
        """One image with truth and answer as plain values; the probability is that of the whole set of labels."""
        answered = present(logits, self.card.thresholds)
        return {
            "path": str(sample.path),
            "label": self.named(true),
            "guess": self.named(answered),
            "probability": float(set_probabilities(logits, answered)),
        }

    def named(self, chosen: Booleans) -> str:
        """A set of labels in words."""
        return ", ".join(name for name, is_chosen in zip(self.card.classes, chosen, strict=True) if is_chosen) or "none"


def set_probabilities(logits: Floats, chosen: Booleans) -> Floats:
    """The probability of sets of labels (..., classes) -> (...), each class being there or not independently of the others."""
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
