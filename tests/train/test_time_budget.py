"""A training in a given time, on made-up durations: it ends in time, and its schedule ends with it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nextvit.errors import InputError
from nextvit.train.plan import choose_epoch_steps, describe_epochs, describe_steps_made, go_on, plan_time
from nextvit.train.recipe import Data, Model, Recipe, Schedule
from nextvit.train.time_budget import TimeBudget, steps_that_fit
from nextvit.train.trial import Pace

REPORT_S = 2.0


@dataclass
class MadeUpTraining:
    """A training whose work takes given times."""

    minutes: float = 10.0
    steps_per_pass: int = 100
    epoch_steps: int = 0
    step_s: float = 0.1
    evaluation_s: float = 2.0
    saving_s: float = 0.3
    used_s: float = 8.0
    """Before the first step."""
    noise: float = 0.0
    """Standard deviation of each duration, as a fraction of it."""
    later: float = 1.0
    """Factor of all durations in the second half of the time."""
    guess: tuple[float, float] = (1.0, 1.0)
    """What was measured before the training, as factors of the true times of a step and of an evaluation."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    positions: list[float] = field(default_factory=list[float])
    evaluated: list[int] = field(default_factory=list[int])
    """After which steps."""

    def run(self) -> float:
        """Train to the end, and return the minutes that it took."""
        pace = Pace(self.guess[0] * self.step_s, self.guess[1] * self.evaluation_s)
        asked = Schedule(epochs="auto", minutes=self.minutes, epoch_steps=self.epoch_steps)
        self.schedule, self.budget = plan_time(
            asked, pace, steps_per_pass=self.steps_per_pass, used=self.used_s, report_seconds=REPORT_S
        )
        steps_per_epoch, step, epoch = self.schedule.epoch_steps or self.steps_per_pass, 0, 0
        budget = self.budget
        while not budget.is_over:
            while step < (epoch + 1) * steps_per_epoch and budget.steps_left:
                self.positions.append(budget.advance(steps_per_epoch=steps_per_epoch))
                budget.record("steps", self.duration(self.step_s))
                step += 1
                budget.count_steps_left(step_in_epoch=step - epoch * steps_per_epoch, steps_per_epoch=steps_per_epoch)
            epoch += 1
            if budget.is_evaluation_due:
                self.evaluated.append(step)
                budget.record("evaluation", self.duration(self.evaluation_s))
                budget.count_steps_left(step_in_epoch=0, steps_per_epoch=steps_per_epoch)
                budget.record("saving", self.duration(self.saving_s))
                budget.count_steps_left(step_in_epoch=0, steps_per_epoch=steps_per_epoch)
        return (budget.used + self.duration(self.evaluation_s) + REPORT_S) / 60

    def duration(self, seconds: float) -> float:
        factor = self.later if self.budget.used > 30 * self.minutes else 1.0
        return seconds * factor * max(0.1, float(self.rng.normal(1, self.noise)))


