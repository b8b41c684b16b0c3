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
from nextvit.errors import InputError, MissingDependency
from nextvit.runtime.predictor import Predictor, card_at, load_bundle
from nextvit.runtime.session import first_line, import_session_class

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
    """What was asked for; None: what there is, and of a network without files fp32 at its own size."""

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
    """With the size that is measured."""
    backend: str
    precision: Precision
    threads: int
    path: Path | None
    """The bundle, run or checkpoint; None for what is computed in PyTorch without a file."""
    bundle: str | None
    """The name of the bundle's folder, which tells bundles of one run apart; None for what is no bundle of the user's."""
    device: str | None
    """As it was asked for; None: the CPU."""
    size_bytes: int
    load: Callable[[], Predictor]
    cost: "Callable[[], Cost | None]"
    """Counts what the graph costs for one image; None where there is no torch to count it, or no network in the card."""
    label: str
    """Short and for people, without threads and size."""
    published_top1: float | None = None
    """ImageNet-1k top-1 in percent of the published weights of this network at this size."""
    part: Part = "whole"
    """"backbone": that of a detector alone, which answers nothing and is only timed."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says before anything is measured."""
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
    """A combination that cannot be measured."""

    facts: dict[str, Any]
    """As of a configuration that can be, so that a baseline finds what it measured and is gone now."""
    error: InputError | MissingDependency
    batch: int | None = None
    """The one batch at which it cannot be measured; None: all."""
    name: str | None = None
    """Of one that was loaded, as in the records of other batches."""


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
    """What tells one configuration from another; `image_size` is None of a network that could not even be made at its own."""
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
    """One of them for all sizes and threads that were asked for; `default_size` is that of a model for which none was."""
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
    """The error as one line; those that are meant for people stay as they are."""
    if isinstance(error, InputError | MissingDependency):
        return error
    return InputError(f"{type(error).__name__}: {first_line(error)}")


def unavailable_backbones(
    detectors: Iterable[Configuration], error: InputError | MissingDependency, selection: Selection
) -> Candidates:
    """Backbones that cannot be made."""
    found: Candidates = []
    for each in detectors:
        facts = {"variant": each.card.variant, "backend": each.backend, "precision": each.precision}
        at_size = replace(selection, image_sizes=(BACKBONE_SIZE,))
        found += make_unavailable(each.model, each.kind, error, at_size, **facts, default_size=BACKBONE_SIZE)
    return found


def exported_bundles(run: Path) -> list[Path]:
    """The bundles in a run's folder."""
    return [path for path in sorted((run / "exports").glob(f"*{SUFFIX}")) if is_bundle(path)]


def bundle_configurations(
    bundle: Path, model: str, kind: Kind, selection: Selection, *, cost: "Callable[[], Cost] | None" = None
) -> Candidates:
    """A bundle at every size and number of threads that is asked for.

    Of another runtime or precision than was asked for it is not available where the user named it, and nothing where it
    is one of the many of a run. `cost` is that of a network that is not ours.
    """
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
    """Why a bundle is none of those that were asked for; None: it is one."""
    for what, own, asked in (
        ("runtime", manifest.backend, selection.runtimes),
        ("precision", manifest.precision, selection.precisions),
    ):
        if asked and own not in asked:
            return f"its {what} is {own}; asked for: {', '.join(asked)}"
    return None


def model_bytes(bundle: Path, manifest: Manifest) -> int:
    """The size of a bundle without what only explains it."""
    return sum((bundle / name).stat().st_size for name in manifest.sha256 if name not in (GOLDEN, CARD_PAGE))


def cost_of_card(card: ModelCard) -> "Cost | None":
    """The cost of the deployed network; None where there is no torch to count it, or the card tells of no network."""
    if find_spec("torch") is None:
        return None
    from nextvit.models.cost import deployed_cost

    try:
        return deployed_cost(card)
    except InputError:
        return None
