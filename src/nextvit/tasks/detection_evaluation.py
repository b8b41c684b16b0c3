"""Scores of a detector: COCO's average precision of boxes and masks. Needs faster-coco-eval and no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionLimits
from nextvit.bundle.manifest import Predict
from nextvit.data.dataset import Dataset
from nextvit.data.objects import Objects
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.predictions.results import Detections
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard, check_classes


class DetectionEvaluator:
    """Scores on a dataset with annotated objects; masks are scored where model and annotations both have them."""

    def __init__(self, dataset: Dataset, card: ModelCard) -> None:
        check_classes(dataset, card)
        has_masks = any(annotations.has_masks for annotations in dataset.annotations.values())
        self.dataset, self.card = dataset, card
        self.has_masks = DetectionLimits.of(card.head).masks and has_masks
        self.further_scores: tuple[str, ...] = ("mask_ap_score",) if self.has_masks else ()

    def evaluate(self, predict: Predict, *, split: str = "val", shard: Shard = WHOLE) -> Evaluation:
        return self.score(*predict_split(predict, self.dataset, self.card, split=split, shard=shard))

    def score(
        self, samples: Sequence[Sample], scorable: Sequence[Detections], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        from nextvit.metrics.detection import evaluate_detections
        from nextvit.metrics.detection_matches import match_boxes, resampled_box_ap

        annotations = self.annotations_of(samples, scorable)
        paths = [str(sample.path) for sample in samples]
        matches = match_boxes(scorable, annotations, self.card.classes)
        try:
            scores, details = evaluate_detections(
                scorable, annotations, self.card.classes, paths=paths, masks=self.has_masks, matches=matches
            )
        except InputError as error:
            raise InputError(f"{self.dataset.root}: {error}") from None
        return Evaluation(
            scores=scores,
            main_score="box_ap_score",
            interval_95=interval_95(resampled_box_ap(matches, resample_counts(len(samples)))),
            images=len(samples),
            details=details,
            unreadable=list(unreadable),
        )

    def resampled_scores(
        self, samples: Sequence[Sample], scorable: Sequence[Detections], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        from nextvit.metrics.detection_matches import match_boxes, resampled_box_ap

        matches = match_boxes(scorable, self.annotations_of(samples, scorable), self.card.classes)
        return resampled_box_ap(matches, counts_NR)

    def annotations_of(self, samples: Sequence[Sample], predictions: Sequence[Detections]) -> list[Objects]:
        """The annotated objects of each image.

        Raises:
            InputError: an image has another size than its annotations say.
        """
        found: list[Objects] = []
        for sample, prediction in zip(samples, predictions, strict=True):
            split, index = self.dataset.locate(sample.path)
            annotations = self.dataset.annotations[split]
            width, height = annotations.sizes_wh[index].tolist()
            if (prediction.width, prediction.height) != (width, height):
                raise InputError(
                    f"{sample.path}: is {prediction.width}x{prediction.height} px, and was annotated as "
                    f"{width}x{height}; see nextvit check {self.dataset.root}"
                )
            found.append(annotations[index])
        return found
