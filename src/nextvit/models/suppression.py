"""Non-maximum suppression with a fixed shape: for every box whether it stays, not a list of those that do.

So a batch needs no loop over images, and a graph has no sizes that depend on pixels. It is an operator of its own, because
what becomes of it differs: here torchvision's suppression row by row, in an ONNX file one NonMaxSuppression for all rows.
"""

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("nextvit::keep_best", mutates_args=())
def keep_best(boxes_BK4: Tensor, scores_BK: Tensor, iou: float, score_threshold: float) -> Tensor:
    """Which boxes stay (B, K): in each row, those above the threshold that no better one overlaps by more than `iou`."""
    kept_BK = torch.zeros_like(scores_BK, dtype=torch.bool)
    above_BK = scores_BK > score_threshold
    for row in torch.nonzero(above_BK.any(dim=1))[:, 0].tolist():  # of many classes few are on a picture
        above = torch.nonzero(above_BK[row])[:, 0]
        kept_BK[row, above[nms(boxes_BK4[row, above], scores_BK[row, above], iou)]] = True
    return kept_BK


@keep_best.register_fake
def _(boxes_BK4: Tensor, scores_BK: Tensor, iou: float, score_threshold: float) -> Tensor:  # pyright: ignore[reportUnusedParameter]
    return torch.empty_like(scores_BK, dtype=torch.bool)


def best_of(boxes_NK4: Tensor, scores_NK: Tensor, *, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` boxes of the highest scores, best first: boxes (N, count, 4), scores (N, count), places (N, count).

    A score of 0 says that there is none; its box is 0, too. There are at least `count` boxes.
    """
    best_NC, places_NC = torch.topk(scores_NK, count)
    boxes_NC4 = take(boxes_NK4, places_NC)
    return torch.where((best_NC > 0)[..., None], boxes_NC4, 0.0), best_NC, places_NC


def take(rows_NKX: Tensor, places_NC: Tensor) -> Tensor:
    """For each n the rows (N, C, X) at these places."""
    return torch.gather(rows_NKX, 1, places_NC[..., None].expand(-1, -1, rows_NKX.shape[2]))
