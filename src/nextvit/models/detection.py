"""Mask R-CNN (He et al., arXiv:1703.06870) on Next-ViT, with MMDetection's names and meaning of every weight.

Every output has a fixed shape: P proposals and D detections for each of N images, with a score of 0 where there are
fewer. Therefore training, evaluation and export all run the same `forward`.

Letters: N images, P proposals, D detections, K = classes * P boxes of an image, B = N * classes, C channels or classes,
R regions of all images, S side of a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.models.backbone import NextViT
from nextvit.models.box_coding import ROI_STD, clip_boxes, decode_boxes
from nextvit.models.config import MAX_WIDTH, NextViTConfig
from nextvit.models.detection_losses import (
    ImageTargets,
    LossSettings,
    mask_losses,
    proposal_losses,
    region_losses,
    sample_regions,
)
from nextvit.models.network import Network
from nextvit.models.proposals import STRIDES_PX, ProposalHead, detach_float32, generate_anchors, propose
from nextvit.models.pyramid import FeaturePyramid
from nextvit.models.regions import (
    BOX_SIDE,
    MASK_SIDE,
    BoxHead,
    MaskHead,
    RegionHeads,
    class_odds,
    pool_regions,
    prepend_batch_index,
)
from nextvit.models.suppression import keep_best, select_top

MAX_MASK_CONVS = 100
"""Limit of a head that a file describes, many times beyond the published one."""


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """The architecture of a detector without its backbone. The defaults are those of the published checkpoints."""

    neck_width: int = 256
    """Channels of the feature pyramid and of the region proposal head."""
    box_width: int = 1024
    """Width of the two fully connected layers that classification and box regression share."""
    masks: bool = True
    """Whether the detector predicts masks besides boxes."""
    mask_width: int = 256
    """Channels of the mask head."""
    mask_convs: int = 4
    """Number of 3x3 convolutions in the mask head."""
    anchor_scale: float = 8.0
    """Side of a square anchor, as a multiple of the stride of its feature map."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of the anchors."""
    candidates: int = 1000
    """Highest-scoring anchors kept per pyramid level before suppression (MMDetection: `nms_pre`)."""
    training_candidates: int = 2000
    """The same during training."""
    proposals: int = 1000
    """Proposals kept per image after suppression."""
    proposal_iou: float = 0.7
    """IoU threshold of non-maximum suppression among the candidates of one level."""
    score_threshold: float = 0.05
    """Only detections with a score above this are kept."""
    iou: float = 0.5
    """IoU threshold of non-maximum suppression among the detections of one class."""
    detections: int = 100
    """Maximum number of detections per image, over all classes."""

    def __post_init__(self) -> None:
        for name in ("neck_width", "box_width", "mask_width", "mask_convs", "candidates", "training_candidates"):
            most = MAX_MASK_CONVS if name == "mask_convs" else MAX_WIDTH
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"{name} must be from 1 to {most}, got {getattr(self, name)}")
        if not 1 <= self.detections <= self.proposals:
            raise InputError(f"detections must be from 1 to proposals ({self.proposals}), got {self.detections}")
        most = len(STRIDES_PX) * min(self.candidates, self.training_candidates)
        if self.proposals > most:
            raise InputError(
                f"proposals must be at most {most}, the candidates of all levels together, got {self.proposals}"
            )
        for name in ("proposal_iou", "score_threshold", "iou"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
        if self.anchor_scale <= 0:
            raise InputError(f"anchor_scale must be above 0, got {self.anchor_scale}")
        if not self.anchor_ratios or min(self.anchor_ratios) <= 0:
            raise InputError(f"anchor_ratios must be one or more numbers above 0, got {self.anchor_ratios}")


PUBLISHED_MASK_RCNN = DetectorConfig()
LIGHT_MASK_RCNN = DetectorConfig(
    neck_width=64,
    box_width=256,
    mask_width=64,
    mask_convs=2,
    candidates=500,
    training_candidates=1000,
    proposals=300,
)
"""Smaller heads for the small backbones, which can be trained on a CPU."""


def default_detector_config(variant_name: str) -> DetectorConfig:
    """The default heads for a named backbone."""
    return LIGHT_MASK_RCNN if variant_name in ("nextvit_nano", "nextvit_tiny") else PUBLISHED_MASK_RCNN


@dataclass(frozen=True)
class DetectionTargets:
    """The ground truth of a batch, and the settings of the losses."""

    images: Sequence[ImageTargets]
    """The objects of each image, N of them."""
    settings: LossSettings


class MaskRCNN(Network):
    """Mask R-CNN: padded images -> boxes, scores, labels and masks, or named losses.

    `forward` without targets returns boxes (N, D, 4), scores (N, D), labels (N, D) and, if the detector has a mask
    head, mask probabilities (N, D, 28, 28). Boxes are x1, y1, x2, y2 in pixels, clipped to the image. Scores are in
    descending order, and 0 where there is no detection. Labels are class indices. A mask is that of the predicted
    class, inside its box. Predictions have no gradient; the losses are computed from the outputs of the heads.
    """

    def __init__(self, config: NextViTConfig, detector: DetectorConfig, *, num_classes: int) -> None:
        super().__init__()
        self.detector, self.num_classes = detector, num_classes
        self.backbone = NextViT(config)
        self.neck = FeaturePyramid(config.feature_widths, detector.neck_width, extra_level=True)
        self.rpn_head = ProposalHead(detector.neck_width, anchors_per_position=len(detector.anchor_ratios))
        bbox_head = BoxHead(detector.neck_width, width=detector.box_width, num_classes=num_classes)
        mask_head = MaskHead(
            detector.neck_width, width=detector.mask_width, convs=detector.mask_convs, num_classes=num_classes
        )
        self.roi_head = RegionHeads(bbox_head, mask_head if detector.masks else None)

    def forward(
        self, images_NCHW: Tensor, sizes_N2: Tensor, targets: DetectionTargets | None = None
    ) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """Predict, or with `targets` compute the losses.

        Args:
            images_NCHW: normalised images, padded at the bottom and on the right; the padding must be 0.
            sizes_N2: height and width in pixels of each image without its padding.
            targets: ground truth of the batch.

        Returns:
            Without targets the predictions, see the class; with targets the losses by name, see `losses`.
        """
        if targets is not None:
            return self.losses(images_NCHW, sizes_N2, targets)
        maps = self.extract_features(images_NCHW)
        logits, deltas = self.rpn_head(maps)
        proposals_NP4, objectness_NP = self.propose_regions(maps, logits, deltas, sizes_N2)
        boxes_ND4, scores_ND, labels_ND = self.predict_boxes(maps, proposals_NP4, objectness_NP, sizes_N2)
        if self.roi_head.mask_head is None:
            return boxes_ND4, scores_ND, labels_ND
        return boxes_ND4, scores_ND, labels_ND, self.predict_masks(maps, boxes_ND4, scores_ND, labels_ND)

    def losses(self, images_NCHW: Tensor, sizes_N2: Tensor, targets: DetectionTargets) -> dict[str, Tensor]:
        """The losses "objectness", "proposal_box", "class", "box" and, with a mask head, "mask".

        Each is a float32 scalar, averaged as in MMDetection.
        """
        settings = targets.settings
        maps = self.extract_features(images_NCHW)
        logits, deltas = self.rpn_head(maps)
        losses = proposal_losses(logits, deltas, self.generate_level_anchors(maps), sizes_N2, targets.images, settings)
        proposals_NP4, objectness_NP = self.propose_regions(maps, logits, deltas, sizes_N2)
        sampled = sample_regions(proposals_NP4, objectness_NP, targets.images, settings)
        class_logits, box_deltas = self.roi_head.bbox_head(pool_regions(maps, sampled.rois, BOX_SIDE))
        losses |= region_losses(class_logits, box_deltas, sampled)
        if self.roi_head.mask_head is not None:
            positives = sampled.select_positives()
            mask_logits = self.roi_head.mask_head(pool_regions(maps, positives.rois, MASK_SIDE))
            losses |= mask_losses(mask_logits, positives, targets.images)
        return losses

    def extract_features(self, images_NCHW: Tensor) -> list[Tensor]:
        """Five feature maps (N, neck_width, H / s, W / s) at strides s of 4, 8, 16, 32 and 64, rounded up."""
        return self.neck(self.backbone(images_NCHW))

    def generate_level_anchors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The anchors (A, 4) of each level, in pixels, in the order of `proposals.flatten_positions`."""
        scale, ratios = self.detector.anchor_scale, self.detector.anchor_ratios
        return [
            generate_anchors(each_NCHW, stride_px=stride_px, scale=scale, ratios=ratios)
            for each_NCHW, stride_px in zip(maps, STRIDES_PX, strict=True)
        ]

    def propose_regions(
        self, maps: Sequence[Tensor], logits: Sequence[Tensor], deltas: Sequence[Tensor], sizes_N2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Region proposals: boxes (N, P, 4) and objectness scores (N, P), without a gradient; see `propose`."""
        return propose(
            logits,
            deltas,
            self.generate_level_anchors(maps),
            sizes_N2,
            candidates=self.detector.training_candidates if self.training else self.detector.candidates,
            count=self.detector.proposals,
            iou=self.detector.proposal_iou,
        )

    def predict_boxes(
        self, maps: Sequence[Tensor], proposals_NP4: Tensor, objectness_NP: Tensor, sizes_N2: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (N, D, 4), scores (N, D) and labels (N, D) from the proposals with an objectness score above 0."""
        # 1. Classify the proposals and decode a box for each class
        pooled = pool_regions(maps, prepend_batch_index(proposals_NP4), BOX_SIDE)
        logits_RC, deltas_RD = self.roi_head.bbox_head(pooled)
        count = proposals_NP4.shape[1]
        odds_NPC = class_odds(detach_float32(logits_RC)).unflatten(0, (-1, count))
        odds_NPC = torch.where((objectness_NP > 0)[..., None], odds_NPC, 0.0)
        deltas_NPC4 = detach_float32(deltas_RD).unflatten(1, (-1, 4)).unflatten(0, (-1, count))
        boxes_NPC4 = decode_boxes(deltas_NPC4, proposals_NP4[:, :, None], std=ROI_STD)
        boxes_NK4 = clip_boxes(boxes_NPC4.transpose(1, 2).flatten(1, 2), sizes_N2)
        # 2. Suppress overlapping boxes, each class of each image by itself
        boxes_BP4 = boxes_NK4.unflatten(1, (-1, count)).flatten(0, 1)
        odds_BP = odds_NPC.transpose(1, 2).flatten(0, 1)
        threshold = self.detector.score_threshold
        kept_BP = keep_best(boxes_BP4, odds_BP, self.detector.iou, threshold / (1 - threshold))
        kept_odds_NK = torch.where(kept_BP, odds_BP, 0.0).unflatten(0, (-1, self.num_classes)).flatten(1)
        # 3. Keep the best over all classes
        boxes_ND4, odds_ND, indices_ND = select_top(boxes_NK4, kept_odds_NK, count=self.detector.detections)
        return boxes_ND4, odds_ND / (1 + odds_ND), indices_ND // count

    def predict_masks(self, maps: Sequence[Tensor], boxes_ND4: Tensor, scores_ND: Tensor, labels_ND: Tensor) -> Tensor:
        """Mask probabilities (N, D, 28, 28) of the predicted classes inside the boxes; 0 if there is no detection."""
        assert self.roi_head.mask_head is not None
        logits_RCSS = self.roi_head.mask_head(pool_regions(maps, prepend_batch_index(boxes_ND4), MASK_SIDE))
        side = logits_RCSS.shape[-1]
        logits_R1SS = torch.gather(logits_RCSS, 1, labels_ND.flatten()[:, None, None, None].expand(-1, 1, side, side))
        masks_NDSS = detach_float32(logits_R1SS[:, 0]).sigmoid().unflatten(0, (-1, labels_ND.shape[1]))
        return torch.where((scores_ND > 0)[..., None, None], masks_NDSS, 0.0)


def build_detector(card: ModelCard) -> MaskRCNN:
    """A new detector with the architecture, heads and classes of a model card; its weights are random."""
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    heads = from_plain(DetectorConfig, card.head, what=f"heads of {card.variant}")
    return MaskRCNN(config, heads, num_classes=len(card.classes))
