"""Images that one core prepares for training in a second: ours against timm's pipeline of Pillow and torchvision.

    python benchmarks/loader.py FOLDER [--rounds 15]

FOLDER holds photographs (JPEG, any depth). The first by name that are at least 500x375 are cropped to 4:3, scaled to
500x375 and saved at quality 90; the record holds their mean size in bytes. A few are also enlarged to 4000x3000, the
size of a phone's images: they are smoother than real ones and so faster to decode, for all pipelines alike.

All pipelines do the paper's augmentation at 224 px: a crop of 8 to 100 % of the area, a flip, rand-m9-mstd0.5-inc1.
"timm" is timm's own transform and collation as in its training script, with the prefetcher: uint8 batches, the rest on
the device. "timm_plain" is the same without the prefetcher: floats, normalised and erased in the worker. "ours"
returns a uint8 batch. There is one process with one thread; the pipelines take turns, batch by batch; times are thread
CPU times. One JSON line is appended to benchmarks/results/loader.jsonl.

timm 1.0.31 asks Pillow to posterize to 0 bits once in about 650 images, which Pillow 13 refuses with an error: here 1
bit is used instead. Nothing else of timm is changed.
"""

import argparse
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm.data.auto_augment
import torch
from PIL import Image, ImageOps
from timm.data import create_transform
from timm.data.loader import fast_collate
from torch import Tensor
from torch.utils.data import default_collate

from nextvit.machine.environment import describe_environment
from nextvit.views.decode import decode
from nextvit.views.label_view import build_view, draw_crop
from nextvit.views.placement import crop_image, resize_bicubic
from nextvit.views.rand_augment import RandAugment
from nextvit.views.settings import Augment

RESULTS = Path(__file__).parent / "results" / "loader.jsonl"
NUM_SMALL, NUM_LARGE = 64, 8
NAME = Path("image.jpg")
PAPER = Augment(crop_scale=(0.08, 1.0), rand_augment=9.0)

Pipeline = Callable[[list[bytes]], Tensor]


