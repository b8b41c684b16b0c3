"""Detection: any number of objects on each image, as boxes and perhaps masks. The exam needs faster-coco-eval and no torch;
building and training do."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Predict
from nextvit.data.objects import Objects, Targets
from nextvit.data.reading import Dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.predictions.results import Detections
from nextvit.tasks.answers import answers, check_classes
from nextvit.tasks.task import ALONE, UNSMOOTHED, Evaluation, Loss, Share

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nextvit.models.detection import MaskRCNN
    from nextvit.models.detection_losses import TargetTensors
    from nextvit.views.training_batches import Framed


class DetectionTask:
    """A dataset whose images have annotated objects, and the exam on it."""

    def __init__(self, dataset: Dataset, card: ModelCard, *, loss: Loss = UNSMOOTHED) -> None:
        check_classes(dataset, card)
        if card.head["masks"] and not dataset.annotations["train"].has_masks:
            raise InputError(f"the model answers with masks, and {dataset.root} has none, only boxes")
        self.dataset, self.card, self.loss = dataset, card, loss

    def build(self) -> "MaskRCNN":
        from nextvit.models.detection import detector_for

        return detector_for(self.card)

    def targets(self, samples: Samples, indices: Sequence[int]) -> NDArray[np.float32]:
        """Which classes are on each picture. Training takes the objects themselves, which come with their views."""
        return samples.targets(indices, len(self.card.classes))

    def losses(self, model: "nn.Module", images: "Tensor", targets: "Tensor | Framed") -> "dict[str, Tensor]":
        from nextvit.models.deployed import blank_outside, normalise
        from nextvit.models.detection import Lesson
        from nextvit.models.detection_losses import LossSettings
        from nextvit.views.training_batches import Framed

        assert isinstance(targets, Framed)
        sizes_N2 = targets.sizes.to(images.device)
        settings = LossSettings(proposal_samples=self.loss.proposal_samples, region_samples=self.loss.region_samples)
        lesson = Lesson([tensors_of(each, images.device) for each in targets.objects], settings)
        return model(blank_outside(normalise(images, self.card.input), sizes_N2), sizes_N2, lesson)

    def evaluate(self, predict: Predict, *, split: str = "val", share: Share = ALONE) -> Evaluation:
        return self.judge(*answers(predict, self.dataset, self.card, split=split, share=share))

    def judge(
        self, samples: Sequence[Sample], answers: Sequence[Detections], unreadable: Sequence[str] = ()
    ) -> Evaluation:
        from nextvit.metrics.detection import judge_detections
        from nextvit.metrics.detection_matches import match_boxes, resampled_box_ap

        annotations = self.annotated(samples, answers)
        paths = [str(sample.path) for sample in samples]
        matches = match_boxes(answers, annotations, self.card.classes)
        try:
            scores, details = judge_detections(
                answers, annotations, self.card.classes, paths=paths, masks=self.card.head["masks"], matches=matches
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

    def resampled(
        self, samples: Sequence[Sample], answers: Sequence[Detections], counts_NR: NDArray[np.int32]
    ) -> NDArray[np.floating[Any]]:
        from nextvit.metrics.detection_matches import match_boxes, resampled_box_ap

        matches = match_boxes(answers, self.annotated(samples, answers), self.card.classes)
        return resampled_box_ap(matches, counts_NR)

    @cached_property
    def places(self) -> dict[Path, tuple[str, int]]:
        """The split and the index of each picture."""
        return {
            sample.path: (split, index)
            for split, samples in self.dataset.splits.items()
            for index, sample in enumerate(samples)
        }

    def annotated(self, samples: Sequence[Sample], answers: Sequence[Detections]) -> list[Objects]:
        """What is annotated on each of the pictures.

        Raises:
            InputError: a picture that was answered has another size than the one that was annotated.
        """
        found: list[Objects] = []
        for sample, answer in zip(samples, answers, strict=True):
            split, index = self.places[sample.path]
            annotations = self.dataset.annotations[split]
            width, height = annotations.sizes_wh[index].tolist()
            if (answer.width, answer.height) != (width, height):
                raise InputError(
                    f"{sample.path}: is {answer.width}x{answer.height} px, and was annotated as {width}x{height}; "
                    f"see nextvit check {self.dataset.root}"
                )
            found.append(annotations[index])
        return found


def tensors_of(targets: Targets, device: "torch.device") -> "TargetTensors":
    """What is on a view, as the losses take it."""
    import torch

    from nextvit.models.detection_losses import TargetTensors

    boxes, labels, masks = (
        None if each is None else torch.from_numpy(each).to(device)
        for each in (targets.boxes, targets.labels, targets.masks)
    )
    assert boxes is not None and labels is not None
    return TargetTensors(boxes, labels, masks)
