"""Write, run, compare, and only then keep: nothing is exported that was not proven on real images."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.bundle import (
    INPUT_NAME,
    MANIFEST,
    SUFFIX,
    Arrays,
    Manifest,
    Precision,
    Predict,
    is_bundle,
    write_golden,
    write_manifest,
)
from nextvit.card import ModelCard, TaskName
from nextvit.durable import durable_folder, sha256_of
from nextvit.environment import environment, versions
from nextvit.errors import InputError, NotProven, did_you_mean
from nextvit.export.golden import golden_parity, refuse
from nextvit.export.parity import Parity, compare
from nextvit.export.program import capture
from nextvit.models.classification import Classifier
from nextvit.models.deployed import normalise
from nextvit.preprocess import ImageLike
from nextvit.runtime.session import Session, concatenate, open_session

Exam = Callable[[Predict], dict[str, Any]]

WRITERS: dict[str, tuple[str, tuple[Precision, ...]]] = {
    # backend: (module whose `export` writes it, precisions)
    "onnx": ("nextvit.export.to_onnx", ("fp32",)),
}
MEANINGS: dict[TaskName, str] = {
    "classification": "one value for each class, in the card's order; softmax gives probabilities",
    "multilabel": "one value for each class, in the card's order; sigmoid gives each one's probability, and those that "
    "reach the card's thresholds are answered",
}
GOLDEN_IMAGES = 4
BATCH = 32


def export_bundle(
    model: Classifier,
    card: ModelCard,
    *,
    backend: str,
    precision: Precision,
    images: Sequence[ImageLike],
    out: Path,
    exam: Exam | None = None,
    max_drop: float | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Manifest:
    """Export an unfused model as the bundle `out`, proven on `images` through the bundle's own full path.

    Args:
        exam: the score of a predict function on labelled data (a record with "score"), taken before and after; None:
            outputs are compared alone.
        max_drop: most points of that score that the export may cost.
        say: told what is going on.

    Raises:
        InputError: unknown backend or precision, no images, or `out` is something else than a bundle.
        MissingDependency: the backend's packages are not installed.
        NotProven: the exported file differs from PyTorch by more than its precision may; nothing is left behind.
    """
    check_request(backend, precision, images, out)
    say(f"exporting to {backend} {precision}, then comparing on {len(images)} images")
    model = copy.deepcopy(model).cpu().eval()
    write = import_module(WRITERS[backend][0]).export
    with durable_folder(out) as folder:
        manifest = Manifest(
            card=card,
            backend=backend,
            precision=precision,
            model_file=write(capture(model, card), card, folder),
            outputs={"logits": f"(N, classes) float32: {MEANINGS[card.task]}"},
            made_with={**versions(), "time": environment()["time"]},
        )
        session = open_session(folder, manifest)
        pixels = [card.input(image) for image in images[:GOLDEN_IMAGES]]
        golden = np.stack(pixels)
        write_golden(folder, images=golden, outputs={"logits": reference_logits(model, card, golden)})
        parity = prove(model, card, session, images, precision)
        golden_parity(session, folder, manifest)
        verification: dict[str, Any] = {**asdict(parity), "runtime": session.facts(), "environment": environment()}
        if exam:
            before = exam(lambda inputs: {"logits": reference_logits(model, card, inputs[INPUT_NAME])})
            after = exam(session.run)
            verification |= {"before": before, "after": after}
            if max_drop is not None and before["score"] - after["score"] > max_drop:
                raise NotProven(
                    f"the score fell from {before['score']:.2f} to {after['score']:.2f}, more than --max-drop {max_drop:g}"
                )
        files = sorted(file for file in folder.iterdir() if file.name != MANIFEST)
        manifest = replace(manifest, verification=verification, sha256={file.name: sha256_of(file) for file in files})
        write_manifest(folder, manifest)
    return manifest


def check_request(backend: str, precision: str, images: Sequence[ImageLike], out: Path) -> None:
    """Refuse what cannot succeed before any work is done."""
    if backend not in WRITERS:
        raise InputError(f"no backend {backend!r}; {did_you_mean(backend, WRITERS)}")
    if precision not in WRITERS[backend][1]:
        raise InputError(f"{backend} has no precision {precision!r} yet; accepted: {', '.join(WRITERS[backend][1])}")
    if not images:
        raise InputError("an export is proven on real images, and there are none; pass a dataset or folder with --data")
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: a bundle is a folder whose name ends in {SUFFIX}; choose another --out")
    if out.exists() and not is_bundle(out):
        raise InputError(f"{out}: exists and is not a bundle; choose another --out")


def reference_logits(model: Classifier, card: ModelCard, pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What PyTorch answers, by the path of training: unfused, with the normalisation outside."""
    with torch.inference_mode():
        images_NCHW = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous()
        return model(normalise(images_NCHW, card.input)).numpy()


def prove(
    model: Classifier, card: ModelCard, session: Session, images: Sequence[ImageLike], precision: Precision
) -> Parity:
    """Compare both sides on the same images, from the file on disk to the logits.

    Raises:
        NotProven: they differ by more than the precision may.
    """
    expected: list[NDArray[np.float32]] = []
    got: list[Arrays] = []
    for start in range(0, len(images), BATCH):
        pixels = np.stack([card.input(image) for image in images[start : start + BATCH]])
        expected.append(reference_logits(model, card, pixels))
        got.append(session.run({INPUT_NAME: pixels}))
    parity = compare(np.concatenate(expected), concatenate(got)["logits"], thresholds=card.thresholds)
    refuse(parity.failures(precision), f"the {precision} file differs from PyTorch on {parity.images} images")
    return parity
