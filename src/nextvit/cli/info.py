"""nextvit info"""

from pathlib import Path
from typing import Any

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MIN_DYNAMIC_SIDE_PX, SIGNATURE, Manifest, is_bundle, read_bundle, require_model
from nextvit.cli.console import AsJson, make_table, show
from nextvit.errors import InputError, shorten
from nextvit.files.durable import locate_folder
from nextvit.files.run_folder import METRICS, find_best_weights, is_run
from nextvit.image.canvas import STRIDE_PX
from nextvit.predictions.kind import kind_of
from nextvit.predictions.score_names import display_name, main_score
from nextvit.report.contents import read_epochs


def info(path: Path, /, *, as_json: AsJson = False) -> None:
    """What a run, a checkpoint file or a bundle is.

    Example: nextvit info runs/photos

    Parameters
    ----------
    path: Path
        A run, a checkpoint file, or a bundle.
    """
    facts = describe(path)
    rows = [
        (name, str(value) if not isinstance(value, list) else ", ".join(map(str, value)))
        for name, value in facts.items()
    ]
    show(as_json, make_table(["", ""], rows, left=2), document={"verb": "info", **facts})


def describe(path: Path) -> dict[str, Any]:
    """Plain facts about a path."""
    path = locate_folder(path)
    require_model(path)
    if is_bundle(path):
        manifest = read_bundle(path)
        return {
            "what": "bundle, every file unchanged",
            "backend": manifest.backend,
            "precision": manifest.precision,
            **card_facts(manifest.card),
            "image sizes": sizes_taken(manifest),
            "files": f"{sum((path / name).stat().st_size for name in manifest.sha256) / 1e6:.1f} MB",
            "signed": "yes, not checked here" if (path / SIGNATURE).is_file() else "no",
            "made with": [f"{name} {version}" for name, version in manifest.made_with.items()],
            "proven on": proven_on(manifest),
            **score_facts(manifest),
        }
    from nextvit.models.weights import read_state

    if is_run(path):
        epochs = read_epochs(path / METRICS)
        facts: dict[str, Any] = {"what": "run", "epochs done": len(epochs)}
        if not epochs:
            return facts
        _, card = read_state(find_best_weights(path))
        name = main_score(epochs[0])
        facts[f"best {display_name(name)}"] = f"{max(record[f'val_{name}'] for record in epochs):.2f} %"
    else:
        state, card = read_state(path)
        facts = {"what": "checkpoint", "tensors": len(state)}
    return {**facts, **(card_facts(card) if card else {"description": "none"})}


def sizes_taken(manifest: Manifest) -> str:
    """Which sizes of the resized image the file itself takes."""
    if manifest.card.input.padded:
        return f"any size, on canvases of multiples of {STRIDE_PX} px"
    return f"any size from {MIN_DYNAMIC_SIDE_PX} px" if manifest.dynamic_size else "this one"


def proven_on(manifest: Manifest) -> str:
    """What the verification found, in a line."""
    proven = manifest.verification
    if not {"images", "max_error"} <= proven.keys():
        return "nothing"
    try:
        return kind_of(manifest.card).parity_line(proven)
    except (LookupError, TypeError, ValueError) as error:  # another task's, or somebody else's
        raise InputError(f"its verification is damaged ({type(error).__name__}: {shorten(str(error))})") from None


def score_facts(manifest: Manifest) -> dict[str, str]:
    """The score of the bundle and what the export cost, where it was proven on labelled images."""
    proven, facts = manifest.verification, dict[str, str]()
    metric, score = (proven.get("after", {}).get(name) for name in ("metric", "score"))
    if isinstance(metric, str) and isinstance(score, int | float):
        facts[display_name(metric)] = f"{score:.2f} %"
    if "drop" in proven:
        facts["drop against PyTorch"] = f"{proven['drop']:.2f} points"
    return facts


def card_facts(card: ModelCard) -> dict[str, Any]:
    """The card as rows."""
    return {
        "task": card.task,
        "variant": card.variant,
        "input": f"uint8 RGB, {card.input.words}",
        **kind_of(card).card_rows(),
        "classes": list(card.classes),
        "started from": card.pretrained or "scratch",
        "weights licence": card.weights_licence,
    }
