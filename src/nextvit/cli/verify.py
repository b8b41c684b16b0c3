"""nextvit verify"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import SIGNATURE, Manifest, is_bundle
from nextvit.cli.console import AsJson, make_table, show
from nextvit.errors import InputError, NotProven, suggest_path
from nextvit.files.durable import locate_folder
from nextvit.files.run_folder import is_run
from nextvit.machine.environment import describe_environment
from nextvit.predictions.kind import kind_of
from nextvit.predictions.score_names import display_name


def verify(
    bundle: Path,
    /,
    *,
    against: Path | None = None,
    data: Path | None = None,
    split: str = "val",
    key: Path | None = None,
    device: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Prove a bundle again, on this machine: checksums, golden examples, and if you like the model and the evaluation.

    Example: nextvit verify photos-onnx-fp32.nextvit --against runs/photos --data photos

    Exits with 1 if the outputs differ by more than the precision allows. Says what differs between this machine and the
    one that made the bundle.

    Parameters
    ----------
    bundle: Path
        What `nextvit export` wrote.
    against: Path
        The run or checkpoint it came from: compares both on the images of --data (default: the run's dataset).
    data: Path
        A labelled dataset: scores the bundle on one of its splits, the only one that need be there.
    split: str
        The split of --data: "val", "test" or "train".
    key: Path
        Check its signature with this Ed25519 public key, a PEM file, before anything of it is run.
    device: str
        Where to compute, by the runtime's name for it, such as cuda. Default: the CPU.
    """
    bundle = checked_path(bundle)
    if key:
        from nextvit.bundle.signature import check_signature, read_public_key

        check_signature(bundle, read_public_key(key))
    from nextvit.proof.golden import verify_bundle

    manifest, session, golden = verify_bundle(bundle, device=device)
    here = {**describe_environment(), **session.facts()}
    document: dict[str, Any] = {
        "verb": "verify",
        "bundle": str(bundle),
        "signed": (bundle / SIGNATURE).is_file(),
        "signed_by": str(key) if key else None,
        "golden": asdict(cast(Any, golden)),
        "runtime": session.facts(),
        "environment": describe_environment(),
        "differs": differences(manifest, here),
    }
    rows = [
        ("files unchanged", str(len(manifest.sha256))),
        ("golden examples met", str(golden.images)),
        *kind_of(manifest.card).parity_rows(asdict(cast(Any, golden))),
        ("runtime", session.facts()["runtime"]),
    ]
    if key:
        rows.insert(0, ("signed by", str(key)))
    elif document["signed"]:
        rows.insert(0, ("signed", "not checked, pass --key"))
    rows += [(name, f"{now}; made with {then}") for name, (then, now) in document["differs"].items()]
    if against:
        from nextvit.cli.export import images_for, proof_rows
        from nextvit.export.reference import prove
        from nextvit.loading import load_trained
        from nextvit.proof.verdict import failures

        network, card = load_trained(against)
        card = kind_of(card).exported_like(manifest.card)
        check_comparable(bundle, manifest.card, against, card)
        images = images_for(against, data, card, split=split)
        proof = prove(network.eval(), card, session, images)
        document["against"] = proof.record(images.evaluator)
        if found := failures(
            document["against"], proof.parity, manifest.precision, manifest.verification.get("max_drop")
        ):
            raise NotProven(f"{bundle} differs from {against} on {proof.parity.images} images: {'; '.join(found)}")
        rows += [(f"{name}, against {against.name}", value) for name, value in proof_rows(document["against"], card)]
        if data and "after" in document["against"]:
            document["exam"] = document["against"]["after"]
    elif data:
        from nextvit.tasks.reading import read_split
        from nextvit.tasks.task import make_evaluator

        evaluation = make_evaluator(read_split(data, split), manifest.card).evaluate(session.run, split=split)
        score = evaluation.scores[evaluation.main_score]
        document["exam"] = {
            "metric": evaluation.main_score,
            "score": score,
            "interval_95": evaluation.interval_95,
            "images": evaluation.images,
        }
        rows.append((display_name(evaluation.main_score), f"{score:.2f} %"))
    show(as_json, make_table(["verified", ""], rows), document=document)


def checked_path(path: Path) -> Path:
    """The path, if a bundle is there.

    Raises:
        InputError: there is none, or something else.
    """
    path = locate_folder(path)
    if not path.exists():
        raise InputError(f"{path}: no such bundle{suggest_path(path)}")
    if is_run(path):
        raise InputError(f"{path}: is a run; its bundles are in {path / 'exports'}")
    if not is_bundle(path):
        raise InputError(f"{path}: not a bundle, it has no manifest.json")
    return path


def check_comparable(bundle: Path, of_bundle: ModelCard, against: Path, other: ModelCard) -> None:
    """Raise InputError where a bundle and the model that it is compared with do not answer the same question."""
    for name in ("task", "input", "classes", "facts", "head"):
        if getattr(of_bundle, name) != getattr(other, name):
            what = name.replace("_", " ")
            raise InputError(f"{against} and {bundle} differ in {what}, so their predictions cannot be compared")


def differences(manifest: Manifest, here: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What differs between the machine that made a bundle and this one: name -> (there, here)."""
    there = {**manifest.verification.get("environment", {}), **manifest.verification.get("runtime", {})}
    compared = ("cpu", "system", "runtime", "device", "gpu", "provider", "computes_in")
    return {
        name: (str(there[name]), str(here[name]))
        for name in compared
        if name in there and name in here and there[name] != here[name]
    }
