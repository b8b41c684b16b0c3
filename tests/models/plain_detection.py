"""MMDetection's detector, rewritten from its definition in plain NumPy, in float64 and with loops."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x_RC: Array) -> Array:
    powers = np.exp(x_RC - x_RC.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def anchors(height: int, width: int, *, stride: float, scale: float, ratios: tuple[float, ...]) -> Array:
    """Row by row, and at each position all ratios."""
    found = []
    for y in range(height):
        for x in range(width):
            for ratio in ratios:
                w, h = stride * scale * math.sqrt(1 / ratio), stride * scale * math.sqrt(ratio)
                found.append([x * stride - w / 2, y * stride - h / 2, x * stride + w / 2, y * stride + h / 2])
    return np.array(found)


def decode(deltas_K4: Array, anchors_K4: Array, std: tuple[float, ...]) -> Array:
    found = []
    for (dx, dy, dw, dh), (x1, y1, x2, y2) in zip(deltas_K4 * np.array(std), anchors_K4, strict=True):
        limit = abs(math.log(16 / 1000))
        w, h = (x2 - x1) * math.exp(np.clip(dw, -limit, limit)), (y2 - y1) * math.exp(np.clip(dh, -limit, limit))
        x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.array(found).reshape(-1, 4)


def clip(boxes_K4: Array, height: int, width: int) -> Array:
    return np.stack([np.clip(boxes_K4[:, axis], 0, (width, height)[axis % 2]) for axis in range(4)], axis=1)


def iou(one: Array, other: Array) -> float:
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    intersection = max(w, 0) * max(h, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return intersection / (sum(areas) - intersection)


def suppress(boxes_K4: Array, scores_K: Array, threshold: float) -> list[int]:
    """Indices of the kept boxes, best first."""
    kept: list[int] = []
    for index in np.argsort(-scores_K, kind="stable"):
        if all(iou(boxes_K4[index], boxes_K4[other]) <= threshold for other in kept):
            kept.append(int(index))
    return kept


def proposals(
    logits: list[Array],
    deltas: list[Array],
    levels: list[Array],
    size: tuple[int, int],
    *,
    candidates: int,
    count: int,
) -> tuple[Array, Array]:
    """Proposals of one image, from maps (R, H, W) and (4 R, H, W) of each level and its anchors."""
    boxes, scores = [], []
    for logits_RHW, deltas_DHW, anchors_A4 in zip(logits, deltas, levels, strict=True):
        scores_A = sigmoid(logits_RHW.transpose(1, 2, 0).ravel())
        deltas_A4 = deltas_DHW.transpose(1, 2, 0).reshape(-1, 4)
        best = np.argsort(-scores_A, kind="stable")[:candidates]
        boxes_K4 = clip(decode(deltas_A4[best], anchors_A4[best], (1, 1, 1, 1)), *size)
        is_valid = (boxes_K4[:, 2] > boxes_K4[:, 0]) & (boxes_K4[:, 3] > boxes_K4[:, 1])
        boxes_K4, scores_K = boxes_K4[is_valid], scores_A[best][is_valid]
        kept = suppress(boxes_K4, scores_K, 0.7)
        boxes.append(boxes_K4[kept])
        scores.append(scores_K[kept])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")[:count]
    return all_boxes[order], all_scores[order]


def level_of(box: Array) -> int:
    side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
    return min(max(math.floor(math.log2(side / 56 + 1e-6)), 0), 3)


def axis_weights(start: float, length: float, outputs: int, size: int) -> Array:
    """(outputs, size): weight of each row or column of the map in each output of a pooled region, along one axis."""
    weights = np.zeros((outputs, size))
    step = length / outputs
    samples = math.ceil(step)
    for output in range(outputs):
        for sample in range(samples):
            at = start + output * step + (sample + 0.5) * step / samples
            if not -1 <= at <= size:
                continue
            at = min(max(at, 0), size - 1)
            low = int(at)
            weights[output, low] += (1 - (at - low)) / samples
            weights[output, min(low + 1, size - 1)] += (at - low) / samples
    return weights


def pool(map_CHW: Array, box: Array, *, stride: int, side: int) -> Array:
    """RoIAlign (C, side, side), half-pixel aligned, with as many samples as an output covers pixels."""
    x1, y1, x2, y2 = box / stride - 0.5
    rows_SH = axis_weights(y1, y2 - y1, side, map_CHW.shape[1])
    columns_SW = axis_weights(x1, x2 - x1, side, map_CHW.shape[2])
    return np.einsum("sh,chw,tw->cst", rows_SH, map_CHW, columns_SW)


def detections(
    logits_PC: Array, deltas_PD: Array, proposals_P4: Array, size: tuple[int, int], *, count: int
) -> list[tuple[float, int, Array]]:
    """(score, class, box) of one image, best first; the last logit is the background."""
    scores_PC = softmax(logits_PC)
    found = []
    for label in range(logits_PC.shape[1] - 1):
        boxes_P4 = clip(decode(deltas_PD[:, 4 * label : 4 * label + 4], proposals_P4, (0.1, 0.1, 0.2, 0.2)), *size)
        above = scores_PC[:, label] > 0.05
        boxes_K4, scores_K = boxes_P4[above], scores_PC[above, label]
        found += [(float(scores_K[k]), label, boxes_K4[k]) for k in suppress(boxes_K4, scores_K, 0.5)]
    return sorted(found, key=lambda each: -each[0])[:count]
