"""Write, run, compare, and only then keep: nothing is exported that was not proven on real images."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.backends.program import Source
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import (
    CARD_PAGE,
    Manifest,
    Precision,
    write_manifest,
)
from nextvit.bundle.signature import read_private_key, sign_bundle
from nextvit.errors import InputError, NotProven
from nextvit.export.attempt import Attempt, attempt
from nextvit.export.explain import LayerError, Unwatchable, explain, first_departure
from nextvit.export.proof_images import ProofImages
from nextvit.export.request import check_request
from nextvit.export.sensitivity import GroupCost, float_layer_candidates, sensitivity
from nextvit.export.targets import Target, target_of
from nextvit.files.durable import compute_sha256, durable_folder, write_durably
from nextvit.files.records import to_plain
from nextvit.machine.timing import Latency, measure_interleaved
from nextvit.models.network import Network
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.proof.golden import STAND_INS
from nextvit.report.bundle_card import bundle_card
from nextvit.tasks.task import get_task

REFUSED = ".refused"

Say = Callable[[str], None]


def export_bundle(
    model: Network,
    card: ModelCard,
    *,
    backend: str,
    precision: Precision,
    images: ProofImages,
    out: Path,
    dynamic_size: bool = False,
    calibration: NDArray[np.uint8] | None = None,
    calibration_source: str | None = None,
    max_drop: float | None = None,
    explain_layers: bool = False,
    sign_with: Path | None = None,
    say: Say = lambda message: None,
) -> Manifest:
    """Export an unfused model as the bundle `out`, proven on `images` through the bundle's own full path.

    Args:
        dynamic_size: take any image size from 33 px a side; two sizes are proven.
        calibration: real images (N, H, W, 3) at the card's size from the training data; int8 needs them.
        calibration_source: where they are from, for people.
        max_drop: most points of the score that the export may cost; None: 0.5 where it is accepted by its score
            (`nextvit.proof.verdict`), else no limit. An int8 file that costs more leaves its most sensitive layers in
            float.
        explain_layers: record the error of every layer, and for int8 what quantising each group of layers alone costs;
            without, that is only done for a file that is refused.
        sign_with: file of the Ed25519 private key to sign the manifest with.
        say: called with what is going on.

    Raises:
        InputError: unknown backend or precision, no images, no such key, or `out` is something else than a bundle.
        MissingDependency: the backend's packages are not installed.
        NotProven: the exported file differs from PyTorch by more than its precision may. No bundle is left behind, but
            a page and a JSON file beside `out` that say how far it is, and where it diverges.
    """
    target = target_of(backend, precision, dynamic_size=dynamic_size, task=card.task)
    check_request(
        card, out, backend=backend, dynamic_size=dynamic_size, max_drop=max_drop, explain_layers=explain_layers
    )
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
        calibration_source=calibration_source,
    )
    with durable_folder(out) as folder:
        tried = attempt(source, target, backend, folder, images, max_drop)
        if tried.failures and precision == "int8":
            source, tried = with_float_layers(source, target, backend, folder, images, max_drop, tried, say)
        elif explain_layers and calibration is not None and precision == "int8":
            tried = with_costs(tried, sensitivity(source, target, tried.manifest, calibration))
        if tried.failures or explain_layers:
            tried, where = explained(source, target, tried)
            say(where)
            if tried.failures:
                refuse(tried, where, out)
        if backend not in STAND_INS:
            tried = with_facts(tried, latency=latency(tried))
        manifest = finish(tried.manifest, folder)
        if key:
            sign_bundle(folder, key)
    for report in reports_of(out):
        report.unlink(missing_ok=True)
    return manifest


def with_float_layers(
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
    say(f"{refused.failures[0]}; measuring which layers that comes from")
    assert source.calibration is not None
    costs = sensitivity(source, target, refused.manifest, source.calibration)
    tried = refused
    for float_layers in float_layer_candidates(costs):
        say(f"trying again with {', '.join(float_layers)} in float")
        source = replace(source, float_layers=float_layers)
        tried = attempt(source, target, backend, folder, images, max_drop)
        if not tried.failures:
            break
    return source, with_costs(tried, costs)


def with_costs(tried: Attempt, costs: list[GroupCost]) -> Attempt:
    return with_facts(tried, sensitivity=[asdict(each) for each in costs])


def explained(source: Source, target: Target, tried: Attempt) -> tuple[Attempt, str]:
    """With the errors of all layers at the card's size, or if none diverges there at the second size; and what they
    say."""
    layers: list[LayerError] = []
    if not get_task(source.card.task).has_comparable_layers:
        return tried, "layers are compared for classifiers alone"
    for example in tried.golden:
        try:
            layers = explain(source, target, tried.manifest, tried.session, example.images)
        except Unwatchable as error:
            return with_facts(tried, layers_note=str(error)), str(error)
        if first_departure(layers, source.precision):
            break
    return with_facts(tried, layers=[asdict(each) for each in layers]), where_from(layers, source.precision)


def latency(tried: Attempt) -> dict[str, Any]:
    """What one image, of which height and width in pixels, takes on this machine, in short; `nextvit bench` measures
    properly."""
    one = {name: each[:1] for name, each in tried.golden[0].inputs.items()}
    seconds = measure_interleaved({"file": partial(tried.session.run, one)}, min_seconds=0.5)["file"]
    return {"batch": 1, "image_size": tried.golden[0].images.shape[1:3], **asdict(Latency.of(seconds))}


def finish(manifest: Manifest, folder: Path) -> Manifest:
    """The page for people, checksums, manifest."""
    manifest = with_checksums(manifest, folder)
    (folder / CARD_PAGE).write_text(bundle_card(manifest), encoding="utf-8")
    manifest = replace(with_checksums(manifest, folder), verification=finite(manifest.verification))
    write_manifest(folder, manifest)
    return manifest


def with_checksums(manifest: Manifest, folder: Path) -> Manifest:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return replace(manifest, sha256={file.relative_to(folder).as_posix(): compute_sha256(file) for file in files})


def with_facts(tried: Attempt, **facts: Any) -> Attempt:
    """With more in the manifest's record of the verification."""
    return replace(tried, manifest=replace(tried.manifest, verification={**tried.manifest.verification, **facts}))


