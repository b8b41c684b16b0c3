"""What Mask R-CNN learns from: from the heads' outputs to named losses, as MMDetection 2.23 computes them.

Read in order: match, draw, proposal_losses, sample_regions, region_losses, mask_losses. Boxes are x1, y1, x2, y2 in
pixels of the network's input, losses are float32 whatever the heads compute in, and what is drawn at random comes from
torch's generator of the device. N pictures, A anchors, K objects of a picture, R regions of all pictures, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss
from torchvision.ops import roi_align

from nextvit.errors import InputError
from nextvit.image.resizing import STRIDE_PX
from nextvit.models.box_coding import ROI_STD, RPN_STD, encode_boxes
from nextvit.models.proposals import flatten_places

BACKGROUND, NEITHER = -1, -2
"""In place of an object's index: what shows no object, and what is between that and showing one, of which nothing is learnt."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which anchors and regions are learnt from."""

    proposal_positive_iou: float = 0.7
    """An anchor that overlaps an object by so much shows it."""
    proposal_negative_iou: float = 0.3
    """An anchor that overlaps every object by less is background."""
    proposal_best_iou: float = 0.3
    """The anchors that overlap an object most show it, too, where they overlap it by so much."""
    proposal_samples: int = 256
    """Anchors of a picture that are learnt from."""
    proposal_positive_share: float = 0.5
    """Of those, the most that may show objects."""
    region_iou: float = 0.5
    """A proposal that overlaps an object by so much shows it, any other is background."""
    region_best_iou: float = 0.5
    """A proposal that overlaps an object most, and by so much, shows that object even where it overlaps another by more:
    MMDetection's Mask R-CNN does so, its Faster R-CNN does not; 1: never."""
    region_samples: int = 512
    """Regions of a picture that are learnt from."""
    region_positive_share: float = 0.25
    """Of those, the most that may show objects."""

    def __post_init__(self) -> None:
        shares = [name for name in vars(self) if name.endswith(("_iou", "_share"))]
        for name in shares:
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
class TargetTensors:
    """What is to be found on a picture, as `nextvit.data.objects.Targets` says it."""

    boxes: Tensor
    """(K, 4), float32, sides above 0."""
    labels: Tensor
    """(K,), int64, indices of classes."""
    masks: Tensor | None = None
    """(K, height, width), bool, of the picture without padding; all False where an object has none. None for boxes alone."""


@dataclass(frozen=True)
class SampledRegions:
    """The regions of all pictures that the heads learn from, R of them, picture by picture."""

    rois: Tensor
    """(R, 5), float32: index of the picture, and the box."""
    labels: Tensor
    """(R,), int64: class, or BACKGROUND."""
    objects: Tensor
    """(R,), int64: index of the object within its picture, or BACKGROUND."""
    boxes: Tensor
    """(R, 4): box of that object; zeros where there is none."""

    def __len__(self) -> int:
        return len(self.rois)

    def positives(self) -> "SampledRegions":
        """Those that show objects, in the same order."""
        kept = self.objects >= 0
        return SampledRegions(self.rois[kept], self.labels[kept], self.objects[kept], self.boxes[kept])


def overlaps(boxes_K4: Tensor, references_A4: Tensor) -> Tensor:
    """Intersection over union (K, A); with one axis at a time, a quarter of the memory of torchvision's box_iou."""
    x1, y1, x2, y2 = (edge[:, None] for edge in boxes_K4.unbind(1))
    rx1, ry1, rx2, ry2 = references_A4.unbind(1)
    width = (torch.minimum(x2, rx2) - torch.maximum(x1, rx1)).clamp(min=0)
    height = (torch.minimum(y2, ry2) - torch.maximum(y1, ry1)).clamp(min=0)
    common = width * height
    return common / ((x2 - x1) * (y2 - y1) + (rx2 - rx1) * (ry2 - ry1) - common)


def match(
    references_A4: Tensor, boxes_K4: Tensor, *, positive_iou: float, negative_iou: float, best_iou: float
) -> Tensor:
    """For each reference (A,) the index of the object that it shows, or BACKGROUND, or NEITHER; sides above 0.

    An object that no reference overlaps by `positive_iou` gets those that overlap it most, several where they are equal,
    if that is `best_iou` at least. A reference that is the best of several objects goes to the last of them.
    """
    if not len(boxes_K4) or not len(references_A4):
        return torch.full((len(references_A4),), BACKGROUND, device=references_A4.device)
    iou_KA = overlaps(boxes_K4, references_A4)
    highest_A, matched_A = iou_KA.max(dim=0)
    matched_A = matched_A.where(highest_A >= positive_iou, NEITHER)
    matched_A = matched_A.where(highest_A >= negative_iou, BACKGROUND)
    best_K1 = iou_KA.amax(dim=1, keepdim=True)
    objects, references = ((iou_KA == best_K1) & (best_K1 >= best_iou)).nonzero(as_tuple=True)
    claimed_A = torch.full_like(matched_A, BACKGROUND).scatter_reduce_(0, references, objects, "amax")
    return claimed_A.where(claimed_A >= 0, matched_A)


