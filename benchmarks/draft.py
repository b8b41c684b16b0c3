"""Whether photographs may be decoded at 1/2, 1/4 or 1/8 of their size before they are resized: the change and the gain.

    python benchmarks/draft.py MODEL FOLDER [--sizes 96,64,48] [--images 400] [--rounds 5]

MODEL is a run, a checkpoint, or a bundle of dynamic size; FOLDER holds photographs (JPEG, any depth), which should be
several times larger than the input. libjpeg decodes at a fraction of the size in a fraction of the time (Pillow's
`Image.draft`). For each input size and each factor, the images that stay at least that many times as large as the
bicubic resize's result are decoded at the smallest such fraction, and compared with the same images decoded at full
size. The network's outputs are compared as in the proof, which allows fp16 exports an error of 2 % of the standard
deviation and 0.5 % of different predictions. The box of the resize is exact even if the reduced side is not a whole
number of pixels.

As a reference, the same is done for the full-size images with every value changed by at most one at random. Times are
thread CPU times of one thread; each image is decoded at full and at reduced size in turn. One JSON line for each size
and factor is appended to benchmarks/results/draft.jsonl, and docs/serving.md gets the table of this call.
"""

import argparse
import io
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from marked_tables import write_table
from numpy.typing import NDArray
from PIL import Image

import nextvit
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.image.reading import Encoded, Pixels, to_rgb, upright
from nextvit.image.resizing import INPUT_NAME, Preprocess, size_before_crop
from nextvit.machine.environment import describe_environment, strip_folder
from nextvit.predictions.logits_parity import LogitsParity, compare_logits
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.runtime.predictor import Predictor

RESULTS = Path(__file__).parent / "results" / "draft.jsonl"
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
FRACTIONS = (8, 4, 2)
BATCH = 32
ENOUGH = 100


def choose_fraction(content: bytes, spec: Preprocess, factor: float) -> int:
    """The largest divisor (8, 4 or 2) that leaves `factor` times the sides of the resized image; else 1."""
    with Image.open(io.BytesIO(content)) as image:
        if upright(image).size != image.size:  # rotated by EXIF: rare, and not supported below
            return 1
        height, width = size_before_crop(image.size, spec)
        for fraction in FRACTIONS:
            if image.width >= factor * fraction * width and image.height >= factor * fraction * height:
                return fraction
    return 1


