"""Which images show what a segmentation model is worth: the best, the typical and the worst of those that were judged."""

from dataclasses import dataclass
from typing import Literal

from nextvit.metrics.mean_iou import PixelCounts, image_iou_scores

Kind = Literal["best", "typical", "worst"]

EACH = 3
"""Images of each kind that are shown."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image that was chosen, and how well its pixels were told, in percent."""

    kind: Kind
    index: int
    iou: float
    """The mean IoU over the classes that are on the image or in the answer."""
    accuracy: float
    """Share of the labelled pixels whose class was told."""


def chosen_examples(counts: PixelCounts, *, each: int = EACH) -> list[Example]:
    """The best images first, then typical ones, around the median of the images' mean IoU, then the worst, the worst first.

    No image is chosen twice, and none without labels; of fewer than 3 * `each` images there are as many of each kind as of the
    others, and what is left over is typical. Of images with the same IoU those with more classes show more, and go before.
    """
    ious = image_iou_scores(counts)
    labelled = counts.there_NC.sum(axis=1)
    variety = (counts.there_NC > 0).sum(axis=1)
    judged = [index for index in range(len(ious)) if labelled[index]]
    best = sorted(judged, key=lambda index: (-ious[index], -variety[index], index))
    ends = min(each, len(best) // 3)
    worst = sorted(best[ends:], key=lambda index: (ious[index], -variety[index], index))[:ends]
    between = [index for index in best[ends:] if index not in worst]
    median = ious[between[len(between) // 2]] if between else 0.0
    typical = sorted(between, key=lambda index: (abs(ious[index] - median), -variety[index], index))[:each]
    kinds: list[tuple[Kind, list[int]]] = [("best", best[:ends]), ("typical", typical), ("worst", worst)]
    return [
        Example(
            kind=kind,
            index=index,
            iou=float(ious[index]),
            accuracy=float(100 * counts.hits_NC[index].sum() / labelled[index]),
        )
        for kind, indices in kinds
        for index in indices
    ]
