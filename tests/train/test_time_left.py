"""The time left, on made-up durations."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from nextvit.train.time_left import Kind, WorkTimes


@dataclass
class MadeUpTraining:
    """A training whose work takes given times, and what was estimated of it after each of its epochs."""

    epochs: int = 10
    steps: int = 20
    step_s: float = 0.5
    evaluation_s: float = 4.0
    saving_s: float = 1.0
    warm_up: float = 1.0
    """How much longer the first epoch takes."""
    noise: float = 0.0
    """Standard deviation of each duration, as a fraction of it."""
    time_s: float = 0.0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def run(self, *, first_epoch: int = 0, first_step: int = 0) -> list[float]:
        """The error of the estimate after each epoch, relative to the time that was really left."""
        times = WorkTimes(self.epochs, self.steps, now=lambda: self.time_s)
        estimates: list[tuple[float, float]] = []

        def work(kind: Kind, seconds: float) -> None:
            self.time_s += seconds * float(self.rng.normal(1, self.noise))
            times.lap(kind)

        for epoch in range(first_epoch, self.epochs):
            slower = self.warm_up if epoch == first_epoch else 1.0
            for _ in range(first_step if epoch == first_epoch else 0, self.steps):
                work("steps", self.step_s * slower)
            work("evaluation", self.evaluation_s * slower)
            work("saving", self.saving_s)
            times.finish_epoch()
            estimates.append((self.time_s, times.seconds_left(epoch=epoch + 1, step=(epoch + 1) * self.steps)))
        ended = self.time_s + self.evaluation_s  # of the best checkpoint
        return [abs(left - (ended - at)) / (ended - at) for at, left in estimates]


@pytest.mark.parametrize(
    "make",
    [
        MadeUpTraining,
        lambda: MadeUpTraining(evaluation_s=20.0),  # twice as long as the steps, as of many validation images
        lambda: MadeUpTraining(saving_s=15.0),
        lambda: MadeUpTraining(warm_up=4.0),
        lambda: MadeUpTraining(warm_up=2.0, noise=0.05),
        lambda: MadeUpTraining(epochs=100, steps=2, warm_up=10.0),
        lambda: MadeUpTraining(epochs=3, steps=500, step_s=0.1),
    ],
)
def test_after_the_second_epoch_it_is_right_within_a_twentieth(make: Callable[[], MadeUpTraining]):
    assert max(make().run()[1:]) < 0.05


def test_a_resumed_training_counts_what_is_left_of_it():
    assert max(MadeUpTraining(warm_up=3.0).run(first_epoch=4, first_step=15)[1:]) < 0.05


def test_within_an_epoch_its_remaining_steps_count():
    now = 0.0
    times = WorkTimes(3, 10, now=lambda: now)
    for _ in range(4):
        now += 2.0
        times.lap("steps")
    assert times.seconds_left(epoch=0, step=4) == pytest.approx(2.0 * 26)  # no evaluation is known yet
    for _ in range(6):
        now += 2.0
        times.lap("steps")
    now += 7.0
    times.lap("evaluation")
    now += 1.0
    times.lap("saving")
    times.finish_epoch()
    assert times.seconds_left(epoch=1, step=10) == pytest.approx(2.0 * 20 + 2 * (7.0 + 1.0) + 7.0)
    assert times.seconds_left(epoch=3, step=30) == pytest.approx(7.0)


def test_it_follows_a_machine_that_slows_down():
    now = 0.0
    times = WorkTimes(20, 10, now=lambda: now)
    for epoch in range(10):
        for _ in range(10):
            now += 1.0 if epoch < 5 else 3.0
            times.lap("steps")
        times.finish_epoch()
    assert times.seconds_left(epoch=10, step=100) == pytest.approx(3.0 * 100)
