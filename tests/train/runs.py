"""A short training, which a test may interrupt."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nextvit.models.weights import read_safetensors
from nextvit.tasks.network import build_network
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import LabelSettings
from nextvit.tasks.task import get_task
from nextvit.train.card import build_card
from nextvit.train.distributed import World
from nextvit.train.loop import Tick
from nextvit.train.prepare import prepare
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.train.resolve import resolve_recipe
from nextvit.train.start import train
from nextvit.train.state import Training
from nextvit.views.settings import Augment
from tests.conftest import MadeOnce

RECIPE = Recipe(
    model=Model(name="nextvit_nano"),
    data=Data(image_size=32, batch_size=8, workers=0),
    task=LabelSettings(augment=Augment(crop_scale=(0.6, 1.0))),
    optim=Optim(lr=2e-3),
    schedule=Schedule(epochs=6, warmup_epochs=0.5),
    ema=Ema(decay=0.8),
    compute=Compute(threads=1),  # in this process as in others that are compared with it
)


def silent(message: str) -> None: ...


def run(
    dataset: Path,
    out: Path,
    recipe: Recipe = RECIPE,
    *,
    task: str | None = None,
    resume: bool = False,
    stop_after: int | None = None,
    stop_at: int | None = None,
    say: Callable[[str], None] = silent,
    now: Callable[[], float] = time.perf_counter,
):
    """Train, or fall over after some steps, or stop at one as Ctrl-C does; returns the losses by step."""
    losses: dict[int, float] = {}

    def watch(tick: Tick) -> None:
        losses[tick.step] = tick.loss
        if tick.step == stop_after and not tick.evaluation:
            raise KeyboardInterrupt
        if stop_at is not None and tick.step == stop_at and not tick.evaluation:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        train(dataset, recipe, run=out, task=task, resume=resume, watch=watch, say=say, now=now)
    except KeyboardInterrupt:
        assert stop_after or stop_at
    return losses


def weights(run: Path, name: str = "last/model") -> dict[str, torch.Tensor]:
    return read_safetensors(run / "checkpoints" / f"{name}.safetensors")[0]


def finished_run(
    made_once: MadeOnce,
    name: str,
    pictures: Path,
    recipe: Recipe,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[Path, dict[int, float]]:
    """One uninterrupted run that all workers read, and its losses by step."""

    def make(folder: Path) -> None:
        losses = run(pictures, folder / "run", recipe, now=now)
        (folder / "losses.json").write_text(json.dumps(losses))

    folder = made_once(name, make)
    losses = json.loads((folder / "losses.json").read_text())
    return folder / "run", {int(step): loss for step, loss in losses.items()}


def with_sections(recipe: Recipe, **sections: Any) -> Recipe:
    """The recipe with other sections of its task."""
    return replace(recipe, task=replace(recipe.task, **sections))  # pyright: ignore


def training_for(root: Path, recipe: Recipe, *, seed: int = 0, task: str | None = None) -> Training:
    """A training on a CPU, ready for its first step."""
    torch.manual_seed(seed)
    dataset = read_dataset(root, task=task)
    recipe = resolve_recipe(recipe, dataset)
    dataset = get_task(dataset.task).complete(dataset, recipe.task, torch.device("cpu"))
    card = build_card(dataset, recipe)
    return prepare(dataset, card, build_network(card), recipe, torch.device("cpu"), World())
