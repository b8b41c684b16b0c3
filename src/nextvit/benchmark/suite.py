"""The benchmark: all configurations are timed in the same rounds, and compared with the machine's limits."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextvit.benchmark.cold_start import measure_cold_start
from nextvit.benchmark.configurations import Configuration, UnavailableConfiguration, as_user_error
from nextvit.benchmark.end_to_end import measure_end_to_end
from nextvit.benchmark.intervals import percentile_interval
from nextvit.benchmark.limit import Limits, PeakKey
from nextvit.benchmark.noise import CpuTimes, Noise, run_fixed_work
from nextvit.benchmark.ratio import compare_latencies
from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError, MissingDependency
from nextvit.export.proof_images import SAMPLE_IMAGES
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.environment import describe_environment
from nextvit.machine.timing import MIN_RUNS, Latency, Turns, measure_interleaved, time_run
from nextvit.runtime.predictor import Predictor

if TYPE_CHECKING:
    from nextvit.models.cost import Cost

Record = dict[str, Any]
UnavailableConfigurations = list[UnavailableConfiguration]
Say = Callable[[str], None]
OTHER_WORK = "other work"
"""The verdict of a backbone: it is part of a detector, so comparing their times would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class LoadedConfiguration:
    """A configuration that runs."""

    name: str
    """Unique among all records of a benchmark."""
    configuration: Configuration
    predictor: Predictor
    batches: tuple[int, ...]
    """Batch sizes at which it runs."""

    @property
    def peak_key(self) -> PeakKey:
        """Key of its peak in `Limits.peaks`."""
        return self.configuration.backend, self.configuration.precision, self.configuration.threads

    @property
    def on_cpu(self) -> bool:
        return "cpu" in str(self.predictor.session.facts().get("device", "cpu")).lower()


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """How to measure."""

    batches: Sequence[int] = (1,)
    runs: int = MIN_RUNS
    min_seconds: float = 5.0
    with_cold_start: bool = True
    """Whether to start a process for each file, to measure its cold start and its memory."""
    files: Sequence[Path] = ()
    """Images for the latency from file to prediction; empty: it is not measured."""


def load_all(
    found: Iterable[Configuration | UnavailableConfiguration], batches: Sequence[int]
) -> tuple[list[LoadedConfiguration], UnavailableConfigurations]:
    """Load every configuration, and run it once at each batch size.

    What a runtime refuses, or needs too much memory for, is thus known before anything is measured.

    Returns:
        Those that run at one batch size at least, and those that do not, with the reason.

    Raises:
        InputError: nothing runs; backbones alone do not count.
        MissingDependency: the only configuration lacks a package.
    """
    # 1. Load
    opened: list[tuple[Configuration, Predictor]] = []
    refused: UnavailableConfigurations = []
    for each in found:
        if isinstance(each, UnavailableConfiguration):
            refused.append(each)
            continue
        try:
            opened.append((each, each.load()))
        except Exception as error:  # noqa: BLE001 (runtimes may raise anything)
            refused.append(UnavailableConfiguration(facts=each.facts, error=as_user_error(error)))

    # 2. Run once at each batch size
    names = unique_names([each for each, _ in opened])
    loaded: list[LoadedConfiguration] = []
    for name, (configuration, predictor) in zip(names, opened, strict=True):
        failures = {batch: error for batch in batches if (error := try_batch(configuration, predictor, batch))}
        refused += [
            UnavailableConfiguration(facts=configuration.facts, error=error, batch=batch, name=name)
            for batch, error in failures.items()
        ]
        if working := tuple(batch for batch in batches if batch not in failures):
            loaded.append(
                LoadedConfiguration(name=name, configuration=configuration, predictor=predictor, batches=working)
            )

    # 3. Raise an error if nothing is left to measure
    if any(each.configuration.part == "whole" for each in loaded):
        return loaded, refused
    refused = [each for each in refused if each.facts["part"] == "whole"]
    if len(refused) == 1:
        raise refused[0].error
    reasons = dict.fromkeys(str(each.error) for each in refused)
    raise InputError(f"nothing to measure: {'; '.join(reasons) or 'no configuration has that runtime and precision'}")


