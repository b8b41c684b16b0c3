"""Shared memory that is too small, workers that die, and a stop while data are awaited: none of them waits for ever."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.image.reading import Pixels
from nextvit.tasks.classification import ClassificationTask
from nextvit.tasks.classification_evaluation import ClassificationEvaluator
from nextvit.train import shared_memory
from nextvit.train.loop import Tick
from nextvit.train.recipe import Data, Schedule
from nextvit.train.shared_memory import check_shared_memory, measure_batch
from nextvit.train.start import train
from nextvit.views import training_batches
from nextvit.views.labelled_source import LabelledSource
from nextvit.views.training_batches import MORE_SHARED_MEMORY, TrainingSource, describe_worker_failure
from tests.train.runs import RECIPE, run, silent, training_for

WITH_WORKERS = replace(
    RECIPE, data=Data(image_size=32, batch_size=8, workers=2), schedule=Schedule(epochs=1, warmup_epochs=0.5)
)


@dataclass(frozen=True)
class FailingSource(LabelledSource):
    """Views that, from the fifth image of a worker on, are not made."""

    fail: Callable[[], None] = lambda: None

    def view(self, index: int, rng: np.random.Generator) -> tuple[Pixels, int]:
        if index >= 5:
            self.fail()
        return super().view(index, rng)


def fail_in_workers(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None]) -> None:
    """Let the views of a training fail in worker processes, and only there."""
    whole, parent = ClassificationTask.training_source, os.getpid()

    def only_in_workers() -> None:
        if os.getpid() != parent:
            fail()

    def failing(task: ClassificationTask, samples: Samples, *others: Any) -> TrainingSource:
        source = whole(task, samples, *others)
        assert isinstance(source, LabelledSource)
        return FailingSource(**vars(source), fail=only_in_workers)

    monkeypatch.setattr(ClassificationTask, "training_source", failing)


def be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_an_error() -> None:
    raise KeyError("no such thing")


def terminate_the_training_and_hang() -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(1000)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_batches, "usable_cores", lambda: 2)


def test_shared_memory_that_is_too_small_is_refused_with_numbers_and_the_way_out(
    two_cores: None, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared_memory, "free_bytes", lambda folder: 2**15)
    with pytest.raises(InputError) as refused:
        run(colours, tmp_path / "run", WITH_WORKERS)
    assert str(refused.value) == (
        "/dev/shm has 0.0 MiB free, and 2 data.workers need 0.1 MiB of it for 3 batches of 0.0 MiB: "
        "start the container with --shm-size=1g, or pass --data.workers 0"
    )
    assert not (tmp_path / "run").exists()


def test_a_batch_is_measured_as_it_is_sent(two_cores: None, colours: Path):
    training = training_for(colours, WITH_WORKERS)
    assert measure_batch(training) == 8 * (3 * 32 * 32 + 3 * 4 + 4)  # pixels, a row of targets, whether it is labelled


@pytest.mark.parametrize(("workers", "free"), [(0, 0), (2, 2**30)])
def test_no_workers_or_enough_memory_pass(
    two_cores: None, colours: Path, monkeypatch: pytest.MonkeyPatch, workers: int, free: int
):
    monkeypatch.setattr(shared_memory, "free_bytes", lambda folder: free)
    recipe = replace(WITH_WORKERS, data=replace(WITH_WORKERS.data, workers=workers))
    check_shared_memory(training_for(colours, recipe))


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (be_killed, "a worker that reads images died (DataLoader worker"),
        (raise_an_error, "a worker that reads images failed (KeyError: 'no such thing'); --data.workers 0 shows where"),
    ],
)
def test_a_worker_that_fails_ends_the_training_in_one_line(
    two_cores: None,
    colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[], None],
    message: str,
):
    fail_in_workers(monkeypatch, fail)
    with pytest.raises(InputError) as failed:
        run(colours, tmp_path / "run", WITH_WORKERS)
    assert str(failed.value).startswith(message)
    assert "\n" not in str(failed.value)


@pytest.mark.training
def test_shared_memory_that_fills_up_later_ends_the_training(
    two_cores: None, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(tensor: object) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr("torch.Tensor.share_memory_", full)
    with pytest.raises(InputError, match=r"No space left on device \(28\)\): start the container with more shared mem"):
        run(colours, tmp_path / "run", WITH_WORKERS)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers "
                "are out of shared memory."
            ),
            "a worker that reads images died (DataLoader worker (pid 7) is killed by signal: Bus error); "
            + MORE_SHARED_MEMORY,
        ),
        (RuntimeError("The size of tensor a (3) must match"), None),
        (ValueError(""), None),
    ],
)
def test_errors_of_workers_are_told_from_others(error: Exception, expected: str | None):
    assert describe_worker_failure(error) == expected


@pytest.mark.training
@pytest.mark.serial
def test_sigterm_is_heard_while_data_are_awaited(
    two_cores: None, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fail_in_workers(monkeypatch, terminate_the_training_and_hang)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    with pytest.raises(KeyboardInterrupt):
        train(colours, WITH_WORKERS, run=tmp_path / "run", watch=lambda tick: None, say=silent)
    assert (tmp_path / "run" / "checkpoints" / "last" / "state.pt").is_file()


@pytest.mark.training
@pytest.mark.serial
def test_a_stop_in_an_evaluation_is_heard_and_the_evaluation_repeated(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*arguments: object, **further: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("the evaluation went on")

    steps: list[int] = []

    def watch(tick: Tick) -> None:
        steps.append(tick.step)

    recipe = replace(RECIPE, schedule=Schedule(epochs=2, warmup_epochs=0.5))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ClassificationEvaluator, "evaluate", interrupted)
        train(colours, recipe, run=tmp_path / "run", watch=watch, say=silent)
    train(colours, recipe, run=tmp_path / "run", resume=True, watch=watch, say=silent)
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]  # an epoch's last step, and again after its evaluation
