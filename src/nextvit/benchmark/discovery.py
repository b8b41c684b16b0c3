"""Find what to measure: every combination of model, runtime, precision, threads and image size that exists, and for the
others the reason why not. Bundles need no torch here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nextvit.benchmark.configurations import (
    TIMM_PREFIX,
    Candidates,
    Configuration,
    Kind,
    Selection,
    UnavailableConfiguration,
    bundle_configurations,
    unavailable_backbones,
)
from nextvit.bundle.manifest import SUFFIX, is_bundle
from nextvit.errors import InputError, MissingDependency, suggest_path
from nextvit.files.run_folder import is_run
from nextvit.models.config import VARIANTS
from nextvit.tasks.task import get_task


def find_configurations(
    models: Sequence[str], selection: Selection, folder: Path, *, say: Callable[[str], None]
) -> Candidates:
    """All selected configurations of these models. Networks without files are written under `folder`, only to be timed.

    Args:
        models: runs, checkpoint files, bundles, names of variants, and "timm:NAME".

    Raises:
        InputError: there is no such model.
        MissingDependency: for "timm:NAME", timm is not installed.
    """
    found: Candidates = []
    # All names are checked first, because writing one network can take minutes.
    kinds: dict[str, Kind] = {model: model_kind(model) for model in models}
    for number, (model, kind) in enumerate(kinds.items()):
        if kind == "bundle":
            found += bundle_configurations(Path(model), str(Path(model)), kind, selection)
            continue
        try:
            from nextvit.benchmark import networks
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "torch", extra="train") from None
        if kind in ("variant", "timm"):
            found += networks.named_network_configurations(model, kind, selection, folder / str(number), say=say)
        else:
            found += networks.trained_configurations(Path(model), kind, selection)
    return found + find_backbones(found, selection, folder, say=say)


def find_backbones(found: Candidates, selection: Selection, folder: Path, *, say: Callable[[str], None]) -> Candidates:
    """The backbones of the detectors among these, in the same runtimes and precisions."""
    by_model: dict[str, dict[tuple[str, str], Configuration]] = {}
    for each in found:
        if isinstance(each, Configuration) and get_task(each.card.task).times_backbone_separately:
            by_model.setdefault(each.model, {}).setdefault((each.backend, each.precision), each)
    candidates: Candidates = []
    for number, detectors in enumerate(by_model.values()):
        try:
            from nextvit.benchmark.networks import backbone_configurations
        except ModuleNotFoundError as error:
            candidates += unavailable_backbones(
                detectors.values(), MissingDependency(error.name or "torch", extra="train"), selection
            )
            continue
        candidates += backbone_configurations(
            list(detectors.values()), selection, folder / f"backbone-{number}", say=say
        )
    return [mark_as_backbone(each) for each in candidates]


def mark_as_backbone(each: Configuration | UnavailableConfiguration) -> Configuration | UnavailableConfiguration:
    """A copy whose part and label say that it is only the backbone of a detector."""
    if isinstance(each, UnavailableConfiguration):
        return replace(each, facts={**each.facts, "part": "backbone"})
    name = Path(each.model).resolve().name.removesuffix(SUFFIX)
    return replace(each, part="backbone", label=f"{name} backbone {each.backend} {each.precision}")


def model_kind(model: str) -> Kind:
    """What the user's name for a model stands for.

    Raises:
        InputError: there is no such model.
    """
    if model.startswith(TIMM_PREFIX):
        return "timm"
    path = Path(model)
    if is_bundle(path):
        return "bundle"
    if is_run(path):
        return "run"
    if not path.exists() and model in VARIANTS:
        return "variant"
    if path.is_file():
        return "checkpoint"
    raise InputError(
        f"{model}: no such run, checkpoint or bundle, and no name of a network "
        f"({', '.join(VARIANTS)}, {TIMM_PREFIX}NAME){suggest_path(path)}"
    )
