"""The losses of Mask R-CNN: outputs of the heads -> named losses, as MMDetection 2.23 computes them.

Read in order: assign_objects, sample_balanced, proposal_losses, sample_regions, region_losses, mask_losses. Boxes are
x1, y1, x2, y2 in pixels of the network's input. Losses are float32 whatever the precision of the heads. Random samples
come from torch's generator of the device.

Letters: N images, A anchors, K objects of an image, P proposals, R regions of all images, C classes, M side of a mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss
from torchvision.ops import roi_align

from nextvit.errors import InputError
from nextvit.image.canvas import STRIDE_PX
from nextvit.models.box_coding import ROI_STD, RPN_STD, encode_boxes
from nextvit.models.proposals import flatten_positions

BACKGROUND, BETWEEN_THRESHOLDS = -1, -2
"""In place of an object index: background, and an IoU between the thresholds, which no loss counts."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """How anchors and proposals are assigned to objects and sampled for the losses."""

    proposal_positive_iou: float = 0.7
    """An anchor with at least this IoU with an object is positive."""
    proposal_negative_iou: float = 0.3
    """An anchor with a lower IoU with every object is background."""
    proposal_best_iou: float = 0.3
    """The anchors with the highest IoU with an object are positive, too, if that IoU is at least this."""
    proposal_samples: int = 256
    """Anchors per image that are sampled for the loss."""
    proposal_positive_fraction: float = 0.5
    """Maximum fraction of positive ones among them."""
    region_iou: float = 0.5
    """A proposal with at least this IoU with an object is positive, any other is background."""
    region_best_iou: float = 0.5
    """The proposal with the highest IoU with an object, if at least this, is assigned to that object even if its IoU
    with another one is higher. MMDetection does so in Mask R-CNN, but not in Faster R-CNN; 1: never."""
    region_samples: int = 512
    """Regions per image that are sampled for the losses."""
    region_positive_fraction: float = 0.25
    """Maximum fraction of positive ones among them."""

    def __post_init__(self) -> None:
        fractions = [name for name in vars(self) if name.endswith(("_iou", "_fraction"))]
        for name in fractions:
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.proposal_negative_iou > self.proposal_positive_iou:
            raise InputError(
                f"proposal_negative_iou must not exceed proposal_positive_iou, "
                f"got {self.proposal_negative_iou} and {self.proposal_positive_iou}"
            )
        for name in ("proposal_samples", "region_samples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class ImageTargets:
    """The ground truth of one image as tensors, K objects; see `nextvit.data.objects.Targets`."""

    boxes: Tensor
    """(K, 4), float32, sides above 0."""
    labels: Tensor
    """(K,), int64, class indices."""
    masks: Tensor | None = None
    """(K, height, width), bool, without padding; all False for an object without mask. None: boxes only."""


@dataclass(frozen=True)
class SampledRegions:
    """The regions sampled for the losses of the box and mask heads: R of them, image by image."""

    rois: Tensor
    """(R, 5), float32: index of the image, and the box."""
    labels: Tensor
    """(R,), int64: class index, or BACKGROUND."""
    objects: Tensor
    """(R,), int64: index of the assigned object within its image, or BACKGROUND."""
    boxes: Tensor
    """(R, 4): box of the assigned object; zeros for background."""

    def __len__(self) -> int:
        return len(self.rois)

    def select_positives(self) -> "SampledRegions":
        """The regions with an assigned object, in the same order."""
        is_positive = self.objects >= 0
        return SampledRegions(
            self.rois[is_positive], self.labels[is_positive], self.objects[is_positive], self.boxes[is_positive]
        )


def pairwise_iou(boxes_K4: Tensor, anchors_A4: Tensor) -> Tensor:
    """Intersection over union (K, A).

    One axis at a time, because that takes a quarter of the memory of torchvision's box_iou.
    """
    x1, y1, x2, y2 = (edge[:, None] for edge in boxes_K4.unbind(1))
    ax1, ay1, ax2, ay2 = anchors_A4.unbind(1)
    width = (torch.minimum(x2, ax2) - torch.maximum(x1, ax1)).clamp(min=0)
    height = (torch.minimum(y2, ay2) - torch.maximum(y1, ay1)).clamp(min=0)
    intersection = width * height
    return intersection / ((x2 - x1) * (y2 - y1) + (ax2 - ax1) * (ay2 - ay1) - intersection)


def assign_objects(
    anchors_A4: Tensor, boxes_K4: Tensor, *, positive_iou: float, negative_iou: float, best_iou: float
) -> Tensor:
    """Assign an object to each anchor or proposal (MMDetection: `MaxIoUAssigner`).

    Each object also gets the anchors with the highest IoU with it, several if they are equal, even below
    `positive_iou`, if that IoU is at least `best_iou`. An anchor that is the best one of several objects goes to the
    last of them.

    Args:
        anchors_A4: anchors or proposals; all sides above 0.
        boxes_K4: boxes of the objects; all sides above 0.
        positive_iou: lowest IoU of a positive anchor.
        negative_iou: an anchor with a lower IoU with every object is background.
        best_iou: lowest IoU at which the best anchors of an object are positive.

    Returns:
        (A,), the index of the object, or BACKGROUND, or BETWEEN_THRESHOLDS.
    """
    if not len(boxes_K4) or not len(anchors_A4):
        return torch.full((len(anchors_A4),), BACKGROUND, device=anchors_A4.device)
    iou_KA = pairwise_iou(boxes_K4, anchors_A4)
    highest_A, assigned_A = iou_KA.max(dim=0)
    assigned_A = assigned_A.where(highest_A >= positive_iou, BETWEEN_THRESHOLDS)
    assigned_A = assigned_A.where(highest_A >= negative_iou, BACKGROUND)
    best_K1 = iou_KA.amax(dim=1, keepdim=True)
    objects, anchors = ((iou_KA == best_K1) & (best_K1 >= best_iou)).nonzero(as_tuple=True)
    last_object_A = torch.full_like(assigned_A, BACKGROUND).scatter_reduce_(0, anchors, objects, "amax")
    return last_object_A.where(last_object_A >= 0, assigned_A)


def sample_balanced(assigned_A: Tensor, *, count: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Sample positive and background anchors uniformly, without replacement.

    Returns:
        Indices of at most `count * positive_fraction` positive anchors, and of background anchors to make up `count`,
        or of all where there are fewer.
    """
    positives = sample_up_to((assigned_A >= 0).nonzero()[:, 0], int(count * positive_fraction))
    negatives = sample_up_to((assigned_A == BACKGROUND).nonzero()[:, 0], count - len(positives))
    return positives, negatives


