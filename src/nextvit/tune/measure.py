"""Points of the space as files of their runtimes, with random weights, and their latencies."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from nextvit.backends.program import Source
from nextvit.benchmark.peers import load_photographs, set_batch_norm_statistics
from nextvit.benchmark.suite import timed_inputs
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle.card import ModelCard
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.machine.environment import describe_machine, installed_versions
from nextvit.machine.quiet import suppress_output
from nextvit.machine.timing import MIN_RUNS, Latency, measure_interleaved
from nextvit.models.classification import Classifier
from nextvit.runtime.predictor import load_bundle
from nextvit.runtime.session import BACKENDS
from nextvit.tune.latency_table import Setup
from nextvit.tune.space import Point

SEED = 0
NUM_CLASSES = 10
"""Of the networks that are timed. A head of more classes takes longer by its one layer, which is applied once."""


def random_card(point: Point, *, num_classes: int = NUM_CLASSES) -> ModelCard:
    """The card of a classifier of a point, whose classes are numbers."""
    return ModelCard(
        task="classification",
        classes=tuple(map(str, range(num_classes))),
        input=Preprocess(image_size=point.image_size),
        variant="a point of the space",
        architecture=to_plain(point.config),
    )


def random_source(point: Point, *, num_classes: int = NUM_CLASSES) -> Source:
    """What the file of a classifier with random weights is written from.

    Its batch norms have the statistics of photographs, which also calibrate int8: latency does not depend on weights as
    long as they give ordinary numbers.
    """
    card = random_card(point, num_classes=num_classes)
    photographs = load_photographs(card.input)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Classifier(point.config, num_classes=num_classes)
    set_batch_norm_statistics(model, photographs, card.input)
    return Source(model=model.eval(), card=card, precision=point.precision, calibration=photographs)


def measure_points(
    points: Sequence[Point], *, threads: int, runs: int = MIN_RUNS, min_seconds: float = 1.0
) -> list[float]:
    """The median milliseconds of an image alone, for points that are timed in the same rounds.

    Args:
        threads: CPU threads of the runtimes.
        runs: timed runs of each, at least.
        min_seconds: timed seconds of each, at least.

    Raises:
        InputError: a runtime lacks the precision, or cannot take the network.
        MissingDependency: a runtime or what writes its files is not installed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        timed = {}
        for number, point in enumerate(points):
            with suppress_output():
                bundle = write_unproven(random_source(point), point.runtime, Path(temporary, str(number)))
            predictor = load_bundle(bundle, threads=threads)
            timed[str(number)] = partial(predictor.session.run, timed_inputs(predictor.card, 1))
        turns = measure_interleaved(timed, runs=runs, min_seconds=min_seconds)
    return [Latency.of(turns[name]).p50_ms for name in timed]


def setup_here(point: Point, *, threads: int) -> Setup:
    """The setup of a table for the runtime and precision of a point, on this machine."""
    versions = installed_versions()
    return Setup(
        machine=describe_machine(),
        versions={name: versions[name] for name in ("nextvit", BACKENDS[point.runtime][2]) if name in versions},
        runtime=point.runtime,
        precision=point.precision,
        threads=threads,
    )