def draw(matched_A: Tensor, *, count: int, positive_share: float) -> tuple[Tensor, Tensor]:
    """Indices of at most `count * positive_share` references that show objects, and of as many of the background as make up
    `count`, all drawn evenly."""
    positives = any_of((matched_A >= 0).nonzero()[:, 0], int(count * positive_share))
    negatives = any_of((matched_A == BACKGROUND).nonzero()[:, 0], count - len(positives))
    return positives, negatives


def any_of(indices: Tensor, count: int) -> Tensor:
    """At most `count` of the indices, drawn evenly."""
    if len(indices) <= count:
        return indices
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]


def proposal_losses(
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes_N2: Tensor,
    targets: Sequence[TargetTensors],
    settings: LossSettings,
) -> dict[str, Tensor]:
    """The losses "objectness" and "proposal_box" of the proposals' head.

    Both are sums over what was drawn, divided by its number in all pictures; a picture counts at least one anchor that
    shows an object and one that does not.

    Args:
        objectness: for each level (N, anchors a place, H, W), logits.
        deltas: for each level (N, 4 * anchors a place, H, W), the four of an anchor side by side.
        anchors: for each level (H * W * anchors a place, 4), those of a place side by side.
        sizes_N2: height and width of the picture inside each input.
    """
    logits_NA = torch.cat([flatten_places(level, columns=1) for level in objectness], dim=1)[..., 0].float()
    deltas_NA4 = torch.cat([flatten_places(level, columns=4) for level in deltas], dim=1).float()
    anchors_A4 = torch.cat(list(anchors)).float()
    objectness_loss, box_loss, count = logits_NA.new_zeros(()), logits_NA.new_zeros(()), 0
    for logits_A, deltas_A4, size, target in zip(logits_NA, deltas_NA4, sizes_N2, targets, strict=True):
        used = within(anchors_A4, size).nonzero()[:, 0]
        matched = match(
            anchors_A4[used],
            target.boxes,
            positive_iou=settings.proposal_positive_iou,
            negative_iou=settings.proposal_negative_iou,
            best_iou=settings.proposal_best_iou,
        )
        drawn = draw(matched, count=settings.proposal_samples, positive_share=settings.proposal_positive_share)
        positives, negatives = used[drawn[0]], used[drawn[1]]
        goals = encode_boxes(target.boxes[matched[drawn[0]]], anchors_A4[positives], std=RPN_STD)
        shown, hidden = logits_A[positives], logits_A[negatives]
        objectness_loss = objectness_loss + sum_of_binary_entropy(shown, 1.0) + sum_of_binary_entropy(hidden, 0.0)
        box_loss = box_loss + l1_loss(deltas_A4[positives], goals, reduction="sum")
        count += max(1, len(positives)) + max(1, len(negatives))
    return {"objectness": objectness_loss / count, "proposal_box": box_loss / count}


def within(anchors_A4: Tensor, size_2: Tensor) -> Tensor:
    """Which anchors have their centre in a picture of this height and width, padded to multiples of `STRIDE_PX`."""
    height, width = ((size_2 + STRIDE_PX - 1) // STRIDE_PX * STRIDE_PX).unbind()
    # Centres are whole numbers but for the rounding of the edges that they come from.
    x, y = ((anchors_A4[:, :2] + anchors_A4[:, 2:]) / 2).round().unbind(1)
    return (x < width) & (y < height)


def sum_of_binary_entropy(logits: Tensor, goal: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, goal), reduction="sum")


@torch.no_grad()
def sample_regions(
    proposals_NP4: Tensor, scores_NP: Tensor, targets: Sequence[TargetTensors], settings: LossSettings
) -> SampledRegions:
    """Draw the regions that the heads learn from; proposals of score 0 stand for none.

    The objects' own boxes are among what is drawn from, so a picture with objects has regions that show them.
    """
    parts: list[SampledRegions] = []
    for number, (proposals_P4, scores_P, target) in enumerate(zip(proposals_NP4, scores_NP, targets, strict=True)):
        sides_P2 = proposals_P4[:, 2:] - proposals_P4[:, :2]
        boxes = proposals_P4[(scores_P > 0) & (sides_P2 > 0).all(dim=1)].float()
        matched = match(
            boxes,
            target.boxes,
            positive_iou=settings.region_iou,
            negative_iou=settings.region_iou,
            best_iou=settings.region_best_iou,
        )
        boxes = torch.cat([target.boxes, boxes])
        matched = torch.cat([torch.arange(len(target.boxes), device=matched.device), matched])
        drawn = torch.cat(draw(matched, count=settings.region_samples, positive_share=settings.region_positive_share))
        parts.append(regions_of(number, boxes[drawn], matched[drawn], target))
    return SampledRegions(
        torch.cat([part.rois for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.objects for part in parts]),
        torch.cat([part.boxes for part in parts]),
    )


