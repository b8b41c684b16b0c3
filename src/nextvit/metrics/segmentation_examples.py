"""Which images of an evaluation a report shows: those with the best, a typical and the worst segmentation."""

from dataclasses import dataclass
from typing import Literal

from nextvit.metrics.mean_iou import PixelCounts, image_iou_scores

Kind = Literal["best", "typical", "worst"]

EXAMPLES_PER_KIND = 3
"""Images of each kind that are shown."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A chosen image and its scores in percent."""

    kind: Kind
    index: int
    iou: float
    """The mean IoU over the classes that occur on the image or in the prediction."""
    accuracy: float
    """Percent of the labelled pixels whose class is predicted correctly."""


def choose_examples(counts: PixelCounts, *, per_kind: int = EXAMPLES_PER_KIND) -> list[Example]:
    """The best images first, then typical ones, around the median of the images' mean IoU, then the worst, worst first.

    No image is chosen twice, and none without labels. Of fewer than 3 * `per_kind` images each kind gets the same
    number, and the remaining ones are typical. Among images of equal IoU those with more classes come first: they show
    more.
    """
    # 1. Rank
    ious = image_iou_scores(counts)
    labelled = counts.true_NC.sum(axis=1)
    variety = (counts.true_NC > 0).sum(axis=1)
    candidates = [index for index in range(len(ious)) if labelled[index]]
    best = sorted(candidates, key=lambda index: (-ious[index], -variety[index], index))
    # 2. Choose
    ends = min(per_kind, len(best) // 3)
    worst = sorted(best[ends:], key=lambda index: (ious[index], -variety[index], index))[:ends]
    between = [index for index in best[ends:] if index not in worst]
    median = ious[between[len(between) // 2]] if between else 0.0
    typical = sorted(between, key=lambda index: (abs(ious[index] - median), -variety[index], index))[:per_kind]
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
