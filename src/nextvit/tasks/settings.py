"""The task-specific sections of a recipe: data, augmentation, heads and losses. Reading them loads no torch."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from nextvit.errors import InputError
from nextvit.image.resizing import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from nextvit.views.mix import Mix
from nextvit.views.settings import Augment, DetectionAugment, SegmentationAugment

LONGER_SIDE = 5 / 3
"""Default ratio of the longer to the shorter side, about that of COCO's 1333 to 800."""


def require(condition: bool, message: str) -> None:
    """Raise InputError with the message where the condition does not hold."""
    if not condition:
        raise InputError(message)


class TaskSettings(Protocol):
    """Sections by name; each is a frozen dataclass. The fields of `data` are shown with those that all tasks share."""

    def preprocess(self, image_size: int) -> Preprocess:
        """The preprocessing of evaluation and serving, for a side of the input in pixels."""
        ...


# Classification and multi-label classification


@dataclass(frozen=True, kw_only=True)
class LabelData:
    """How images with labels are read."""

    resize: Literal["auto", "crop", "stretch"] = "auto"
    """For evaluation and serving: "crop": keep the aspect ratio and crop; "stretch": ignore the aspect ratio; "auto":
    crop."""
    crop_ratio: float = 1.0
    """For evaluation and serving with "crop": fraction of the shorter side that is kept."""
    balance: Literal["auto", "on", "off"] = "auto"
    """"on": draw a class in proportion to the square root of its size; "auto": where the largest is 10 times the
    smallest."""


@dataclass(frozen=True, kw_only=True)
class LabelLoss:
    """Cross-entropy against soft targets, or its binary form where an image has several labels."""

    label_smoothing: float = 0.1
    """Probability mass taken from the true class and spread over all."""

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, f"loss.label_smoothing must be in [0, 1), got {self.label_smoothing}")


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Distillation from a teacher's predictions for the same views that the student sees (Beyer et al.,
    arXiv:2106.05237)."""

    teacher: str = "none"
    """"none", a run, a checkpoint file, a bundle, an ONNX file, or "timm:NAME" (pretrained, downloaded by timm)."""
    weight: float = 0.5
    """Weight of the teacher's prediction in the target of a labelled image, 0 to 1; the rest is its label's."""
    unlabelled: str = "none"
    """A further folder of images without labels, whose targets are the teacher's predictions alone."""

    def __post_init__(self) -> None:
        require(0 <= self.weight <= 1, f"distill.weight is a fraction of 1, got {self.weight}")


@dataclass(frozen=True, kw_only=True)
class OnnxTeacher:
    """What an ONNX file of any origin takes and gives, where it is the teacher: its code is not needed."""

    size: int | Literal["auto"] = "auto"
    """Side of its square input in pixels; "auto": what the file says."""
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"
    """Order of the input's axes; "auto": the channels are where the file has three."""
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the input's channels."""
    scale: float = 255.0
    """Pixels, 0 to 255, are divided by it first; 255: to 0 to 1."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Subtracted after that, in the order of the channels."""
    std: tuple[float, float, float] = IMAGENET_STD
    """What is left is divided by it, in the order of the channels."""
    output: str = "auto"
    """Name of the output with a value for each class; "auto": the only one."""
    values: Literal["logits", "probabilities"] = "logits"
    """What the values of that output are."""
    classes: str = "none"
    """A text file with the name of a class in each line, in the order of the output; "none": they are numbered."""

    def __post_init__(self) -> None:
        require(self.size == "auto" or self.size >= 1, f"onnx_teacher.size must be at least 1, got {self.size}")
        require(self.scale > 0, f"onnx_teacher.scale must be above 0, got {self.scale}")
        require(min(self.std) > 0, f"onnx_teacher.std must be above 0, got {self.std}")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """Settings of classifiers."""

    data: LabelData = field(default_factory=LabelData)
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    loss: LabelLoss = field(default_factory=LabelLoss)
    distill: Distill = field(default_factory=Distill)
    onnx_teacher: OnnxTeacher = field(default_factory=OnnxTeacher)

    def preprocess(self, image_size: int) -> Preprocess:
        return square_input(image_size, self.data.resize, self.data.crop_ratio)


