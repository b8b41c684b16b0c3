"""Find what to measure: every combination of model, runtime, precision, threads and image size that exists, and for the
others the reason why not. Bundles need no torch here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nextvit.benchmark.configurations import (
    PREFIX,
    Configuration,
    Found,
    Kind,
    Unavailable,
    Wanted,
    of_bundle,
    without_backbone,
)
from nextvit.bundle.manifest import SUFFIX, is_bundle
from nextvit.errors import InputError, MissingDependency
from nextvit.files.run_folder import is_run
from nextvit.models.config import VARIANTS


def configurations(models: Sequence[str], wanted: Wanted, folder: Path, *, say: Callable[[str], None]) -> Found:
    """Everything that is asked for; files of networks that have none are written under `folder`, only to be timed.

    Args:
        models: runs, checkpoint files, bundles, names of variants, and "timm:NAME".

    Raises:
        InputError: there is no such model.
        MissingDependency: for "timm:NAME", timm is not installed.
    """
    found: Found = []
    kinds: dict[str, Kind] = {
        model: kind_of(model) for model in models
    }  # all of them first: writing one can take minutes
    for number, (model, kind) in enumerate(kinds.items()):
        if kind == "bundle":
            found += of_bundle(Path(model), str(Path(model)), kind, wanted)
            continue
        try:
            from nextvit.benchmark import networks
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "torch", extra="train") from None
        if kind in ("variant", "timm"):
            found += networks.of_name(model, kind, wanted, folder / str(number), say=say)
        else:
            found += networks.of_trained(Path(model), kind, wanted)
    return found + backbones(found, wanted, folder, say=say)


def backbones(found: Found, wanted: Wanted, folder: Path, *, say: Callable[[str], None]) -> Found:
    """The backbones alone of the detectors among these, in the same runtimes and precisions."""
    detectors: dict[str, dict[tuple[str, str], Configuration]] = {}
    for each in found:
        if isinstance(each, Configuration) and each.card.task == "detection":
            detectors.setdefault(each.model, {}).setdefault((each.backend, each.precision), each)
    made: Found = []
    for number, ways in enumerate(detectors.values()):
        try:
            from nextvit.benchmark.networks import of_backbone
        except ModuleNotFoundError as error:
            made += without_backbone(ways.values(), MissingDependency(error.name or "torch", extra="train"), wanted)
            continue
        made += of_backbone(list(ways.values()), wanted, folder / f"backbone-{number}", say=say)
    return [as_backbone(each) for each in made]


def as_backbone(each: Configuration | Unavailable) -> Configuration | Unavailable:
    """The same, told from the detector that it belongs to."""
    if isinstance(each, Unavailable):
        return replace(each, facts={**each.facts, "part": "backbone"})
    name = Path(each.model).resolve().name.removesuffix(SUFFIX)
    return replace(each, part="backbone", label=f"{name} backbone {each.backend} {each.precision}")


def kind_of(model: str) -> Kind:
    if model.startswith(PREFIX):
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
        f"{model}: no such run, checkpoint or bundle, and no name of a network ({', '.join(VARIANTS)}, {PREFIX}NAME)"
    )
