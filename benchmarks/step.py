"""One training step, ours against timm's nextvit_small, in the same loop.

    python benchmarks/step.py [--image-size 224] [--batch-size 8] [--rounds 12] [--compile]

Both networks go through `nextvit.train.step`: forward, loss, backward, clipping, fused AdamW, moving average; only the
network differs. They start from the same weights and take turns, step by step, in one process. One JSON line with the
median times and the median of the ratios of neighbouring steps is appended to benchmarks/results/step.jsonl.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image

from nextvit.machine.environment import describe_environment
from nextvit.models.create import create_model
from nextvit.models.weights import load_weights
from nextvit.tasks.reading import read_dataset
from nextvit.train.card import build_card
from nextvit.train.device import pick_device
from nextvit.train.distributed import World
from nextvit.train.ema import Ema
from nextvit.train.loop import Training
from nextvit.train.prepare import prepare
from nextvit.train.recipe import Compute, Data, Model, Recipe
from nextvit.train.step import train_step
from nextvit.views.training_batches import Batch

RESULTS = Path(__file__).parent / "results" / "step.jsonl"
WARM_UP = 2


def make_trainings(folder: Path, recipe: Recipe) -> dict[str, Training]:
    """The same training with our network and with timm's."""
    dataset = read_dataset(folder)
    theirs: Any = timm.create_model("nextvit_small", num_classes=2, drop_path_rate=0.1)
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(theirs.state_dict(), file.name)
        model: Any = create_model("nextvit_small", num_classes=2)
        load_weights(model, Path(file.name))
    device = pick_device(recipe.compute.device)
    ours = prepare(dataset, build_card(dataset, recipe), model.to(device), recipe, device, World())
    if recipe.compute.channels_last:
        theirs = theirs.to(memory_format=torch.channels_last)
    theirs = theirs.to(device).train()
    weights = list(theirs.parameters())
    groups = [
        {"params": [each for each in weights if (each.ndim > 1) == decays], "decays": decays, "lr_scale": 1.0}
        for decays in (True, False)
    ]
    timms = replace(
        ours,
        model=theirs,
        forward=torch.compile(theirs) if recipe.compute.compile else theirs,
        parallel=theirs,
        statistics=list(theirs.buffers()),
        ema=Ema(theirs, decay=recipe.ema.decay),
        optimizer=torch.optim.AdamW(groups, fused=True),
    )
    ours.model.train()
    return {"ours": ours, "timm": timms}


def measure(folder: Path, recipe: Recipe, *, rounds: int) -> dict[str, Any]:
    """Milliseconds of interleaved steps, and the speedup of ours over timm."""
    torch.manual_seed(0)
    both = make_trainings(folder, recipe)
    size = recipe.data.image_size
    images_NHWC = torch.randint(0, 256, (recipe.batch_size, size, size, 3), dtype=torch.uint8).numpy()
    indices = list(range(recipe.batch_size))
    training_set: Any = both["ours"].batches.dataset
    images, targets = training_set.source.collate(list(images_NHWC), indices)
    batch = Batch(images, targets, indices)
    times: dict[str, list[float]] = {name: [] for name in both}
    losses: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(WARM_UP + rounds):
        for name in both if turn % 2 else reversed(both):
            started = time.perf_counter()
            losses[name].append(train_step(both[name], batch, recipe).loss)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - started))
            both[name].progress.step += 1
    ratios = [theirs / own for own, theirs in zip(times["ours"], times["timm"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4)
    return {
        "device": str(both["ours"].device),
        "precision": both["ours"].precision,
        "channels_last": recipe.compute.channels_last,
        "compile": recipe.compute.compile,
        "median_ms": {name: round(statistics.median(each), 1) for name, each in times.items()},
        "least_ms": {name: round(min(each), 1) for name, each in times.items()},
        "speedup_over_timm": round(quartiles[1], 3),
        "quartiles": [round(quartiles[0], 3), round(quartiles[2], 3)],
        "first_losses": {name: round(each[0], 5) for name, each in losses.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for split in ("train", "val"):
            for name in ("a", "b"):
                (folder / split / name).mkdir(parents=True)
                for index in range(arguments.batch_size):
                    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / split / name / f"{index}.png")
        for precision, channels_last in (("fp32", False), ("fp32", True), ("bf16", True)):
            recipe = Recipe(
                model=Model(name="nextvit_small"),
                data=Data(image_size=arguments.image_size, batch_size=arguments.batch_size, workers=0),
                compute=Compute(precision=precision, channels_last=channels_last, compile=arguments.compile),
            )
            rows.append(measure(folder, recipe, rounds=arguments.rounds))
            print(rows[-1], flush=True)
    command = f"python benchmarks/step.py --image-size {arguments.image_size} --batch-size {arguments.batch_size}"
    command += f" --rounds {arguments.rounds}{' --compile' if arguments.compile else ''}"
    facts = {**describe_environment(), "command": command, "threads": torch.get_num_threads()}
    facts["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    record = {
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "rows": rows,
        "environment": facts,
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
