"""The losses of Mask R-CNN, against plain computations written from their definitions, in float64."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvit.errors import InputError
from nextvit.models.detection_losses import (
    BACKGROUND,
    BETWEEN_THRESHOLDS,
    ImageTargets,
    LossSettings,
    SampledRegions,
    assign_objects,
    crop_mask_targets,
    has_mask,
    mask_losses,
    proposal_losses,
    region_losses,
    sample_balanced,
    sample_regions,
)

Boxes = NDArray[np.float64]
STRIDES, ANCHORS_PER_POSITION, SIDE = (16, 32), 3, 96
CLASSES = 3


def random_boxes(count: int, rng: np.random.Generator, *, size_wh: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """Boxes (count, 4) inside an image, with sides of at least 8 pixels."""
    corners = rng.random((count, 2)) * (np.array(size_wh) - 8)
    sides = 8 + rng.random((count, 2)) * (np.array(size_wh) - 8 - corners)
    return torch.tensor(np.concatenate([corners, corners + sides], axis=1), dtype=torch.float32)


def random_targets(count: int, rng: np.random.Generator, *, size_wh: tuple[int, int] = (SIDE, SIDE)) -> ImageTargets:
    """Objects whose masks are ellipses in their boxes."""
    boxes = random_boxes(count, rng, size_wh=size_wh)
    across, down = torch.arange(size_wh[0]) + 0.5, torch.arange(size_wh[1])[:, None] + 0.5
    masks = torch.zeros(count, size_wh[1], size_wh[0], dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        x, y = (across - (x1 + x2) / 2) / (x2 - x1), (down - (y1 + y2) / 2) / (y2 - y1)
        mask |= x**2 + y**2 <= 1 / 4
    return ImageTargets(boxes, torch.from_numpy(rng.integers(0, CLASSES, count)), masks)


def generate_anchors(stride: int) -> Tensor:
    """As in MMDetection: centred at the corners of the cells, row by row, those of a position side by side."""
    anchors: list[list[float]] = []
    for y in range(0, SIDE, stride):
        for x in range(0, SIDE, stride):
            for ratio in (0.5, 1.0, 2.0):
                width, height = stride * 2 / math.sqrt(ratio), stride * 2 * math.sqrt(ratio)
                anchors.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    return torch.tensor(anchors)


def heads_outputs(count: int, *, seed: int = 0) -> tuple[list[Tensor], list[Tensor]]:
    """Objectness logits and box deltas of the region proposal head for `count` images."""
    generator = torch.Generator().manual_seed(seed)
    sides = [SIDE // stride for stride in STRIDES]
    objectness = [torch.randn(count, ANCHORS_PER_POSITION, side, side, generator=generator) for side in sides]
    deltas = [torch.randn(count, 4 * ANCHORS_PER_POSITION, side, side, generator=generator) for side in sides]
    return objectness, deltas


def plain_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def plain_assignment(anchors: Boxes, boxes: Boxes, *, positive: float, negative: float, best: float) -> list[int]:
    """The steps of the max-IoU assignment, one by one."""
    iou = np.array([[plain_iou(box, anchor) for anchor in anchors] for box in boxes])
    if not len(boxes):
        return [BACKGROUND] * len(anchors)
    assigned = [BETWEEN_THRESHOLDS] * len(anchors)
    for index in range(len(anchors)):
        if iou[:, index].max() < negative:
            assigned[index] = BACKGROUND
        if iou[:, index].max() >= positive:
            assigned[index] = int(iou[:, index].argmax())
    for number, row in enumerate(iou):
        if row.max() >= best:
            for index in np.flatnonzero(row >= row.max() - 1e-9):
                assigned[index] = number
    return assigned


def plain_deltas(box: Sequence[float], anchor: Sequence[float], std: Sequence[float]) -> list[float]:
    w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    raw = [
        ((box[0] + box[2]) - (anchor[0] + anchor[2])) / 2 / w,
        ((box[1] + box[3]) - (anchor[1] + anchor[3])) / 2 / h,
        math.log((box[2] - box[0]) / w),
        math.log((box[3] - box[1]) / h),
    ]
    return [value / scale for value, scale in zip(raw, std, strict=True)]


def plain_cross_entropy(logit: float, target: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -(target * math.log(probability) + (1 - target) * math.log(1 - probability))


def test_assignment_matches_a_plain_computation():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Eighths are exact in float32, so that equal overlaps are equal in both computations.
        anchors = (random_boxes(80, rng) * 8).round() / 8
        boxes = torch.cat([(random_boxes(6, rng) * 8).round() / 8, anchors[:2]])
        for positive, negative, best in ((0.7, 0.3, 0.3), (0.5, 0.5, 0.5), (0.5, 0.4, 1.0)):
            assigned = assign_objects(anchors, boxes, positive_iou=positive, negative_iou=negative, best_iou=best)
            expected = plain_assignment(
                anchors.double().numpy(), boxes.double().numpy(), positive=positive, negative=negative, best=best
            )
            assert assigned.tolist() == expected


def test_an_object_gets_all_anchors_that_overlap_it_most_and_the_last_object_wins():
    anchors = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [40, 40, 50, 50]])
    middle, same = torch.tensor([[5.0, 0, 15, 10]]), torch.tensor([[5.0, 0, 15, 10]])
    lenient = {"positive_iou": 0.7, "negative_iou": 0.3, "best_iou": 0.3}
    assert assign_objects(anchors, middle, **lenient).tolist() == [0, 0, BACKGROUND]
    assert assign_objects(anchors, torch.cat([middle, same]), **lenient).tolist() == [1, 1, BACKGROUND]
    assert assign_objects(anchors, middle, **{**lenient, "best_iou": 0.5}).tolist() == [
        BETWEEN_THRESHOLDS,
        BETWEEN_THRESHOLDS,
        BACKGROUND,
    ]


def test_sampling_is_limited_and_uniform():
    torch.manual_seed(0)
    assigned = torch.tensor([0, 1, 2, 3] * 10 + [BACKGROUND] * 100 + [BETWEEN_THRESHOLDS] * 50)
    counts = torch.zeros(len(assigned))
    for _ in range(400):
        positives, negatives = sample_balanced(assigned, count=32, positive_fraction=0.25)
        assert len(positives) == len(positives.unique()) == 8 and len(negatives) == len(negatives.unique()) == 24
        counts[positives] += 1
        counts[negatives] += 1
    assert counts[140:].sum() == 0
    assert (counts[:40] / 400 - 8 / 40).abs().max() < 0.08 and (counts[40:140] / 400 - 24 / 100).abs().max() < 0.09
    few = torch.tensor([0, BACKGROUND, BETWEEN_THRESHOLDS, BACKGROUND])
    positives, negatives = sample_balanced(few, count=32, positive_fraction=0.25)
    assert positives.tolist() == [0] and negatives.tolist() == [1, 3]


def plain_proposal_losses(
    objectness: list[Tensor], deltas: list[Tensor], sizes: list[tuple[int, int]], targets: list[ImageTargets]
) -> tuple[float, float]:
    """All anchors are sampled; each is looked up by its level, position and number."""
    entropy, difference, count = 0.0, 0.0, 0
    for image_index, ((height, width), target) in enumerate(zip(sizes, targets, strict=True)):
        boxes, anchors, outputs = target.boxes.double().numpy(), [], []
        for level, stride in enumerate(STRIDES):
            side = SIDE // stride
            numbered = generate_anchors(stride).double().reshape(side, side, ANCHORS_PER_POSITION, 4)
            for row in range(side):
                for column in range(side):
                    if row * stride >= math.ceil(height / 32) * 32 or column * stride >= math.ceil(width / 32) * 32:
                        continue
                    for number in range(ANCHORS_PER_POSITION):
                        anchors.append(numbered[row, column, number].tolist())
                        here = deltas[level][image_index, 4 * number : 4 * number + 4, row, column]
                        outputs.append((float(objectness[level][image_index, number, row, column]), here.tolist()))
        assigned = plain_assignment(np.array(anchors), boxes, positive=0.7, negative=0.3, best=0.3)
        for anchor, (logit, four), number in zip(anchors, outputs, assigned, strict=True):
            if number >= 0:
                expected = plain_deltas(boxes[number].tolist(), anchor, (1, 1, 1, 1))
                difference += sum(abs(a - b) for a, b in zip(four, expected, strict=True))
            if number != BETWEEN_THRESHOLDS:
                entropy += plain_cross_entropy(logit, float(number >= 0))
        count += max(1, sum(number >= 0 for number in assigned)) + max(1, assigned.count(BACKGROUND))
    return entropy / count, difference / count


def test_proposal_losses_match_a_plain_computation():
    rng = np.random.default_rng(3)
    sizes = [(SIDE, SIDE), (40, 64), (64, 33)]
    targets = [
        random_targets(5, rng),
        random_targets(2, rng, size_wh=(64, 40)),
        random_targets(0, rng, size_wh=(33, 64)),
    ]
    objectness, deltas = heads_outputs(3)
    anchors = [generate_anchors(stride) for stride in STRIDES]
    settings = LossSettings(proposal_samples=10_000)
    losses = proposal_losses(objectness, deltas, anchors, torch.tensor(sizes), targets, settings)
    entropy, difference = plain_proposal_losses(objectness, deltas, sizes, targets)
    assert difference > 0
    assert float(losses["objectness"]) == pytest.approx(entropy, rel=1e-5)
    assert float(losses["proposal_box"]) == pytest.approx(difference, rel=1e-5)


def test_proposal_losses_only_have_gradients_at_sampled_anchors():
    rng, settings = np.random.default_rng(0), LossSettings(proposal_samples=16)
    objectness, deltas = heads_outputs(2)
    objectness = [torch.zeros_like(level, requires_grad=True) for level in objectness]
    anchors = [generate_anchors(stride) for stride in STRIDES]
    targets = [random_targets(4, rng), random_targets(0, rng)]
    losses = proposal_losses(objectness, deltas, anchors, torch.tensor([(SIDE, SIDE)] * 2), targets, settings)
    losses["objectness"].backward()
    # Each logit of 0 has a gradient of one half; the image without objects counts one anchor more than it has.
    touched = torch.cat([level.grad.flatten() for level in objectness if level.grad is not None])
    assert (touched != 0).sum() == 32
    assert torch.allclose(touched[touched != 0].abs(), torch.tensor(0.5 / 33))


def sampled_from(
    counts: Sequence[int], *, settings: LossSettings, seed: int = 0
) -> tuple[SampledRegions, list[ImageTargets], Tensor]:
    """Regions of images with these numbers of objects, from proposals around them, some of score 0."""
    rng = np.random.default_rng(seed)
    targets = [random_targets(count, rng) for count in counts]
    proposals = torch.stack([random_boxes(60, rng) for _ in counts])
    for image_index, target in enumerate(targets):
        jittered = target.boxes + torch.from_numpy(rng.normal(0, 2, target.boxes.shape)).float()
        proposals[image_index, : len(jittered)] = jittered.clamp(0, SIDE)
    scores = torch.ones(len(counts), 60)
    scores[:, 40:], proposals[:, 40:] = 0, 0
    return sample_regions(proposals, scores, targets, settings), targets, proposals


def test_regions_are_sampled_from_proposals_and_objects():
    sampled, targets, proposals = sampled_from([4, 0, 7], settings=LossSettings())
    for image_index, target in enumerate(targets):
        here = sampled.rois[:, 0] == image_index
        boxes, objects = sampled.rois[here, 1:], sampled.objects[here]
        candidates = torch.cat([target.boxes, proposals[image_index, :40]])
        assigned = list(range(len(target.boxes))) + plain_assignment(
            proposals[image_index, :40].double().numpy(),
            target.boxes.double().numpy(),
            positive=0.5,
            negative=0.5,
            best=0.5,
        )
        expected = {(*box, number) for box, number in zip(candidates.tolist(), assigned, strict=True)}
        assert {(*box, number) for box, number in zip(boxes.tolist(), objects.tolist(), strict=True)} == expected
        assert len(boxes) == len(candidates)
        assert (objects >= 0).sum() >= 2 * len(target.boxes) - 2
        for number, label, box in zip(objects, sampled.labels[here], sampled.boxes[here], strict=True):
            assert label == (target.labels[number] if number >= 0 else BACKGROUND)
            assert torch.equal(box, target.boxes[number] if number >= 0 else torch.zeros(4))
    assert torch.equal(sampled.select_positives().rois, sampled.rois[sampled.objects >= 0])


def test_the_number_of_regions_is_fixed_and_the_seed_determines_them():
    settings = LossSettings(region_samples=16)
    torch.manual_seed(1)
    sampled = sampled_from([7, 0], settings=settings)[0]
    assert torch.bincount(sampled.rois[:, 0].long()).tolist() == [16, 16]
    assert int((sampled.objects >= 0).sum()) == 4
    torch.manual_seed(1)
    assert torch.equal(sampled_from([7, 0], settings=settings)[0].rois, sampled.rois)
    assert not torch.equal(sampled_from([7, 0], settings=settings)[0].rois, sampled.rois)


def test_region_losses_match_a_plain_computation():
    sampled, targets, _ = sampled_from([4, 0, 7], settings=LossSettings(), seed=5)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(sampled), CLASSES + 1, generator=generator)
    deltas = torch.randn(len(sampled), 4 * CLASSES, generator=generator)
    losses, entropy, difference = region_losses(logits, deltas, sampled), 0.0, 0.0
    for row, four, roi, number in zip(
        logits.tolist(), deltas.tolist(), sampled.rois.tolist(), sampled.objects.tolist(), strict=True
    ):
        target = targets[int(roi[0])]
        label = int(target.labels[number]) if number >= 0 else CLASSES
        entropy += math.log(sum(math.exp(value) for value in row)) - row[label]
        if number >= 0:
            expected = plain_deltas(target.boxes[number].tolist(), roi[1:], (0.1, 0.1, 0.2, 0.2))
            difference += sum(abs(a - b) for a, b in zip(four[4 * label : 4 * label + 4], expected, strict=True))
    assert float(losses["class"]) == pytest.approx(entropy / len(sampled), rel=1e-5)
    assert float(losses["box"]) == pytest.approx(difference / len(sampled), rel=1e-4)


def plain_mask_part(mask: NDArray[np.bool_], box: Sequence[float], size: int) -> Boxes:
    """Aligned RoIAlign of one mask: means of as many bilinear samples a cell as it has pixels, rounded up."""
    height, width = mask.shape

    def value(y: float, x: float) -> float:
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = min(int(y), height - 2), min(int(x), width - 2)
        rows, columns = np.array([top + 1 - y, y - top]), np.array([left + 1 - x, x - left])
        return float(rows @ mask[top : top + 2, left : left + 2] @ columns)

    x1, y1, x2, y2 = (edge - 0.5 for edge in box)
    cell_h, cell_w = (y2 - y1) / size, (x2 - x1) / size
    down, across = math.ceil(cell_h), math.ceil(cell_w)
    part = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            samples = [
                value(y1 + (row + (i + 0.5) / down) * cell_h, x1 + (column + (j + 0.5) / across) * cell_w)
                for i in range(down)
                for j in range(across)
            ]
            part[row, column] = np.mean(samples)
    return part


def test_mask_loss_matches_a_plain_computation():
    size, settings = 7, LossSettings(region_samples=24, region_positive_fraction=0.5)
    sampled, targets, _ = sampled_from([3, 0, 4], settings=settings, seed=2)
    positives = sampled.select_positives()
    logits = torch.randn(len(positives), CLASSES, size, size, generator=torch.Generator().manual_seed(0))
    mask_targets, total, undecided = crop_mask_targets(positives, targets, size), 0.0, 0
    for index, (roi, number) in enumerate(zip(positives.rois.tolist(), positives.objects.tolist(), strict=True)):
        target = targets[int(roi[0])]
        part = plain_mask_part(target.masks[number].numpy(), roi[1:], size)
        clear = np.abs(part - 0.5) > 1e-5
        undecided += int((~clear).sum())
        assert np.array_equal(mask_targets[index].numpy()[clear], part[clear] >= 0.5)
        for logit, expected in zip(
            logits[index, int(target.labels[number])].flatten().tolist(),
            mask_targets[index].flatten().tolist(),
            strict=True,
        ):
            total += plain_cross_entropy(logit, float(expected))
    assert undecided < 0.02 * mask_targets.numel() and 0.3 < mask_targets.float().mean() < 0.95
    assert float(mask_losses(logits, positives, targets)["mask"]) == pytest.approx(
        total / mask_targets.numel(), rel=1e-5
    )


def test_objects_without_a_mask_do_not_count_in_the_mask_loss():
    settings = LossSettings()
    sampled, targets, _ = sampled_from([3, 4], settings=settings)
    positives = sampled.select_positives()
    logits = torch.randn(len(positives), CLASSES, 28, 28, generator=torch.Generator().manual_seed(0))
    targets[0].masks[:2] = False
    is_known = has_mask(positives, targets)
    assert is_known.tolist() == [
        not (roi[0] == 0 and number < 2) for roi, number in zip(positives.rois, positives.objects, strict=True)
    ]
    with_masks = SampledRegions(
        *(getattr(positives, name)[is_known] for name in ("rois", "labels", "objects", "boxes"))
    )
    assert 0 < len(with_masks) < len(positives)
    assert torch.allclose(
        mask_losses(logits, positives, targets)["mask"], mask_losses(logits[is_known], with_masks, targets)["mask"]
    )


def losses_of_all(targets: list[ImageTargets], *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """All five losses in `dtype`, with proposals that all have score 0; also checks that the gradients are finite."""
    objectness, deltas = heads_outputs(len(targets))
    anchors = [generate_anchors(stride) for stride in STRIDES]
    sizes = torch.tensor([(SIDE, SIDE)] * len(targets))
    outputs = [output.to(dtype).requires_grad_() for output in (*objectness, *deltas)]
    losses = proposal_losses(outputs[:2], outputs[2:], anchors, sizes, targets, LossSettings())
    none = torch.zeros(len(targets), 50, 4, dtype=dtype)
    sampled = sample_regions(none, none[..., 0], targets, LossSettings())
    positives = sampled.select_positives()
    heads = [
        torch.full((len(sampled), CLASSES + 1), 1.0, dtype=dtype, requires_grad=True),
        torch.full((len(sampled), CLASSES * 4), 1.0, dtype=dtype, requires_grad=True),
        torch.full((len(positives), CLASSES, 28, 28), 1.0, dtype=dtype, requires_grad=True),
    ]
    losses |= region_losses(heads[0], heads[1], sampled) | mask_losses(heads[2], positives, targets)
    torch.stack(list(losses.values())).sum().backward()
    for tensor in (*outputs, *heads):
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    return losses


@pytest.mark.parametrize("counts", [(0,), (0, 0), (3, 0)])
def test_images_without_objects_or_proposals_have_finite_losses_and_gradients_in_every_head(counts: tuple[int, ...]):
    rng = np.random.default_rng(0)
    losses = losses_of_all([random_targets(count, rng) for count in counts])
    assert set(losses) == {"objectness", "proposal_box", "class", "box", "mask"}
    assert all(loss.isfinite() and loss.ndim == 0 for loss in losses.values())
    if not any(counts):
        assert losses["proposal_box"] == losses["class"] == losses["box"] == losses["mask"] == 0


def test_losses_are_float32_under_autocast():
    targets = [random_targets(3, np.random.default_rng(0))]
    torch.manual_seed(0)
    plain = losses_of_all(targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of_all(targets, dtype=torch.bfloat16)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(float(plain[name].detach()), rel=2e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"proposal_positive_iou": 1.5},
        {"proposal_negative_iou": 0.8},
        {"proposal_best_iou": 0.0},
        {"proposal_samples": 0},
        {"region_iou": 0.0},
        {"region_best_iou": -1.0},
        {"region_samples": 0},
        {"region_positive_fraction": 1.5},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, float]):
    with pytest.raises(InputError, match=next(iter(wrong))):
        LossSettings(**wrong)
