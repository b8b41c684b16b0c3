"""Region proposals (Ren et al., arXiv:1506.01497), as MMDetection makes them: where on a picture something may be.

Letters: N pictures, A reference boxes ("anchors") of one level, K candidates, P proposals.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nextvit.models.box_coding import RPN_STD, clip_boxes, decode_boxes
from nextvit.models.suppression import best_of, keep_best, take

STRIDES_PX = (4, 8, 16, 32, 64)
"""Of the pyramid's five levels."""
LARGEST_LOGIT = 80.0
"""exp() of more leaves float32."""


class ProposalHead(nn.Module):
    """Five maps (N, C, H_l, W_l) -> for each level logits (N, R, H_l, W_l) of there being an object, and differences
    (N, 4 R, H_l, W_l) to the R anchors of each place."""

    def __init__(self, channels: int, *, anchors_per_place: int) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, anchors_per_place, 1)
        self.rpn_reg = nn.Conv2d(channels, anchors_per_place * 4, 1)
        for conv in (self.rpn_conv, self.rpn_cls, self.rpn_reg):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [nn.functional.relu(self.rpn_conv(each_NCHW)) for each_NCHW in maps]
        return [self.rpn_cls(each_NCHW) for each_NCHW in hidden], [self.rpn_reg(each_NCHW) for each_NCHW in hidden]


def anchors_of(map_NCHW: Tensor, *, stride_px: int, scale: float, ratios: Sequence[float]) -> Tensor:
    """The anchors (H * W * len(ratios), 4) of a map, in pixels and at least float32: places row by row, at each one all
    ratios of height to width. They are centred at multiples of the stride, have an area of (stride * scale)^2, and are
    not rounded."""
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


def flatten_places(map_NCHW: Tensor, *, columns: int) -> Tensor:
    """(N, R * columns, H, W) -> (N, H * W * R, columns): the order of `anchors_of`."""
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
    """The proposals' boxes (N, count, 4) in pixels, clipped to pictures of heights and widths `sizes_N2`, and their scores
    (N, count), best first; where there are fewer, boxes and scores are 0.

    `logits` and `deltas` are what `ProposalHead` returns. Of each level the best `candidates` are taken and suppressed
    among themselves; what is left of all levels competes by score.
    """
    pairs = [candidates_of(*level, sizes_N2, count=candidates) for level in zip(logits, deltas, anchors, strict=True)]
    boxes_NLK4 = torch.stack([boxes_NK4 for boxes_NK4, _ in pairs], dim=1)
    odds_NLK = torch.stack([odds_NK for _, odds_NK in pairs], dim=1)
    kept_BK = keep_best(boxes_NLK4.flatten(0, 1), odds_NLK.flatten(0, 1), iou, 0.0)
    kept_NLK = kept_BK.unflatten(0, (-1, len(pairs)))
    left_NK = torch.where(kept_NLK, odds_NLK, 0.0).flatten(1)
    boxes_NP4, odds_NP, _ = best_of(boxes_NLK4.flatten(1, 2), left_NK, count=count)
    return boxes_NP4, odds_NP / (1 + odds_NP)


def candidates_of(
    logits_NRHW: Tensor, deltas_NDHW: Tensor, anchors_A4: Tensor, sizes_N2: Tensor, *, count: int
) -> tuple[Tensor, Tensor]:
    """Boxes (N, count, 4) of one level's best, and the odds (N, count) of there being an object, p / (1 - p); where the
    level has fewer, odds are 0.

    Odds are in the order of probabilities, of which there are few different ones near 1: which of two equal ones goes
    first would be up to the runtime.
    """
    odds_NA = flatten_places(as_answer(logits_NRHW), columns=1)[..., 0].clamp(max=LARGEST_LOGIT).exp()
    deltas_NA4 = flatten_places(as_answer(deltas_NDHW), columns=4)
    # Zeros behind them, so that there are always enough: the number of results must not depend on the size.
    best_NK, places_NK = torch.topk(nn.functional.pad(odds_NA, (0, count)), count)
    places_NK = torch.where(places_NK < anchors_A4.shape[0], places_NK, 0)
    boxes_NK4 = decode_boxes(take(deltas_NA4, places_NK), anchors_A4[places_NK], std=RPN_STD)
    boxes_NK4 = clip_boxes(boxes_NK4, sizes_N2)
    sides_NK2 = boxes_NK4[..., 2:] - boxes_NK4[..., :2]
    return boxes_NK4, torch.where((sides_NK2 > 0).all(dim=-1), best_NK, 0.0)


def as_answer(output: Tensor) -> Tensor:
    """A network's output without its gradient, and in at least float32: pixels of large pictures have more than ten bits."""
    return output.detach().to(torch.promote_types(output.dtype, torch.float32))
