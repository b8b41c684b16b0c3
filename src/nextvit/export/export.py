"""Write, run, compare, and only then keep: nothing is exported that was not proven on real images."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.benchmark.timing import Latency, measure_interleaved
from nextvit.bundle import (
    CARD_PAGE,
    INPUT_NAME,
    MANIFEST,
    SUFFIX,
    Golden,
    Manifest,
    Precision,
    is_bundle,
    write_golden,
    write_manifest,
)
from nextvit.card import ModelCard, TaskName
from nextvit.data.samples import Sample
from nextvit.durable import durable_folder, sha256_of, write_durably
from nextvit.environment import environment, versions
from nextvit.errors import InputError, NotProven
from nextvit.export.explain import LayerError, explain, first_departure
from nextvit.export.golden import golden_parity
from nextvit.export.parity import compare
from nextvit.export.program import Source
from nextvit.export.proof import failures, prove, reference_logits
from nextvit.export.proof_images import ProofImages
from nextvit.export.sensitivity import GroupCost, islands, sensitivity
from nextvit.export.targets import Target, target_of
from nextvit.models.classification import Classifier
from nextvit.preprocess import Encoded
from nextvit.records import to_plain
from nextvit.report.bundle_card import bundle_card
from nextvit.runtime.session import Session
from nextvit.signature import read_private_key, sign_bundle

MEANINGS: dict[TaskName, str] = {
    "classification": "one value for each class, in the card's order; softmax gives probabilities",
    "multilabel": "one value for each class, in the card's order; sigmoid gives each one's probability, and those that "
    "reach the card's thresholds are answered",
}
GOLDEN_IMAGES = 4
REFUSED = ".refused"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A file that was written and run on all proof images."""

    manifest: Manifest
    session: Session
    failures: list[str]
    samples: list[Sample]


def export_bundle(
    model: Classifier,
    card: ModelCard,
    *,
    backend: str,
    precision: Precision,
    images: ProofImages,
    out: Path,
    dynamic_size: bool = False,
    calibration: NDArray[np.uint8] | None = None,
    max_drop: float | None = None,
    explain_layers: bool = False,
    sign_with: Path | None = None,
    say: Say = lambda message: None,
) -> Manifest:
    """Export an unfused model as the bundle `out`, proven on `images` through the bundle's own full path.

    Args:
        dynamic_size: take any image size from 33 px a side; two sizes are proven.
        calibration: real images (N, H, W, 3) at the card's size from the training data; int8 needs them.
        max_drop: most points of the score that the export may cost; None: 0.5 where the precision has no bounds on
            its outputs, else no limit. An int8 file that costs more leaves its most sensitive layers in float.
        explain_layers: record the error of every layer, and for int8 what quantising each group of layers alone costs;
            without, that is only done for a file that is refused.
        sign_with: file of the Ed25519 private key to sign the manifest with.
        say: told what is going on.

    Raises:
        InputError: unknown backend or precision, no images, no such key, or `out` is something else than a bundle.
        MissingDependency: the backend's packages are not installed.
        NotProven: the exported file differs from PyTorch by more than its precision may. No bundle is left behind, but
            a page and a JSON file beside `out` that say how far it is, and where it departs.
    """
    target = target_of(backend, precision, dynamic_size=dynamic_size)
    check_out(out)
    key = read_private_key(sign_with) if sign_with else None
    if precision == "int8" and calibration is None:
        raise InputError("int8 is calibrated on real images of the training data, and there are none; pass --data")
    say(f"exporting to {backend} {precision}, then comparing on {len(images.samples)} images ({images.source})")
    source = Source(
        model=copy.deepcopy(model).cpu().eval(),
        card=card,
        precision=precision,
        dynamic_size=dynamic_size,
        calibration=calibration,
    )
    with durable_folder(out) as folder:
        attempt = write_and_prove(source, target, backend, folder, images, max_drop)
        if attempt.failures and precision == "int8":
            source, attempt = with_islands(source, target, backend, folder, images, max_drop, attempt, say)
        elif explain_layers and calibration is not None:
            costs = sensitivity(source, target, attempt.manifest, calibration)
            attempt = replace(attempt, manifest=with_costs(attempt.manifest, costs))
        manifest = attempt.manifest
        golden = np.stack([inputs(card, sample) for sample in spread(attempt.samples)])
        if attempt.failures or explain_layers:
            layers = explain(source, target, manifest, golden)
            manifest = with_facts(manifest, layers=[asdict(each) for each in layers])
            if attempt.failures:
                refuse(manifest, attempt.failures, layers, out)
        if not target.stand_in:
            manifest = with_facts(manifest, latency=latency(attempt.session, golden[:1]))
        manifest = finish(source, attempt, manifest, golden, folder)
        if key:
            sign_bundle(folder, key)
    (out.with_suffix(f"{REFUSED}.html")).unlink(missing_ok=True)
    (out.with_suffix(f"{REFUSED}.json")).unlink(missing_ok=True)
    return manifest


def check_out(out: Path) -> None:
    """Refuse what cannot succeed before any work is done."""
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: a bundle is a folder whose name ends in {SUFFIX}; choose another --out")
    if out.exists() and not is_bundle(out):
        raise InputError(f"{out}: exists and is not a bundle; choose another --out")