def sample_up_to(indices: Tensor, count: int) -> Tensor:
    """At most `count` of the indices, sampled uniformly without replacement."""
    if len(indices) <= count:
        return indices
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]


def proposal_losses(
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes_N2: Tensor,
    targets: Sequence[ImageTargets],
    settings: LossSettings,
) -> dict[str, Tensor]:
    """The losses "objectness" and "proposal_box" of the region proposal head.

    Both are sums over the sampled anchors, divided by their number in all images; each image counts at least one
    positive and one background anchor.

    Args:
        objectness: for each level (N, anchors per position, H, W), logits.
        deltas: for each level (N, 4 * anchors per position, H, W), the four of an anchor side by side.
        anchors: for each level (H * W * anchors per position, 4), those of a position side by side.
        sizes_N2: height and width in pixels of each image without its padding.
        targets: objects of each image.
        settings: thresholds and numbers of samples.
    """
    logits_NA = torch.cat([flatten_positions(level, columns=1) for level in objectness], dim=1)[..., 0].float()
    deltas_NA4 = torch.cat([flatten_positions(level, columns=4) for level in deltas], dim=1).float()
    anchors_A4 = torch.cat(list(anchors)).float()
    objectness_loss, box_loss, count = logits_NA.new_zeros(()), logits_NA.new_zeros(()), 0
    for logits_A, deltas_A4, size, target in zip(logits_NA, deltas_NA4, sizes_N2, targets, strict=True):
        # 1. Assign objects to the anchors inside the image
        inside = is_inside_image(anchors_A4, size).nonzero()[:, 0]
        assigned = assign_objects(
            anchors_A4[inside],
            target.boxes,
            positive_iou=settings.proposal_positive_iou,
            negative_iou=settings.proposal_negative_iou,
            best_iou=settings.proposal_best_iou,
        )
        # 2. Sample anchors
        sampled = sample_balanced(
            assigned, count=settings.proposal_samples, positive_fraction=settings.proposal_positive_fraction
        )
        positives, negatives = inside[sampled[0]], inside[sampled[1]]
        # 3. Add up the losses
        target_deltas = encode_boxes(target.boxes[assigned[sampled[0]]], anchors_A4[positives], std=RPN_STD)
        objectness_loss = objectness_loss + binary_cross_entropy_sum(logits_A[positives], 1.0)
        objectness_loss = objectness_loss + binary_cross_entropy_sum(logits_A[negatives], 0.0)
        box_loss = box_loss + l1_loss(deltas_A4[positives], target_deltas, reduction="sum")
        count += max(1, len(positives)) + max(1, len(negatives))
    return {"objectness": objectness_loss / count, "proposal_box": box_loss / count}


