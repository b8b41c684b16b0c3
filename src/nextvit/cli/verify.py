"""nextvit verify"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextvit.bundle import is_bundle
from nextvit.cli.console import AsJson, make_table, show
from nextvit.durable import present
from nextvit.environment import environment
from nextvit.errors import InputError
from nextvit.scores import spoken


def verify(bundle: Path, /, *, against: Path | None = None, data: Path | None = None, as_json: AsJson = False) -> None:
    """Prove a bundle again, on this machine: checksums, golden examples, and if you like the model and the exam.

    Example: nextvit verify photos-onnx-fp32.nextvit --against runs/photos --data photos

    Exits with 1 if the answers differ by more than the precision may.

    Parameters
    ----------
    bundle: Path
        What `nextvit export` wrote.
    against: Path
        The run or checkpoint it came from: compares both on the images of --data (default: the run's dataset).
    data: Path
        A labelled dataset: scores the bundle on its val split.
    """
    bundle = present(bundle)
    if not is_bundle(bundle):
        raise InputError(f"{bundle}: not a bundle, it has no manifest.json")
    from nextvit.export.golden import verify_bundle

    manifest, session, golden = verify_bundle(bundle)
    document: dict[str, Any] = {
        "verb": "verify",
        "bundle": str(bundle),
        "golden": asdict(golden),
        "runtime": session.facts(),
        "environment": environment(),
    }
    rows = [
        ("files unchanged", str(len(manifest.sha256))),
        ("golden examples met", str(golden.images)),
        ("largest difference / spread", f"{golden.max_error:.2e}"),
        ("runtime", session.facts()["runtime"]),
    ]
    if against:
        from nextvit.cli.export import proof_images, proof_rows
        from nextvit.export.export import prove
        from nextvit.loading import load_trained

        network, card = load_trained(against)
        if (card.input, card.classes) != (manifest.card.input, manifest.card.classes):
            raise InputError(f"{against} and {bundle} differ in input or classes, so their answers cannot be compared")
        images, _ = proof_images(against, data, card)
        parity = prove(network, card, session, images, manifest.precision)
        document["against"] = asdict(parity)
        rows += [(f"{name}, against {against.name}", value) for name, value in proof_rows(asdict(parity))]
    if data:
        from nextvit.cli.export import score
        from nextvit.data.folder import read_dataset
        from nextvit.tasks import task_for

        document["exam"] = score(task_for(read_dataset(data), manifest.card), session.run)
        rows.append((spoken(document["exam"]["metric"]), f"{document['exam']['score']:.2f} %"))
    show(as_json, make_table(["verified", ""], rows), document=document)
