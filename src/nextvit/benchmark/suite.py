"""The benchmark: models and bundles side by side at the same batch and threads."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from nextvit.benchmark.timing import MIN_RUNS, Latency, measure_interleaved
from nextvit.bundle import INPUT_NAME
from nextvit.environment import environment
from nextvit.runtime.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One loaded model under test."""

    name: str
    predictor: Predictor
    precision: str
    size_bytes: int


def benchmark(
    entries: Sequence[Entry], *, batches: Sequence[int], runs: int = MIN_RUNS, min_seconds: float = 5.0
) -> list[dict[str, Any]]:
    """Latency of the graph alone (uint8 pixels in, outputs out) of every entry at every batch, as plain records.

    `speedup` is the first entry's median over this one's, at the same batch in the same rounds.
    """
    records: list[dict[str, Any]] = []
    machine = environment()
    for batch in batches:
        assert len({entry.name for entry in entries}) == len(entries), "names tell the entries apart"
        candidates = {entry.name: partial(entry.predictor.session.run, pixels_for(entry, batch)) for entry in entries}
        seconds = measure_interleaved(candidates, runs=runs, min_seconds=min_seconds)
        first = float(np.median(seconds[entries[0].name]))
        for entry in entries:
            latency = Latency.of(seconds[entry.name])
            records.append(
                {
                    "name": entry.name,
                    "variant": entry.predictor.card.variant,
                    "image_size": list(entry.predictor.card.input.image_size),
                    "precision": entry.precision,
                    "batch": batch,
                    **entry.predictor.session.facts(),
                    **{name: round(value, 4) for name, value in asdict(latency).items()},
                    "images_per_second": round(1000 * batch / latency.p50_ms, 2),
                    "speedup": round(first * 1000 / latency.p50_ms, 3),
                    "size_mib": round(entry.size_bytes / 2**20, 2),
                    "environment": machine,
                }
            )
    return records


def pixels_for(entry: Entry, batch: int) -> dict[str, Any]:
    """Random pixels: the network's time does not depend on them."""
    height, width = entry.predictor.card.input.image_size
    generator = np.random.default_rng(0)
    return {INPUT_NAME: generator.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)}
