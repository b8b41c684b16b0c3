"""One round of an export: write the file, load it again, evaluate it, and run its golden examples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nextvit.backends.metadata import describe_inputs
from nextvit.backends.program import Source
from nextvit.bundle.card import ModelCard
from nextvit.bundle.golden import MAX_GOLDEN_BYTES, Golden, write_golden
from nextvit.bundle.manifest import Manifest
from nextvit.data.samples import Sample
from nextvit.errors import InputError, NotProven
from nextvit.export.proof_images import ProofImages
from nextvit.export.reference import prove
from nextvit.export.targets import Target
from nextvit.image.reading import Encoded
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.machine.environment import describe_environment, installed_versions
from nextvit.predictions.kind import kind_of
from nextvit.proof.golden import golden_difference, golden_parity
from nextvit.proof.verdict import allowed_drop, beyond_tolerances, failures, is_accepted_by_score, way_out
from nextvit.runtime.session import Session
from nextvit.tasks.task import get_task

GOLDEN_IMAGES = 4
GOLDEN_BYTES = MAX_GOLDEN_BYTES // 2
"""What the golden examples may take, unpacked: well below what is read, which counts what lies around them, too."""
OTHER_SIZE_FACTOR, OTHER_SIZE_ERROR = 3, 0.02
"""A file that is accepted by its score is scored at the card's size alone. At another size its mean error may be
three times as large and a fiftieth of the spread besides; one that is wrong there has twenty times as much."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A file that was written and run on all proof images."""

    manifest: Manifest
    session: Session
    golden: list[Golden]
    failures: list[str]
    way_out: str | None = None
    """Which flag accepts a file that is refused; None: none does."""


def attempt(
    source: Source, target: Target, backend: str, folder: Path, images: ProofImages, max_drop: float | None
) -> Attempt:
    """Write the file and its golden examples into `folder`, and compare with PyTorch."""
    manifest = Manifest(
        card=source.card,
        backend=backend,
        precision=source.precision,
        model_file=target.writer(source.precision)(source, folder),
        inputs=describe_inputs(source.card, dynamic_size=source.dynamic_size),
        outputs=kind_of(source.card).output_meanings(classes_type=target.classes_type),
        made_with={**installed_versions(), "time": describe_environment()["time"]},
        dynamic_size=source.dynamic_size,
        float_layers=source.float_layers,
    )
    session = target.session(folder, manifest)
    proof = prove(source.model, source.card, session, images)
    golden = golden_examples(source, proof.samples)
    write_golden(folder, golden)
    record = {
        **proof.record(images.evaluator),
        "runtime": session.facts(),
        "environment": describe_environment(),
        "max_drop": allowed_drop(source.precision, max_drop, labelled=images.evaluator is not None),
        **target.checked(folder, manifest),
    }
    if source.precision == "int8" and source.calibration is not None:
        record["calibration"] = {"images": len(source.calibration), "source": source.calibration_source}
    found = failures(record, proof.parity, source.precision, max_drop)
    accepted_by = way_out(record, proof.parity, source.precision) if found else None
    if is_accepted_by_score(source.precision, labelled=images.evaluator is not None):
        record["beyond_tolerances"] = beyond_tolerances(proof.parity, source.precision)
        record["golden_max_errors"], too_far = golden_errors(session, golden, source.card)
        found += too_far
    manifest = replace(manifest, verification=record)
    if not found:
        try:
            golden_parity(session, folder, manifest)
        except NotProven as error:
            found = [str(error)]
    return Attempt(manifest=manifest, session=session, golden=golden, failures=found, way_out=accepted_by)


def golden_examples(source: Source, samples: Sequence[Sample]) -> list[Golden]:
    """A few images of the card's size, and for a file that takes any size the same at a second one, with PyTorch's
    answers."""
    # Far apart, so that they are not all of one class.
    chosen = [samples[int(index)] for index in np.linspace(0, len(samples) - 1, GOLDEN_IMAGES).round()]
    cards = [source.card]
    if source.dynamic_size:
        size = other_size(source.card.input.image_size)
        cards.append(replace(source.card, input=replace(source.card.input, image_size=size)))
    golden: list[Golden] = []
    for card in cards:
        inputs = card.input.network_inputs([card.input(Encoded(sample.read(), sample.path)) for sample in chosen])
        outputs = get_task(source.card.task).reference_outputs(source.model, source.card, inputs)
        example = Golden(inputs[INPUT_NAME], outputs, inputs.get(SIZES_NAME))
        golden.append(as_many_as_fit(example, GOLDEN_BYTES // len(cards)))
    return golden


def as_many_as_fit(example: Golden, most: int) -> Golden:
    """The first images of an example, as many as take at most so many bytes with their outputs: logits of each place of
    a large image are large.

    Raises:
        InputError: not even one does.
    """
    each = sum(array.nbytes for array in (*example.inputs.values(), *example.outputs.values())) // len(example.images)
    count = min(len(example.images), most // each)
    if count == 0:
        raise InputError(
            f"the outputs for one image of {example.images.shape[2]}x{example.images.shape[1]} px take {each:,} bytes, "
            "too many for a bundle to keep examples of; take a smaller --fixed-size, or leave out --scores"
        )
    sizes = None if example.sizes is None else example.sizes[:count]
    return Golden(example.images[:count], {name: array[:count] for name, array in example.outputs.items()}, sizes)


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """A second size for a file that takes any: larger one way, smaller the other, and both odd."""
    height, width = size
    return height * 5 // 4 | 1, max(33, width * 3 // 4 | 1)


def golden_errors(session: Session, golden: Sequence[Golden], card: ModelCard) -> tuple[list[float], list[str]]:
    """The largest error at each size, for later runs to be held to, and a line for each other size that is too far
    off."""
    parities = [golden_difference(each, session.run(each.inputs), card) for each in golden]
    allowed = OTHER_SIZE_FACTOR * parities[0].mean_error + OTHER_SIZE_ERROR
    too_far = [
        f"at {example.images.shape[2]}x{example.images.shape[1]} px the mean error is {parity.mean_error:.2e} > "
        f"{allowed:.1e}"
        for example, parity in zip(golden[1:], parities[1:], strict=True)
        if not parity.mean_error <= allowed
    ]
    return [each.max_error for each in parities], too_far
