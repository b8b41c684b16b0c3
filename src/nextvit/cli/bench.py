"""nextvit bench"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from nextvit.bundle import Precision, is_bundle, read_manifest
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError, NotProven, did_you_mean
from nextvit.runs import BENCHMARK, append_json_line, is_run
from nextvit.runtime.session import BACKENDS

if TYPE_CHECKING:
    from rich.table import Table

    from nextvit.benchmark.configurations import Found, Wanted

Record = dict[str, Any]
Value = TypeVar("Value")
PHOTOGRAPHS = Path(__file__).parents[1] / "pictures"
COLUMNS = ("model", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "time, first = 1", "95 %", "of peak")


def bench(
    *models: str,
    compare: str | None = None,
    runtimes: str | None = None,
    precisions: str | None = None,
    batch: str = "1",
    threads: str | None = None,
    image_size: str | None = None,
    device: str | None = None,
    data: Path | None = None,
    profile: bool = False,
    page: Path | None = None,
    save: Path | None = None,
    baseline: Path | None = None,
    fail_if: str | None = None,
    runs: int = 50,
    seconds: float = 5.0,
    quick: bool = False,
    as_json: AsJson = False,
) -> None:
    """Latency, throughput and cost of models, side by side in the same rounds, with the ratio to the first.

    Example: nextvit bench runs/photos --batch 1,8 --page bench.html

    Parameters
    ----------
    models: str
        Runs (in PyTorch, and all that was exported into them), checkpoint files, bundles, and networks by name such as
        nextvit_small, which are written with random weights, only to be timed.
    compare: str
        More networks by name, with commas, timm's as timm:resnet101.
    runtimes: str
        Which to measure, with commas: torch, torch-compiled, onnx, openvino, ... Default: all that there is; for networks
        by name torch, onnx and openvino.
    precisions: str
        fp32, bf16, fp16, int8, with commas. Default: all that there is; for networks by name and in PyTorch fp32.
    batch: str
        Images at once, with commas.
    threads: str
        CPU threads, with commas. Default: the number of cores.
    image_size: str
        Sides in pixels, with commas, for what takes any: 224,512. Default: the model's own.
    device: str
        Where all of them compute, such as cuda. Default: the CPU.
    data: Path
        Labelled images, as for training: their score beside the time, and their files for the way from file to answer.
    profile: bool
        Also list the ten most expensive operators of each file for ONNX Runtime and OpenVINO, and how far they are from
        what this machine can do.
    page: Path
        Write an HTML page with bars, the latency-accuracy front and the roofline.
    save: Path
        Append the records to a file, one line of JSON each.
    baseline: Path
        Such a file, or what --json printed, from before.
    fail_if: str
        Conditions with commas that end with exit code 1, such as "p50>+5%" over the baseline, or "p50>12ms".
    runs: int
        Timed runs of each, at least.
    seconds: float
        Timed seconds of each, at least.
    quick: bool
        Only the times: no first answers, no way from file to answer, no limits of the machine.
    """
    named = [*models, *(compare.split(",") if compare else [])]
    if not named:
        raise InputError("no model given; pass runs, checkpoint files, bundles or names such as nextvit_small")
    if runs < 1 or seconds < 0:
        raise InputError("--runs must be at least 1, --seconds not negative")
    if baseline and not fail_if:
        raise InputError('--baseline is compared by --fail-if; add one, such as --fail-if "p50>+5%"')
    batches = numbers("--batch", batch)
    counts = numbers("--threads", threads) if threads else [os.cpu_count() or 1]
    sizes = [(side, side) for side in numbers("--image-size", image_size)] if image_size else None
    from nextvit.benchmark.baseline import judge, parse_conditions, read_baseline

    conditions = parse_conditions(fail_if) if fail_if else []
    before = read_baseline(baseline) if baseline else None
    from nextvit.benchmark.configurations import Wanted
    from nextvit.benchmark.suite import Protocol

    wanted = Wanted(
        runtimes=choices("runtime", runtimes, ("torch", "torch-compiled", *BACKENDS)),
        precisions=cast("tuple[Precision, ...] | None", choices("precision", precisions, get_args(Precision))),
        threads=tuple(counts),
        image_sizes=tuple(sizes) if sizes else None,
        device=device,
    )
    files = () if quick else photographs(data)
    protocol = Protocol(
        batches=batches, runs=runs, min_seconds=seconds, limits=not quick, starts=not quick, files=files
    )
    records, profiles = measured(named, wanted, protocol, data=data, profile=profile)
    done = [each for each in records if "unavailable" not in each]
    missing = [each for each in records if "unavailable" in each]
    keep(records, named[0], page=page, save=save)
    outcome = judge(records, before, conditions) if conditions else None
    notes = notes_of(done, missing, outcome.warnings if outcome else [])
    tables = [each for table, line in profiles.values() for each in ("", table, line)]
    document = {"verb": "bench", "results": done, "unavailable": missing}
    document |= {"failed": outcome.failed, "warnings": outcome.warnings} if outcome else {}
    show(as_json, make_table(COLUMNS, [row(each) for each in done]), *notes, *tables, document=document)
    if outcome and outcome.failed and not as_json:
        raise NotProven("; ".join(outcome.failed))
    if outcome and outcome.failed:
        raise SystemExit(1)  # stdout has its one document


def numbers(flag: str, text: str) -> list[int]:
    """ "1,8" -> [1, 8]"""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{flag} takes numbers with commas, such as 1,8; got {text!r}") from None
    if min(found) < 1:
        raise InputError(f"{flag} must be at least 1, got {text!r}")
    return list(dict.fromkeys(found))


def choices(what: str, text: str | None, known: tuple[str, ...]) -> tuple[str, ...] | None:
    """ "torch,onnx" -> ("torch", "onnx")"""
    if text is None:
        return None
    for name in text.split(","):
        if name not in known:
            raise InputError(f"no {what} {name!r}; {did_you_mean(name, known)}")
    return tuple(dict.fromkeys(text.split(",")))


def photographs(data: Path | None) -> list[Path]:
    """Files for the way from file to answer: the dataset's, or the bundled photographs."""
    from nextvit.data.folder import list_images

    return sorted(list_images(data) if data else list_images(PHOTOGRAPHS))[:50]


