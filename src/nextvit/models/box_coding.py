"""Boxes as deltas to anchors (Girshick et al., arXiv:1311.2524, appendix C), coded as in MMDetection.

Boxes are x1, y1, x2, y2 in pixels. "Anchor" is the box that the deltas refer to: an anchor of the region proposal head,
or a proposal in the box head. Deltas are dx, dy as fractions of the anchor's width and height, and dw, dh as logarithms
of the ratios of the sides, each divided by a standard deviation. Nothing is rounded, and a side is x2 - x1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RPN_STD = (1.0, 1.0, 1.0, 1.0)
"""Standard deviations of dx, dy, dw, dh in the region proposal head."""
ROI_STD = (0.1, 0.1, 0.2, 0.2)
"""Standard deviations of dx, dy, dw, dh in the box head."""
MAX_LOG_RATIO = math.log(1000 / 16)
"""Limit of dw and dh: exp() of more would give boxes larger than any image, and finally infinite ones."""


def encode_boxes(boxes_A4: Tensor, anchors_A4: Tensor, *, std: Sequence[float]) -> Tensor:
    """The deltas (A, 4) of boxes to their anchors; all sides must be above 0."""
    (x, y, w, h), (ax, ay, aw, ah) = centres_and_sides(boxes_A4), centres_and_sides(anchors_A4)
    deltas = torch.stack([(x - ax) / aw, (y - ay) / ah, torch.log(w / aw), torch.log(h / ah)], dim=-1)
    return deltas / deltas.new_tensor(std)


def decode_boxes(deltas: Tensor, anchors: Tensor, *, std: Sequence[float]) -> Tensor:
    """The boxes (..., 4) for deltas (..., 4) to anchors that broadcast with them; not clipped to the image."""
    dx, dy, dw, dh = (deltas * deltas.new_tensor(std)).unbind(-1)
    ax, ay, aw, ah = centres_and_sides(anchors)
    w = aw * torch.exp(dw.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    h = ah * torch.exp(dh.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO))
    x, y = ax + dx * aw, ay + dy * ah
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


def centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x, centre y, width and height of boxes (..., 4)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def clip_boxes(boxes_NK4: Tensor, sizes_N2: Tensor) -> Tensor:
    """Boxes (N, K, 4) in pixels, clipped to images of heights and widths (N, 2)."""
    height, width = sizes_N2.to(boxes_NK4.dtype).unbind(-1)
    limits_N14 = torch.stack([width, height, width, height], dim=-1)[:, None]
    return torch.minimum(boxes_NK4.clamp(min=0), limits_N14)
