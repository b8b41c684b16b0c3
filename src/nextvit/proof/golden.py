"""The golden examples of a bundle, run again: on the machine that wrote it, or years later on the one where it runs.

Needs no torch, but where something stands in for a runtime that does not exist here.
"""

from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import GOLDEN, Arrays, Golden, Manifest, read_bundle, read_golden
from nextvit.errors import InputError, NoRuntimeHere, NotProven
from nextvit.image.resizing import Prepared
from nextvit.proof.parity import AnyParity, compare_answers
from nextvit.proof.segmentation_parity import LogitsDifference
from nextvit.proof.tolerances import TOLERANCES
from nextvit.runtime.session import Session, concatenate, open_session
from nextvit.tasks.answers import judged_part

BATCHES = (1, 3)


def verify_bundle(
    path: Path, *, threads: int | None = None, device: str | None = None
) -> tuple[Manifest, Session, AnyParity]:
    """Check every file of a bundle, run its golden examples on this machine, and compare.

    Raises:
        InputError: a file is missing or changed.
        NotProven: this machine's answers differ by more than the precision may.
    """
    manifest = read_bundle(path)
    session = open_or_stand_in(path, manifest, threads=threads, device=device)
    return manifest, session, golden_parity(session, path, manifest)


def open_or_stand_in(
    path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
) -> Session:
    """The backend's own runtime, or where that does not exist what stands in for it; its `facts` say which it is.

    Raises:
        InputError: the file cannot be read, or nothing here runs it.
        MissingDependency: what would run it is not installed.
    """
    try:
        return open_session(path, manifest, threads=threads, device=device)
    except NoRuntimeHere:
        from nextvit.export.targets import TARGETS  # needs torch, as stand-ins do

        stand_in = TARGETS[manifest.backend].stand_in
        if not stand_in:
            raise
        if device:
            raise InputError(
                f"{path}: {manifest.backend} does not exist on this system, and what stands in for it has no choice of "
                f"devices; leave out {device!r}"
            ) from None
        return import_module(stand_in).open_session(path, manifest, threads=threads)


def golden_parity(session: Session, folder: Path, manifest: Manifest) -> AnyParity:
    """Run the golden inputs in batches of one and of three, and compare with the outputs kept beside them.

    Returns the comparison of the card's own size in single images; the other batches and the other size, where there
    is one, must hold as well.

    Raises:
        NotProven: they differ by more than the precision may.
        InputError: the model does not take or answer what the golden examples say, or the manifest lacks their bounds.
    """
    found: list[AnyParity] = []
    for number, example in enumerate(read_golden(folder)):
        height, width = example.images.shape[1:3]
        for batch in BATCHES:
            got = in_batches(session, example, batch)
            shapes = {name: each.shape for name, each in got.items()}
            if {name: each.shape for name, each in example.outputs.items()} != shapes:
                raise InputError(f"{folder / GOLDEN}: damaged (its outputs are not of the model's shapes {shapes})")
            parity = golden_difference(example, got, manifest.card)
            if failures := golden_failures(parity, manifest, number):
                what = f"golden examples of {width}x{height} px in batches of {batch}"
                raise NotProven(f"{what}: {'; '.join(failures)}")
            found.append(parity)
    return found[0]


def golden_failures(parity: AnyParity, manifest: Manifest, number: int) -> list[str]:
    """The bounds of the precision; int8 and the like have none of their own, and must come as close as they came when
    they were proven, with half as much again for another machine's arithmetic."""
    if manifest.precision in TOLERANCES:
        return parity.failures(manifest.precision)
    errors = manifest.verification.get("golden_max_errors", ())
    if number >= len(errors):
        raise InputError(f"the manifest is damaged (verification: golden_max_errors has {len(errors)} of its sizes)")
    allowed = 1.5 * errors[number] + TOLERANCES["fp16"].max_error
    return [] if parity.max_error <= allowed else [f"largest error {parity.max_error:.2e} > {allowed:.1e}"]


def golden_difference(example: Golden, outputs: Arrays, card: ModelCard) -> AnyParity:
    """How outputs for the golden images compare with those that are kept."""
    sizes: list[list[int]] = example.sizes.tolist() if example.sizes is not None else [[*example.images.shape[1:3]]]
    images = [
        Prepared(frame[:height, :width], (height, width))
        for frame, (height, width) in zip(example.images, cycle(sizes), strict=False)
    ]
    expected, got = judged_part(example.outputs, images, card), judged_part(outputs, images, card)
    logits = LogitsDifference()
    if card.scores:
        logits.add(example.outputs["logits"], outputs["logits"])
    return compare_answers(expected, got, card, logits_error=logits.error)


def in_batches(session: Session, example: Golden, size: int) -> dict[str, NDArray[Any]]:
    """The outputs for the golden images, run `size` at a time."""
    starts = range(0, len(example.images), size)
    parts = ({name: each[start : start + size] for name, each in example.inputs.items()} for start in starts)
    return concatenate([session.run(part) for part in parts])
