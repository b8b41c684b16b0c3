"""Semantic segmentation on Next-ViT: Semantic FPN and UperNet, with MMSegmentation's names and meaning of every weight.

The network predicts at a quarter of the resolution; `class_map_from_logits` upsamples to the class of each pixel.

Letters: N images, C channels or classes, H W height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.models.backbone import NextViT, check_sides
from nextvit.models.config import MAX_WIDTH, NextViTConfig
from nextvit.models.network import Network
from nextvit.models.pyramid import FeaturePyramid
from nextvit.models.segmentation_heads import FCNHead, FPNHead, UPerHead, resize_bilinear
from nextvit.models.segmentation_losses import IGNORE_INDEX, LossSettings, head_losses

AUXILIARY_STAGE = 2  # the third stage: coarse enough to recognise objects, fine enough to locate them


MAX_POOLS = 64
"""Limit of the number and the sides of pools that a file describes; the published head has four, up to 6."""


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """The architecture of a segmentation model without its backbone."""

    head: Literal["fpn", "uper"] = "fpn"
    """"fpn": Semantic FPN; "uper": UperNet, more accurate at several times the computation."""
    neck_width: int = 256
    """Channels of the feature pyramid before the head "fpn"; "uper" has no such pyramid."""
    head_width: int = 128
    """Channels of the decode head."""
    pool_sides: tuple[int, ...] = (1, 2, 3, 6)
    """Output sides of the pyramid pooling of "uper", in positions; "fpn" does not pool."""
    auxiliary_width: int = 0
    """Channels of the auxiliary head on stage 3, which is used in training only; 0: no auxiliary head."""
    dropout: float = 0.1
    """Fraction of the channels that each head drops in training."""
    standardise: bool = False
    """Whether each image is standardised (`standardise_images`) in training and prediction: for images whose
    illumination varies more than the objects of interest do."""

    def __post_init__(self) -> None:
        for name in ("neck_width", "head_width"):
            if not 1 <= getattr(self, name) <= MAX_WIDTH:
                raise InputError(f"{name} must be from 1 to {MAX_WIDTH}, got {getattr(self, name)}")
        if not 0 <= self.auxiliary_width <= MAX_WIDTH:
            raise InputError(f"auxiliary_width must be from 0 to {MAX_WIDTH}, got {self.auxiliary_width}")
        if not 1 <= len(self.pool_sides) <= MAX_POOLS or not all(1 <= side <= MAX_POOLS for side in self.pool_sides):
            raise InputError(f"pool_sides must be one or more numbers from 1 to {MAX_POOLS}, got {self.pool_sides}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, got {self.dropout}")


PUBLISHED_FPN = SegmenterConfig()
PUBLISHED_UPER = SegmenterConfig(head="uper", head_width=512, auxiliary_width=256)
LIGHT_FPN = SegmenterConfig(neck_width=64, head_width=64)
"""A smaller head for the small backbones, which can be trained on a CPU."""


def default_segmenter_config(variant_name: str) -> SegmenterConfig:
    """The default head for a named backbone."""
    return LIGHT_FPN if variant_name in ("nextvit_nano", "nextvit_tiny") else PUBLISHED_FPN


@dataclass(frozen=True)
class SegmentationTargets:
    """The ground truth of a batch, and the settings of the losses."""

    labels_NHW: Tensor
    """uint8 or int64, class index of each pixel, or IGNORE_INDEX."""
    settings: LossSettings
    class_weights_C: Tensor | None = None
    """Weight of each class in the cross-entropy; None: all 1."""


class NormedNextViT(NextViT):
    """The backbone with a batch norm after each stage; the next stage takes the normalised map, too.

    (N, in_chans, H, W) -> four maps as `NextViT`. The norm after the last stage is that of the pretrained classifier;
    the other three are new.
    """

    def __init__(self, config: NextViTConfig) -> None:
        super().__init__(config)
        *widths, last = config.feature_widths
        self.extra_norm_list = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.norm: nn.Module = nn.BatchNorm2d(last)

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        check_sides(image_NCHW)
        x_NCHW = self.stem(image_NCHW)
        maps: list[Tensor] = []
        for stage, norm in zip(self.stages, (*self.extra_norm_list, self.norm), strict=True):
            x_NCHW = norm(stage(x_NCHW))
            maps.append(x_NCHW)
        return maps


class Segmenter(Network):
    """Normalised images (N, in_chans, H, W) -> logits (N, num_classes, ceil(H / 4), ceil(W / 4)), or named losses."""

    def __init__(self, config: NextViTConfig, segmenter: SegmenterConfig, *, num_classes: int) -> None:
        super().__init__()
        if not 2 <= num_classes <= IGNORE_INDEX:
            raise InputError(f"a segmentation model has from 2 to {IGNORE_INDEX} classes, got {num_classes}")
        self.segmenter, self.num_classes = segmenter, num_classes
        widths, dropout = config.feature_widths, segmenter.dropout
        self.backbone = NormedNextViT(config)
        self.neck: FeaturePyramid | None = None
        self.decode_head: FPNHead | UPerHead
        if segmenter.head == "fpn":
            self.neck = FeaturePyramid(widths, segmenter.neck_width, extra_level=False)
            self.decode_head = FPNHead(
                segmenter.neck_width, width=segmenter.head_width, dropout=dropout, num_classes=num_classes
            )
        else:
            self.decode_head = UPerHead(
                widths,
                width=segmenter.head_width,
                pool_sides=segmenter.pool_sides,
                dropout=dropout,
                num_classes=num_classes,
            )
        self.auxiliary_head: FCNHead | None = None
        if segmenter.auxiliary_width:
            self.auxiliary_head = FCNHead(
                widths[AUXILIARY_STAGE], width=segmenter.auxiliary_width, dropout=dropout, num_classes=num_classes
            )

    def forward(self, images_NCHW: Tensor, targets: SegmentationTargets | None = None) -> Tensor | dict[str, Tensor]:
        """The logits, or with `targets` the losses by name, see `losses`."""
        maps = self.backbone(images_NCHW)
        logits_NCHW = self.decode_head(maps if self.neck is None else self.neck(maps))
        return logits_NCHW if targets is None else self.losses(logits_NCHW, maps, targets)

    def losses(self, logits_NCHW: Tensor, maps: list[Tensor], targets: SegmentationTargets) -> dict[str, Tensor]:
        """The weighted losses of the decode head by name, and the sum of those of the auxiliary head as "auxiliary".

        Args:
            logits_NCHW: outputs of the decode head, at any resolution.
            maps: the four maps of the backbone.
            targets: ground truth of the batch.
        """
        losses = head_losses(logits_NCHW, targets.labels_NHW, targets.settings, targets.class_weights_C)
        if self.auxiliary_head is not None:
            logits_NCHW = self.auxiliary_head(maps[AUXILIARY_STAGE])
            auxiliary = head_losses(logits_NCHW, targets.labels_NHW, targets.settings, targets.class_weights_C)
            losses["auxiliary"] = targets.settings.auxiliary * torch.stack(list(auxiliary.values())).sum()
        return losses


def standardise_images(images_NCHW: Tensor, inside_N1HW: Tensor | None = None) -> Tensor:
    """Subtract each image's mean and divide by its standard deviation, both over all channels and positions.

    Args:
        images_NCHW: normalised images.
        inside_N1HW: bool, which positions belong to the image and not to padding; only these count. None: all.

    Returns:
        A new tensor of the same shape; a blank image stays blank.
    """
    axes = (1, 2, 3)
    if inside_N1HW is None:
        centred_NCHW = images_NCHW - images_NCHW.mean(dim=axes, keepdim=True)
        variance_N111 = centred_NCHW.square().mean(dim=axes, keepdim=True)
    else:
        weights_N1HW = inside_N1HW.to(images_NCHW.dtype)
        fraction_N111 = weights_N1HW.mean(dim=axes, keepdim=True)
        mean_N111 = (images_NCHW * weights_N1HW).mean(dim=axes, keepdim=True) / fraction_N111
        centred_NCHW = images_NCHW - mean_N111
        variance_N111 = (centred_NCHW * weights_N1HW).square().mean(dim=axes, keepdim=True) / fraction_N111
    # The added variance is that of about two grey levels: a blank image stays blank.
    return centred_NCHW / (variance_N111 + 1e-3).sqrt()


def class_map_from_logits(logits_NCHW: Tensor, size: Sequence[int]) -> Tensor:
    """The most likely class of each pixel, uint8 (N, *size), from logits at any resolution."""
    return resize_bilinear(logits_NCHW, size).argmax(dim=1).to(torch.uint8)


def build_segmenter(card: ModelCard) -> Segmenter:
    """A new segmentation model with the architecture, head and classes of a model card; its weights are random."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    head = from_plain(SegmenterConfig, card.head, what=f"head of {card.variant}")
    return Segmenter(config, head, num_classes=len(card.classes))
