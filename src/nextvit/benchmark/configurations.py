"""Configurations to measure (model, runtime, precision, threads, image size), and those of a bundle. Needs no torch."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import CARD_PAGE, GOLDEN, SUFFIX, Manifest, Precision, is_bundle, read_manifest
from nextvit.errors import InputError, MissingDependency, first_line
from nextvit.runtime.predictor import Predictor, card_at, load_bundle
from nextvit.runtime.session import import_session_class

if TYPE_CHECKING:
    from nextvit.models.cost import Cost

Kind = Literal["run", "checkpoint", "bundle", "variant", "timm"]
Part = Literal["whole", "backbone"]
Size = tuple[int, int]

TIMM_PREFIX = "timm:"
BACKBONE_SIZE = (512, 512)
"""Height and width that the backbones of detectors are timed at, as in the tables of the Next-ViT paper."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which configurations to measure. None: all that exist; for a network without files, fp32 at its default size."""

    runtimes: tuple[str, ...] | None = None
    precisions: tuple[Precision, ...] | None = None
    threads: tuple[int, ...] = (1,)
    image_sizes: tuple[Size, ...] | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One way to run one model."""

    model: str
    """As the user named it."""
    kind: Kind
    card: ModelCard
    """Its input size is the one that is measured."""
    backend: str
    precision: Precision
    threads: int
    path: Path | None
    """The bundle, run or checkpoint; None where PyTorch computes without a file."""
    bundle: str | None
    """The bundle's folder name, which distinguishes the bundles of one run; None where the user has no bundle."""
    device: str | None
    """As the user named it; None: the CPU."""
    size_bytes: int
    load: Callable[[], Predictor]
    cost: "Callable[[], Cost | None]"
    """Counts the cost of one image; returns None without torch, or if the card names no network."""
    label: str
    """Short display name, without threads and size."""
    published_top1: float | None = None
    """ImageNet-1k top-1 of the published weights of this network at this size, in percent."""
    part: Part = "whole"
    """"backbone": the backbone of a detector alone, which predicts nothing and is only timed."""

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of a record that identify the configuration."""
        return configuration_facts(
            self.model,
            self.kind,
            variant=self.card.variant,
            backend=self.backend,
            precision=self.precision,
            threads=self.threads,
            image_size=self.card.input.image_size,
            bundle=self.bundle,
            part=self.part,
        )


@dataclass(frozen=True, kw_only=True)
class UnavailableConfiguration:
    """A configuration that cannot be measured, and why."""

    facts: dict[str, Any]
    """The fields of `Configuration.facts`, by which a baseline in which it was measured is found."""
    error: InputError | MissingDependency
    batch: int | None = None
    """The only batch size at which it cannot be measured; None: all."""
    name: str | None = None
    """Its name in the records of other batch sizes; None if it was never loaded."""


Candidates = list[Configuration | UnavailableConfiguration]


def configuration_facts(
    model: str,
    kind: Kind,
    *,
    variant: str,
    backend: str,
    precision: str,
    threads: int,
    image_size: Size | None,
    bundle: str | None,
    part: Part = "whole",
) -> dict[str, Any]:
    """The fields that identify a configuration.

    Args:
        image_size: height and width in pixels; None if the network could not be built at its default size.
    """
    return {
        "model": model,
        "variant": variant,
        "kind": kind,
        "backend": backend,
        "precision": precision,
        "threads": threads,
        "image_size": list(image_size) if image_size else None,
        "bundle": bundle,
        "part": part,
    }


def make_unavailable(
    model: str,
    kind: Kind,
    error: InputError | MissingDependency,
    selection: Selection,
    *,
    variant: str,
    backend: str,
    precision: str,
    default_size: Size | None,
    bundle: str | None = None,
) -> Candidates:
    """An unavailable configuration for each selected image size and number of threads.

    Args:
        default_size: height and width in pixels, used when no sizes are selected.
    """
    return [
        UnavailableConfiguration(
            facts=configuration_facts(
                model,
                kind,
                variant=variant,
                backend=backend,
                precision=precision,
                threads=threads,
                image_size=size,
                bundle=bundle,
            ),
            error=error,
        )
        for size, threads in product(selection.image_sizes or (default_size,), selection.threads)
    ]


def as_user_error(error: Exception) -> InputError | MissingDependency:
    """The error with a one-line message; errors that are meant for users stay as they are."""
    if isinstance(error, InputError | MissingDependency):
        return error
    return InputError(f"{type(error).__name__}: {first_line(error)}")


def unavailable_backbones(
    detectors: Iterable[Configuration], error: InputError | MissingDependency, selection: Selection
) -> Candidates:
    """The backbones of these detectors, unavailable because of `error`."""
    found: Candidates = []
    for each in detectors:
        facts = {"variant": each.card.variant, "backend": each.backend, "precision": each.precision}
        at_size = replace(selection, image_sizes=(BACKBONE_SIZE,))
        found += make_unavailable(each.model, each.kind, error, at_size, **facts, default_size=BACKBONE_SIZE)
    return found


def exported_bundles(run: Path) -> list[Path]:
    """The bundles in a run's folder, sorted by path."""
    return [path for path in sorted((run / "exports").glob(f"*{SUFFIX}")) if is_bundle(path)]


