"""Semantic segmentation: one class for each pixel. The exam needs no torch; building and training do."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle import Arrays, Predict
from nextvit.card import ModelCard
from nextvit.data.folder import Dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.metrics.defects import FALSE_ALARMS, DefectScores
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
from nextvit.postprocess import defect_probabilities, resized_map
from nextvit.preprocess import Prepared, Size
from nextvit.tasks.answers import PackedMap, answers, check_classes
from nextvit.tasks.task import ALONE, UNSMOOTHED, Evaluation, Loss, Share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nextvit.data.loader import Framed
    from nextvit.models.segmentation import Segmenter


class SegmentationTask:
    """A dataset with a mask for each image, and the exam on it."""

    def __init__(self, dataset: Dataset, card: ModelCard, *, loss: Loss = UNSMOOTHED) -> None:
        check_classes(dataset, card)
        self.dataset, self.card, self.loss = dataset, card, loss

    def build(self) -> "Segmenter":
        from nextvit.models.segmentation import segmenter_for

        return segmenter_for(self.card)

    def targets(self, samples: Samples, indices: Sequence[int]) -> NDArray[np.float32]:
        """Nothing: images have no labels. Training takes the masks themselves, which come with their views."""
        return samples.targets(indices, len(self.card.classes))

    def losses(self, model: "nn.Module", images: "Tensor", targets: "Tensor | Framed") -> "dict[str, Tensor]":
        from torch import Tensor

        from nextvit.models.deployed import normalise
        from nextvit.models.segmentation import Lesson
        from nextvit.models.segmentation_losses import LossSettings

        assert isinstance(targets, Tensor)
        loss = self.loss
        settings = LossSettings(
            cross_entropy=loss.cross_entropy,
            dice=loss.dice,
            tversky=loss.tversky,
            missed=loss.missed,
            auxiliary=loss.auxiliary,
            mean_over=loss.mean_over,
        )
        return model(normalise(images, self.card.input), Lesson(targets, settings))

    def evaluate(
        self, predict: Predict, *, split: str = "val", share: Share = ALONE, false_alarms: float = FALSE_ALARMS
    ) -> Evaluation:
        """The exam; of a model with two classes, the first of what is sound, and with their scores also how well defects are
        told, where so many percent of false alarms are allowed."""
        if len(self.card.classes) != 2:
            return self.judge(*answers(predict, self.dataset, self.card, split=split, share=share))
        defects = DefectScores()

        def watch(samples: Sequence[Sample], outputs: Arrays, images: Sequence[Prepared]) -> None:
            if "logits" in outputs:
                probabilities = defect_probabilities(outputs, images, self.card)
                for sample, image, probability_HW in zip(samples, images, probabilities, strict=True):
                    defects.add(probability_HW, self.true_mask(sample, image.original))

        found = answers(predict, self.dataset, self.card, split=split, share=share, watch=watch)
        evaluation = self.judge(*found)
        counted = DefectScores.joined(share.gather(defects))
        if counted.images:
            evaluation.details["segmentation"]["defects"] = counted.record(false_alarms=false_alarms)
        return evaluation

    def judge(
        self, samples: Sequence[Sample], answers: Sequence[PackedMap], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        counts = self.counted(samples, answers)
        if not counts.there_NC.any():
            raise InputError(f"{self.dataset.root}: no pixel of these images has a label, so there is nothing to score")
        return Evaluation(
            scores=segmentation_scores(counts.confusion_CC),
            main_score="mean_iou_score",
            interval_95=interval_95(mean_iou_scores(counts, resample_counts(len(samples)))),
            images=len(samples),
            details=self.details(counts),
            unreadable=list(unreadable),
        )

    def details(self, counts: PixelCounts) -> dict[str, Any]:
        """What the counts say of each class, as plain values."""
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
            },
        }

    def resampled(
        self, samples: Sequence[Sample], answers: Sequence[PackedMap], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        return mean_iou_scores(self.counted(samples, answers), counts_NR)

    def counted(self, samples: Sequence[Sample], answers: Sequence[PackedMap]) -> PixelCounts:
        """What the answers hit and miss, at the images' own sizes; one image at a time is unpacked."""
        return count_pixels(self.pairs(samples, answers), num_classes=len(self.card.classes))

    def pairs(
        self, samples: Sequence[Sample], answers: Sequence[PackedMap]
    ) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Of each image the classes that were told, and the true ones.

        Raises:
            InputError: an image has another size than its mask, or the mask cannot be used.
        """
        for sample, answer in zip(samples, answers, strict=True):
            mask_HW = self.true_mask(sample, answer.original)
            yield resized_map(answer.classes(), answer.original), mask_HW

    def true_mask(self, sample: Sample, size: Size) -> NDArray[np.uint8]:
        """The true classes of the pixels of an image of this height and width.

        Raises:
            InputError: the mask has another size, or cannot be used.
        """
        split, index = self.places[sample.path]
        mask_HW = self.dataset.masks[split][index]
        if mask_HW.shape != size:
            (height, width), (mask_height, mask_width) = size, mask_HW.shape
            raise InputError(
                f"{sample.path}: is {width}x{height} px, its mask {mask_width}x{mask_height}; "
                f"see nextvit check {self.dataset.root}"
            )
        return mask_HW

    @cached_property
    def places(self) -> dict[Path, tuple[str, int]]:
        """The split and the index of each image."""
        return {
            sample.path: (split, index)
            for split, samples in self.dataset.splits.items()
            for index, sample in enumerate(samples)
        }
