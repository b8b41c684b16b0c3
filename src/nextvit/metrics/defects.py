"""How well defects are separated from normal images and pixels by one score each.

The area under the ROC curve (AUROC), and the miss rate where only so many false alarms are allowed.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import IGNORE_INDEX

# N samples (images or pixels), K different scores, H W height and width

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

DEFAULT_FALSE_ALARMS = 1.0
"""Percent of the normal samples that may raise an alarm, unless another limit is given."""
STEPS = 2**16 - 1
"""There are too many pixels to keep: their probabilities are counted in a histogram of this many equal steps."""


@dataclass(frozen=True)
class RankedScores:
    """How many defective and how many normal samples have each of K different scores."""

    scores_K: Floats
    """Descending."""
    defects_K: Integers
    normal_K: Integers

    @classmethod
    def from_samples(cls, scores_N: Floats, is_defect_N: Booleans) -> "RankedScores":
        """Count N samples, each with its score and whether it is a defect."""
        scores_K, index_N = np.unique(scores_N, return_inverse=True)
        defects_K, all_K = (
            np.bincount(index_N.reshape(-1), weights=weights, minlength=len(scores_K)).astype(np.int64)
            for weights in (is_defect_N, None)
        )
        return cls(scores_K[::-1], defects_K[::-1], (all_K - defects_K)[::-1])


class PixelScores:
    """A histogram of the defect probabilities of any number of pixels, filled image by image."""

    def __init__(self) -> None:
        self.defects, self.normal = np.zeros(STEPS + 1, np.int64), np.zeros(STEPS + 1, np.int64)

    def add(self, probability_HW: Floats, true_HW: Integers, *, background: int = 0) -> None:
        """Count an image.

        Args:
            probability_HW: the predicted probability of a defect at each pixel, 0 to 1.
            true_HW: the class of each pixel; all classes but `background` are defects.
        """
        steps = np.rint(np.clip(probability_HW, 0, 1) * STEPS).astype(np.intp)
        is_normal = true_HW == background
        is_defect = ~is_normal & (true_HW != IGNORE_INDEX)
        self.defects += np.bincount(steps[is_defect], minlength=STEPS + 1)
        self.normal += np.bincount(steps[is_normal], minlength=STEPS + 1)

    def to_ranked(self) -> RankedScores:
        """The counts so far; probabilities are rounded to steps of 1 / 65,535."""
        return RankedScores(np.arange(STEPS, -1, -1) / STEPS, self.defects[::-1], self.normal[::-1])


class DefectScores:
    """The defect probabilities of any number of images, those of their pixels and one for each image."""

    def __init__(self) -> None:
        self.pixels, self.images = PixelScores(), list[tuple[float, bool]]()

    def add(self, probability_HW: Floats, true_HW: Integers) -> None:
        """Count an image as `PixelScores` does; it is defective where one of its pixels is.

        Pixels without label do not count, and neither does an image that has no labelled pixel.
        """
        self.pixels.add(probability_HW, true_HW)
        labelled = true_HW != IGNORE_INDEX
        if labelled.any():
            self.images.append((score_image(probability_HW[labelled]), bool((true_HW[labelled] != 0).any())))

    @classmethod
    def merge(cls, parts: Iterable["DefectScores"]) -> "DefectScores":
        """The counts of several, in order."""
        whole = cls()
        for part in parts:
            whole.pixels.defects += part.pixels.defects
            whole.pixels.normal += part.pixels.normal
            whole.images += part.images
        return whole

    def to_record(self, *, false_alarms: float) -> dict[str, Any]:
        """The scores as plain JSON values.

        Args:
            false_alarms: the highest false alarm rate, in percent, at which misses are counted.

        Returns:
            `pixel_auroc`, `image_auroc` in percent, `pixel_miss`, `image_miss` (the fields of `OperatingPoint`) and
            `false_alarms`; a score is None where there are only defects, or none.
        """
        scores_N, is_defect_N = (np.array(each) for each in zip(*self.images, strict=True)) if self.images else ([], [])
        ranked = {
            "pixel": self.pixels.to_ranked(),
            "image": RankedScores.from_samples(np.array(scores_N, float), np.array(is_defect_N, bool)),
        }
        points = {of: find_operating_point(each, false_alarms=false_alarms) for of, each in ranked.items()}
        return {
            **{f"{of}_auroc": auroc_score(each) for of, each in ranked.items()},
            **{f"{of}_miss": operating_point_to_json(point) for of, point in points.items()},
            "false_alarms": false_alarms,
        }


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A threshold on the score, and the rates of its two kinds of mistakes."""

    threshold: float
    """Scores from it on are an alarm."""
    miss_rate: float
    """Percent of the defects without an alarm (false negative rate)."""
    false_alarm_rate: float
    """Percent of the normal samples with an alarm (false positive rate)."""


def auroc_score(ranked: RankedScores) -> float | None:
    """The area under the ROC curve in percent; None unless there are both defects and normal samples.

    It is how often a defect scores higher than a normal sample, equal scores counting one half.
    """
    defects, normal = int(ranked.defects_K.sum()), int(ranked.normal_K.sum())
    if not defects or not normal:
        return None
    above = np.cumsum(ranked.defects_K) - ranked.defects_K
    won = (ranked.normal_K * (above + ranked.defects_K / 2)).sum()
    return float(100 * won / (defects * normal))


def find_operating_point(ranked: RankedScores, *, false_alarms: float) -> OperatingPoint | None:
    """The lowest threshold with at most `false_alarms` percent of false alarms.

    Returns:
        None unless there are both defects and normal samples. The threshold is infinity where even the highest score
        gives more false alarms.
    """
    defects, normal = int(ranked.defects_K.sum()), int(ranked.normal_K.sum())
    if not defects or not normal:
        return None
    alarms = 100 * np.cumsum(ranked.normal_K) / normal
    allowed = int(np.searchsorted(alarms, false_alarms, side="right"))
    if not allowed:
        return OperatingPoint(threshold=float("inf"), miss_rate=100.0, false_alarm_rate=0.0)
    found = int(ranked.defects_K[:allowed].sum())
    return OperatingPoint(
        threshold=float(ranked.scores_K[allowed - 1]),
        miss_rate=100 * (1 - found / defects),
        false_alarm_rate=float(alarms[allowed - 1]),
    )


def operating_point_to_json(point: OperatingPoint | None) -> dict[str, float | None] | None:
    """Plain values; JSON has no infinity, so a threshold that no score reaches is None."""
    return point and {**asdict(point), "threshold": point.threshold if np.isfinite(point.threshold) else None}


def score_image(probabilities: Floats) -> float:
    """The defect probability of an image: the highest of its pixels."""
    return float(probabilities.max())
