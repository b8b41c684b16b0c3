"""The benchmark: configurations side by side in the same rounds, and what they are measured against."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.benchmark.cold_start import cold_start
from nextvit.benchmark.configurations import Configuration, Found, Unavailable
from nextvit.benchmark.end_to_end import end_to_end
from nextvit.benchmark.limit import bandwidth, peaks
from nextvit.benchmark.noise import CpuTimes, Noise, fixed_work
from nextvit.benchmark.ratio import compare
from nextvit.bundle import INPUT_NAME
from nextvit.environment import environment
from nextvit.errors import InputError, MissingDependency
from nextvit.runtime.predictor import Predictor
from nextvit.timing import MIN_RUNS, Latency, Turns, measure_interleaved, timed

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration that answers."""

    name: str
    configuration: Configuration
    predictor: Predictor


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How to measure."""

    batches: Sequence[int] = (1,)
    runs: int = MIN_RUNS
    min_seconds: float = 5.0
    limits: bool = True
    """Measure the machine's peaks and memory, which takes some seconds for each runtime and precision."""
    starts: bool = True
    """Start a process for each file, for its first answer and its memory."""
    files: Sequence[Path] = ()
    """Images for the way from file to answer; none: that is not measured."""


def benchmark(found: Found, protocol: Protocol, *, say: Callable[[str], None] = lambda message: None) -> list[Record]:
    """A record for each configuration and batch, those that could not be measured with the reason.

    Raises:
        InputError: nothing can be measured.
        MissingDependency: the one thing to measure lacks a package.
    """
    loaded, refused = load_all(found)
    if not loaded and len(refused) == 1:
        raise refused[0].error
    if not loaded:
        reasons = dict.fromkeys(str(each.error) for each in refused)
        raise InputError(f"nothing to measure: {'; '.join(reasons) or 'nothing there has that runtime and precision'}")
    machine = environment()
    measured: list[Record] = []
    limits = Limits.measured(loaded, say) if protocol.limits else Limits(peaks={}, bandwidths={})
    for batch in protocol.batches:
        say(f"measuring {len(loaded)} configurations at batch {batch}, at least {protocol.min_seconds:g} s each")
        turns, noise = measure(loaded, batch, protocol)
        first = turns[loaded[0].name]
        for each in loaded:
            record = {
                "name": each.name,
                **each.configuration.facts,
                **each.predictor.session.facts(),
                "affinity": affinity(),
                "batch": batch,
                **latency_of(turns[each.name], first, batch, is_first=each is loaded[0]),
                **limits.of(each, batch, turns[each.name]),
                "size_mib": round(each.configuration.size_bytes / 2**20, 2),
                **noise,
                "environment": machine,
            }
            if protocol.starts and each.configuration.path:
                size = each.configuration.card.input.image_size
                start = cold_start(
                    each.configuration.path, threads=each.configuration.threads, image_size=size, batch=batch
                )
                record |= asdict(start) if start else {}
            if protocol.files and batch == 1:
                record["end_to_end"] = end_to_end(each.predictor, protocol.files)
            measured.append(record)
    return measured + [
        {"name": named(each.facts), **each.facts, "batch": batch, "unavailable": str(each.error)}
        for each in refused
        for batch in protocol.batches
    ]


def load_all(found: Iterable[Configuration | Unavailable]) -> tuple[list[Loaded], list[Unavailable]]:
    """What answers, by names that tell it apart, and what does not."""
    loaded: list[tuple[Configuration, Predictor]] = []
    unavailable: list[Unavailable] = []
    for each in found:
        if isinstance(each, Unavailable):
            unavailable.append(each)
            continue
        try:
            loaded.append((each, each.load()))
        except (InputError, MissingDependency) as error:
            unavailable.append(Unavailable(facts=each.facts, error=error))
    names = unique_names([each for each, _ in loaded])
    return [
        Loaded(name=name, configuration=each, predictor=predictor)
        for name, (each, predictor) in zip(names, loaded, strict=True)
    ], unavailable


def named(facts: dict[str, Any]) -> str:
    return " ".join(str(facts[name]) for name in ("model", "backend", "precision"))


