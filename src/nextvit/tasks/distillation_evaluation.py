"""Scores of distillation: how near a student is to its teacher on held-out images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.image.resizing import Prepared
from nextvit.metrics.accuracy import wilson_interval
from nextvit.metrics.divergence import divergence_of_mean, kl_divergences
from nextvit.predictions.activations import softmax
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard, check_classes
from nextvit.tasks.teacher import Teacher

Floats = NDArray[np.floating[Any]]
WORST_SHOWN = 24


class DistillationEvaluator:
    """Agreement with the teacher. Evaluation's views are always the same, so the teacher sees each image once."""

    further_scores: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, card: ModelCard, teacher: Teacher) -> None:
        check_classes(dataset, card)
        self.dataset, self.card, self.teacher = dataset, card, teacher
        self.taught: dict[str, Floats] = {}
        """The teacher's logits (classes,) for each sample, by its path."""
        self.gathered: set[str] = set()
        """The splits for whose samples every process knows them."""

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        found = predict_split(predict, self.dataset, self.card, split=split, shard=shard, watch=self.ask_teacher)
        if split not in self.gathered:
            self.gathered.add(split)
            for part in shard.gather(self.taught):
                self.taught |= part
        return self.score(*found)

    def ask_teacher(self, samples: Sequence[Sample], outputs: Arrays, images: Sequence[Prepared]) -> None:
        """Note what the teacher predicts for a batch, unless it is known."""
        names = [str(sample.path) for sample in samples]
        if all(name in self.taught for name in names):
            return
        pixels_NHWC = torch.from_numpy(np.stack([image.pixels for image in images]))
        logits = self.teacher.logits(pixels_NHWC.permute(0, 3, 1, 2).float().to(self.teacher.device)).cpu().numpy()
        self.taught |= dict(zip(names, logits, strict=True))

    def score(self, samples: Sequence[Sample], scorable: Floats, unreadable: Sequence[str] = ()) -> Evaluation:
        teachers = self.teacher_logits(samples)
        divergences = kl_divergences(teachers, scorable)
        agreement = 100 * float((teachers.argmax(axis=1) == scorable.argmax(axis=1)).mean())
        worst: list[int] = np.argsort(-divergences, kind="stable")[:WORST_SHOWN].tolist()
        return Evaluation(
            scores={"agreement_score": agreement, "loss": float(divergences.mean())},
            main_score="agreement_score",
            interval_95=wilson_interval(agreement, len(samples)),
            images=len(samples),
            details={
                "classes": list(self.card.classes),
                "divergence": float(divergences.mean()),
                "divergence_of_mean": divergence_of_mean(teachers),
                "divergence_quartiles": np.quantile(divergences, (0.25, 0.5, 0.75)).tolist(),
                "differences": [
                    self.describe(samples[index], teachers[index], scorable[index], divergences[index])
                    for index in worst
                ],
            },
            unreadable=list(unreadable),
        )

    def resampled_scores(self, samples: Sequence[Sample], scorable: Floats, counts_NR: NDArray[np.int32]) -> Floats:
        agrees_N = self.teacher_logits(samples).argmax(axis=1) == scorable.argmax(axis=1)
        return 100 * (agrees_N @ counts_NR) / counts_NR.sum(axis=0)

    def teacher_logits(self, samples: Sequence[Sample]) -> Floats:
        """The teacher's logits (N, classes) for samples that were evaluated."""
        return np.stack([self.taught[str(sample.path)] for sample in samples])

    def describe(self, sample: Sample, teacher: Floats, student: Floats, divergence: float) -> dict[str, Any]:
        """What both predict for one image, as plain values."""
        described: dict[str, Any] = {"path": str(sample.path), "divergence": float(divergence)}
        for name, logits in (("teacher", teacher), ("student", student)):
            probabilities = softmax(logits[None])[0]
            described[name] = self.card.classes[int(probabilities.argmax())]
            described[f"{name}_probability"] = float(probabilities.max())
        return described
