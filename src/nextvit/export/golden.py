"""The golden examples of a bundle, run again: on the machine that wrote it, or years later on the one where it runs.

Needs no torch.
"""

from functools import partial
from pathlib import Path

from nextvit.bundle import INPUT_NAME, Manifest, read_bundle, read_golden
from nextvit.errors import NotProven
from nextvit.export.parity import Parity, compare
from nextvit.runtime.session import Session, concatenate, open_session


def verify_bundle(path: Path, *, threads: int | None = None) -> tuple[Manifest, Session, Parity]:
    """Check every file of a bundle, run its golden examples on this machine, and compare.

    Raises:
        InputError: a file is missing or changed.
        NotProven: this machine's answers differ by more than the precision may.
    """
    manifest = read_bundle(path)
    session = open_session(path, manifest, threads=threads)
    return manifest, session, golden_parity(session, path, manifest)


def golden_parity(session: Session, folder: Path, manifest: Manifest) -> Parity:
    """Run the golden inputs together and one by one, and compare with the outputs kept beside them.

    Raises:
        NotProven: they differ by more than the precision may. The batch is dynamic, so one must do as well as many.
    """
    pixels, expected = read_golden(folder)
    singles = concatenate([session.run({INPUT_NAME: pixels[index : index + 1]}) for index in range(len(pixels))])
    together = session.run({INPUT_NAME: pixels})
    compared = partial(compare, expected["logits"], thresholds=manifest.card.thresholds)
    refuse(compared(singles["logits"]).failures(manifest.precision), "golden examples, one by one")
    parity = compared(together["logits"])
    refuse(parity.failures(manifest.precision), "golden examples, in one batch")
    return parity


def refuse(failures: list[str], what: str) -> None:
    """Raise NotProven if there are failures."""
    if failures:
        raise NotProven(f"{what}: {'; '.join(failures)}")
