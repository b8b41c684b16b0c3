"""Measure how fast this machine trains and evaluates, before the first epoch. Nothing of it remains."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

from nextvit.errors import InputError
from nextvit.predictions.kind import output_names
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.network import deploy_network
from nextvit.tasks.predict_split import predict_split
from nextvit.tasks.task import Shard
from nextvit.train.optim import train_mode
from nextvit.train.recipe import Recipe
from nextvit.train.state import Training
from nextvit.train.step import train_step

TRIAL_SECONDS, MOST_STEPS = 2.0, 10
EVALUATED_IMAGES = 64


@dataclass(frozen=True)
class Pace:
    """The seconds of a step, and of an evaluation by all processes."""

    step: float
    evaluation: float


def measure_pace(training: Training, recipe: Recipe, *, now: Callable[[], float]) -> Pace:
    """Time a few steps, which are undone, and the evaluation of a few images; the first process decides for all.

    Args:
        training: before its first step.
        now: the clock, in seconds.

    Raises:
        InputError: the images cannot be read.
    """
    pace = Pace(time_steps(training, recipe, now=now), time_evaluation(training, now=now))
    return training.world.gather(pace)[0]


def time_steps(training: Training, recipe: Recipe, *, now: Callable[[], float]) -> float:
    """The mean seconds of a step after the first, which also starts the workers."""
    model, ema, world = training.model, training.ema, training.world
    before = [deepcopy(each.state_dict()) for each in (model, ema.model, training.scaler)]  # pyright: ignore
    training.sampler.epoch, training.sampler.start = 0, 0
    train_mode(model, training.frozen)
    readings: list[float] = []
    for batch in training.batches:
        if batch.failure:
            raise InputError(batch.failure)
        train_step(training, batch, recipe)
        readings.append(now())
        is_enough = len(readings) > MOST_STEPS or readings[-1] - readings[0] > TRIAL_SECONDS
        if world.gather(is_enough)[0]:
            break
    for part, state in zip((model, ema.model, training.scaler), before, strict=True):
        part.load_state_dict(state)  # pyright: ignore
    ema.updates = 0
    training.optimizer.state.clear()
    training.optimizer.zero_grad(set_to_none=True)
    return max(1e-6, readings[-1] - readings[0]) / max(1, len(readings) - 1)


def time_evaluation(training: Training, *, now: Callable[[], float]) -> float:
    """The seconds of an evaluation, from a part of the images; its scores are not computed."""
    dataset, card = training.dataset, training.evaluator.card
    parts = max(1, len(dataset.split("val")) // EVALUATED_IMAGES)
    started = now()
    session = TorchSession(deploy_network(training.ema.model, training.card), outputs=output_names(card))
    deployed = now()
    predict_split(session.run, dataset, card, split="val", shard=Shard(count=parts))
    return deployed - started + (now() - deployed) * parts / training.world.size
