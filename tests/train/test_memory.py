"""How large a batch the memory holds."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nextvit.errors import InputError
from nextvit.tasks.network import build_network
from nextvit.tasks.reading import read_dataset
from nextvit.train.card import build_card
from nextvit.train.device import ran_out_of_memory
from nextvit.train.distributed import World
from nextvit.train.memory import find_batch_size, largest_that_fits
from nextvit.train.recipe import Compute, Data, Model, Recipe, Schedule

RECIPE = Recipe(
    model=Model(name="nextvit_nano"),
    data=Data(image_size=32, batch_size="auto", workers=0),
    schedule=Schedule(epochs=1),
    compute=Compute(device="cpu"),
)


def test_the_largest_size_that_is_borne_is_found():
    tried: list[int] = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > 20:
            raise torch.OutOfMemoryError("full")

    assert largest_that_fits(attempt, most=1000) == 16
    assert tried == [2, 4, 8, 16, 32]
    assert largest_that_fits(attempt, most=9) == 8
    with pytest.raises(InputError, match="out of memory with two images at once"):
        largest_that_fits(lambda size: attempt(size + 100), most=8)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not ran_out_of_memory(RuntimeError("wrong shape"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert ran_out_of_memory(caught.value)


def test_auto_takes_a_power_of_two_that_leaves_eight_steps_an_epoch(shared_colours: Path):
    dataset = read_dataset(shared_colours)
    card = build_card(dataset, RECIPE)
    model = build_network(card)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cpu, many = torch.device("cpu"), replace(dataset, splits={**dataset.splits, "train": dataset.split("train")[:] * 9})
    assert find_batch_size(many, card, model, RECIPE, cpu, World()) == 16  # of 216 images
    in_parts = replace(RECIPE, optim=replace(RECIPE.optim, accumulate=3))
    assert find_batch_size(many, card, model, in_parts, cpu, World()) == 3 * 8
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


CODE = """
import resource, sys
from pathlib import Path
from dataclasses import replace
from nextvit.train import memory
from nextvit.train.start import train
from tests.train.test_memory import RECIPE
recipe = replace(RECIPE, data=replace(RECIPE.data, batch_size=24, image_size=640))
import torch
torch.randn(64, 64) @ torch.randn(64, 64)  # what is loaded once
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
memory.memory_left = lambda device: 1.0  # whatever the machine holds beside: the limit is the address space
resource.setrlimit(resource.RLIMIT_AS, (used + 3000 * 2**20, resource.RLIM_INFINITY))
train(Path(sys.argv[1]), recipe, run=Path(sys.argv[2]), watch=lambda tick: None, say=lambda text: None)
"""


@pytest.mark.training
@pytest.mark.serial
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, which only Linux enforces")
def test_a_training_that_outgrows_the_memory_says_what_fits(shared_colours: Path, tmp_path: Path):
    command = [sys.executable, "-c", CODE, str(shared_colours), str(tmp_path / "run")]
    # Each thread's own arena would take address space that the trial after the failed step lacks.
    few_arenas = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=180, env=few_arenas)
    assert "InputError: out of memory on cpu with 24 images in a step at 640 px" in done.stderr, done.stderr
    assert "use --optim.accumulate" in done.stderr and "or --batch-size" in done.stderr
    assert not (tmp_path / "run").exists()
