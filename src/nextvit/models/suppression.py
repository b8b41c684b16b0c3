"""Non-maximum suppression with a fixed shape: it returns a mask over all boxes, not a list of the boxes that are kept.

Therefore a batch needs no loop over images, and no size in an exported graph depends on the pixels. It is a custom
operator, because its implementation depends on where it runs: torchvision's suppression row by row here, one
NonMaxSuppression node for all rows in an ONNX file.

Letters: B rows that are suppressed independently, N images, K boxes of a row or an image, C boxes that are selected.
"""

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("nextvit::keep_best", mutates_args=())
def keep_best(boxes_BK4: Tensor, scores_BK: Tensor, iou: float, score_threshold: float) -> Tensor:
    """Non-maximum suppression of each row.

    Args:
        boxes_BK4: x1, y1, x2, y2.
        scores_BK: any values that rank the boxes.
        iou: a box that overlaps a kept box of higher score by more than this is dropped.
        score_threshold: boxes whose score is not above it are dropped.

    Returns:
        bool (B, K), which boxes are kept.
    """
    kept_BK = torch.zeros_like(scores_BK, dtype=torch.bool)
    above_BK = scores_BK > score_threshold
    # Most classes are not in an image, so most rows are skipped.
    for row in torch.nonzero(above_BK.any(dim=1))[:, 0].tolist():
        above = torch.nonzero(above_BK[row])[:, 0]
        kept_BK[row, above[nms(boxes_BK4[row, above], scores_BK[row, above], iou)]] = True
    return kept_BK


@keep_best.register_fake
def _(boxes_BK4: Tensor, scores_BK: Tensor, iou: float, score_threshold: float) -> Tensor:  # pyright: ignore
    return torch.empty_like(scores_BK, dtype=torch.bool)


def select_top(boxes_NK4: Tensor, scores_NK: Tensor, *, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` boxes with the highest scores of each image, best first; there must be at least `count` boxes.

    A score of 0 means that there is no box.

    Returns:
        Boxes (N, count, 4), which are 0 where the score is 0; scores (N, count); indices (N, count) into `boxes_NK4`.
    """
    best_NC, indices_NC = torch.topk(scores_NK, count)
    boxes_NC4 = gather_rows(boxes_NK4, indices_NC)
    return torch.where((best_NC > 0)[..., None], boxes_NC4, 0.0), best_NC, indices_NC


def gather_rows(rows_NKX: Tensor, indices_NC: Tensor) -> Tensor:
    """The rows (N, C, X) at these indices of each image."""
    return torch.gather(rows_NKX, 1, indices_NC[..., None].expand(-1, -1, rows_NKX.shape[2]))
