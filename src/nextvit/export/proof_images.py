"""The real images that a proof is made on, and the evaluation if they have labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import nextvit
from nextvit.bundle.card import ModelCard
from nextvit.data.image_files import list_images
from nextvit.data.reading import is_dataset
from nextvit.data.samples import Sample, Samples
from nextvit.errors import InputError
from nextvit.tasks.reading import read_split
from nextvit.tasks.task import Evaluator, make_evaluator, match_model

SAMPLE_IMAGES = Path(nextvit.__file__).parent / "sample_images"
MIN_LIMIT = 256


@dataclass(frozen=True, kw_only=True)
class ProofImages:
    """Images for a proof."""

    samples: Sequence[Sample]
    source: str
    """Where they are from, for people."""
    evaluator: Evaluator | None = None
    """What scores them, if they have labels."""


def proof_images(data: Path | None, card: ModelCard, *, split: str = "val", limit: int | None = None) -> ProofImages:
    """The images of a dataset's split with their labels, of any folder without, or for None five bundled photographs.

    Args:
        limit: take so many, spread evenly over all; at least 256.

    Raises:
        InputError: no image there, a dataset for another task or with classes that the model lacks, or too low a limit.
    """
    if limit is not None and limit < MIN_LIMIT:
        raise InputError(f"a proof needs at least {MIN_LIMIT} images, or all there are; got {limit}")
    if data is None:
        return ProofImages(samples=plain(list_images(SAMPLE_IMAGES)), source="bundled photographs")
    if not is_dataset(data):
        paths = list_images(data)
        if not paths:
            raise InputError(f"{data}: holds no image, and an export is proven on real ones")
        return ProofImages(samples=spread(plain(paths), limit), source=data.resolve().name)
    left_out: list[str] = []
    dataset = match_model(read_split(data, split, allow_errors=True, say=left_out.append), card)
    source = f"{data.resolve().name}, {split}" + "".join(f"; {line}" for line in left_out)
    samples = spread(dataset.split(split), limit)
    return ProofImages(samples=samples, source=source, evaluator=make_evaluator(dataset, card))


def plain(paths: Sequence[Path]) -> Samples:
    """Samples without labels."""
    return Samples.pack((path, ()) for path in paths)


def spread(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """At most `limit` of them, evenly spaced, so that every class of a sorted dataset has its part."""
    if limit is None or len(samples) <= limit:
        return samples
    return [samples[int(index)] for index in np.linspace(0, len(samples) - 1, limit).round()]