def write_and_prove(
    source: Source, target: Target, backend: str, folder: Path, images: ProofImages, max_drop: float | None
) -> Attempt:
    """Write the file, load it again, and compare on all images."""
    manifest = Manifest(
        card=source.card,
        backend=backend,
        precision=source.precision,
        model_file=target.writer(source.precision)(source, folder),
        outputs={"logits": f"(N, classes) float32: {MEANINGS[source.card.task]}"},
        made_with={**versions(), "time": environment()["time"]},
        dynamic_size=source.dynamic_size,
        float_layers=source.float_layers,
    )
    session = target.session(folder, manifest)
    proof = prove(source.model, source.card, session, images)
    record = {
        **proof.record(images.task),
        "runtime": session.facts(),
        "environment": environment(),
        "max_drop": max_drop,
        **target.checked(folder, manifest),
    }
    return Attempt(
        manifest=replace(manifest, verification=record),
        session=session,
        failures=failures(record, proof.parity, source.precision, max_drop),
        samples=proof.samples,
    )


def with_islands(
    source: Source,
    target: Target,
    backend: str,
    folder: Path,
    images: ProofImages,
    max_drop: float | None,
    refused: Attempt,
    say: Say,
) -> tuple[Source, Attempt]:
    """Leave more and more of the most sensitive layers in float until the proof holds."""
    assert source.calibration is not None
    say(f"{refused.failures[0]}; measuring which layers that comes from")
    costs = sensitivity(source, target, refused.manifest, source.calibration)
    attempt = refused
    for float_layers in islands(costs):
        say(f"trying again with {', '.join(float_layers)} in float")
        source = replace(source, float_layers=float_layers)
        attempt = write_and_prove(source, target, backend, folder, images, max_drop)
        if not attempt.failures:
            break
    return source, replace(attempt, manifest=with_costs(attempt.manifest, costs))


def finish(source: Source, attempt: Attempt, manifest: Manifest, golden: NDArray[np.uint8], folder: Path) -> Manifest:
    """Golden examples, the page for people, checksums, manifest."""
    examples = [golden]
    if source.dynamic_size:
        spec = replace(source.card.input, image_size=other_size(source.card.input.image_size))
        other = replace(source.card, input=spec)
        examples.append(np.stack([inputs(other, sample) for sample in spread(attempt.samples)]))
    references = [Golden(each, {"logits": reference_logits(source.model, source.card, each)}) for each in examples]
    write_golden(folder, references)
    answered = attempt.session.run({INPUT_NAME: golden})["logits"]
    manifest = with_facts(manifest, golden_max_error=compare(references[0].outputs["logits"], answered).max_error)
    golden_parity(attempt.session, folder, manifest)
    manifest = with_checksums(manifest, folder)
    (folder / CARD_PAGE).write_text(bundle_card(manifest), encoding="utf-8")
    manifest = with_checksums(manifest, folder)
    write_manifest(folder, manifest)
    return manifest


def latency(session: Session, pixels_NHWC: NDArray[np.uint8]) -> dict[str, Any]:
    """What one image takes on this machine, in short; `nextvit bench` measures properly."""
    seconds = measure_interleaved({"file": partial(session.run, {INPUT_NAME: pixels_NHWC})}, min_seconds=0.5)["file"]
    return {"batch": len(pixels_NHWC), **asdict(Latency.of(seconds))}


def with_checksums(manifest: Manifest, folder: Path) -> Manifest:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    return replace(manifest, sha256={file.relative_to(folder).as_posix(): sha256_of(file) for file in files})


def with_costs(manifest: Manifest, costs: list[GroupCost]) -> Manifest:
    return with_facts(manifest, sensitivity=[asdict(each) for each in costs])


def with_facts(manifest: Manifest, **facts: Any) -> Manifest:
    return replace(manifest, verification={**manifest.verification, **facts})


def inputs(card: ModelCard, sample: Sample) -> NDArray[np.uint8]:
    return card.input(Encoded(sample.read(), sample.path))


def spread(samples: list[Sample]) -> list[Sample]:
    """A few of them, far apart, so that they are not all of one class."""
    return [samples[int(index)] for index in np.linspace(0, len(samples) - 1, GOLDEN_IMAGES).round()]


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """A second size for a file that takes any: larger one way, smaller the other, and both odd."""
    height, width = size
    return height * 5 // 4 | 1, max(33, width * 3 // 4 | 1)


def refuse(manifest: Manifest, found: list[str], layers: list[LayerError], out: Path) -> None:
    """Keep the report of a file that is not proven beside where it would have been, and raise.

    Raises:
        NotProven: always.
    """
    page, data = out.with_suffix(f"{REFUSED}.html"), out.with_suffix(f"{REFUSED}.json")
    write_durably(page, bundle_card(manifest, failures=found))
    write_durably(data, json.dumps({"failures": found, **to_plain(manifest)}, indent=2, ensure_ascii=False) + "\n")
    departed = first_departure(layers, manifest.precision)
    where = (
        f"it departs at {departed.layer} (error {departed.error:.2g} of that layer's spread)"
        if departed
        else "no layer departs when all are watched, so it is where the runtime merges them"
    )
    what = f"the {manifest.backend} {manifest.precision} file is not proven on {manifest.verification['images']} images"
    raise NotProven(f"{what}: {'; '.join(found)}; {where}; report: {page}")
