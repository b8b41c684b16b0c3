"""The gain over the defaults: the bundles of a model against timm, `torch.onnx.export` and ONNX Runtime as they are.

    python benchmarks/default_way.py BUNDLE... [--threads 1,0] [--seconds 5]

The default way is `timm.create_model` with as many classes, `torch.onnx.export(model, example, file)` and
`onnxruntime.InferenceSession(file)`, with inputs that are already normalised; its weights are random, on which its
latency does not depend. The bundles were written by `nextvit export`, each with the score of its proof; they take
uint8 pixels and normalise them. All take turns with single images. Threads: 0 leaves their number to the runtimes, on
both sides; any other number is set on both sides, and everything else of the default way stays default.

One JSON line for each bundle and number of threads is appended to benchmarks/results/default_way.jsonl;
docs/performance.md gets the table of this call.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from marked_tables import write_table

from nextvit.benchmark.noise import CpuTimes, Noise, run_fixed_work
from nextvit.benchmark.ratio import compare_latencies
from nextvit.benchmark.suite import cpu_affinity
from nextvit.bundle.manifest import Manifest, read_bundle
from nextvit.errors import InputError
from nextvit.files.run_folder import append_json_line
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.environment import describe_environment, strip_folder
from nextvit.machine.quiet import suppress_output
from nextvit.machine.timing import Latency, measure_interleaved, time_run
from nextvit.runtime.predictor import load_bundle

RESULTS = Path(__file__).parent / "results" / "default_way.jsonl"
DEFAULT = "timm, torch.onnx.export, ONNX Runtime"


def read_proven_manifests(bundles: list[Path]) -> dict[str, Manifest]:
    """The manifests by the names of the bundles.

    Raises:
        InputError: the bundles are of several networks or sizes, or one was proven without labels.
    """
    manifests = {bundle.name: read_bundle(bundle) for bundle in bundles}
    for name, each in manifests.items():
        if "drop" not in each.verification:
            raise InputError(f"{name} was proven without labels, so nothing says what it loses; export it with --data")
    about = {(each.card.variant, each.card.input.image_size) for each in manifests.values()}
    if len(about) > 1:
        raise InputError(
            f"bundles of several networks or sizes: {', '.join(map(str, sorted(about)))}; pass those of one"
        )
    return manifests


def make_default_run(manifest: Manifest, threads: int, folder: Path) -> Callable[[], object]:
    """A run of one image through the result of the three default calls."""
    import timm

    card = manifest.card
    pixels_NCHW = torch.randn(1, 3, *card.input.image_size)
    network = timm.create_model(card.variant, num_classes=len(card.classes)).eval()
    file = folder / "timm.onnx"
    with suppress_output():
        torch.onnx.export(network, (pixels_NCHW,), file)
    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options)
    feed = {session.get_inputs()[0].name: pixels_NCHW.numpy()}
    return lambda: session.run(None, feed)


def measure(
    bundles: list[Path], manifests: dict[str, Manifest], threads: int, seconds: float, command: str
) -> list[dict[str, Any]]:
    """Records of the default way and of each bundle."""
    first = next(iter(manifests.values()))
    with tempfile.TemporaryDirectory() as temporary:
        candidates = {DEFAULT: make_default_run(first, threads, Path(temporary))}
        for bundle in bundles:
            session = load_bundle(bundle, threads=threads or None).session
            pixels_NHWC = np.random.default_rng(0).integers(
                0, 256, (1, *first.card.input.image_size, 3), dtype=np.uint8
            )
            candidates[bundle.name] = partial(session.run, {INPUT_NAME: pixels_NHWC})
        work: list[float] = []
        before = CpuTimes.now()
        turns = measure_interleaved(
            candidates, min_seconds=seconds, each_round=lambda: work.append(time_run(run_fixed_work))
        )
    machine = describe_environment()
    noise = Noise.from_times(work, before, CpuTimes.now(), cores=machine["cores"])
    records: list[dict[str, Any]] = []
    for name, each in turns.items():
        ratio = compare_latencies(each, turns[DEFAULT])
        record: dict[str, Any] = {
            "name": name,
            "variant": first.card.variant,
            "threads": threads,
            **asdict(Latency.of(each)),
        }
        record |= {"ratio": ratio.value, "ratio_interval_95": [ratio.low, ratio.high]}
        if manifest := manifests.get(name):
            record |= {"backend": manifest.backend, "precision": manifest.precision}
            record |= {
                key: manifest.verification[key] for key in ("images", "before", "after", "drop", "drop_interval_95")
            }
        record |= {"noise": noise.interdecile_range, "warning": noise.warning, "affinity": cpu_affinity()}
        records.append({**record, "environment": {**machine, "command": command}})
    return records


def table(records: list[dict[str, Any]]) -> str:
    lines = ["| file | threads | p50, ms | ratio (95 %) | score | points lost (95 %) |", "| --- " * 6 + "|"]
    for each in records:
        low, high = each["ratio_interval_95"]
        threads = each["threads"] or "the runtime's choice"
        score = lost = ""
        if "drop" in each:
            below, above = each["drop_interval_95"]
            score, lost = f"{each['after']['score']:.2f}", f"{each['drop']:.2f} ({below:.2f} to {above:.2f})"
        figures = f"{each['p50_ms']:.1f} | {each['ratio']:.3f} ({low:.3f} to {high:.3f})"
        lines.append(f"| {each['name']} | {threads} | {figures} | {score} | {lost} |")
    last = records[-1]
    machine = last["environment"]
    warnings = dict.fromkeys(each["warning"] for each in records if each["warning"])
    lines.append(
        f"\n{last['variant']}, single images; scores are top-1 on the {last['images']} images of its proof. "
        f"`{machine['command']}`, {machine['cpu']}, {machine['cores']} cores, {machine['time'][:10]}."
        f"{''.join(f' **Warning: {each}.**' for each in warnings)}\n"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--threads", default="1,0")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    try:
        manifests = read_proven_manifests(arguments.bundles)
    except InputError as error:
        parser.error(str(error))
    command = shlex.join(["python", "benchmarks/default_way.py", *map(strip_folder, sys.argv[1:])])
    records: list[dict[str, Any]] = []
    for threads in arguments.threads.split(","):
        records += measure(arguments.bundles, manifests, int(threads), arguments.seconds, command)
    for record in records:
        append_json_line(RESULTS, record)
    write_table("performance.md", "default_way.py", table(records))


if __name__ == "__main__":
    main()
