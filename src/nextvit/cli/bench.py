"""nextvit bench"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nextvit.bundle import CARD_PAGE, GOLDEN, SUFFIX, Manifest, is_bundle, read_manifest
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError, MissingDependency, did_you_mean
from nextvit.runs import BENCHMARK, append_json_line, best_weights, is_run
from nextvit.runtime.session import BACKENDS

if TYPE_CHECKING:
    from nextvit.benchmark.suite import Entry


def bench(
    *models: Path,
    runtimes: str | None = None,
    batch: str = "1",
    threads: int | None = None,
    device: str | None = None,
    runs: int = 50,
    seconds: float = 5.0,
    as_json: AsJson = False,
) -> None:
    """Latency and throughput of models and bundles, interleaved, with the ratio to the first.

    Example: nextvit bench runs/photos --batch 1,8 --threads 2

    Parameters
    ----------
    models: Path
        Runs (measured in PyTorch, and in every bundle that was exported into them), checkpoint files, and bundles.
    runtimes: str
        Which of them to measure, with commas: torch, onnx, openvino, ... Default: all that can run here.
    batch: str
        Images at once, with commas.
    threads: int
        CPU threads, the same for all. Default: the number of cores.
    device: str
        Where all of them compute, such as cuda. Default: the CPU.
    runs: int
        Timed runs of each, at least.
    seconds: float
        Timed seconds of each, at least.
    """
    if not models:
        raise InputError("no model given; pass runs, checkpoint files or bundles")
    if runs < 1 or seconds < 0 or (threads is not None and threads < 1):
        raise InputError("--runs and --threads must be at least 1, --seconds not negative")
    from nextvit.benchmark.suite import benchmark

    batches = parse_batches(batch)
    entries = collect(models, parse_runtimes(runtimes) if runtimes else None, threads or os.cpu_count() or 1, device)
    names = ", ".join(entry.name for entry in entries)
    progress.print(f"measuring {names} at batch {batch}, at least {seconds:g} s each", markup=False, soft_wrap=True)
    records = benchmark(entries, batches=batches, runs=runs, min_seconds=seconds)
    if is_run(models[0]):
        from nextvit.report.run_report import write_run_report

        for record in records:
            append_json_line(models[0] / BENCHMARK, record)
        write_run_report(models[0])
    columns = ["model", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "speed"]
    rows = [
        (
            record["name"],
            str(record["threads"]),
            str(record["batch"]),
            *(f"{record[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
            f"{record['images_per_second']:.0f}",
            f"{record['speedup']:.2f}x",
        )
        for record in records
    ]
    runtimes_used = dict.fromkeys(f"{each['name']}: {each['runtime']}, {each['precision']}" for each in records)
    show(as_json, make_table(columns, rows), *runtimes_used, document={"verb": "bench", "results": records})


def parse_batches(text: str) -> list[int]:
    """ "1,8" -> [1, 8]"""
    try:
        batches = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--batch takes numbers with commas, such as 1,8; got {text!r}") from None
    if min(batches) < 1:
        raise InputError(f"--batch must be at least 1, got {text!r}")
    return batches


def parse_runtimes(text: str) -> set[str]:
    """ "torch,onnx" -> {"torch", "onnx"}"""
    known = {"torch", *BACKENDS}
    for name in text.split(","):
        if name not in known:
            raise InputError(f"no runtime {name!r}; {did_you_mean(name, known)}")
    return set(text.split(","))


def collect(
    models: tuple[Path, ...], runtimes: set[str] | None, threads: int, device: str | None = None
) -> "list[Entry]":
    """Load everything that is to be measured; where no runtimes were named, what cannot run here is told and left out."""
    from nextvit.benchmark.suite import Entry
    from nextvit.loading import load

    wanted = runtimes or {"torch", *BACKENDS}
    torch_paths = dict.fromkeys(model for model in models if not is_bundle(model)) if "torch" in wanted else {}
    bundles = dict.fromkeys(bundle for model in models for bundle in bundles_of(model))
    chosen = [(bundle, manifest) for bundle in bundles if (manifest := read_manifest(bundle)).backend in wanted]
    names = short_names([*torch_paths, *(bundle for bundle, _ in chosen)])
    entries: list[Entry] = []
    for path in torch_paths:
        size = (best_weights(path) if is_run(path) else path).stat().st_size
        predictor = load(path, threads=threads, device=device)
        entries.append(Entry(name=f"{names[path]} (PyTorch)", predictor=predictor, precision="fp32", size_bytes=size))
    for path, manifest in chosen:
        try:
            predictor = load(path, threads=threads, device=device)
        except (MissingDependency, InputError) as error:
            if runtimes or path in models:
                raise
            progress.print(f"left out: {names[path]} ({error})", markup=False, soft_wrap=True)
            continue
        size = model_bytes(path, manifest)
        entries.append(Entry(name=names[path], predictor=predictor, precision=manifest.precision, size_bytes=size))
    if not entries:
        raise InputError(f"nothing to measure for {', '.join(sorted(wanted))}; export first, or widen --runtimes")
    return entries


def model_bytes(bundle: Path, manifest: Manifest) -> int:
    """The size of a bundle without what only explains it."""
    return sum((bundle / name).stat().st_size for name in manifest.sha256 if name not in (GOLDEN, CARD_PAGE))


def bundles_of(model: Path) -> list[Path]:
    """A bundle itself, or the bundles that were exported into a run."""
    if is_bundle(model):
        return [model]
    return [path for path in sorted((model / "exports").glob(f"*{SUFFIX}")) if is_bundle(path)]


def short_names(paths: list[Path]) -> dict[Path, str]:
    """The last part of each path, or all of it where two share the last part."""
    names = {path: path.resolve().name.removesuffix(SUFFIX) for path in paths}
    return {path: name if list(names.values()).count(name) == 1 else str(path) for path, name in names.items()}
