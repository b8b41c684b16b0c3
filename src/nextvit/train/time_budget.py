"""A training in a given time: how many steps still fit, and how far the planned schedule has come.

The epochs are planned once, from what was measured before the first step. Afterwards the clock decides how fast the
planned schedule is passed: before each step what is left of it is laid over the steps that still fit. So the learning
rate never jumps back, no estimate has to be right from the start, and the last step ends the schedule.
"""

from dataclasses import dataclass

from nextvit.train.time_left import Kind

SAVING_SECONDS = 0.3
"""The first guess, which the first epoch corrects."""
TRIAL_WEIGHT, MEMORY = 8, 50
"""Of the mean time of a step: the trial counts as this many steps, and the mean is over about so many recent ones."""


@dataclass(kw_only=True)
class TimeBudget:
    """The time of a training, what of it is used, and how long each kind of work takes.

    It reads no clock: each piece of work is recorded with its duration, so that a resumed training, which has this
    record from its checkpoint, goes on exactly.
    """

    seconds: float
    """For everything: from the start of the command to the report."""
    used: float
    """Part of it that is used, without what was lost between a checkpoint and a kill."""
    epochs: int
    """Epochs that were planned, over which the schedule is laid."""
    step_seconds: float
    evaluation_seconds: float
    report_seconds: float
    """After the last evaluation."""
    saving_seconds: float = SAVING_SECONDS
    steps_left: int = 1
    """Steps that still fit. Once it is 0, it stays so."""
    position: float = -1.0
    """Of the last step in the planned schedule, counted in its steps; -1 before the first step."""
    steps: int = 0
    """Recorded steps."""
    evaluated_step: int = -1
    """The step after which the last evaluation took place; -1 before the first."""

    def record(self, kind: Kind, seconds: float) -> None:
        """Count a step, an evaluation or a save with its duration."""
        self.used += seconds
        if kind == "steps":
            self.steps += 1
            self.step_seconds += (seconds - self.step_seconds) / min(self.steps + TRIAL_WEIGHT, MEMORY)
        elif kind == "evaluation":
            is_first = self.evaluated_step < 0  # it replaces what a few images took before the training
            self.evaluation_seconds = seconds if is_first else (self.evaluation_seconds + seconds) / 2
            self.evaluated_step = self.steps
        else:
            self.saving_seconds = (self.saving_seconds + seconds) / 2

    def count_steps_left(self, *, step_in_epoch: int, steps_per_epoch: int) -> None:
        """Set `steps_left` by the time that is left.

        Args:
            step_in_epoch: finished steps of the current epoch.
            steps_per_epoch: steps after which the model is evaluated.
        """
        if self.steps_left:
            self.steps_left = steps_that_fit(
                self.seconds - self.used - self.evaluation_seconds - self.report_seconds,
                step_in_epoch=step_in_epoch,
                steps_per_epoch=steps_per_epoch,
                step_seconds=self.step_seconds,
                end_seconds=self.end_seconds,
            )

    @property
    def end_seconds(self) -> float:
        """The time of the end of an epoch: evaluating and saving."""
        return self.evaluation_seconds + self.saving_seconds

    @property
    def is_evaluation_due(self) -> bool:
        """Whether an epoch that has ended is evaluated: not where the steps that are left would not be worth another
        evaluation; they join this epoch."""
        return not 0 < self.steps_left * self.step_seconds < 2 * self.end_seconds

    @property
    def is_over(self) -> bool:
        """Whether no step is left, and the last one is evaluated."""
        return self.steps_left == 0 and self.evaluated_step == self.steps

    def advance(self, *, steps_per_epoch: int) -> float:
        """Move to the next step, and return its position in the planned schedule."""
        last = self.epochs * steps_per_epoch - 1
        self.position = max(0.0, self.position + (last - self.position) / max(1, self.steps_left))
        return self.position


def steps_that_fit(
    seconds: float, *, step_in_epoch: int, steps_per_epoch: int, step_seconds: float, end_seconds: float
) -> int:
    """How many steps fit into a time together with the ends of their epochs, the last of which may come early.

    Where after whole epochs less is left than twice the end of one, its steps join the last of them.

    Args:
        step_in_epoch: finished steps of the current epoch.
        end_seconds: the time of the end of an epoch: evaluating and saving.
    """
    from_its_start = seconds + step_in_epoch * step_seconds
    epochs, rest = divmod(from_its_start, steps_per_epoch * step_seconds + end_seconds)
    if epochs < 1 or rest >= 2 * end_seconds:
        rest -= end_seconds
    return max(0, int(epochs * steps_per_epoch + max(0.0, rest) / step_seconds) - step_in_epoch)
