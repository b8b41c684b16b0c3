"""Region proposal network (Ren et al., arXiv:1506.01497) as in MMDetection: feature maps -> candidate boxes of objects.

Letters: N images, L levels of the pyramid, A anchors of one level, R anchors per position (one for each ratio),
D = 4 R deltas per position, K candidates, P proposals.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nextvit.models.box_coding import RPN_STD, clip_boxes, decode_boxes
from nextvit.models.suppression import gather_rows, keep_best, select_top

STRIDES_PX = (4, 8, 16, 32, 64)
"""Strides of the five pyramid levels."""
MAX_LOGIT = 80.0
"""exp() of more overflows float32."""


class ProposalHead(nn.Module):
    """Five maps (N, C, H_l, W_l) -> objectness logits (N, R, H_l, W_l) and box deltas (N, 4 R, H_l, W_l) of each."""

    def __init__(self, channels: int, *, anchors_per_position: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, anchors_per_position, 1)
        self.rpn_reg = nn.Conv2d(channels, anchors_per_position * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [nn.functional.relu(self.rpn_conv(each_NCHW)) for each_NCHW in maps]
        return [self.rpn_cls(each_NCHW) for each_NCHW in hidden], [self.rpn_reg(each_NCHW) for each_NCHW in hidden]


def generate_anchors(map_NCHW: Tensor, *, stride_px: int, scale: float, ratios: Sequence[float]) -> Tensor:
    """The anchors of a feature map, centred at multiples of the stride.

    Args:
        map_NCHW: only its height, width, device and dtype are used.
        stride_px: pixels of the image per position of the map.
        scale: each anchor has an area of (stride_px * scale) ** 2.
        ratios: height over width.

    Returns:
        (H * W * len(ratios), 4): positions row by row, and at each position all ratios; x1, y1, x2, y2 in pixels, not
        rounded, in float32 or more precise.
    """
    height, width = map_NCHW.shape[2:]
    device, dtype = map_NCHW.device, torch.promote_types(map_NCHW.dtype, torch.float32)
    roots = torch.tensor(ratios, device=device, dtype=dtype).sqrt()
    halves_R2 = torch.stack([1 / roots, roots], dim=1) * (stride_px * scale / 2)
    shapes_R4 = torch.cat([-halves_R2, halves_R2], dim=1)
    x_W = torch.arange(width, device=device).to(dtype) * stride_px
    y_H = torch.arange(height, device=device).to(dtype) * stride_px
    x_HW, y_HW = x_W[None].expand(height, -1), y_H[:, None].expand(-1, width)
    centres_HW4 = torch.stack([x_HW, y_HW, x_HW, y_HW], dim=-1)
    return (centres_HW4[:, :, None] + shapes_R4).flatten(0, 2)


def flatten_positions(map_NCHW: Tensor, *, columns: int) -> Tensor:
    """(N, R * columns, H, W) -> (N, H * W * R, columns), in the order of `generate_anchors`."""
    return map_NCHW.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, columns))


def propose(
    logits: Sequence[Tensor],
    deltas: Sequence[Tensor],
    anchors: Sequence[Tensor],
    sizes_N2: Tensor,
    *,
    candidates: int,
    count: int,
    iou: float,
) -> tuple[Tensor, Tensor]:
    """Select the region proposals of each image.

    The best `candidates` of each level go through non-maximum suppression, each level by itself; the remaining ones of
    all levels are then ranked by score.

    Args:
        logits: objectness logits of each level, as `ProposalHead` returns them.
        deltas: box deltas of each level, as `ProposalHead` returns them.
        anchors: for each level (A, 4), as `generate_anchors` returns them.
        sizes_N2: height and width in pixels of each image without its padding.
        candidates: boxes kept per level before suppression.
        count: proposals returned per image.
        iou: threshold of the suppression.

    Returns:
        Boxes (N, count, 4) in pixels, clipped to the images, and objectness scores (N, count), best first; where there
        are fewer, boxes and scores are 0.
    """
    # 1. Candidates of each level
    pairs = [
        select_candidates(*level, sizes_N2, count=candidates) for level in zip(logits, deltas, anchors, strict=True)
    ]
    boxes_NLK4 = torch.stack([boxes_NK4 for boxes_NK4, _ in pairs], dim=1)
    odds_NLK = torch.stack([odds_NK for _, odds_NK in pairs], dim=1)
    # 2. Suppression within each level
    kept_BK = keep_best(boxes_NLK4.flatten(0, 1), odds_NLK.flatten(0, 1), iou, 0.0)
    kept_NLK = kept_BK.unflatten(0, (-1, len(pairs)))
    # 3. The best of all levels
    kept_odds_NK = torch.where(kept_NLK, odds_NLK, 0.0).flatten(1)
    boxes_NP4, odds_NP, _ = select_top(boxes_NLK4.flatten(1, 2), kept_odds_NK, count=count)
    return boxes_NP4, odds_NP / (1 + odds_NP)


def select_candidates(
    logits_NRHW: Tensor, deltas_NDHW: Tensor, anchors_A4: Tensor, sizes_N2: Tensor, *, count: int
) -> tuple[Tensor, Tensor]:
    """The boxes with the highest objectness of one level.

    Boxes are ranked by odds p / (1 - p) instead of the probability p. The order is the same, but near 1 there are few
    distinct floating-point probabilities, and the order of equal ones would depend on the runtime.

    Returns:
        Boxes (N, count, 4) in pixels, clipped to the images, and the odds (N, count) of an object; where the level has
        fewer boxes, odds are 0.
    """
    odds_NA = flatten_positions(detach_float32(logits_NRHW), columns=1)[..., 0].clamp(max=MAX_LOGIT).exp()
    deltas_NA4 = flatten_positions(detach_float32(deltas_NDHW), columns=4)
    # Padded with zeros to at least `count` values: the number of results must not depend on the image size.
    best_NK, indices_NK = torch.topk(nn.functional.pad(odds_NA, (0, count)), count)
    indices_NK = torch.where(indices_NK < anchors_A4.shape[0], indices_NK, 0)
    boxes_NK4 = decode_boxes(gather_rows(deltas_NA4, indices_NK), anchors_A4[indices_NK], std=RPN_STD)
    boxes_NK4 = clip_boxes(boxes_NK4, sizes_N2)
    sides_NK2 = boxes_NK4[..., 2:] - boxes_NK4[..., :2]
    return boxes_NK4, torch.where((sides_NK2 > 0).all(dim=-1), best_NK, 0.0)


def detach_float32(output: Tensor) -> Tensor:
    """A network's output without its gradient, in float32 or more precise.

    Half precision is not enough for boxes: coordinates in large images need more bits than float16 and bfloat16 have.
    """
    return output.detach().to(torch.promote_types(output.dtype, torch.float32))