def is_inside_image(anchors_A4: Tensor, size_2: Tensor) -> Tensor:
    """Which anchors (A,) have their centre in an image of this height and width, padded to multiples of `STRIDE_PX`."""
    height, width = ((size_2 + STRIDE_PX - 1) // STRIDE_PX * STRIDE_PX).unbind()
    # Centres are whole numbers, except for the rounding errors of the corners that they are computed from.
    x, y = ((anchors_A4[:, :2] + anchors_A4[:, 2:]) / 2).round().unbind(1)
    return (x < width) & (y < height)


def binary_cross_entropy_sum(logits: Tensor, target: float) -> Tensor:
    """The summed binary cross-entropy with the same target, 0 or 1, for all logits."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target), reduction="sum")


@torch.no_grad()
def sample_regions(
    proposals_NP4: Tensor, scores_NP: Tensor, targets: Sequence[ImageTargets], settings: LossSettings
) -> SampledRegions:
    """Sample the regions for the losses of the box and mask heads.

    The boxes of the objects are added to the proposals, so that an image with objects always has positive regions.

    Args:
        proposals_NP4: boxes in pixels.
        scores_NP: objectness scores; a proposal of score 0 is left out.
        targets: objects of each image.
        settings: thresholds and numbers of samples.
    """
    parts: list[SampledRegions] = []
    for image_index, (proposals_P4, scores_P, target) in enumerate(zip(proposals_NP4, scores_NP, targets, strict=True)):
        sides_P2 = proposals_P4[:, 2:] - proposals_P4[:, :2]
        boxes = proposals_P4[(scores_P > 0) & (sides_P2 > 0).all(dim=1)].float()
        assigned = assign_objects(
            boxes,
            target.boxes,
            positive_iou=settings.region_iou,
            negative_iou=settings.region_iou,
            best_iou=settings.region_best_iou,
        )
        boxes = torch.cat([target.boxes, boxes])
        assigned = torch.cat([torch.arange(len(target.boxes), device=assigned.device), assigned])
        positives_negatives = sample_balanced(
            assigned, count=settings.region_samples, positive_fraction=settings.region_positive_fraction
        )
        sampled = torch.cat(positives_negatives)
        parts.append(build_regions(image_index, boxes[sampled], assigned[sampled], target))
    return SampledRegions(
        torch.cat([part.rois for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.objects for part in parts]),
        torch.cat([part.boxes for part in parts]),
    )


def build_regions(image_index: int, boxes_R4: Tensor, objects_R: Tensor, target: ImageTargets) -> SampledRegions:
    """The sampled regions of one image, with label and box of the assigned objects."""
    is_positive = objects_R >= 0
    labels, boxes = torch.full_like(objects_R, BACKGROUND), torch.zeros_like(boxes_R4)
    labels[is_positive] = target.labels[objects_R[is_positive]]
    boxes[is_positive] = target.boxes[objects_R[is_positive]]
    rois = torch.cat([torch.full_like(boxes_R4[:, :1], image_index), boxes_R4], dim=1)
    return SampledRegions(rois, labels, objects_R, boxes)


def region_losses(class_logits: Tensor, deltas: Tensor, sampled: SampledRegions) -> dict[str, Tensor]:
    """The losses "class" and "box" of the box head: sums, divided by the number of regions.

    Args:
        class_logits: (R, C + 1), background last.
        deltas: (R, 4 * C), the four of a class side by side; only those of the object's class add to the loss.
        sampled: the regions that the head was applied to.
    """
    num_classes = class_logits.shape[1] - 1
    count = max(1, len(sampled))
    labels = sampled.labels.where(sampled.labels >= 0, num_classes)
    class_loss = cross_entropy(class_logits.float(), labels, reduction="sum")
    positives = (sampled.objects >= 0).nonzero()[:, 0]
    class_deltas = deltas.float().unflatten(1, (num_classes, 4))[positives, sampled.labels[positives]]
    target_deltas = encode_boxes(sampled.boxes[positives], sampled.rois[positives, 1:], std=ROI_STD)
    return {"class": class_loss / count, "box": l1_loss(class_deltas, target_deltas, reduction="sum") / count}


def mask_losses(mask_logits: Tensor, positives: SampledRegions, targets: Sequence[ImageTargets]) -> dict[str, Tensor]:
    """The loss "mask" of the mask head: binary cross-entropy, averaged over regions and pixels.

    Only the channel of the object's class counts. Regions whose object has no mask are left out.

    Args:
        mask_logits: (R, C, M, M).
        positives: the regions that the head was applied to, all with an object (`SampledRegions.select_positives`).
        targets: objects of each image, with masks.
    """
    size = mask_logits.shape[-1]
    rows = torch.arange(len(positives), device=mask_logits.device)
    losses = binary_cross_entropy_with_logits(
        mask_logits.float()[rows, positives.labels],
        crop_mask_targets(positives, targets, size).float(),
        reduction="none",
    )
    is_known = has_mask(positives, targets)
    return {"mask": losses[is_known].sum() / max(1, int(is_known.sum()) * size * size)}


@torch.no_grad()
def crop_mask_targets(positives: SampledRegions, targets: Sequence[ImageTargets], size: int) -> Tensor:
    """The object's mask cropped to each region and resized to `size` pixels a side: bool (R, size, size).

    Positions outside of the image take the value at its border.
    """
    mask_targets = torch.zeros(len(positives), size, size, dtype=torch.bool, device=positives.rois.device)
    for image_index, target in enumerate(targets):
        regions = (positives.rois[:, 0] == image_index).nonzero()[:, 0]
        if len(regions):
            assert target.masks is not None
            # Only the objects that are needed: as float32 the masks of a crowded image take hundreds of megabytes.
            objects, object_indices = positives.objects[regions].unique(return_inverse=True)
            rois = torch.cat([object_indices[:, None].float(), positives.rois[regions, 1:]], dim=1)
            crops = roi_align(target.masks[objects, None].float(), rois, (size, size), sampling_ratio=0, aligned=True)
            mask_targets[regions] = crops[:, 0] >= 0.5
    return mask_targets


def has_mask(positives: SampledRegions, targets: Sequence[ImageTargets]) -> Tensor:
    """Whether the object of each region has a mask: bool (R,)."""
    is_known = torch.zeros(len(positives), dtype=torch.bool, device=positives.rois.device)
    for image_index, target in enumerate(targets):
        regions = (positives.rois[:, 0] == image_index).nonzero()[:, 0]
        if len(regions):
            assert target.masks is not None
            is_known[regions] = target.masks.flatten(1).any(dim=1)[positives.objects[regions]]
    return is_known
