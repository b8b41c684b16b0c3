"""A checkpoint whose state.pt somebody else wrote: resumed as it is, or refused in one line, and never a crash."""

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nextvit.errors import InputError
from nextvit.train.checkpoint import resume, save_last
from nextvit.train.recipe import Recipe
from nextvit.train.saved_state import restore_state
from nextvit.train.state import Training
from nextvit.train.step import train_step
from tests.conftest import MadeOnce, draw_dataset
from tests.train.runs import RECIPE, training_for

State = dict[str, Any]
Change = Callable[[State], object]


@pytest.fixture(scope="module")
def pictures(made_once: MadeOnce) -> Path:
    return made_once("nine-steps-of-colours", lambda folder: draw_dataset(folder, train=24))


@pytest.fixture(scope="module")
def untouched(pictures: Path) -> Training:
    """A training before its first step, which no refused checkpoint may change."""
    return training_for(pictures, RECIPE)


def take_step(training: Training, recipe: Recipe = RECIPE) -> None:
    train_step(training, next(iter(training.batches)), recipe)
    training.progress.step += 1


@pytest.fixture(scope="module")
def saved(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint after one step."""
    run = tmp_path_factory.mktemp("saved")
    training = training_for(pictures, RECIPE)
    take_step(training)
    save_last(run, training)
    return run


@pytest.fixture(scope="module")
def few_moments(saved: Path) -> State:
    """The content of state.pt, with the moments of the first parameters alone: that is allowed, and fast."""
    state = torch.load(saved / "checkpoints" / "last" / "state.pt", weights_only=True)
    state["optimizer"]["state"] = {number: state["optimizer"]["state"][number] for number in range(3)}
    return state


@pytest.fixture
def changed(saved: Path, few_moments: State, tmp_path: Path) -> Callable[[Change], Path]:
    """The checkpoint with another state.pt."""

    def write(change: Change) -> Path:
        folder = tmp_path / "run" / "checkpoints" / "last"
        folder.mkdir(parents=True)
        for name in ("model.safetensors", "ema.safetensors"):
            (folder / name).symlink_to(saved / "checkpoints" / "last" / name)
        state = deepcopy(few_moments)
        change(state)
        torch.save(state, folder / "state.pt")
        return folder

    return write


def moment(name: str, make: Callable[[torch.Tensor], object]) -> Change:
    """Replace a moment of the first parameter."""
    return lambda state: state["optimizer"]["state"][0].update({name: make(state["optimizer"]["state"][0][name])})


def step(value: object) -> Change:
    return lambda state: state["optimizer"]["state"][0].update(step=value)


def progress(**values: object) -> Change:
    return lambda state: state["progress"].update(values)


def budget(**values: object) -> Change:
    """A time budget that is possible after one step, but for these values."""
    record = {"seconds": 600.0, "used": 20.0, "epochs": 6, "step_seconds": 0.1, "evaluation_seconds": 1.0}
    record |= {"report_seconds": 1.0, "steps_left": 500, "position": 0.0, "steps": 1}
    return progress(budget={**record, **values})


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: torch.full_like(tensor, value)


HARMFUL: dict[str, Change] = {
    "a moment of one value": moment("exp_avg", lambda _: torch.zeros(1)),
    "a moment without values": moment("exp_avg_sq", lambda _: torch.zeros(0)),
    "a moment of another shape": moment("exp_avg", lambda tensor: tensor.flatten()),
    "a larger moment": moment("exp_avg", lambda tensor: torch.cat([tensor, tensor])),
    "a moment in fp16": moment("exp_avg", torch.Tensor.half),
    "a moment in fp64": moment("exp_avg_sq", torch.Tensor.double),
    "a moment of integers": moment("exp_avg", torch.Tensor.long),
    "a complex moment": moment("exp_avg", lambda tensor: torch.complex(tensor, tensor)),
    "a sparse moment": moment("exp_avg", torch.Tensor.to_sparse),
    "a moment on no device": moment("exp_avg", lambda tensor: torch.empty_like(tensor, device="meta")),
    "a moment that is a list": moment("exp_avg", torch.Tensor.tolist),
    "a moment of NaN": moment("exp_avg", filled(float("nan"))),
    "an infinite moment": moment("exp_avg_sq", filled(float("inf"))),
    "a negative square": moment("exp_avg_sq", filled(-1.0)),
    "no second moment": lambda state: state["optimizer"]["state"][0].pop("exp_avg_sq"),
    "a third moment": (
        lambda state: state["optimizer"]["state"][0].update(max_exp_avg_sq=torch.zeros(1))),
    "state of no parameter": lambda state: state["optimizer"]["state"].update({10**6: {}}),
    "state under a text": lambda state: state["optimizer"]["state"].update({"0": {}}),
    "state that is a list": lambda state: state["optimizer"].update(state=[]),
    "a negative count of updates": step(torch.tensor(-1.0)),
    "more updates than steps": step(torch.tensor(1e30)),
    "half an update": step(torch.tensor(0.5)),
    "a count of NaN": step(torch.tensor(float("nan"))),
    "counts of updates": step(torch.zeros(3)),
    "an integer count": step(torch.tensor(1)),
    "a count that is no tensor": step(1),
    "another group": lambda state: state["optimizer"]["param_groups"].append({"params": [0]}),
    "a group too few": lambda state: state["optimizer"]["param_groups"].pop(),
    "a group of other parameters": lambda state: state["optimizer"]["param_groups"][0].update(params=[0, 0, 0]),
    "groups that are a number": lambda state: state["optimizer"].update(param_groups=3),
    "a negative epoch": progress(epoch=-1),
    "an epoch without its steps": progress(epoch=3),
    "a negative step": progress(step=-1),
    "a step too far": progress(step=10**6),
    "a step of a thousand digits": progress(step=10**1000),
    "steps of an epoch that are none": progress(steps_per_epoch=0),
    "a best score of NaN": progress(best=(float("nan"), 0.0)),
    "an infinite best score": progress(best=(float("inf"), 0.0)),
    "a best score alone": progress(best=(1.0,)),
    "more epochs since the best": progress(epochs_since_best=5),
    "more images than were seen": progress(seen=10**9),
    "a loss of NaN": progress(loss_sum=float("nan")),
    "a negative time": progress(seconds=-1.0),
    "losses under numbers": progress(losses={1: 1.0}),
    "unreadable images that are numbers": progress(unreadable=(1, 2)),
    "progress with other fields": progress(other=1),
    "a budget that is a number": progress(budget=3.0),
    "a budget of more steps": budget(steps=2),
    "a budget without epochs": budget(epochs=0),
    "negative steps left": budget(steps_left=-1),
    "half a step left": budget(steps_left=0.5),
    "a position beyond the schedule": budget(position=1e6),
    "a position of NaN": budget(position=float("nan")),
    "an evaluation to come": budget(evaluated_step=2),
    "a step without time": budget(step_seconds=0.0),
    "a step of next to no time": budget(step_seconds=1e-320),
    "an endless evaluation": budget(evaluation_seconds=1e308),
    "an infinite time": budget(used=float("inf")),
    "a negative time of saving": budget(saving_seconds=-1.0),
    "a budget with other fields": budget(other=1),
    "no progress": lambda state: state.pop("progress"),
    "progress that is a list": lambda state: state.update(progress=[]),
    "a negative number of averages": lambda state: state.update(ema_updates=-1),
    "averages that are a text": lambda state: state.update(ema_updates="1"),
    "more averages than steps": lambda state: state.update(ema_updates=10**400),
    "another part": lambda state: state.update(other=1),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMFUL)
def test_a_state_that_does_not_fit_is_refused(name: str, changed: Callable[[Change], Path], untouched: Training):
    with pytest.raises(InputError) as error:
        restore_state(changed(HARMFUL[name]) / "state.pt", untouched)
    message = str(error.value)
    assert "state.pt" in message or "had" in message
    assert len(message.splitlines()) == 1 and len(message) < 600
    assert untouched.progress.step == 0 and not untouched.optimizer.state


def test_a_time_budget_is_restored(changed: Callable[[Change], Path], pictures: Path):
    training = training_for(pictures, RECIPE)
    restore_state(changed(budget()) / "state.pt", training)
    assert training.progress.budget is not None
    assert (training.progress.budget.used, training.progress.budget.steps_left) == (20.0, 500)


@pytest.mark.parametrize(
    "change",
    [
        moment("exp_avg", lambda tensor: torch.zeros(1).expand_as(tensor)),
        moment("exp_avg_sq", lambda tensor: torch.zeros(1).expand_as(tensor)),
        moment("exp_avg", lambda tensor: tensor.to(memory_format=torch.channels_last)),
        moment("exp_avg", lambda tensor: tensor.mT.contiguous().mT),
        lambda state: state["optimizer"]["param_groups"][0].update(lr=float("nan"), eps=-1.0, fused=None, betas=()),
    ],
    ids=["strides of zero", "squares with strides of zero", "channels last", "transposed", "settings of a group"],
)
def test_moments_get_the_layout_of_their_parameter_and_groups_their_own_settings(
    change: Change, changed: Callable[[Change], Path], pictures: Path
):
    training = training_for(pictures, RECIPE)
    settings = [{**group, "params": []} for group in training.optimizer.state_dict()["param_groups"]]
    resume(changed(change), training, RECIPE.optim)
    for parameter, state in training.optimizer.state.items():
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == parameter.stride()
    assert [{**group, "params": []} for group in training.optimizer.state_dict()["param_groups"]] == settings
    take_step(training)
    assert all(bool(torch.isfinite(each).all()) for each in training.model.parameters())


def test_a_resumed_state_is_the_saved_one(saved: Path, pictures: Path):
    first, second = training_for(pictures, RECIPE), training_for(pictures, RECIPE, seed=1)
    take_step(first)
    resume(saved / "checkpoints" / "last", second, RECIPE.optim)
    # The time that the teacher took differs.
    assert replace(second.progress, taught=0.0) == replace(first.progress, taught=0.0)
    assert second.ema.updates == first.ema.updates
    for one, other in zip(first.optimizer.state.values(), second.optimizer.state.values(), strict=True):
        assert all(torch.equal(one[part], other[part]) for part in one)


@pytest.mark.training
def test_a_process_that_resumes_from_a_harmful_state_ends_with_one_line(
    changed: Callable[[Change], Path], pictures: Path
):
    """Without the checks the optimizer's kernel writes past the end of this moment, and the process dies."""
    folder = changed(HARMFUL["a moment of one value"])
    code = f"""
from pathlib import Path
from nextvit.errors import InputError
from nextvit.train.checkpoint import resume
from tests.train.runs import RECIPE, training_for
from tests.train.test_saved_state import take_step
training = training_for(Path({str(pictures)!r}), RECIPE)
try:
    resume(Path({str(folder)!r}), training, RECIPE.optim)
except InputError as error:
    print(error)
else:
    take_step(training)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert "state of parameter 0, exp_avg is float32 of shape (1,)" in done.stdout


@pytest.mark.parametrize("scale", [-1.0, 0.0, float("nan"), float("inf"), 1e300, "1", None, torch.tensor(1.0)])
def test_an_impossible_scale_of_the_loss_is_refused(
    scale: object, changed: Callable[[Change], Path], untouched: Training
):
    training = replace(untouched, scaler=torch.amp.GradScaler("cpu", enabled=True))
    own = {"scale": scale, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}
    with pytest.raises(InputError, match="scale"):
        restore_state(changed(lambda state: state.update(scaler=own)) / "state.pt", training)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(
    name: str, value: float, changed: Callable[[Change], Path], untouched: Training
):
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder = changed(lambda state: None)
    with safe_open(folder / name, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors["backbone.stem.0.conv.weight"][0, 0, 0, 0] = value
    (folder / name).unlink()
    save_file(tensors, folder / name, metadata=metadata)
    with pytest.raises(InputError, match=rf"{name}: 'backbone.stem.0.conv.weight' has values that are NaN or infinite"):
        resume(folder, untouched, RECIPE.optim)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"\x80\x02", b"\x80\x02c__builtin__\neval\n.", json.dumps({}).encode()]
)
def test_what_is_no_state_is_refused(content: bytes, changed: Callable[[Change], Path], untouched: Training):
    folder = changed(lambda state: None)
    (folder / "state.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"state\.pt: "):
        restore_state(folder / "state.pt", untouched)