def try_batch(configuration: Configuration, predictor: Predictor, batch: int) -> InputError | MissingDependency | None:
    """Run one batch of this size. Returns the error where that fails, else None."""
    try:
        if configuration.part == "backbone":
            predictor.session.run(timed_inputs(configuration.card, batch))
        else:
            predictor.warm_up([batch])
    except Exception as error:  # noqa: BLE001 (as above)
        return as_user_error(error)
    return None


def measure_limits(loaded: Sequence[LoadedConfiguration], say: Say) -> Limits:
    """Measure this machine's peaks and bandwidth, for every configuration that computes on the CPU."""
    keys = sorted({each.peak_key for each in loaded if each.on_cpu})
    if keys:
        say(f"measuring the limits of this machine for {', '.join(f'{b} {p}, {t} threads' for b, p, t in keys)}")
    return Limits().measure_missing(keys)


def run_benchmark(
    loaded: Sequence[LoadedConfiguration],
    settings: BenchmarkSettings,
    *,
    limits: Limits,
    unavailable: Sequence[UnavailableConfiguration] = (),
    say: Say = lambda message: None,
) -> list[Record]:
    """Measure all configurations at all batch sizes.

    Args:
        limits: the machine's limits; empty: the records hold no fractions of them.
        unavailable: what cannot be measured.
        say: called with lines of progress.

    Returns:
        A record for each configuration and batch size; those that could not be measured hold the reason.
    """
    machine = describe_environment()
    costs = {each.name: each.configuration.cost() if limits.bandwidths else None for each in loaded}
    measured: list[Record] = []
    for batch in settings.batches:
        ready = [each for each in loaded if batch in each.batches]
        if not ready:
            continue
        # 1. Measure all configurations in the same rounds
        say(f"measuring {len(ready)} configurations at batch {batch}, at least {settings.min_seconds:g} s each")
        turns, noise = measure_batch(ready, batch, settings)
        first = turns[ready[0].name]
        # 2. Write a record of each
        for each in ready:
            own, cost = turns[each.name], costs[each.name]
            measured.append(
                {
                    "name": each.name,
                    **each.configuration.facts,
                    **each.predictor.session.facts(),
                    "published_top1": each.configuration.published_top1,
                    "affinity": cpu_affinity(),
                    "batch": batch,
                    **latency_record(own, first, batch, is_first=each is ready[0]),
                    **({"verdict": OTHER_WORK} if each.configuration.part == "backbone" else {}),
                    **(utilization_record(each, cost, limits, batch, own) if cost else {}),
                    "size_mib": round(each.configuration.size_bytes / 2**20, 2),
                    **noise,
                    **(cold_start_record(each.configuration, batch) if settings.with_cold_start else {}),
                    **(
                        {"end_to_end": measure_end_to_end(each.predictor, settings.files)}
                        if measures_end_to_end(each, settings, batch)
                        else {}
                    ),
                    "environment": machine,
                }
            )
    return measured + [record for each in unavailable for record in unavailable_records(each, settings.batches)]


def measures_end_to_end(loaded: LoadedConfiguration, settings: BenchmarkSettings, batch: int) -> bool:
    """Whether to measure the latency from file to prediction: only of whole models, and of single images."""
    return bool(settings.files) and batch == 1 and loaded.configuration.part == "whole"


def unavailable_records(each: UnavailableConfiguration, batches: Sequence[int]) -> list[Record]:
    """A record for each batch size at which it could not be measured."""
    names = [each.facts["model"], *(["backbone"] if each.facts["part"] == "backbone" else [])]
    name = each.name or " ".join([*names, each.facts["backend"], each.facts["precision"]])
    return [
        {"name": name, **each.facts, "batch": batch, "unavailable": str(each.error)}
        for batch in (batches if each.batch is None else (each.batch,))
    ]


def cold_start_record(configuration: Configuration, batch: int) -> Record:
    """Cold start and memory of a configuration with a file, or why they could not be measured."""
    if configuration.path is None:
        return {}
    size, threads = configuration.card.input.image_size, configuration.threads
    try:
        start = measure_cold_start(
            configuration.path, threads=threads, image_size=size, batch=batch, device=configuration.device
        )
    except InputError as error:
        return {"cold_start_failed": str(error)}
    return asdict(start)