# Distillation: classifiers that learn from a teacher alone


@dataclass(frozen=True, kw_only=True)
class UnlabelledData:
    """How images without labels are read."""

    resize: Literal["auto", "crop", "stretch"] = "auto"
    """For evaluation and serving: "crop": keep the aspect ratio and crop; "stretch": ignore the aspect ratio; "auto":
    crop."""
    crop_ratio: float = 1.0
    """For evaluation and serving with "crop": fraction of the shorter side that is kept."""


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Function matching: the student learns what the teacher predicts for the same view (Beyer et al.,
    arXiv:2106.05237)."""

    teacher: str = "none"
    """A run, a checkpoint file, a bundle, an ONNX file, or "timm:NAME" (pretrained, downloaded by timm)."""
    temperature: float = 1.0
    """Logits of both are divided by it before the softmax; above 1, improbable classes count more."""
    sizes: tuple[int, ...] = ()
    """Sides in pixels, one of which is drawn for the student's views of each step, up to data.image_size; (): that
    alone. The teacher sees the views before they are made smaller."""

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"distill.temperature must be above 0, got {self.temperature}")
        require(all(size >= 32 for size in self.sizes), f"distill.sizes must be 32 px or more, got {self.sizes}")


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """Settings of classifiers that learn from a teacher alone."""

    data: UnlabelledData = field(default_factory=UnlabelledData)
    augment: Augment = field(default_factory=Augment)
    mix: Mix = field(default_factory=Mix)
    distill: Distillation = field(default_factory=Distillation)
    onnx_teacher: OnnxTeacher = field(default_factory=OnnxTeacher)

    def preprocess(self, image_size: int) -> Preprocess:
        require(
            max(self.distill.sizes, default=0) <= image_size,
            f"distill.sizes may be as large as data.image_size, {image_size}, got {self.distill.sizes}",
        )
        return square_input(image_size, self.data.resize, self.data.crop_ratio)


# Detection


@dataclass(frozen=True, kw_only=True)
class DetectionData:
    """How images with annotated objects are read."""

    resize: Literal["auto", "pad"] = "auto"
    """Detectors keep the aspect ratio and the whole image, and pad."""
    longer_side: int | Literal["auto"] = "auto"
    """Limit of the longer side in pixels, as `image_size` is of the shorter; "auto": five thirds of it."""
    leave_out_empty: bool = False
    """Train only on images with annotations, as MMDetection's schedules do."""


@dataclass(frozen=True, kw_only=True)
class DetectionHeads:
    """The neck and the heads of a detector."""

    size: Literal["auto", "light", "published"] = "auto"
    """"published": the heads of the published checkpoints; "light": a quarter as wide; "auto": light for nano and
    tiny."""
    masks: Literal["auto", "on", "off"] = "auto"
    """Whether masks are predicted besides boxes; "auto": where the annotations have any."""
    anchor_scale: float | Literal["auto"] = "auto"
    """Side of a square anchor in strides of its feature map, the finest of which is 4 px; "auto": 8, as published, or 4
    where a quarter of the objects has sides below 20 px in the network's input."""

    def __post_init__(self) -> None:
        scale = self.anchor_scale
        require(scale == "auto" or scale > 0, f"heads.anchor_scale must be auto or above 0, got {scale}")