def measured(
    named: list[str], wanted: "Wanted", protocol: Any, *, data: Path | None, profile: bool
) -> "tuple[list[Record], dict[str, tuple[Table, str]]]":
    """The records, and for --profile a table and a line for each file."""
    from nextvit.benchmark.configurations import configurations
    from nextvit.benchmark.suite import benchmark

    def say(message: str) -> None:
        progress.print(message, markup=False, soft_wrap=True)

    with tempfile.TemporaryDirectory() as temporary:
        found = configurations(named, wanted, Path(temporary), say=say)
        records = benchmark(found, protocol, say=say)
        if data:
            add_scores(records, found, data, say)
        return records, profiled(found, protocol.batches[0], say) if profile else {}


def add_scores(records: list[Record], found: "Found", data: Path, say: Callable[[str], None]) -> None:
    """Put the exam's score into the records of trained models."""
    from nextvit.benchmark.configurations import Configuration
    from nextvit.data.folder import read_dataset
    from nextvit.tasks import task_for

    dataset = read_dataset(data)
    scores: dict[tuple[Any, ...], Record] = {}
    for each in found:
        if not isinstance(each, Configuration) or each.kind in ("variant", "timm"):
            continue
        key = (each.model, each.path, each.backend, each.precision, *each.card.input.image_size)
        if key not in scores:
            say(f"scoring {each.label} on {data}")
            evaluation = task_for(dataset, each.card).evaluate(each.load().session.run, split="val")
            scores[key] = {
                "name": evaluation.main_score,
                "value": round(evaluation.scores[evaluation.main_score], 3),
                "interval_95": [round(bound, 3) for bound in evaluation.interval_95],
                "images": evaluation.images,
            }
        facts = each.facts
        for record in records:
            if "unavailable" not in record and all(record[name] == facts[name] for name in facts):
                record["score"] = scores[key]


