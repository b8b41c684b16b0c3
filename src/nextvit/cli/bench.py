"""nextvit bench"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from nextvit.bundle.manifest import Precision, read_manifest
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError, NotProven, did_you_mean
from nextvit.files.run_folder import BENCHMARK, append_json_line, is_run
from nextvit.machine.cores import usable_cores
from nextvit.runtime.session import BACKENDS

if TYPE_CHECKING:
    from rich.table import Table

    from nextvit.benchmark.baseline import Condition, Outcome
    from nextvit.benchmark.configurations import Kind, Selection
    from nextvit.benchmark.profile import Profile
    from nextvit.benchmark.suite import LoadedConfiguration, UnavailableConfigurations
    from nextvit.bundle.card import ModelCard
    from nextvit.data.dataset import Dataset

Record = dict[str, Any]
PHOTOGRAPHS = Path(__file__).parents[1] / "sample_images"
MOST_FILES = 50
"""Of a dataset, for the time from file to prediction."""
NEEDED = {
    "score": "--data, and a run, a checkpoint or a bundle",
    "cold_start": "a model with a file of its own, and no --quick",
    "peak_memory": "a model with a file of its own, and no --quick",
}
"""What it takes to measure the values that are not always measured."""


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
        nextvit_small, which are written with random weights, only to be timed. Of a detector its backbone is timed,
        too, alone and at 512x512 px.
    compare: str
        More networks by name, with commas, timm's as timm:resnet101.
    runtimes: str
        Which to measure, with commas: torch, torch-compiled, onnx, openvino, ... Default: all that there is; for
        networks by name torch, onnx and openvino.
    precisions: str
        fp32, bf16, fp16, int8, with commas. Default: all that there is; for networks by name and in PyTorch fp32.
    batch: str
        Images at once, with commas.
    threads: str
        CPU threads, with commas. Default: the cores that this process may use.
    image_size: str
        Sides in pixels, with commas, for what takes any: 224,512; of a detector the side of a square image. Default:
        the model's own, of a detector the largest image that it takes.
    device: str
        Where all of them compute, by the runtime's own name for it, such as cuda. Default: the CPU.
    data: Path
        Labelled images, as for training: the score of trained models on them beside the time, and their files for the
        time from file to prediction.
    profile: bool
        Also list the ten most expensive operators of each file for ONNX Runtime and OpenVINO on the CPU, at the first
        batch, and how far they are from what this machine can do.
    page: Path
        Write an HTML page with bars, the latency-accuracy front and the roofline.
    save: Path
        Append the records to a file, one line of JSON each.
    baseline: Path
        Such a file, or what --json printed, from before.
    fail_if: str
        Conditions with commas that end with exit code 1, such as "p50>+5%" over the baseline, "p50>12ms", or
        "score<80".
    runs: int
        Timed runs of each, at least.
    seconds: float
        Timed seconds of each, at least.
    quick: bool
        Only the times: no first predictions, no times from file to prediction, no limits of the machine.
    """
    named = [*models, *(compare.split(",") if compare else [])]
    if not named:
        raise InputError("no model given; pass runs, checkpoint files, bundles or names such as nextvit_small")
    if runs < 1 or seconds < 0:
        raise InputError("--runs must be at least 1, --seconds not negative")
    if baseline and not fail_if:
        raise InputError('--baseline is compared by --fail-if; add one, such as --fail-if "p50>+5%"')
    batches = numbers("--batch", batch)
    counts = numbers("--threads", threads) if threads else [usable_cores()]
    sides = numbers("--image-size", image_size) if image_size else None
    from nextvit.benchmark.baseline import evaluate_conditions, parse_conditions, read_baseline
    from nextvit.benchmark.configurations import Selection
    from nextvit.benchmark.limit import Limits
    from nextvit.benchmark.profile import profile_all
    from nextvit.benchmark.suite import BenchmarkSettings, measure_limits, run_benchmark

    wanted = Selection(
        runtimes=choices("runtime", runtimes, ("torch", "torch-compiled", *BACKENDS)),
        precisions=cast("tuple[Precision, ...] | None", choices("precision", precisions, get_args(Precision))),
        threads=tuple(counts),
        image_sizes=tuple((side, side) for side in sides) if sides else None,
        device=device,
    )
    # All that can be found wrong is found before minutes are spent on measuring.
    conditions = parse_conditions(fail_if) if fail_if else []
    before = read_baseline(baseline) if baseline else None
    kinds = ({"score"} if data else set[str]()) | (set[str]() if quick else {"cold_start", "peak_memory"})
    check_conditions(conditions, before is not None, kinds)
    check_machine(conditions, before or [])
    check_places(page, save)
    dataset = dataset_for(named, data) if data else None
    files = [] if quick else files_for(dataset)
    settings = BenchmarkSettings(
        batches=batches, runs=runs, min_seconds=seconds, with_cold_start=not quick, files=files
    )

    with tempfile.TemporaryDirectory() as temporary:
        loaded, refused = load_configurations(named, wanted, batches, Path(temporary), profile=profile)
        check_conditions(conditions, before is not None, kinds & measurable(loaded))
        scores = scores_of(loaded, dataset) if dataset else {}
        limits = Limits() if quick else measure_limits(loaded, say)
        records = run_benchmark(loaded, settings, limits=limits, unavailable=refused, say=say)
        for record in records:
            record |= {"score": scores[record["name"]]} if record["name"] in scores else {}
        keep(records, named[0], page=page, save=save)
        profiles = profile_all(loaded, limits, say) if profile else None
    outcome = evaluate_conditions(records, before, conditions) if conditions else None
    present(records, profiles, outcome, as_json=as_json, no_single=bool(files) and 1 not in batches)