def regions_of(number: int, boxes_R4: Tensor, objects_R: Tensor, target: TargetTensors) -> SampledRegions:
    """The regions (R, 4) of the picture of this number, each with the object that it shows."""
    shows = objects_R >= 0
    labels, boxes = torch.full_like(objects_R, BACKGROUND), torch.zeros_like(boxes_R4)
    labels[shows], boxes[shows] = target.labels[objects_R[shows]], target.boxes[objects_R[shows]]
    rois = torch.cat([torch.full_like(boxes_R4[:, :1], number), boxes_R4], dim=1)
    return SampledRegions(rois, labels, objects_R, boxes)


def region_losses(class_logits: Tensor, deltas: Tensor, sampled: SampledRegions) -> dict[str, Tensor]:
    """The losses "class" and "box" of the boxes' head: sums, divided by the number of regions.

    Args:
        class_logits: (R, C + 1), background last.
        deltas: (R, 4 * C), the four of a class side by side; those of the object's class are learnt.
        sampled: the regions that these are the head's outputs for.
    """
    num_classes = class_logits.shape[1] - 1
    count = max(1, len(sampled))
    goals = sampled.labels.where(sampled.labels >= 0, num_classes)
    class_loss = cross_entropy(class_logits.float(), goals, reduction="sum")
    shows = (sampled.objects >= 0).nonzero()[:, 0]
    chosen = deltas.float().unflatten(1, (num_classes, 4))[shows, sampled.labels[shows]]
    differences = encode_boxes(sampled.boxes[shows], sampled.rois[shows, 1:], std=ROI_STD)
    return {"class": class_loss / count, "box": l1_loss(chosen, differences, reduction="sum") / count}


def mask_losses(mask_logits: Tensor, positives: SampledRegions, targets: Sequence[TargetTensors]) -> dict[str, Tensor]:
    """The loss "mask" of the masks' head: the mean over regions and pixels, at the channel of the object's class.

    Regions whose object has no mask are left out.

    Args:
        mask_logits: (R, C, M, M).
        positives: the regions that these are the head's outputs for, all of objects (`SampledRegions.positives`).
        targets: of all pictures, with masks.
    """
    size = mask_logits.shape[-1]
    places = torch.arange(len(positives), device=mask_logits.device)
    losses = binary_cross_entropy_with_logits(
        mask_logits.float()[places, positives.labels], mask_goals(positives, targets, size).float(), reduction="none"
    )
    known = has_mask(positives, targets)
    return {"mask": losses[known].sum() / max(1, int(known.sum()) * size * size)}


@torch.no_grad()
def mask_goals(positives: SampledRegions, targets: Sequence[TargetTensors], size: int) -> Tensor:
    """The part of its object's mask that each region shows, at `size` pixels a side: bool (R, size, size).

    What lies beyond a picture counts as its border does.
    """
    goals = torch.zeros(len(positives), size, size, dtype=torch.bool, device=positives.rois.device)
    for number, target in enumerate(targets):
        here = (positives.rois[:, 0] == number).nonzero()[:, 0]
        if len(here):
            assert target.masks is not None
            # Of these objects alone: as float32 the masks of a crowded picture take hundreds of megabytes.
            shown, indices = positives.objects[here].unique(return_inverse=True)
            rois = torch.cat([indices[:, None].float(), positives.rois[here, 1:]], dim=1)
            parts = roi_align(target.masks[shown, None].float(), rois, (size, size), sampling_ratio=0, aligned=True)
            goals[here] = parts[:, 0] >= 0.5
    return goals


def has_mask(positives: SampledRegions, targets: Sequence[TargetTensors]) -> Tensor:
    """Whether the object of each region has a mask: bool (R,)."""
    known = torch.zeros(len(positives), dtype=torch.bool, device=positives.rois.device)
    for number, target in enumerate(targets):
        here = (positives.rois[:, 0] == number).nonzero()[:, 0]
        if len(here):
            assert target.masks is not None
            known[here] = target.masks.flatten(1).any(dim=1)[positives.objects[here]]
    return known