@dataclass(frozen=True, kw_only=True)
class DetectionLoss:
    """The losses of Mask R-CNN."""

    proposal_samples: int = 256
    """Anchors sampled in each image for the loss of region proposals."""
    region_samples: int = 512
    """Regions sampled in each image for the losses of classes and boxes."""

    def __post_init__(self) -> None:
        for name in ("proposal_samples", "region_samples"):
            require(getattr(self, name) >= 1, f"loss.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """Settings of detectors."""

    data: DetectionData = field(default_factory=DetectionData)
    heads: DetectionHeads = field(default_factory=DetectionHeads)
    objects: DetectionAugment = field(default_factory=DetectionAugment)
    loss: DetectionLoss = field(default_factory=DetectionLoss)

    def preprocess(self, image_size: int) -> Preprocess:
        return padded_input(image_size, self.data.longer_side)


# Segmentation


@dataclass(frozen=True, kw_only=True)
class SegmentationData:
    """How images with masks are read."""

    resize: Literal["auto", "pad", "stretch"] = "auto"
    """For evaluation and serving: "pad": keep the aspect ratio and the whole image; "stretch": ignore the aspect ratio;
    "auto": pad."""
    longer_side: int | Literal["auto"] = "auto"
    """With "pad", limit of the longer side in pixels, as `image_size` is of the shorter; "auto": five thirds of it."""


@dataclass(frozen=True, kw_only=True)
class SegmentationHeads:
    """The decoder of a segmentation model."""

    size: Literal["auto", "light", "published"] = "auto"
    """"published": the heads of the published checkpoints; "light": a quarter as wide; "auto": light for nano and
    tiny."""
    decoder: Literal["fpn", "uper"] = "fpn"
    """"fpn" is Semantic FPN; "uper" is UperNet, which is more accurate and several times as slow."""
    standardise: bool = False
    """Standardise each image to mean 0 and standard deviation 1, for images that differ more in illumination than
    objects differ from their surroundings."""


@dataclass(frozen=True, kw_only=True)
class SegmentationLoss:
    """A weighted sum of losses of pixels and of regions."""

    cross_entropy: float = 1.0
    """Weight of the cross-entropy of each pixel."""
    dice: float = 0.0
    """Weight of 1 - Dice, in which every class counts equally, however few its pixels are."""
    tversky: float = 0.0
    """Weight of 1 - Tversky's index, in which false negatives and false positives have different weights."""
    missed: float = 0.7
    """In Tversky's index, the weight of false negatives; false positives have the rest to 1."""
    auxiliary: float = 0.4
    """Weight of the sum of these losses at the auxiliary head, where there is one."""
    balance: float = 0.0
    """Weight of a class in the cross-entropy, 0..1: its fraction of the training pixels to the power of -balance."""
    mean_over: Literal["labelled", "all"] = "labelled"
    """The pixels over which the cross-entropy is averaged; "all" counts ignored ones as zeros, as in the published
    training."""

    def __post_init__(self) -> None:
        for name in ("cross_entropy", "dice", "tversky", "auxiliary"):
            require(getattr(self, name) >= 0, f"loss.{name} must not be negative, got {getattr(self, name)}")
        require(
            self.cross_entropy + self.dice + self.tversky > 0,
            "one of loss.cross_entropy, loss.dice and loss.tversky must be above 0",
        )
        require(0 < self.missed < 1, f"loss.missed must be above 0 and below 1, got {self.missed}")
        require(0 <= self.balance <= 1, f"loss.balance must be between 0 and 1, got {self.balance}")


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """Settings of segmentation models."""

    data: SegmentationData = field(default_factory=SegmentationData)
    heads: SegmentationHeads = field(default_factory=SegmentationHeads)
    masks: SegmentationAugment = field(default_factory=SegmentationAugment)
    loss: SegmentationLoss = field(default_factory=SegmentationLoss)

    def preprocess(self, image_size: int) -> Preprocess:
        if self.data.resize == "stretch":
            return Preprocess(image_size=(image_size, image_size), resize="stretch")
        return padded_input(image_size, self.data.longer_side)


def square_input(image_size: int, resize: Literal["auto", "crop", "stretch"], crop_ratio: float) -> Preprocess:
    """A square input; "auto" keeps the aspect ratio and crops."""
    resize = "crop" if resize == "auto" else resize
    return Preprocess(image_size=(image_size, image_size), resize=resize, crop_ratio=crop_ratio)


def padded_input(image_size: int, longer_side: int | Literal["auto"]) -> Preprocess:
    """A padded input that keeps aspect ratios: `image_size` limits the shorter side, `longer_side` the other."""
    longer = round(image_size * LONGER_SIDE) if longer_side == "auto" else longer_side
    return Preprocess(image_size=(image_size, longer), resize="pad")
