"""Run the golden examples of a bundle again: on the machine that wrote it, or later on the one where it runs.

Needs no torch, except where an emulator runs the file of a backend that does not exist on this system.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.golden import Golden, read_golden
from nextvit.bundle.manifest import GOLDEN, Arrays, Manifest, read_bundle
from nextvit.errors import InputError, NoRuntimeHere, NotProven
from nextvit.predictions.kind import Parity, kind_of
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.runtime.session import Session, concatenate, open_session

BATCHES = (1, 3)
STAND_INS = {"coreml": "nextvit.backends.coreml_stand_in"}
"""For a backend that exists on some systems only: the module whose `open_session` runs its files anywhere else; needs
torch."""


def verify_bundle(
    path: Path, *, threads: int | None = None, device: str | None = None
) -> tuple[Manifest, Session, Parity]:
    """Check every file of a bundle, run its golden examples on this machine, and compare.

    Returns:
        The manifest, the open session, and the comparison at the card's size in single images.

    Raises:
        InputError: a file is missing or changed.
        NotProven: this machine's outputs differ by more than the precision allows.
    """
    manifest = read_bundle(path)
    session = open_session_or_emulator(path, manifest, threads=threads, device=device)
    return manifest, session, golden_parity(session, path, manifest)


def open_session_or_emulator(
    path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
) -> Session:
    """Open a bundle with the backend's own runtime, or with an emulator where that does not exist; `facts` of the
    session says which it is.

    Raises:
        InputError: the file cannot be read, or nothing on this system runs it.
        MissingDependency: the package that runs it is not installed.
    """
    try:
        return open_session(path, manifest, threads=threads, device=device)
    except NoRuntimeHere:
        stand_in = STAND_INS.get(manifest.backend)
        if not stand_in:
            raise
        if device:
            raise InputError(
                f"{path}: {manifest.backend} does not exist on this system, and its stand-in has no choice of "
                f"devices; leave out {device!r}"
            ) from None
        return import_module(stand_in).open_session(path, manifest, threads=threads)


def golden_parity(session: Session, folder: Path, manifest: Manifest) -> Parity:
    """Run the golden inputs in batches of one and of three, and compare with the stored outputs.

    Returns:
        The comparison at the card's own size in single images; the other batches and the other size, where there is
        one, must be within the bounds as well.

    Raises:
        NotProven: they differ by more than the precision allows.
        InputError: the model's inputs or outputs are not those of the golden examples, or the manifest lacks their
            bounds.
    """
    found: list[Parity] = []
    for number, example in enumerate(read_golden(folder)):
        height, width = example.images.shape[1:3]
        for batch in BATCHES:
            got = run_in_batches(session, example, batch)
            shapes = {name: each.shape for name, each in got.items()}
            if {name: each.shape for name, each in example.outputs.items()} != shapes:
                raise InputError(f"{folder / GOLDEN}: damaged (its outputs are not of the model's shapes {shapes})")
            parity = golden_difference(example, got, manifest.card)
            if failures := golden_failures(parity, manifest, number):
                what = f"golden examples of {width}x{height} px in batches of {batch}"
                raise NotProven(f"{what}: {'; '.join(failures)}")
            found.append(parity)
    return found[0]


def golden_failures(parity: Parity, manifest: Manifest, number: int) -> list[str]:
    """One line for each bound that golden example `number` does not keep.

    A bundle that was accepted by its score need not keep the bounds of its precision, and int8 and the like have none:
    its error may be at most half as large again as when it was proven, to allow for another machine's arithmetic.
    """
    errors = manifest.verification.get("golden_max_errors", ())
    if manifest.precision in TOLERANCES:
        found = parity.failures(manifest.precision)
        if not found or not errors:
            return found
    if number >= len(errors):
        raise InputError(f"the manifest is damaged (verification: golden_max_errors has {len(errors)} of its sizes)")
    allowed = 1.5 * errors[number] + TOLERANCES["fp16"].max_error
    return [] if parity.max_error <= allowed else [f"largest error {parity.max_error:.2e} > {allowed:.1e}"]


def golden_difference(example: Golden, outputs: Arrays, card: ModelCard) -> Parity:
    """Compare outputs for the golden images with the stored ones."""
    comparison = kind_of(card).comparison()
    comparison.add(example.outputs, outputs, example.prepared)
    return comparison.parity()


def run_in_batches(session: Session, example: Golden, size: int) -> dict[str, NDArray[Any]]:
    """The outputs for the golden images, run `size` at a time."""
    starts = range(0, len(example.images), size)
    parts = ({name: each[start : start + size] for name, each in example.inputs.items()} for start in starts)
    return concatenate([session.run(part) for part in parts])
