"""Semantic segmentation: one class for each pixel. The exam needs no torch; building and training do."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Predict
from nextvit.check.masks import training_pixels
from nextvit.data.reading import Dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.image.class_maps import shrunk, to_text
from nextvit.image.resizing import Prepared, Size
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
from nextvit.metrics.segmentation_examples import chosen_examples
from nextvit.predictions.postprocess import defect_probabilities, resized_map
from nextvit.tasks.answers import PackedMap, answers, check_classes
from nextvit.tasks.task import ALONE, UNSMOOTHED, Evaluation, Loss, Share

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nextvit.models.segmentation import Segmenter
    from nextvit.views.training_batches import Framed

EXAMPLE_PX = 480
"""The longer side of maps that are kept for the report, in pixels."""


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
        from nextvit.models.segmentation import Lesson, standardised
        from nextvit.models.segmentation_losses import LossSettings, class_weights

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
        weights = class_weights(self.training_pixels, loss.balance).to(images.device) if loss.balance else None
        inputs = normalise(images, self.card.input)
        if self.card.head.get("standardise"):
            inputs = standardised(inputs)
        return model(inputs, Lesson(targets, settings, weights))

    @cached_property
    def training_pixels(self) -> NDArray[np.integer[Any]]:
        """How many training pixels have each class: (classes,); every mask is read for it."""
        return training_pixels(self.dataset)

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
            details=self.details(counts, samples, answers),
            unreadable=list(unreadable),
        )

    def details(self, counts: PixelCounts, samples: Sequence[Sample], answers: Sequence[PackedMap]) -> dict[str, Any]:
        """What the counts say of each class, and a few images with truth and answer, as plain values."""
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
                "examples": self.examples(counts, samples, answers),
            },
        }

    def examples(
        self, counts: PixelCounts, samples: Sequence[Sample], answers: Sequence[PackedMap]
    ) -> list[dict[str, Any]]:
        """The best, typical and worst images: [{kind, path, iou, accuracy, truth: MAP, answer: MAP}], a MAP as `class_maps` has
        it, small."""
        chosen = chosen_examples(counts)
        class_pixels = counts.there_NC.sum(axis=0).tolist()
        pairs = self.pairs([samples[each.index] for each in chosen], [answers[each.index] for each in chosen])
        return [
            {
                "kind": each.kind,
                "path": str(samples[each.index].path),
                "iou": each.iou,
                "accuracy": each.accuracy,
                **{
                    name: to_text(shrunk(labels_HW, longer_side=EXAMPLE_PX, class_pixels=class_pixels))
                    for name, labels_HW in (("truth", true_HW), ("answer", told_HW))
                },
            }
            for each, (told_HW, true_HW) in zip(chosen, pairs, strict=True)
        ]

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