def bundle_configurations(
    bundle: Path, model: str, kind: Kind, selection: Selection, *, cost: "Callable[[], Cost] | None" = None
) -> Candidates:
    """A bundle at every selected image size and number of threads.

    A bundle of a runtime or precision that is not selected is unavailable if the user named the bundle itself, and is
    skipped if it is one of the bundles of a run.

    Args:
        model: the name that the user gave.
        cost: counts the cost of a network that is not a Next-ViT; None: the cost is computed from the card.
    """
    # 1. Is the bundle selected?
    manifest = read_manifest(bundle)
    name = bundle.resolve().name
    refused = partial(
        make_unavailable,
        model,
        kind,
        variant=manifest.card.variant,
        backend=manifest.backend,
        precision=manifest.precision,
        default_size=manifest.card.input.image_size,
        bundle=name,
    )
    if other := explain_mismatch(manifest, selection):
        return refused(InputError(other), selection) if kind == "bundle" else []

    # 2. A configuration for each image size and number of threads
    any_size = manifest.dynamic_size or manifest.card.input.padded
    found: Candidates = []
    for size in selection.image_sizes or (manifest.card.input.image_size,):
        try:
            import_session_class(manifest.backend)
            card = card_at(manifest.card, size, what=bundle, any_size=any_size)
        except (InputError, MissingDependency) as error:
            found += refused(error, replace(selection, image_sizes=(size,)))
            continue
        found += [
            Configuration(
                model=model,
                kind=kind,
                card=card,
                backend=manifest.backend,
                precision=manifest.precision,
                threads=threads,
                path=bundle,
                bundle=name,
                device=selection.device,
                size_bytes=model_bytes(bundle, manifest),
                load=partial(load_bundle, bundle, threads=threads, device=selection.device, image_size=size),
                cost=cost or partial(cost_of_card, card),
                label=name.removesuffix(SUFFIX),
            )
            for threads in selection.threads
        ]
    return found


def explain_mismatch(manifest: Manifest, selection: Selection) -> str | None:
    """Why a bundle is not selected; None if it is."""
    for what, own, selected in (
        ("runtime", manifest.backend, selection.runtimes),
        ("precision", manifest.precision, selection.precisions),
    ):
        if selected and own not in selected:
            return f"its {what} is {own}; selected: {', '.join(selected)}"
    return None


def model_bytes(bundle: Path, manifest: Manifest) -> int:
    """The size of a bundle without its golden examples and its card page."""
    return sum((bundle / name).stat().st_size for name in manifest.sha256 if name not in (GOLDEN, CARD_PAGE))


def cost_of_card(card: ModelCard) -> "Cost | None":
    """The cost of the deployed network; None without torch, or if the card names no network."""
    if find_spec("torch") is None:
        return None
    from nextvit.tasks.network import deployed_cost

    try:
        return deployed_cost(card)
    except InputError:
        return None
