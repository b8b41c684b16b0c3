"""Scores of a segmentation model: intersection over union, and how well defects are found. Needs no torch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.image.class_maps import shrink_class_map, to_base64_png
from nextvit.image.reading import Size
from nextvit.image.resizing import Prepared
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.metrics.defects import DEFAULT_FALSE_ALARMS, DefectScores
from nextvit.metrics.mean_iou import (
    PixelCounts,
    count_pixels,
    dice_scores,
    iou_scores,
    mean_iou_scores,
    precision_scores,
    recall_scores,
    segmentation_scores,
)
from nextvit.metrics.segmentation_examples import choose_examples
from nextvit.predictions.packed_class_map import PackedClassMap
from nextvit.predictions.sampling import resize_class_map
from nextvit.predictions.segmentation import defect_probabilities
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import WHOLE, Evaluation, Shard, check_classes

EXAMPLE_PX = 480
"""The longer side of maps that are kept for the report, in pixels."""


class SegmentationEvaluator:
    """Scores on a dataset with a mask for each image."""

    further_scores: tuple[str, ...] = ()

    def __init__(self, dataset: Dataset, card: ModelCard) -> None:
        check_classes(dataset, card)
        self.dataset, self.card = dataset, card

    def evaluate(
        self,
        predict: Predict,
        *,
        split: str = "val",
        shard: Shard = WHOLE,
        false_alarms: float = DEFAULT_FALSE_ALARMS,
    ) -> Evaluation:
        """As `Evaluator.evaluate`; for a model with logits of two classes, normal and defect, also scores of how well
        defects are found.

        Args:
            false_alarms: percentage of normal pixels, and of normal images, that may be taken for defects.
        """
        if len(self.card.classes) != 2:
            return self.score(*predict_split(predict, self.dataset, self.card, split=split, shard=shard))
        defects = DefectScores()

        def watch(samples: Sequence[Sample], outputs: Arrays, images: Sequence[Prepared]) -> None:
            if "logits" in outputs:
                probabilities = defect_probabilities(outputs, images)
                for sample, image, probability_HW in zip(samples, images, probabilities, strict=True):
                    defects.add(probability_HW, self.read_mask(sample, image.original))

        found = predict_split(predict, self.dataset, self.card, split=split, shard=shard, watch=watch)
        evaluation = self.score(*found)
        counted = DefectScores.merge(shard.gather(defects))
        if counted.images:
            evaluation.details["segmentation"]["defects"] = counted.to_record(false_alarms=false_alarms)
        return evaluation

    def score(
        self, samples: Sequence[Sample], scorable: Sequence[PackedClassMap], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        counts = self.count(samples, scorable)
        if not counts.true_NC.any():
            raise InputError(f"{self.dataset.root}: no pixel of these images has a label, so there is nothing to score")
        return Evaluation(
            scores=segmentation_scores(counts.confusion_CC),
            main_score="mean_iou_score",
            interval_95=interval_95(mean_iou_scores(counts, resample_counts(len(samples)))),
            images=len(samples),
            details=self.details(counts, samples, scorable),
            unreadable=list(unreadable),
        )

    def details(
        self, counts: PixelCounts, samples: Sequence[Sample], predictions: Sequence[PackedClassMap]
    ) -> dict[str, Any]:
        """Scores of each class, and a few images with ground truth and prediction, as plain values."""
        confusion_CC = counts.confusion_CC
        return {
            "classes": list(self.card.classes),
            "class_scores": iou_scores(confusion_CC),
            "segmentation": {
                "confusion": confusion_CC.tolist(),
                "class_dice": dice_scores(confusion_CC),
                "class_recall": recall_scores(confusion_CC),
                "class_precision": precision_scores(confusion_CC),
                "class_pixels": confusion_CC.sum(axis=1).tolist(),
                "examples": self.examples(counts, samples, predictions),
            },
        }

    def examples(
        self, counts: PixelCounts, samples: Sequence[Sample], predictions: Sequence[PackedClassMap]
    ) -> list[dict[str, Any]]:
        """The best, typical and worst images: [{kind, path, iou, accuracy, truth: MAP, answer: MAP}], a MAP as
        `class_maps` has it, small."""
        chosen = choose_examples(counts)
        class_pixels = counts.true_NC.sum(axis=0).tolist()
        pairs = self.pairs([samples[each.index] for each in chosen], [predictions[each.index] for each in chosen])
        return [
            {
                "kind": each.kind,
                "path": str(samples[each.index].path),
                "iou": each.iou,
                "accuracy": each.accuracy,
                **{
                    name: to_base64_png(shrink_class_map(labels_HW, longer_side=EXAMPLE_PX, class_pixels=class_pixels))
                    for name, labels_HW in (("truth", true_HW), ("answer", predicted_HW))
                },
            }
            for each, (predicted_HW, true_HW) in zip(chosen, pairs, strict=True)
        ]

    def resampled_scores(
        self, samples: Sequence[Sample], scorable: Sequence[PackedClassMap], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        return mean_iou_scores(self.count(samples, scorable), counts_NR)

    def count(self, samples: Sequence[Sample], predictions: Sequence[PackedClassMap]) -> PixelCounts:
        """Count true and predicted pixels at the images' own sizes; only one image at a time is unpacked."""
        return count_pixels(self.pairs(samples, predictions), num_classes=len(self.card.classes))

    def pairs(
        self, samples: Sequence[Sample], predictions: Sequence[PackedClassMap]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Yield the predicted and the true classes (height, width) of each image.

        Raises:
            InputError: an image has another size than its mask, or the mask cannot be used.
        """
        for sample, prediction in zip(samples, predictions, strict=True):
            mask_HW = self.read_mask(sample, prediction.original)
            yield resize_class_map(prediction.classes(), prediction.original), mask_HW

    def read_mask(self, sample: Sample, size: Size) -> NDArray[np.uint8]:
        """The true classes (height, width) of the pixels of an image of size `size`.

        Raises:
            InputError: the mask has another size, or cannot be used.
        """
        split, index = self.dataset.locate(sample.path)
        mask_HW = self.dataset.masks[split][index]
        if mask_HW.shape != size:
            (height, width), (mask_height, mask_width) = size, mask_HW.shape
            raise InputError(
                f"{sample.path}: is {width}x{height} px, its mask {mask_width}x{mask_height}; "
                f"see nextvit check {self.dataset.root}"
            )
        return mask_HW
