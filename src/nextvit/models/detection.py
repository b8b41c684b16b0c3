"""Mask R-CNN (He et al., arXiv:1703.06870) on Next-ViT, with MMDetection's names and meaning of every weight.

Everything has a fixed shape: P proposals and D detections for each of N pictures, and a score of 0 where there is none. So
what is trained, what is evaluated and what is exported is the same `forward`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.models.backbone import NextViT
from nextvit.models.box_coding import ROI_STD, clip_boxes, decode_boxes
from nextvit.models.config import NextViTConfig
from nextvit.models.detection_losses import (
    LossSettings,
    TargetTensors,
    mask_losses,
    proposal_losses,
    region_losses,
    sample_regions,
)
from nextvit.models.proposals import STRIDES_PX, ProposalHead, anchors_of, as_answer, propose
from nextvit.models.pyramid import FeaturePyramid
from nextvit.models.regions import (
    BOX_SIDE,
    MASK_SIDE,
    BoxHead,
    MaskHead,
    RegionHeads,
    class_odds,
    pool_regions,
    with_batch_index,
)
from nextvit.models.suppression import best_of, keep_best


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """All of a detector that is not its backbone. The defaults are those of the published checkpoints."""

    neck_width: int = 256
    """Channels of the pyramid's maps, and of the region proposals."""
    box_width: int = 1024
    """Width of the two layers that classes and boxes share."""
    masks: bool = True
    """Whether it answers with masks, or with boxes alone."""
    mask_width: int = 256
    """Channels of the mask head."""
    mask_convs: int = 4
    """3x3 convolutions of the mask head."""
    anchor_scale: float = 8.0
    """Side of a square reference box, in strides of its map."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of the reference boxes."""
    candidates: int = 1000
    """Best reference boxes of each level that become candidates for proposals."""
    training_candidates: int = 2000
    """The same while training."""
    proposals: int = 1000
    """Regions of each picture that are looked at."""
    proposal_iou: float = 0.7
    """Of two candidates of a level that overlap by more, the worse is dropped."""
    score_threshold: float = 0.05
    """Detections of this score or less are dropped."""
    iou: float = 0.5
    """Of two detections of a class that overlap by more, the worse is dropped."""
    detections: int = 100
    """The most of a picture, over all classes."""

    def __post_init__(self) -> None:
        for name in ("neck_width", "box_width", "mask_width", "mask_convs", "candidates", "training_candidates"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.detections <= self.proposals:
            raise InputError(f"detections must be from 1 to proposals ({self.proposals}), got {self.detections}")
        most = len(STRIDES_PX) * min(self.candidates, self.training_candidates)
        if self.proposals > most:
            raise InputError(f"proposals must be at most {most}, which the levels have, got {self.proposals}")
        for name in ("proposal_iou", "score_threshold", "iou"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.anchor_scale <= 0:
            raise InputError(f"anchor_scale must be above 0, got {self.anchor_scale}")
        if not self.anchor_ratios or min(self.anchor_ratios) <= 0:
            raise InputError(f"anchor_ratios must be one or more numbers above 0, got {self.anchor_ratios}")


PUBLISHED = DetectorConfig()
LIGHT = DetectorConfig(
    neck_width=64,
    box_width=256,
    mask_width=64,
    mask_convs=2,
    candidates=500,
    training_candidates=1000,
    proposals=300,
)
"""Heads in proportion to the small backbones, which train on a CPU."""


def detector_of(variant_name: str) -> DetectorConfig:
    """The heads that a named backbone gets unless others are asked for."""
    return LIGHT if variant_name in ("nextvit_nano", "nextvit_tiny") else PUBLISHED


@dataclass(frozen=True)
class Lesson:
    """What is on the pictures of a batch, and how it is learnt."""

    targets: Sequence[TargetTensors]
    settings: LossSettings


class MaskRCNN(nn.Module):
    """(N, in_chans, H, W), normalised, and the heights and widths (N, 2) of the pictures that lie at the top left of them ->
    boxes (N, D, 4), scores (N, D), labels (N, D), and with masks their probabilities (N, D, 28, 28).

    Boxes are x1, y1, x2, y2 in pixels, inside the picture; scores fall, and are 0 where there is no detection; labels are
    indices of classes; a mask is the one of its class, within its box. What lies beyond a picture has to be 0.
    Answers have no gradient; losses are made from the pieces.
    """

    def __init__(self, config: NextViTConfig, detector: DetectorConfig, *, num_classes: int) -> None:
        super().__init__()
        self.detector, self.num_classes = detector, num_classes
        self.backbone = NextViT(config)
        self.neck = FeaturePyramid(config.feature_widths, detector.neck_width, extra_level=True)
        self.rpn_head = ProposalHead(detector.neck_width, anchors_per_place=len(detector.anchor_ratios))
        bbox_head = BoxHead(detector.neck_width, width=detector.box_width, num_classes=num_classes)
        mask_head = MaskHead(
            detector.neck_width, width=detector.mask_width, convs=detector.mask_convs, num_classes=num_classes
        )
        self.roi_head = RegionHeads(bbox_head, mask_head if detector.masks else None)

    def forward(
        self, images_NCHW: Tensor, sizes_N2: Tensor, lesson: Lesson | None = None
    ) -> tuple[Tensor, ...] | dict[str, Tensor]:
        if lesson is not None:
            return self.losses(images_NCHW, sizes_N2, lesson)
        maps = self.features(images_NCHW)
        logits, deltas = self.rpn_head(maps)
        proposals_NP4, worth_NP = self.proposals(maps, logits, deltas, sizes_N2)
        boxes_ND4, scores_ND, labels_ND = self.detections(maps, proposals_NP4, worth_NP, sizes_N2)
        if self.roi_head.mask_head is None:
            return boxes_ND4, scores_ND, labels_ND
        return boxes_ND4, scores_ND, labels_ND, self.masks(maps, boxes_ND4, scores_ND, labels_ND)

    def losses(self, images_NCHW: Tensor, sizes_N2: Tensor, lesson: Lesson) -> dict[str, Tensor]:
        """Named losses, each a mean as MMDetection takes it."""
        targets, settings = lesson.targets, lesson.settings
        maps = self.features(images_NCHW)
        logits, deltas = self.rpn_head(maps)
        losses = proposal_losses(logits, deltas, self.anchors(maps), sizes_N2, targets, settings)
        proposals_NP4, worth_NP = self.proposals(maps, logits, deltas, sizes_N2)
        sampled = sample_regions(proposals_NP4, worth_NP, targets, settings)
        class_logits, box_deltas = self.roi_head.bbox_head(pool_regions(maps, sampled.rois, BOX_SIDE))
        losses |= region_losses(class_logits, box_deltas, sampled)
        if self.roi_head.mask_head is not None:
            positives = sampled.positives()
            mask_logits = self.roi_head.mask_head(pool_regions(maps, positives.rois, MASK_SIDE))
            losses |= mask_losses(mask_logits, positives, targets)
        return losses

    def features(self, images_NCHW: Tensor) -> list[Tensor]:
        """Five maps (N, neck_width, H / s, W / s) at the strides s of 4, 8, 16, 32 and 64, rounded up."""
        return self.neck(self.backbone(images_NCHW))

    def anchors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The reference boxes (A, 4) of each level, in the order of `proposals.flatten_places`."""
        scale, ratios = self.detector.anchor_scale, self.detector.anchor_ratios
        return [
            anchors_of(each_NCHW, stride_px=stride_px, scale=scale, ratios=ratios)
            for each_NCHW, stride_px in zip(maps, STRIDES_PX, strict=True)
        ]

    def proposals(
        self, maps: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], sizes_N2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where to look: boxes (N, P, 4) and scores (N, P), without a gradient; see `proposals.propose`."""
        return propose(
            logits,
            deltas,
            self.anchors(maps),
            sizes_N2,
            candidates=self.detector.training_candidates if self.training else self.detector.candidates,
            count=self.detector.proposals,
            iou=self.detector.proposal_iou,
        )

    def detections(
        self, maps: Sequence[Tensor], proposals_NP4: Tensor, worth_NP: Tensor, sizes_N2: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, D, 4), scores (N, D) and labels (N, D) of what is on the proposals whose score is above 0."""
        pooled = pool_regions(maps, with_batch_index(proposals_NP4), BOX_SIDE)
        logits_RC, deltas_RD = self.roi_head.bbox_head(pooled)
        count = proposals_NP4.shape[1]
        odds_NPC = class_odds(as_answer(logits_RC)).unflatten(0, (-1, count))
        odds_NPC = torch.where((worth_NP > 0)[..., None], odds_NPC, 0.0)
        deltas_NPC4 = as_answer(deltas_RD).unflatten(1, (-1, 4)).unflatten(0, (-1, count))
        boxes_NPC4 = decode_boxes(deltas_NPC4, proposals_NP4[:, :, None], std=ROI_STD)
        boxes_NK4 = clip_boxes(boxes_NPC4.transpose(1, 2).flatten(1, 2), sizes_N2)
        boxes_BP4 = boxes_NK4.unflatten(1, (-1, count)).flatten(0, 1)
        odds_BP = odds_NPC.transpose(1, 2).flatten(0, 1)
        threshold = self.detector.score_threshold
        kept_BP = keep_best(boxes_BP4, odds_BP, self.detector.iou, threshold / (1 - threshold))
        left_NK = torch.where(kept_BP, odds_BP, 0.0).unflatten(0, (-1, self.num_classes)).flatten(1)
        boxes_ND4, odds_ND, places_ND = best_of(boxes_NK4, left_NK, count=self.detector.detections)
        return boxes_ND4, odds_ND / (1 + odds_ND), places_ND // count

    def masks(self, maps: Sequence[Tensor], boxes_ND4: Tensor, scores_ND: Tensor, labels_ND: Tensor) -> Tensor:
        """Probabilities (N, D, 28, 28) of the detections' own classes, inside their boxes; 0 where there is none."""
        assert self.roi_head.mask_head is not None
        logits_RCSS = self.roi_head.mask_head(pool_regions(maps, with_batch_index(boxes_ND4), MASK_SIDE))
        side = logits_RCSS.shape[-1]
        own_R1SS = torch.gather(logits_RCSS, 1, labels_ND.flatten()[:, None, None, None].expand(-1, 1, side, side))
        masks_NDSS = as_answer(own_R1SS[:, 0]).sigmoid().unflatten(0, (-1, labels_ND.shape[1]))
        return torch.where((scores_ND > 0)[..., None, None], masks_NDSS, 0.0)


def detector_for(card: ModelCard) -> MaskRCNN:
    """A fresh detector of the architecture, heads and classes that a card states."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    heads = from_plain(DetectorConfig, card.head, what=f"heads of {card.variant}")
    return MaskRCNN(config, heads, num_classes=len(card.classes))