def unique_names(configurations: Sequence[Configuration]) -> list[str]:
    """The labels; equal ones are extended by what distinguishes them."""
    descriptions: list[Callable[[Configuration], str]] = [
        lambda each: each.label,
        lambda each: "x".join(map(str, reversed(each.card.input.image_size))) + " px",
        lambda each: f"{each.threads} thread{'s' * (each.threads > 1)}",
        lambda each: each.model,
        lambda each: str(each.path),
    ]
    names = [""] * len(configurations)
    for description in descriptions:
        parts = [description(each) for each in configurations]
        clash = [names.count(name) > 1 for name in names] if any(names) else [True] * len(names)
        differ = {name: len({p for n, p in zip(names, parts, strict=True) if n == name}) > 1 for name in names}
        names = [
            f"{name} {part}".strip() if again and (differ[name] or not name) else name
            for name, part, again in zip(names, parts, clash, strict=True)
        ]
    return [name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names)]


def measure_batch(
    loaded: Sequence[LoadedConfiguration], batch: int, settings: BenchmarkSettings
) -> tuple[dict[str, Turns], Record]:
    """Interleaved latencies of the graphs alone (uint8 pixels in, outputs out), and the noise of the machine."""
    candidates = {
        each.name: partial(each.predictor.session.run, timed_inputs(each.configuration.card, batch)) for each in loaded
    }
    work: list[float] = []
    before = CpuTimes.now()
    turns = measure_interleaved(
        candidates,
        runs=settings.runs,
        min_seconds=settings.min_seconds,
        each_round=lambda: work.append(time_run(run_fixed_work)),
    )
    noise = Noise.from_times(work, before, CpuTimes.now(), cores=os.cpu_count() or 1)
    return turns, {"noise": noise.interdecile_range, "busy": noise.busy, "warning": noise.warning}


def timed_inputs(card: ModelCard, batch: int) -> dict[str, Any]:
    """Inputs on which the graph alone is timed.

    They are random pixels, because the latency of most networks does not depend on the image. The latency of a detector
    does, because it depends on the proposals and on the objects that are found: it gets photographs, stretched to the
    full width and height of its card.
    """
    spec = card.input
    if spec.padded:
        whole = replace(spec, resize="stretch")
        return spec.network_inputs([whole(path) for path in islice(cycle(sorted(SAMPLE_IMAGES.glob("*.jpg"))), batch)])
    height, width = spec.image_size
    generator = np.random.default_rng(0)
    return {INPUT_NAME: generator.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)}


def cpu_affinity() -> list[int] | None:
    """The logical CPUs that this process may use; None where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def latency_record(turns: Turns, first: Turns, batch: int, *, is_first: bool) -> Record:
    """Percentiles of the latency with their intervals, throughput, and the ratio to the first configuration."""
    latency = Latency.of(turns)
    ratio = compare_latencies(turns, first)
    return {
        **{name: round(value, 4) for name, value in asdict(latency).items()},
        **{f"p{percentage}_interval_95_ms": interval_ms(turns, percentage) for percentage in (50, 90, 99)},
        "images_per_second": round(1000 * batch / latency.p50_ms, 2),
        "ratio": 1.0 if is_first else round(ratio.value, 4),
        "ratio_interval_95": None
        if is_first or ratio.low is None
        else [round(ratio.low, 4), round(ratio.high or 0, 4)],
        "verdict": "first" if is_first else ratio.verdict,
    }


def interval_ms(turns: Turns, percentage: float) -> list[float | None] | None:
    """The 95 % interval of a percentile of the latency; None where too few rounds were measured, and for an upper bound
    that so few runs do not have."""
    interval = percentile_interval(turns, percentage)
    return [None if bound is None else round(1000 * bound, 4) for bound in interval] if interval else None


def utilization_record(loaded: LoadedConfiguration, cost: "Cost", limits: Limits, batch: int, turns: Turns) -> Record:
    """A configuration's multiply-accumulates and least memory traffic, and the fraction of the machine's peak."""
    achieved = 2e-6 * cost.macs * batch / Latency.of(turns).p50_ms
    peak = limits.peaks.get(loaded.peak_key)
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "gflops_per_second": round(achieved, 2),
        "peak_gflops_per_second": round(peak, 1) if peak else None,
        "peak_share": round(achieved / peak, 4) if peak else None,
        "bytes": cost.bytes(loaded.configuration.precision, batch=batch),
        "bandwidth_gb_per_second": limits.bandwidths.get(loaded.configuration.threads),
    }