CASES: dict[str, Callable[[], MadeUpTraining]] = {
    "even": MadeUpTraining,
    "noisy": lambda: MadeUpTraining(noise=0.3),
    "slower later": lambda: MadeUpTraining(later=2.5),
    "faster later": lambda: MadeUpTraining(later=0.4),
    "trial too slow": lambda: MadeUpTraining(guess=(3.0, 4.0)),
    "trial too fast": lambda: MadeUpTraining(guess=(0.3, 0.2), noise=0.1),
    "one minute": lambda: MadeUpTraining(minutes=1, step_s=0.05, evaluation_s=1.0, noise=0.1),
    "many small passes": lambda: MadeUpTraining(minutes=2, steps_per_pass=2, evaluation_s=0.5),
    "less than one pass": lambda: MadeUpTraining(minutes=5, steps_per_pass=50_000, noise=0.2),
    "costly evaluation": lambda: MadeUpTraining(minutes=4, evaluation_s=25.0),
    "epochs of few steps, as asked": lambda: MadeUpTraining(minutes=4, epoch_steps=10, evaluation_s=9.0),
    "one epoch of more steps than fit, as asked": lambda: MadeUpTraining(minutes=2, epoch_steps=5000),
    "a day": lambda: MadeUpTraining(minutes=1440, step_s=2.0, steps_per_pass=4000, evaluation_s=300.0),
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_in_time_with_the_schedule_at_its_end(case: str):
    training = CASES[case]()
    assert training.run() == pytest.approx(training.minutes, rel=0.03)
    positions = training.positions
    assert all(earlier < later for earlier, later in pairwise(positions))
    planned = training.budget.epochs * (training.schedule.epoch_steps or training.steps_per_pass)
    assert positions[-1] == pytest.approx(planned - 1, abs=0.02 * planned)
    jumps = np.diff([0.0, *positions])
    assert jumps.max() < max(12 * planned / len(positions), 0.02 * planned)
    assert training.evaluated[-1] == training.budget.steps == len(positions)


def test_where_the_estimates_hold_the_schedule_is_that_of_as_many_epochs():
    training = MadeUpTraining(minutes=(8 + 5 * (100 * 0.1 + 2.3) + 2 + REPORT_S + 0.05) / 60, epoch_steps=100)
    training.run()
    assert training.budget.epochs == 5
    assert training.positions == pytest.approx(range(500))
    assert training.evaluated == [100, 200, 300, 400, 500]


def test_a_resumed_training_goes_on_as_if_nothing_had_happened():
    """All that it knows is in the record that a checkpoint has: twice the same durations from there."""
    whole, copied = MadeUpTraining(noise=0.2), MadeUpTraining(noise=0.2)
    whole.run()
    _, budget = plan_time(
        Schedule(epochs="auto", minutes=10), Pace(0.1, 2.0), steps_per_pass=100, used=8.0, report_seconds=REPORT_S
    )
    steps_per_epoch = whole.schedule.epoch_steps or 100
    copied.budget = budget
    for step in range(1, 60):
        budget = TimeBudget(**vars(budget))  # a kill and a resume before each step
        go_on(budget, Schedule(epochs="auto", minutes=10), step_in_epoch=step - 1, steps_per_epoch=steps_per_epoch)
        assert budget.advance(steps_per_epoch=steps_per_epoch) == whole.positions[step - 1]
        budget.record("steps", copied.duration(0.1))
        budget.count_steps_left(step_in_epoch=step, steps_per_epoch=steps_per_epoch)


def test_the_schedule_ends_sooner_or_later_where_the_time_is_changed():
    _, budget = plan_time(
        Schedule(epochs="auto", minutes=10), Pace(0.1, 2.0), steps_per_pass=100, used=8.0, report_seconds=REPORT_S
    )
    fitted, budget.used = budget.steps_left, 120.0
    go_on(budget, Schedule(epochs="auto", minutes=20), step_in_epoch=0, steps_per_epoch=100)
    assert budget.steps_left > 1.5 * fitted
    with pytest.raises(
        InputError, match=r"minutes 2 leaves no time: this run has used 2.0 minutes.*pass more --minutes"
    ):
        go_on(budget, Schedule(epochs="auto", minutes=2), step_in_epoch=0, steps_per_epoch=100)


@pytest.mark.parametrize("minutes", [0.01, 0.1, 0.2, 0.25])
def test_too_short_a_time_is_refused_with_one_that_suffices(minutes: float):
    schedule = Schedule(epochs="auto", minutes=minutes)
    with pytest.raises(
        InputError, match=r"too short: .* took 8 s, .* will take 6 s, .* pass --minutes (0\.5|0\.6) or more"
    ) as refused:
        plan_time(schedule, Pace(0.1, 2.0), steps_per_pass=100, used=8.0, report_seconds=REPORT_S)
    enough = float(str(refused.value).partition("--minutes ")[2].partition(" ")[0])
    plan_time(replace(schedule, minutes=enough), Pace(0.1, 2.0), steps_per_pass=100, used=8.0, report_seconds=REPORT_S)


@pytest.mark.parametrize(
    ("steps_per_pass", "expected"),
    [
        (150, 150),  # a pass of 15 s in 600 s, of which its end takes 3
        (5000, 570),  # a tenth of the time, with its end
        (2, 120),  # whole passes, of which a fifth of the time goes to their ends
    ],
)
def test_an_epoch_is_a_pass_unless_it_would_be_long_or_hardly_anything(steps_per_pass: int, expected: int):
    assert choose_epoch_steps(600.0, 0.1, 3.0, steps_per_pass=steps_per_pass) == expected


def test_the_warm_up_is_at_most_a_fifth_of_few_epochs():
    costly = MadeUpTraining(minutes=4, evaluation_s=25.0)
    costly.run()
    assert costly.schedule.warmup_epochs == pytest.approx(0.2 * costly.budget.epochs)
    even = MadeUpTraining()
    even.run()
    assert even.schedule.warmup_epochs == Schedule().warmup_epochs


@pytest.mark.parametrize("step_in_epoch", [0, 30, 99])
@pytest.mark.parametrize("seconds", [0.5, 4.0, 13.0, 40.0, 41.9, 99.0, 1000.0])
def test_the_steps_that_fit_fill_the_time_but_not_more(seconds: float, step_in_epoch: int):
    fit = steps_that_fit(seconds, step_in_epoch=step_in_epoch, steps_per_epoch=100, step_seconds=0.1, end_seconds=3.0)
    whole, part = divmod(step_in_epoch + fit, 100)
    joined = 0 < part * 0.1 < 6.0 and whole > 0
    takes = fit * 0.1 + 3.0 * (whole + (part > 0) - joined)
    assert fit == 0 or takes <= seconds + 1e-6
    assert takes > seconds - 6.2 or fit == 0


def test_what_auto_plans_is_said_in_minutes_with_what_would_fit():
    recipe = Recipe(model=Model(name="nextvit_small"), data=Data(image_size=224), schedule=Schedule(epochs=20))
    assert describe_epochs(recipe, Pace(0.1, 5.0), steps_per_epoch=100) == (
        "20 epochs will take about 5 minutes on this machine"
    )
    assert describe_epochs(recipe, Pace(6.0, 60.0), steps_per_epoch=100) == (
        "20 epochs will take about 3.7 hours on this machine; "
        "in an hour: --minutes 60, or --image-size 96, or --model nextvit_nano"
    )
    smallest = replace(recipe, model=Model(name="nextvit_nano"), data=Data(image_size=64))
    assert describe_epochs(smallest, Pace(6.0, 60.0), steps_per_epoch=100).endswith("; in an hour: --minutes 60")


def test_what_was_made_can_be_repeated(tmp_path: Path):
    budget = TimeBudget(
        seconds=600, used=590, epochs=40, step_seconds=0.1, evaluation_seconds=1, report_seconds=1, steps=4120
    )
    said = describe_steps_made(budget, tmp_path, steps_per_epoch=100)
    assert said.startswith("4120 steps fitted into 10 min, 41.2 epochs of 100 steps")
    assert said.endswith(f"--config {tmp_path / 'recipe.yaml'} --epochs 41")
