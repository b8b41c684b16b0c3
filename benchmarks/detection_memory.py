"""The memory of a training step of Mask R-CNN on images of COCO's size: the peak resident size of a process.

    python benchmarks/detection_memory.py [--model nextvit_small] [--images 1] [--size 800x1216] [--precision fp32,bf16]

An image is noise with 20 objects and their masks. Each precision is measured in its own process, which takes two
complete steps, including the optimizer and the moving average of the weights. One JSON line for each is appended to
benchmarks/results/detection_memory.jsonl.
"""

import argparse
import json
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextvit.machine.environment import describe_environment
from nextvit.models.backbone import NextViT
from nextvit.models.create import find_variant
from nextvit.models.detection import DetectionTargets, MaskRCNN, default_detector_config
from nextvit.models.detection_losses import ImageTargets, LossSettings
from nextvit.train.device import autocast
from nextvit.train.ema import Ema
from nextvit.train.optim import build_optimizer
from nextvit.train.recipe import Optim

RESULTS = Path(__file__).parent / "results" / "detection_memory.jsonl"
STEPS, OBJECTS, CLASSES = 2, 20, 80
GIB = 2**30


def measure_step(model_name: str, images: int, size: tuple[int, int], precision: str) -> dict[str, Any]:
    """Take `STEPS` training steps; returns the seconds of a step and the peak memory of this process."""
    torch.manual_seed(0)
    model = MaskRCNN(find_variant(model_name), default_detector_config(model_name), num_classes=CLASSES).train()
    assert isinstance(model.backbone, NextViT)
    optimizer, ema = build_optimizer(model, Optim(lr=1e-4)), Ema(model, decay=0.99)
    height, width = size
    pixels = torch.randn(images, 3, height, width).contiguous(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    batch_targets = DetectionTargets(
        [make_targets(height, width, seed=number) for number in range(images)], LossSettings()
    )
    started = time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        with autocast(torch.device("cpu"), precision):
            losses = model(pixels, torch.tensor([[height, width]] * images), batch_targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        ema.update(model)
    return {
        "seconds_a_step": round((time.perf_counter() - started) / STEPS, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
    }


def make_targets(height: int, width: int, *, seed: int) -> ImageTargets:
    """Objects of all sizes with rectangular masks."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(16), np.log(400), (OBJECTS, 2)))
    corners = rng.uniform(0, 1, (OBJECTS, 2)) * (np.array([width, height]) - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(np.float32)
    masks = np.zeros((OBJECTS, height, width), np.bool_)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
        mask[y1:y2, x1:x2] = True
    labels = torch.from_numpy(rng.integers(0, CLASSES, OBJECTS))
    return ImageTargets(torch.from_numpy(boxes), labels, torch.from_numpy(masks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nextvit_small")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--size", default="800x1216", help="height x width")
    parser.add_argument("--precision", default="fp32,bf16")
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    command = (
        f"python benchmarks/detection_memory.py --model {arguments.model} --images {arguments.images} "
        f"--size {arguments.size} --precision {arguments.precision}"
    )
    for precision in arguments.precision.split(","):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            found = process.submit(measure_step, arguments.model, arguments.images, (height, width), precision).result()
        record = {
            "model": arguments.model,
            "images": arguments.images,
            "size": [height, width],
            "precision": precision,
            **found,
            "environment": {**describe_environment(), "command": command},
        }
        print(f"{arguments.model}, {arguments.images} of {arguments.size}, {precision}: {found['peak_gib']} GiB")
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