def load_jpegs(folder: Path, *, size_wh: tuple[int, int], count: int) -> list[bytes]:
    """The first photographs of a folder that are at least 500x375, as JPEGs of one size."""
    contents: list[bytes] = []
    for path in sorted(folder.rglob("*.jp*g")):
        image = Image.open(path)
        if len(contents) < count and image.width >= 500 and image.height >= 375:
            file = io.BytesIO()
            ImageOps.fit(image.convert("RGB"), size_wh, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            contents.append(file.getvalue())
    if len(contents) < count:
        sys.exit(f"{folder} holds {len(contents)} JPEGs of at least 500x375, {count} are needed")
    return contents


def open_with_pillow(content: bytes) -> Image.Image:
    """As timm's ImageDataset does."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def timm_transform(**form: Any) -> Any:
    posterize = timm.data.auto_augment.posterize
    timm.data.auto_augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **kwargs: posterize(
        image, max(1, bits), **kwargs
    )
    return create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", **form)


def timm_pipeline(transform: Any, collate: Callable[[list[tuple[Any, int]]], Any]) -> Pipeline:
    return lambda contents: collate([(transform(open_with_pillow(content)), 0) for content in contents])[0]


def our_pipeline() -> Pipeline:
    view = build_view(PAPER, image_size=(224, 224))
    epoch = iter(range(sys.maxsize))

    def batch(contents: list[bytes]) -> Tensor:
        now = next(epoch)
        views_NHWC = np.empty((len(contents), 224, 224, 3), np.uint8)
        for index, content in enumerate(contents):
            views_NHWC[index] = view(content, name=NAME, rng=np.random.default_rng((0, now, index)))
        return torch.from_numpy(views_NHWC).permute(0, 3, 1, 2)

    return batch


def time_per_image_ms(work: Callable[[], object], *, images: int) -> tuple[float, float]:
    """Milliseconds for each image: thread CPU time, and wall time."""
    clock, ran = time.perf_counter(), time.thread_time()
    work()
    return (time.thread_time() - ran) / images * 1e3, (time.perf_counter() - clock) / images * 1e3


def compare_pipelines(pipelines: dict[str, Pipeline], contents: list[bytes], *, rounds: int) -> dict[str, Any]:
    """Time the pipelines in turn: medians over the rounds, and ratios to ours with quartiles."""
    for pipeline in pipelines.values():
        pipeline(contents[:8])
    took = [
        {
            name: time_per_image_ms(partial(pipeline, contents), images=len(contents))
            for name, pipeline in pipelines.items()
        }
        for _ in range(rounds)
    ]
    result: dict[str, Any] = {
        "pictures": len(contents),
        "mean_bytes": round(statistics.mean(map(len, contents))),
        "rounds": rounds,
    }
    for name in pipelines:
        ran = statistics.median(each[name][0] for each in took)
        clock = statistics.median(each[name][1] for each in took)
        quarters = statistics.quantiles((each[name][0] / each["ours"][0] for each in took), n=4)
        result[name] = {
            "ms": round(ran, 3),
            "images_per_second_and_core": round(1e3 / ran, 1),
            "clock_ms": round(clock, 3),
            "ours_is_faster_by": round(quarters[1], 2),
            "quartiles": [round(quarters[0], 2), round(quarters[2], 2)],
        }
    return result


def time_stages(contents: list[bytes], *, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds for an image of each stage alone, over all images."""
    rng = np.random.default_rng(0)
    transform = timm_transform(use_prefetcher=True)
    crop, flip, rand_augment, to_uint8 = transform.transforms
    opened = [open_with_pillow(content) for content in contents]
    resized = [crop(image) for image in opened]
    uint8 = [(to_uint8(image), 0) for image in resized]

    decoded = [decode(content, name=NAME) for content in contents]
    crops = [
        crop_image(image_CHW, draw_crop((image_CHW.shape[2], image_CHW.shape[1]), PAPER, rng)) for image_CHW in decoded
    ]
    views = [np.array(image) for image in resized]
    ours_rand_augment = RandAugment(PAPER.rand_augment, PAPER.rand_augment_std, PAPER.rand_augment_ops)
    work: dict[str, dict[str, Callable[[], object]]] = {
        "timm": {
            "decode": lambda: [open_with_pillow(content) for content in contents],
            "crop_resize": lambda: [crop(image) for image in opened],
            "flip": lambda: [flip(image) for image in resized],
            "rand_augment": lambda: [rand_augment(image) for image in resized],
            "to_uint8_collate": lambda: (
                [to_uint8(image) for image in resized],
                fast_collate(uint8),
            ),
        },
        "ours": {
            "decode": lambda: [decode(content, name=NAME) for content in contents],
            "crop_resize": lambda: [resize_bicubic(crop_CHW, (224, 224)) for crop_CHW in crops],
            "rand_augment": lambda: [ours_rand_augment(view, rng) for view in views],
            "seed": lambda: [np.random.default_rng((0, 0, index)) for index in range(len(contents))],
            "collate": lambda: np.stack(views),
        },
    }
    return {
        name: {
            stage: round(statistics.median(time_per_image_ms(call, images=len(contents))[0] for _ in range(rounds)), 3)
            for stage, call in of_pipeline.items()
        }
        for name, of_pipeline in work.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small = load_jpegs(arguments.folder, size_wh=(500, 375), count=NUM_SMALL)
    large = load_jpegs(arguments.folder, size_wh=(4000, 3000), count=NUM_LARGE)
    prefetched = timm_pipeline(timm_transform(use_prefetcher=True), fast_collate)
    plain = timm_pipeline(timm_transform(re_prob=0.25, re_mode="pixel"), default_collate)
    record = {
        **describe_environment(),
        "command": f"python benchmarks/loader.py FOLDER --rounds {arguments.rounds}",
        "timm": timm.__version__,
        "load_average": os.getloadavg()[0],
        "500x375": compare_pipelines(
            {"timm": prefetched, "timm_plain": plain, "ours": our_pipeline()}, small, rounds=arguments.rounds
        ),
        "stages_500x375_ms": time_stages(small, rounds=arguments.rounds),
        "4000x3000": compare_pipelines(
            {"timm": prefetched, "ours": our_pipeline()}, large, rounds=max(3, arguments.rounds // 3)
        ),
    }
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