def profiled(found: "Found", batch: int, say: Callable[[str], None]) -> "dict[str, tuple[Table, str]]":
    """For each file of ONNX Runtime and OpenVINO its ten most expensive operators, and a line."""
    from nextvit.benchmark.configurations import Configuration
    from nextvit.benchmark.profile import COLUMNS as HEADS
    from nextvit.benchmark.profile import PROFILED, profile, rows, verdict

    tables: dict[str, tuple[Table, str]] = {}
    for each in found:
        if isinstance(each, Configuration) and each.path and is_bundle(each.path) and each.backend in PROFILED:
            name = f"{each.label}, {each.threads} threads"
            say(f"profiling {name}")
            operators = profile(each.path, read_manifest(each.path), threads=each.threads, batch=batch)
            tables[name] = make_table(HEADS, rows(operators), left=3), f"{name}: {verdict(operators)}"
    return tables


def keep(records: list[Record], first: str, *, page: Path | None, save: Path | None) -> None:
    """Leave the records where they were asked for, and in the run's own report."""
    done = [each for each in records if "unavailable" not in each]
    if is_run(Path(first)):
        from nextvit.report.run_report import write_run_report

        for record in done:
            append_json_line(Path(first) / BENCHMARK, record)
        write_run_report(Path(first))
    if save:
        for record in records:
            append_json_line(save, record)
    if page:
        from nextvit.durable import write_durably
        from nextvit.report.bench_report import bench_report

        missing = [each for each in records if "unavailable" in each]
        warning = next((each["warning"] for each in done if each.get("warning")), None)
        write_durably(page, bench_report(done, missing, warning=warning))
        progress.print(f"wrote {page}", markup=False, soft_wrap=True)


def row(record: Record) -> tuple[str, ...]:
    """A configuration in the table, under `COLUMNS`."""
    interval = record["ratio_interval_95"]
    return (
        record["name"],
        str(record["batch"]),
        *(f"{record[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
        f"{record['images_per_second']:.0f}",
        f"{record['ratio']:.3f}",
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        f"{record['peak_share']:.0%}" if record.get("peak_share") else "",
    )


def notes_of(done: list[Record], missing: list[Record], warnings: list[str]) -> list[str]:
    """What stands below the table: verdicts, what computed, what could not be measured, and what to beware of."""
    lines: list[str] = []
    for record in done:
        facts = f"{record['name']}: {record['runtime']}, {record['precision']}, threads {record['threads']}"
        start = f"; first answer after {record['cold_start_ms']:.0f} ms" if record.get("cold_start_ms") else ""
        memory = f", {record['peak_memory_mib']:.0f} MiB" if record.get("peak_memory_mib") else ""
        score = f"; {record['score']['name']} {record['score']['value']:.2f} %" if record.get("score") else ""
        lines.append(f"{facts}{start}{memory}{score}")
    batches = dict.fromkeys(each["batch"] for each in done)
    for batch in batches:
        faster = [each for each in done if each["batch"] == batch and each["verdict"] == "faster"]
        if faster:
            best = min(faster, key=lambda each: each["ratio"])
            gain = f"{best['ratio']:.2f} of the first's time"
            lines.append(f"fastest at batch {batch}: {best['name']}, {gain}")
    lines += [f"not available: {each['name']}: {each['unavailable']}" for each in missing]
    lines += [f"warning: {each}" for each in dict.fromkeys(each.get("warning") for each in done) if each]
    return list(dict.fromkeys([*lines, *(f"warning: {each}" for each in warnings)]))
