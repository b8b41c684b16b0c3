"""Boxes as differences to reference boxes (Girshick et al., arXiv:1311.2524, appendix C), as MMDetection codes them.

Boxes are x1, y1, x2, y2; a difference is dx, dy in parts of the reference's sides and dw, dh as logarithms, each divided
by its deviation. Nothing is rounded, and a side is x2 - x1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RPN_STD = (1.0, 1.0, 1.0, 1.0)
ROI_STD = (0.1, 0.1, 0.2, 0.2)
LARGEST_LOG_RATIO = math.log(1000 / 16)
"""A box is at most so much larger than its reference: beyond it exp() would leave every image, and finite numbers."""


def encode_boxes(boxes_A4: Tensor, references_A4: Tensor, *, std: Sequence[float]) -> Tensor:
    """The differences (A, 4) of boxes to their references; both have sides above 0."""
    (x, y, w, h), (rx, ry, rw, rh) = centres_and_sides(boxes_A4), centres_and_sides(references_A4)
    deltas = torch.stack([(x - rx) / rw, (y - ry) / rh, torch.log(w / rw), torch.log(h / rh)], dim=-1)
    return deltas / deltas.new_tensor(std)


def decode_boxes(deltas: Tensor, references: Tensor, *, std: Sequence[float]) -> Tensor:
    """The boxes (..., 4) of differences (..., 4) to references that broadcast with them; not clipped to any image."""
    dx, dy, dw, dh = (deltas * deltas.new_tensor(std)).unbind(-1)
    rx, ry, rw, rh = centres_and_sides(references)
    w = rw * torch.exp(dw.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    h = rh * torch.exp(dh.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO))
    x, y = rx + dx * rw, ry + dy * rh
    return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


def centres_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centre x and y, width and height of boxes (..., 4)."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def clip_boxes(boxes_NK4: Tensor, sizes_N2: Tensor) -> Tensor:
    """Boxes (N, K, 4) inside images of heights and widths (N, 2)."""
    height, width = sizes_N2.to(boxes_NK4.dtype).unbind(-1)
    limits_N14 = torch.stack([width, height, width, height], dim=-1)[:, None]
    return torch.minimum(boxes_NK4.clamp(min=0), limits_N14)
