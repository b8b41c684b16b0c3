"""Semantic segmentation on Next-ViT: Semantic FPN and UperNet, with MMSegmentation's names and meaning of every weight.

The network answers at a quarter of the resolution; `class_map` takes that to the classes of the pixels.
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
from nextvit.models.config import NextViTConfig
from nextvit.models.pyramid import FeaturePyramid
from nextvit.models.segmentation_heads import FCNHead, FPNHead, UPerHead, resized
from nextvit.models.segmentation_losses import IGNORED, LossSettings, head_losses

AUXILIARY_STAGE = 2  # the third: coarse enough to know objects, fine enough to place them


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """All of a segmentation model that is not its backbone."""

    head: Literal["fpn", "uper"] = "fpn"
    """"fpn": Semantic FPN; "uper": UperNet, more accurate, and several times as much to compute."""
    neck_width: int = 256
    """Channels of the pyramid before the head "fpn"; "uper" has none."""
    head_width: int = 128
    """Channels of the head."""
    pool_sides: tuple[int, ...] = (1, 2, 3, 6)
    """With "uper", into how many parts a side the coarsest map is averaged; "fpn" does not."""
    auxiliary_width: int = 0
    """Channels of a second head on stage 3, which is there for training alone; 0: none."""
    dropout: float = 0.1
    """Share of the channels that each head leaves out while it is trained."""
    standardise: bool = False
    """Whether `standardised` pictures are learnt from and answered: for pictures whose light differs by more than what is looked
    for on them."""

    def __post_init__(self) -> None:
        for name in ("neck_width", "head_width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.auxiliary_width < 0:
            raise InputError(f"auxiliary_width must be at least 0, got {self.auxiliary_width}")
        if not self.pool_sides or min(self.pool_sides) < 1:
            raise InputError(f"pool_sides must be one or more numbers from 1 up, got {self.pool_sides}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout must be at least 0 and below 1, got {self.dropout}")


PUBLISHED_FPN = SegmenterConfig()
PUBLISHED_UPER = SegmenterConfig(head="uper", head_width=512, auxiliary_width=256)
LIGHT = SegmenterConfig(neck_width=64, head_width=64)
"""A head in proportion to the small backbones, which train on a CPU."""


def segmenter_of(variant_name: str) -> SegmenterConfig:
    """The head that a named backbone gets unless another is asked for."""
    return LIGHT if variant_name in ("nextvit_nano", "nextvit_tiny") else PUBLISHED_FPN


@dataclass(frozen=True)
class Lesson:
    """What is on the pictures of a batch, and how it is learnt."""

    targets: Tensor
    """(N, H, W), uint8 or int64, index of the class of each pixel, or IGNORED."""
    settings: LossSettings
    weights: Tensor | None = None
    """(num_classes,), what each class weighs in the cross-entropy; None: all 1."""


class NormedNextViT(NextViT):
    """The backbone with a batch norm behind each stage, through which the next stage, too, gets its input.

    Behind the last it is the norm of the pretrained classifier; the other three are new.
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


class Segmenter(nn.Module):
    """(N, in_chans, H, W), normalised -> logits (N, num_classes, H / 4, W / 4), rounded up; with a lesson, named losses."""

    def __init__(self, config: NextViTConfig, segmenter: SegmenterConfig, *, num_classes: int) -> None:
        super().__init__()
        if not 2 <= num_classes <= IGNORED:
            raise InputError(f"a segmentation model has from 2 to {IGNORED} classes, got {num_classes}")
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

    def forward(self, images_NCHW: Tensor, lesson: Lesson | None = None) -> Tensor | dict[str, Tensor]:
        maps = self.backbone(images_NCHW)
        logits_NCHW = self.decode_head(maps if self.neck is None else self.neck(maps))
        return logits_NCHW if lesson is None else self.losses(logits_NCHW, maps, lesson)

    def losses(self, logits_NCHW: Tensor, maps: list[Tensor], lesson: Lesson) -> dict[str, Tensor]:
        """Named losses with their weights, those of the auxiliary head as one."""
        losses = head_losses(logits_NCHW, lesson.targets, lesson.settings, lesson.weights)
        if self.auxiliary_head is not None:
            logits_NCHW = self.auxiliary_head(maps[AUXILIARY_STAGE])
            own = head_losses(logits_NCHW, lesson.targets, lesson.settings, lesson.weights)
            losses["auxiliary"] = lesson.settings.auxiliary * torch.stack(list(own.values())).sum()
        return losses


def standardised(images_NCHW: Tensor, inside_N1HW: Tensor | None = None) -> Tensor:
    """Each picture less its mean, over its deviation, both over all channels and places, or over those that are inside."""
    axes = (1, 2, 3)
    if inside_N1HW is None:
        centred_NCHW = images_NCHW - images_NCHW.mean(dim=axes, keepdim=True)
        variance_N111 = centred_NCHW.square().mean(dim=axes, keepdim=True)
    else:
        weights_N1HW = inside_N1HW.to(images_NCHW.dtype)
        share_N111 = weights_N1HW.mean(dim=axes, keepdim=True)
        mean_N111 = (images_NCHW * weights_N1HW).mean(dim=axes, keepdim=True) / share_N111
        centred_NCHW = images_NCHW - mean_N111
        variance_N111 = (centred_NCHW * weights_N1HW).square().mean(dim=axes, keepdim=True) / share_N111
    # The least deviation is of about two grey levels: a blank picture stays blank.
    return centred_NCHW / (variance_N111 + 1e-3).sqrt()


def class_map(logits_NCHW: Tensor, size: Sequence[int]) -> Tensor:
    """The class of each pixel: logits at any resolution -> uint8 (N, *size)."""
    return resized(logits_NCHW, size).argmax(dim=1).to(torch.uint8)


def segmenter_for(card: ModelCard) -> Segmenter:
    """A fresh segmentation model of the architecture, head and classes that a card states."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    head = from_plain(SegmenterConfig, card.head, what=f"head of {card.variant}")
    return Segmenter(config, head, num_classes=len(card.classes))