def unique_names(configurations: Sequence[Configuration]) -> list[str]:
    """The labels, with what tells equal ones apart."""
    ways: list[Callable[[Configuration], str]] = [
        lambda each: each.label,
        lambda each: "x".join(map(str, reversed(each.card.input.image_size))) + " px",
        lambda each: f"{each.threads} thread{'s' * (each.threads > 1)}",
        lambda each: each.model,
        lambda each: str(each.path),
    ]
    names = [""] * len(configurations)
    for way in ways:
        parts = [way(each) for each in configurations]
        clash = [names.count(name) > 1 for name in names] if any(names) else [True] * len(names)
        differ = {name: len({p for n, p in zip(names, parts, strict=True) if n == name}) > 1 for name in names}
        names = [
            f"{name} {part}".strip() if again and (differ[name] or not name) else name
            for name, part, again in zip(names, parts, clash, strict=True)
        ]
    return [name if names.count(name) == 1 else f"{name} #{place}" for place, name in enumerate(names)]


def measure(loaded: Sequence[Loaded], batch: int, protocol: Protocol) -> tuple[dict[str, Turns], Record]:
    """Times of the graphs alone (uint8 pixels in, outputs out), and how quiet the machine was meanwhile."""
    candidates = {each.name: partial(each.predictor.session.run, pixels_for(each, batch)) for each in loaded}
    work: list[float] = []
    before = CpuTimes.now()
    turns = measure_interleaved(
        candidates,
        runs=protocol.runs,
        min_seconds=protocol.min_seconds,
        each_round=lambda: work.append(timed(fixed_work)),
    )
    noise = Noise.of(work, before, CpuTimes.now(), cores=os.cpu_count() or 1)
    return turns, {"noise": noise.spread, "busy": noise.busy, "warning": noise.warning}


def pixels_for(loaded: Loaded, batch: int) -> dict[str, Any]:
    """Random pixels: the network's time does not depend on them."""
    height, width = loaded.configuration.card.input.image_size
    generator = np.random.default_rng(0)
    return {INPUT_NAME: generator.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)}


def affinity() -> list[int] | None:
    """The processors that this process may use; None where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def latency_of(turns: Turns, first: Turns, batch: int, *, is_first: bool) -> Record:
    """Percentiles, throughput, and the time over the first configuration's."""
    latency = Latency.of(turns)
    ratio = compare(turns, first)
    return {
        **{name: round(value, 4) for name, value in asdict(latency).items()},
        "images_per_second": round(1000 * batch / latency.p50_ms, 2),
        "ratio": 1.0 if is_first else round(ratio.value, 4),
        "ratio_interval_95": None
        if is_first or ratio.low is None
        else [round(ratio.low, 4), round(ratio.high or 0, 4)],
        "verdict": "first" if is_first else ratio.verdict,
    }


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The machine's limits: GFLOP/s by (backend, precision, threads), GB/s by threads."""

    peaks: dict[tuple[str, str, int], float | None]
    bandwidths: dict[int, float]

    @classmethod
    def measured(cls, loaded: Sequence[Loaded], say: Callable[[str], None]) -> "Limits":
        """Measure what the loaded configurations need to be judged by, on the CPU."""
        on_cpu = [each for each in loaded if "cpu" in str(each.predictor.session.facts().get("device", "cpu"))]
        # PyTorch's own product lays its weights out anew in each call, so compiled PyTorch is not held to it.
        kinds = sorted({kind_of(each) for each in on_cpu if each.configuration.backend != "torch-compiled"})
        say(f"measuring the limits of this machine for {', '.join(f'{b} {p}, {t} threads' for b, p, t in kinds)}")
        found: dict[tuple[str, str, int], float | None] = {}
        threads = sorted({each[2] for each in kinds})
        for count in threads:
            pairs = [(backend, precision) for backend, precision, own in kinds if own == count]
            found |= {(*pair, count): value for pair, value in peaks(pairs, count).items()}
        return cls(peaks=found, bandwidths={count: bandwidth(count) for count in threads})

    def of(self, loaded: Loaded, batch: int, turns: Turns) -> Record:
        """A configuration's operations and least traffic, and its share of what the machine could do."""
        cost = loaded.configuration.cost() if self.bandwidths else None
        if cost is None:
            return {}
        seconds = Latency.of(turns).p50_ms / 1000
        achieved = 2e-9 * cost.macs * batch / seconds
        peak = self.peaks.get(kind_of(loaded))
        return {
            "parameters": cost.parameters,
            "macs": cost.macs,
            "gflops_per_second": round(achieved, 2),
            "peak_gflops_per_second": round(peak, 1) if peak else None,
            "peak_share": round(achieved / peak, 4) if peak else None,
            "bytes": cost.bytes(loaded.configuration.precision, batch=batch),
            "bandwidth_gb_per_second": self.bandwidths.get(loaded.configuration.threads),
        }


def kind_of(loaded: Loaded) -> tuple[str, str, int]:
    """What a peak is measured for."""
    return loaded.configuration.backend, loaded.configuration.precision, loaded.configuration.threads