def decode_reduced(content: bytes, spec: Preprocess, fraction: int) -> Pixels:
    """The input from a JPEG that was decoded at 1 / `fraction` of its size."""
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        scaled_height, scaled_width = size_before_crop(image.size, spec)
        image.draft(None, (width // fraction, height // fraction))
        box = (0.0, 0.0, width / fraction, height / fraction)
        resized = to_rgb(image).resize((scaled_width, scaled_height), Image.Resampling.BICUBIC, box=box)
    left, top = round((scaled_width - spec.image_size[1]) / 2), round((scaled_height - spec.image_size[0]) / 2)
    return np.array(resized.crop((left, top, left + spec.image_size[1], top + spec.image_size[0])))


def compute_logits(predictor: Predictor, pixels: NDArray[np.uint8]) -> NDArray[Any]:
    starts = range(0, len(pixels), BATCH)
    return np.concatenate([predictor.session.run({INPUT_NAME: pixels[at : at + BATCH]})["logits"] for at in starts])


def measure(predictor: Predictor, contents: list[bytes], *, factor: float, rounds: int) -> dict[str, Any] | None:
    """One record; None if no image is large enough."""
    spec = predictor.card.input
    images = [(each, fraction) for each in contents if (fraction := choose_fraction(each, spec, factor)) > 1]
    if not images:
        return None
    whole = np.stack([spec(Encoded(content, "photo.jpg")) for content, _ in images])
    part = np.stack([decode_reduced(content, spec, fraction) for content, fraction in images])
    noise = np.random.default_rng(0).integers(-1, 2, whole.shape)
    noisy = np.clip(whole.astype(np.int16) + noise, 0, 255).astype(np.uint8)
    expected = compute_logits(predictor, whole)
    facts = predictor.card.facts
    thresholds = facts.thresholds if isinstance(facts, MultiLabelFacts) else ()
    found = compare_logits(expected, compute_logits(predictor, part), thresholds=thresholds)
    by_noise = compare_logits(expected, compute_logits(predictor, noisy), thresholds=thresholds)
    difference = np.abs(whole.astype(np.int16) - part)
    whole_ms, part_ms = measure_read_ms(images, spec, rounds=rounds)
    return {
        "image_size": list(spec.image_size),
        "factor": factor,
        "images": len(images),
        "fractions": {str(each): [fraction for _, fraction in images].count(each) for each in FRACTIONS},
        "pixel_difference": {"mean": round(float(difference.mean()), 3), "largest": int(difference.max())},
        "answers": summary(found),
        "answers_of_noise": summary(by_noise),
        "failures": found.failures("fp16"),
        "whole_ms": round(whole_ms, 3),
        "drafted_ms": round(part_ms, 3),
        "times_faster": round(whole_ms / part_ms, 2),
    }


def summary(parity: LogitsParity) -> dict[str, float]:
    return {name: round(getattr(parity, name), 5) for name in ("max_error", "mean_error", "agreement")}


def measure_read_ms(images: list[tuple[bytes, int]], spec: Preprocess, *, rounds: int) -> tuple[float, float]:
    """CPU milliseconds to decode and resize an image, at full and at reduced size: medians of the rounds."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        sums = [0.0, 0.0]
        for content, fraction in images:
            started = time.thread_time()
            spec(Encoded(content, "photo.jpg"))
            between = time.thread_time()
            decode_reduced(content, spec, fraction)
            sums[0] += between - started
            sums[1] += time.thread_time() - between
        for each, total in zip(seconds, sums, strict=True):
            each.append(total)
    whole, part = (1000 * statistics.median(each) / len(images) for each in seconds)
    return whole, part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.rglob("*.jp*g"))[: arguments.images]
    if not files:
        sys.exit(f"{arguments.folder} holds no JPEGs")
    contents = [file.read_bytes() for file in files]
    records: list[dict[str, Any]] = []
    command = shlex.join(["python", "benchmarks/draft.py", *map(strip_folder, sys.argv[1:])])
    for size in [int(each) for each in arguments.sizes.split(",") if each] or [None]:
        predictor = nextvit.load(arguments.model, threads=1, image_size=(size, size) if size else None)
        for factor in FACTORS:
            record = measure(predictor, contents, factor=factor, rounds=arguments.rounds)
            if record is None:
                print(f"{size or 'own'} px, factor {factor:g}: no image is large enough")
                continue
            record = {"model": arguments.model.name, "folder": arguments.folder.name, **record}
            record["allowed"] = {
                "max_error": TOLERANCES["fp16"].max_error,
                "agreement": TOLERANCES["fp16"].min_agreement,
            }
            print({name: value for name, value in record.items() if name != "environment"}, flush=True)
            records.append(record)
            with RESULTS.open("a", encoding="utf-8") as lines:
                lines.write(
                    json.dumps({**record, "environment": {**describe_environment(), "command": command}}) + "\n"
                )
    write_table("serving.md", "draft.py", table(records))


def table(records: list[dict[str, Any]]) -> str:
    """Rows of at least `ENOUGH` images: fewer do not show the largest error."""
    lines = [
        "| input | at least | images | largest error | mean error | same answer | by noise: largest, mean | faster |\n"
    ]
    lines.append(f"|{' --- |' * 8}\n")
    for each in records:
        if each["images"] < ENOUGH:
            continue
        found, noise = each["answers"], each["answers_of_noise"]
        lines.append(
            f"| {each['image_size'][0]} px | {each['factor']:g} times | {each['images']} | {found['max_error']:.3f} "
            f"| {found['mean_error']:.4f} | {found['agreement']:.2%} "
            f"| {noise['max_error']:.3f}, {noise['mean_error']:.4f} "
            f"| {each['times_faster']:.1f} times |\n"
        )
    return "".join(lines)


if __name__ == "__main__":
    main()