def say(message: str) -> None:
    """Progress, for people."""
    progress.print(message, markup=False, soft_wrap=True)


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


def check_conditions(conditions: "Sequence[Condition]", baseline_given: bool, measured_kinds: set[str]) -> None:
    """Raise InputError for a condition that nothing could answer.

    Args:
        measured_kinds: those of `NEEDED` that are measured.
    """
    for condition in conditions:
        if condition.is_relative and not baseline_given:
            raise InputError(
                f"--fail-if {condition.text!r} compares with a baseline; add --baseline FILE, or write it without a "
                "sign"
            )
        if condition.name in NEEDED.keys() - measured_kinds:
            raise InputError(
                f"--fail-if {condition.text!r}: {condition.name} would not be measured; it takes "
                f"{NEEDED[condition.name]}"
            )


def check_machine(conditions: "Sequence[Condition]", baseline: Sequence[Record]) -> None:
    """Raise InputError where all of the baseline is of another processor, and a condition compares times with it."""
    from nextvit.benchmark.baseline import require_same_cpu
    from nextvit.machine.environment import describe_environment

    relative = [condition for condition in conditions if condition.is_relative]
    here = describe_environment()
    if baseline and relative and all(each["environment"].get("cpu") != here["cpu"] for each in baseline):
        require_same_cpu([{"environment": here}], baseline[-1:], relative)


def check_places(*files: Path | None) -> None:
    """Raise InputError for files that could not be written in the end."""
    for file in files:
        if file and not file.parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent} to write it into")
        if file and file.is_dir():
            raise InputError(f"{file}: is a folder; name a file")


def dataset_for(named: Sequence[str], data: Path) -> "Dataset":
    """The labelled images, on which all trained models among these can be examined."""
    from nextvit.benchmark.discovery import model_kind
    from nextvit.tasks.reading import read_split
    from nextvit.tasks.task import make_evaluator

    dataset = read_split(data, "val")
    for model in named:
        card = card_of(Path(model), model_kind(model))
        if card:
            make_evaluator(dataset, card)
    return dataset


def card_of(model: Path, kind: "Kind") -> "ModelCard | None":
    """What a trained model predicts; None for a network by its name."""
    if kind == "bundle":
        return read_manifest(model).card
    if kind in ("variant", "timm"):
        return None
    from nextvit.loading import load_trained

    return load_trained(model)[1]


def files_for(dataset: "Dataset | None") -> list[Path]:
    """Readable files for the time from file to prediction: the dataset's, or the bundled photographs."""
    from nextvit.data.image_files import list_images

    # Of shards there are none: their images are read from inside tar files.
    own = [each.path for each in dataset.split("val")[:MOST_FILES] if not each.member] if dataset else []
    return list(readable(own)) or list_images(PHOTOGRAPHS)


def readable(files: Sequence[Path]) -> Iterator[Path]:
    """Those that can be decoded; the others are named."""
    from nextvit.image.reading import DecodeError, read_image

    for file in files:
        try:
            read_image(file)
        except DecodeError as error:
            say(f"left out of the time from file to prediction: {error}")
        else:
            yield file


def load_configurations(
    named: Sequence[str], wanted: "Selection", batches: Sequence[int], folder: Path, *, profile: bool
) -> "tuple[list[LoadedConfiguration], UnavailableConfigurations]":
    """What is to be measured, loaded; and what cannot be."""
    from nextvit.benchmark.configurations import Configuration
    from nextvit.benchmark.discovery import find_configurations
    from nextvit.benchmark.profile import check_profile_possible
    from nextvit.benchmark.suite import load_all

    found = find_configurations(named, wanted, folder, say=say)
    if profile:
        check_profile_possible({each.backend for each in found if isinstance(each, Configuration)})
    return load_all(found, batches)


