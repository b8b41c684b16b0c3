"""Several processes train as one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nextvit.files.run_folder import read_json_lines
from nextvit.models.weights import read_safetensors
from nextvit.tasks.settings import LabelSettings
from nextvit.train.distributed import World
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.train.start import train
from nextvit.views.mix import Mix
from nextvit.views.settings import Augment
from tests.conftest import draw_dataset

pytestmark = pytest.mark.serial

RECIPE = Recipe(
    model=Model(name="nextvit_nano", drop_path=0.2),
    data=Data(image_size=32, batch_size=8, workers=0),
    task=LabelSettings(augment=Augment(crop_scale=(1.0, 1.0), flip=0.0), mix=Mix()),
    optim=Optim(lr=1e-4),
    schedule=Schedule(epochs=2, warmup_epochs=0),
    ema=Ema(decay=0.0),
    compute=Compute(precision="fp32", device="cpu", threads=1, save_minutes=0),
)
CODE = """
import sys, time
from pathlib import Path
from dataclasses import replace
from tests.train.test_distributed import RECIPE
from nextvit.train.recipe import Optim
from nextvit.train.start import train
pictures, out, pause = sys.argv[1:]
watch, say = lambda tick: time.sleep(float(pause)), lambda message: None
evaluation = train(Path(pictures), RECIPE, run=Path(out), watch=watch, say=say)
print("images judged:", evaluation.images, flush=True)
"""
TIMED = """
import os, sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from tests.train.test_distributed import RECIPE
from nextvit.train.recipe import Schedule
from nextvit.train.start import train
pictures, out, _ = sys.argv[1:]
ticks, seconds = count(), [1 / 16, 3 / 16][int(os.environ["RANK"])]
recipe, rates = replace(RECIPE, schedule=Schedule(epochs="auto", minutes=3.5 / 60)), []
train(Path(pictures), recipe, run=Path(out), watch=lambda tick: rates.append(tick.lr), say=lambda message: None,
      now=lambda: next(ticks) * seconds)
print("rates:", rates, flush=True)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine steps an epoch, and an odd number of images to judge."""
    root = draw_dataset(tmp_path_factory.mktemp("pictures"), train=24, val=4)
    (root / "val" / "red" / "3.png").unlink()
    return root


def torchrun(
    pictures: Path, out: Path, *, restarts: int = 0, pause: float = 0.0, code: str = CODE
) -> "subprocess.Popen[str]":
    """Two processes over gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", str(restarts),
               "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--no-python", sys.executable, "-c", code,
               str(pictures), str(out), str(pause)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def two_processes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes, and what they printed."""
    out = tmp_path_factory.mktemp("runs") / "together"
    printed, errors = (process := torchrun(pictures, out)).communicate(timeout=240)
    assert process.returncode == 0, errors
    return out, printed


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_safetensors(run / "checkpoints" / "last" / "model.safetensors")[0]


@pytest.mark.training
def test_two_processes_train_as_one_that_accumulates_over_the_same_parts(
    two_processes: tuple[Path, str], pictures: Path, tmp_path: Path
):
    """Parameters; the running statistics are the first process's own, which saw the first half of each batch."""
    alone = replace(RECIPE, optim=replace(RECIPE.optim, accumulate=2))
    train(pictures, alone, run=tmp_path / "alone", watch=lambda tick: None, say=lambda text: None)
    got, expected = weights(two_processes[0]), weights(tmp_path / "alone")
    for name in (name for name in expected if "running" not in name and "num_batches" not in name):
        assert torch.allclose(got[name], expected[name], atol=1e-5, rtol=0), name
    losses = [
        [record["train_loss"] for record in read_json_lines(run / "metrics.jsonl")]
        for run in (two_processes[0], tmp_path / "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.training
def test_every_image_is_judged_once_by_all_processes_together(two_processes: tuple[Path, str]):
    assert two_processes[1].count("images judged: 11") == 2


@pytest.mark.training
def test_the_clock_of_the_first_process_decides_how_long_all_train(pictures: Path, tmp_path: Path):
    """That of the other is three times as fast."""
    printed, errors = (process := torchrun(pictures, tmp_path / "run", code=TIMED)).communicate(timeout=240)
    assert process.returncode == 0, errors
    first, second = (line for line in printed.splitlines() if line.startswith("rates:"))
    assert first == second and first.count(",") > 20


@pytest.mark.training
def test_a_killed_process_is_replaced_and_the_training_ends_with_the_same_weights(
    two_processes: tuple[Path, str], pictures: Path, tmp_path: Path
):
    out = tmp_path / "run"
    process = torchrun(pictures, out, restarts=1, pause=0.2)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "previous").is_dir():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.kill(worker_of(process.pid, rank=1), signal.SIGKILL)
    errors = process.communicate(timeout=240)[1]
    assert process.returncode == 0, errors
    assert "exitcode: -9" in errors
    got, expected = weights(out), weights(two_processes[0])
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def worker_of(agent: int, *, rank: int) -> int:
    """The process that torchrun, `agent`, started with a rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except (OSError, ValueError):
            continue
    raise AssertionError(f"no process of rank {rank}")


def test_without_torchrun_there_is_one_process_and_nothing_to_wait_for():
    world = World()
    assert world.is_first and world.gather(3) == [3]
    assert world.total(torch.ones(2)).tolist() == [1, 1]
    assert (world.shard.index, world.shard.count) == (0, 1)


@pytest.mark.training
def test_on_the_command_line_one_process_writes_and_talks(pictures: Path, tmp_path: Path):
    """One epoch, whose best checkpoint all must read as soon as it is there."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--module",
        "nextvit",
        "train",
        str(pictures),
        "--out",
        str(tmp_path / "run"),
        "--model",
        "nextvit_nano",
        "--image-size",
        "32",
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--data.workers",
        "1",
        "--compute.threads",
        "1",
        "--json",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 11
    assert done.stderr.count("epoch   1/1") == 1
    assert (tmp_path / "run" / "report.html").is_file()