def finite(value: Any) -> Any:
    """The same plain values with what JSON has no number for as text: "nan", "inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value


def refuse(tried: Attempt, where: str, out: Path) -> None:
    """Keep the report of a file that is not proven beside where it would have been, and raise.

    Raises:
        NotProven: always.
    """
    manifest, found = tried.manifest, tried.failures
    page, data = reports_of(out)
    write_durably(page, bundle_card(manifest, failures=found))
    record = finite({"failures": found, **to_plain(manifest)})
    write_durably(data, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    what = f"the {manifest.backend} {manifest.precision} file is not proven on {manifest.verification['images']} images"
    before = f"; the bundle that was at {out} before is still there" if out.exists() else ""
    flag = f"; {tried.way_out}" if tried.way_out else ""
    raise NotProven(f"{what}: {'; '.join(found)}; {where}{flag}; report: {page}{before}")


def reports_of(out: Path) -> tuple[Path, Path]:
    """The page and the JSON file that a refusal leaves beside where the bundle would be."""
    return out.with_suffix(f"{REFUSED}.html"), out.with_suffix(f"{REFUSED}.json")


def where_from(layers: list[LayerError], precision: Precision) -> str:
    """Where the difference comes from, in a few words."""
    departed = first_departure(layers, precision)
    if departed is None:
        return "no layer diverges by more than the precision may"
    # What a layer inside a block adds is not known alone, only what its block adds.
    share = next((each.share for each in layers[layers.index(departed) :] if each.share is not None), None) or 0.0
    if precision not in TOLERANCES:
        return f"most of the error, {share:.0%}, comes from {departed.layer}"
    size = f"error {departed.error:.2g} of that layer's standard deviation; {share:.0%} of the whole"
    return f"it diverges at {departed.layer} ({size})"
