"""How well defects are told from what is sound, as one score for each image or pixel: the area under the ROC curve, and how
many are missed where only so many false alarms are allowed."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.masks import IGNORED

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]

FALSE_ALARMS = 1.0
"""Percent of what is sound that may raise an alarm, where nothing else is asked for."""
STEPS = 2**16 - 1
"""Pixels are too many to keep: their probabilities are counted in so many equal steps."""


@dataclass(frozen=True)
class Ranked:
    """How many defects and how many sound ones have each of K different scores."""

    scores_K: Floats
    """Descending."""
    defects_K: Integers
    sound_K: Integers

    @classmethod
    def of(cls, scores_N: Floats, defect_N: Booleans) -> "Ranked":
        """From one score, and whether it is of a defect, for each of N."""
        scores_K, place_N = np.unique(scores_N, return_inverse=True)
        defects_K, all_K = (
            np.bincount(place_N.reshape(-1), weights=weights, minlength=len(scores_K)).astype(np.int64)
            for weights in (defect_N, None)
        )
        return cls(scores_K[::-1], defects_K[::-1], (all_K - defects_K)[::-1])


class PixelScores:
    """The probabilities of defect of any number of pixels, counted as they come."""

    def __init__(self) -> None:
        self.defects, self.sound = np.zeros(STEPS + 1, np.int64), np.zeros(STEPS + 1, np.int64)

    def add(self, probability_HW: Floats, true_HW: Integers, *, background: int = 0) -> None:
        """Count an image: what its pixels were held for, 0 to 1, and their classes; all but `background` are defects."""
        steps = np.rint(np.clip(probability_HW, 0, 1) * STEPS).astype(np.intp)
        is_sound = true_HW == background
        is_defect = ~is_sound & (true_HW != IGNORED)
        self.defects += np.bincount(steps[is_defect], minlength=STEPS + 1)
        self.sound += np.bincount(steps[is_sound], minlength=STEPS + 1)

    def ranked(self) -> Ranked:
        """What was counted so far; probabilities are rounded to steps of 1 / 65,535."""
        return Ranked(np.arange(STEPS, -1, -1) / STEPS, self.defects[::-1], self.sound[::-1])


class DefectScores:
    """The probabilities of defect on any number of images, counted as they come: of pixels, and one for each image."""

    def __init__(self) -> None:
        self.pixels, self.images = PixelScores(), list[tuple[float, bool]]()

    def add(self, probability_HW: Floats, true_HW: Integers) -> None:
        """Count an image as `PixelScores` does; it has a defect where one pixel has. Pixels without label do not count, and an
        image of no others neither."""
        self.pixels.add(probability_HW, true_HW)
        labelled = true_HW != IGNORED
        if labelled.any():
            self.images.append((image_score(probability_HW[labelled]), bool((true_HW[labelled] != 0).any())))

    @classmethod
    def joined(cls, parts: Iterable["DefectScores"]) -> "DefectScores":
        """What several counted, in order."""
        whole = cls()
        for part in parts:
            whole.pixels.defects += part.pixels.defects
            whole.pixels.sound += part.pixels.sound
            whole.images += part.images
        return whole

    def record(self, *, false_alarms: float) -> dict[str, Any]:
        """What they are worth, as plain values, at a share in percent of false alarms; None where there are only defects, or
        none."""
        scores_N, defect_N = (np.array(each) for each in zip(*self.images, strict=True)) if self.images else ([], [])
        ranked = {
            "pixel": self.pixels.ranked(),
            "image": Ranked.of(np.array(scores_N, float), np.array(defect_N, bool)),
        }
        return {
            **{f"{of}_auroc": auroc_score(each) for of, each in ranked.items()},
            **{f"{of}_miss": plain(miss_at(each, false_alarms=false_alarms)) for of, each in ranked.items()},
            "false_alarms": false_alarms,
        }


@dataclass(frozen=True, kw_only=True)
class Miss:
    """What an alarm at a threshold costs."""

    threshold: float
    """Scores from it on are an alarm."""
    miss_rate: float
    """Share in percent of defects without alarm."""
    false_alarm_rate: float
    """Share in percent of the sound with one."""


def auroc_score(ranked: Ranked) -> float | None:
    """The area under the ROC curve in percent: how often a defect scores higher than what is sound, equal scores counting one
    half. None unless there are both."""
    defects, sound = int(ranked.defects_K.sum()), int(ranked.sound_K.sum())
    if not defects or not sound:
        return None
    above = np.cumsum(ranked.defects_K) - ranked.defects_K
    won = (ranked.sound_K * (above + ranked.defects_K / 2)).sum()
    return float(100 * won / (defects * sound))


def miss_at(ranked: Ranked, *, false_alarms: float) -> Miss | None:
    """The lowest threshold with at most `false_alarms` percent of false alarms, and what it misses. None unless there are both
    defects and sound ones; a threshold of infinity where even the highest score gives more."""
    defects, sound = int(ranked.defects_K.sum()), int(ranked.sound_K.sum())
    if not defects or not sound:
        return None
    alarms = 100 * np.cumsum(ranked.sound_K) / sound
    allowed = int(np.searchsorted(alarms, false_alarms, side="right"))
    if not allowed:
        return Miss(threshold=float("inf"), miss_rate=100.0, false_alarm_rate=0.0)
    found = int(ranked.defects_K[:allowed].sum())
    return Miss(
        threshold=float(ranked.scores_K[allowed - 1]),
        miss_rate=100 * (1 - found / defects),
        false_alarm_rate=float(alarms[allowed - 1]),
    )


def plain(miss: Miss | None) -> dict[str, float | None] | None:
    """The same for JSON, which knows no infinity: None for a threshold that nothing reaches."""
    return miss and {**asdict(miss), "threshold": miss.threshold if np.isfinite(miss.threshold) else None}


def image_score(probabilities: Floats) -> float:
    """How probable a defect is on an image, of those of its pixels: as its most suspicious one."""
    return float(probabilities.max())
