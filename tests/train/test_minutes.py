"""A whole training in a given time, by a clock that ticks at every reading."""

import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
import yaml

from nextvit.errors import InputError
from nextvit.files.run_folder import read_json_lines
from nextvit.train.recipe import Schedule
from nextvit.train.trial import measure_pace
from tests.conftest import MadeOnce, draw_dataset
from tests.train.runs import RECIPE, finished_run, run, training_for, weights

pytestmark = pytest.mark.training

RECIPE_WITH_TIME = replace(RECIPE, schedule=Schedule(epochs="auto", minutes=3.5 / 60, warmup_epochs=0.5))
"""A step, an evaluation and a save take one tick of the clock each."""


def ticking_clock() -> Callable[[], float]:
    """A clock that every reading advances by a sixteenth of a second, whose differences are exact."""
    ticks = count()
    return lambda: next(ticks) / 16


@pytest.fixture(scope="module")
def pictures(made_once: MadeOnce) -> Path:
    return made_once("nine-steps-of-colours", lambda folder: draw_dataset(folder, train=24))


@pytest.fixture(scope="module")
def finished(made_once: MadeOnce, pictures: Path) -> tuple[Path, dict[int, float]]:
    """One uninterrupted run."""
    return finished_run(made_once, "trained-in-seconds", pictures, RECIPE_WITH_TIME, now=ticking_clock())


def test_it_records_what_it_did(finished: tuple[Path, dict[int, float]]):
    out, losses = finished
    recipe, records = yaml.safe_load((out / "recipe.yaml").read_text()), read_json_lines(out / "metrics.jsonl")
    assert (recipe["schedule"]["epochs"], recipe["schedule"]["minutes"]) == ("auto", 3.5 / 60)
    assert 20 < len(losses) == records[-1]["step"] < 40
    rates = [record["lr"] for record in records]
    assert rates[-1] == pytest.approx(RECIPE.lr * RECIPE.schedule.final_lr_ratio, rel=0.3)


def test_resumed_it_gives_the_same_losses_and_weights(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, expected = finished
    run(pictures, tmp_path / "run", RECIPE_WITH_TIME, stop_at=7, now=ticking_clock())
    recorded = replace(RECIPE_WITH_TIME, schedule=recorded_schedule(tmp_path / "run"))
    losses = run(pictures, tmp_path / "run", recorded, resume=True, now=ticking_clock())
    assert losses == {step: loss for step, loss in expected.items() if step > 7}
    for name in ("last/model", "last/ema", "best/model"):
        again, whole = weights(tmp_path / "run", name), weights(out, name)
        assert all(torch.equal(again[key], whole[key]) for key in whole)


def recorded_schedule(out: Path) -> Schedule:
    values = yaml.safe_load((out / "recipe.yaml").read_text())["schedule"]
    return Schedule(**{**values, "milestones": tuple(values["milestones"])})


def test_a_finished_run_has_nothing_to_go_on_with(
    finished: tuple[Path, dict[int, float]], pictures: Path, tmp_path: Path
):
    out, said = tmp_path / "run", list[str]()
    shutil.copytree(finished[0], out)
    longer = replace(RECIPE, schedule=replace(recorded_schedule(out), minutes=3.0))
    assert run(pictures, out, longer, resume=True, say=said.append) == {}
    assert any("min of this run are used and its schedule is at its end" in line for line in said)
    assert recorded_schedule(out).minutes == pytest.approx(3.5 / 60)
    counted = replace(longer, schedule=replace(longer.schedule, minutes=0.0, epochs=50))
    with pytest.raises(InputError, match=r"was started with schedule.minutes, and cannot go on with schedule.epochs"):
        run(pictures, out, counted, resume=True)


def test_too_short_a_time_leaves_nothing_behind(pictures: Path, tmp_path: Path):
    short = replace(RECIPE, schedule=Schedule(epochs="auto", minutes=0.03))
    with pytest.raises(InputError, match=re.escape("schedule.minutes 0.03 is too short: ")):
        run(pictures, tmp_path / "run", short, now=ticking_clock())
    assert not (tmp_path / "run").exists()


def test_minutes_and_epochs_exclude_each_other(pictures: Path, tmp_path: Path):
    both = replace(RECIPE, schedule=Schedule(epochs=3, minutes=10))
    with pytest.raises(InputError, match=r"either the time or the epochs can be given, got schedule.minutes 10 and"):
        run(pictures, tmp_path / "run", both)
    with pytest.raises(InputError, match=r"schedule.shape steps counts epochs"):
        Schedule(epochs="auto", minutes=10, shape="steps")
    for minutes in (-1, 1e300):
        with pytest.raises(InputError, match=r"schedule.minutes is from 0 to a million, got"):
            Schedule(epochs="auto", minutes=minutes)


def test_a_trial_changes_nothing(pictures: Path):
    training = training_for(pictures, RECIPE)
    before = deepcopy((training.model.state_dict(), training.ema.model.state_dict()))
    pace = measure_pace(training, RECIPE, now=ticking_clock())
    assert (pace.step, pace.evaluation) == (1 / 16, 2 / 16)
    for state, was in zip((training.model.state_dict(), training.ema.model.state_dict()), before, strict=True):
        assert all(torch.equal(state[name], was[name]) for name in was)
    assert not training.optimizer.state and training.ema.updates == training.progress.step == 0
    assert all(weight.grad is None for weight in training.model.parameters())