def measurable(loaded: "Sequence[LoadedConfiguration]") -> set[str]:
    """Those of `NEEDED` that can be measured of them."""
    trained = any(has_score(each) for each in loaded)
    with_file = any(each.configuration.path for each in loaded)
    return ({"score"} if trained else set[str]()) | ({"cold_start", "peak_memory"} if with_file else set[str]())


def has_score(loaded: "LoadedConfiguration") -> bool:
    """Whether it is a trained model, whose predictions have a score."""
    return loaded.configuration.kind not in ("variant", "timm") and loaded.configuration.part == "whole"


def scores_of(loaded: "Sequence[LoadedConfiguration]", dataset: "Dataset") -> dict[str, Record]:
    """The score of each trained model on the dataset, by its name in the records; threads change no prediction."""
    from nextvit.tasks.task import make_evaluator

    scores: dict[str, Record] = {}
    known: dict[str, Record] = {}
    for each in loaded:
        if not has_score(each):
            continue
        same = str({**each.configuration.facts, "threads": None})
        if same not in known:
            say(f"scoring {each.name} on {dataset.root}")
            evaluation = make_evaluator(dataset, each.predictor.card).evaluate(each.predictor.session.run, split="val")
            known[same] = {
                "name": evaluation.main_score,
                "value": round(evaluation.scores[evaluation.main_score], 3),
                "interval_95": [round(bound, 3) for bound in evaluation.interval_95],
                "images": evaluation.images,
            }
        scores[each.name] = known[same]
    return scores


def keep(records: list[Record], first: str, *, page: Path | None, save: Path | None) -> None:
    """Leave the records where they were asked for, and in the run's own report."""
    done = [each for each in records if "unavailable" not in each]
    if is_run(Path(first)):
        from nextvit.cli.run_report import write_report

        for record in done:
            append_json_line(Path(first) / BENCHMARK, record)
        write_report(Path(first))
    if save:
        for record in records:
            append_json_line(save, record)
    if page:
        from nextvit.benchmark.summary import comparability_warnings
        from nextvit.files.durable import write_durably
        from nextvit.report.bench_report import render_bench_report

        missing = [each for each in records if "unavailable" in each]
        write_durably(page, render_bench_report(done, missing, warning="; ".join(comparability_warnings(done)) or None))
        say(f"wrote {page}")


def present(
    records: Sequence[Record],
    profiles: "Sequence[Profile] | None",
    outcome: "Outcome | None",
    *,
    as_json: bool,
    no_single: bool,
) -> None:
    """Show everything, and end with code 1 where a condition failed.

    Args:
        profiles: None: none were asked for.
        no_single: the time from file to prediction was asked for, but no single images.
    """
    from nextvit.benchmark.profile import PROFILED_BACKENDS, profile_record
    from nextvit.benchmark.summary import COLUMNS, comparability_warnings, summary_notes, table_row

    done = [each for each in records if "unavailable" not in each]
    missing = [each for each in records if "unavailable" in each]
    warnings = [*comparability_warnings(done), *(outcome.warnings if outcome else [])]
    if no_single:
        warnings.append("the time from file to prediction is one of single images; add 1 to --batch to measure it")
    if profiles == []:
        warnings.append(f"nothing to profile: there are profiles of {' and '.join(PROFILED_BACKENDS)} files on the CPU")
    document = {"verb": "bench", "results": done, "unavailable": missing, "warnings": warnings}
    document |= {"failed": outcome.failed} if outcome else {}
    if profiles is not None:
        document["profiles"] = {each.name: {"batch": each.batch, **profile_record(each.operators)} for each in profiles}
    table = make_table(COLUMNS, [table_row(each) for each in done])
    show(as_json, table, *summary_notes(done, missing, warnings), *profile_tables(profiles or []), document=document)
    if outcome and outcome.failed and not as_json:
        raise NotProven("; ".join(outcome.failed))
    if outcome and outcome.failed:
        raise SystemExit(1)  # stdout has its one document


def profile_tables(profiles: "Sequence[Profile]") -> "list[Table | str]":
    """For each file its ten most expensive operators, and what bounds it."""
    from nextvit.benchmark.profile import COLUMNS, summarize_bottlenecks, table_rows

    content: list[Table | str] = []
    for each in profiles:
        line = f"{each.name}, batch {each.batch}: {summarize_bottlenecks(each.operators)}"
        content += ["", make_table(COLUMNS, table_rows(each.operators), left=3), line]
    return content
