"""How long a training will still take, from how long each kind of its work took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["steps", "evaluation", "saving"]
RECENT_EPOCHS = 3
"""Epochs that an estimate is made from: enough to even out, few enough to follow a machine whose speed changes."""


@dataclass
class WorkTimes:
    """The seconds of each kind of work in the epochs that this process has trained.

    Every moment belongs to one kind, as in the laps of a stopwatch: what lies between two steps, a watcher say, belongs
    to the next.
    """

    epochs: int
    """Of the whole training, those before a resume too."""
    steps_per_epoch: int
    now: Callable[[], float] = time.perf_counter
    seconds: dict[Kind, list[float]] = field(
        default_factory=lambda: {"steps": [0.0], "evaluation": [0.0], "saving": [0.0]}
    )
    """By kind, the sum in each epoch; the last epoch is not finished."""
    steps: list[int] = field(default_factory=lambda: [0])
    """Steps in each epoch; a resumed epoch has fewer."""

    def __post_init__(self) -> None:
        self.lap_started = self.now()

    def lap(self, kind: Kind) -> float:
        """Count the time since the last lap as work of a kind, and for "steps" as one step; return its seconds."""
        ended = self.now()
        seconds = ended - self.lap_started
        self.seconds[kind][-1] += seconds
        self.steps[-1] += kind == "steps"
        self.lap_started = ended
        return seconds

    def finish_epoch(self) -> None:
        """End an epoch, after its evaluation and saving."""
        for each in self.seconds.values():
            each.append(0.0)
        self.steps.append(0)

    def seconds_left(self, *, epoch: int, step: int) -> float:
        """The time from now to the end, with the evaluation of the best checkpoint that follows the last epoch.

        Before the first evaluation its time is not known, and counts as none.

        Args:
            epoch: finished epochs, from the start of the training.
            step: finished steps, likewise.
        """
        # Worker processes start in the first epoch, and caches are cold: it counts until there is another one.
        first = min(1, max(0, len(self.steps) - 2))
        recent = slice(max(first, len(self.steps) - 1 - RECENT_EPOCHS), None)
        per_step = sum(self.seconds["steps"][recent]) / max(1, sum(self.steps[recent]))
        evaluation, saving = (mean_of_finished(self.seconds[kind][recent]) for kind in ("evaluation", "saving"))
        steps, evaluations = self.epochs * self.steps_per_epoch - step, self.epochs - epoch
        return steps * per_step + evaluations * (evaluation + saving) + evaluation


def mean_of_finished(seconds: list[float]) -> float:
    """The mean over the epochs but the last, which is not finished; 0 where there is none."""
    return sum(seconds[:-1]) / max(1, len(seconds) - 1)
