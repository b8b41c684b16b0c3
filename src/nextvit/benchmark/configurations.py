"""What is to be measured: every combination of model, runtime, precision, threads and size that exists; of others, why not.

Bundles need no torch here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nextvit.bundle import CARD_PAGE, GOLDEN, SUFFIX, Manifest, Precision, is_bundle, read_manifest
from nextvit.card import ModelCard
from nextvit.errors import InputError, MissingDependency
from nextvit.models.config import VARIANTS
from nextvit.runs import is_run
from nextvit.runtime.predictor import Predictor, card_at, load_bundle
from nextvit.runtime.session import factory_of

if TYPE_CHECKING:
    from nextvit.models.cost import Cost

Kind = Literal["run", "checkpoint", "bundle", "variant", "timm"]
Size = tuple[int, int]

PREFIX = "timm:"


@dataclass(frozen=True, kw_only=True)
class Wanted:
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
    size_bytes: int
    load: Callable[[], Predictor]
    cost: "Callable[[], Cost | None]"
    """Counts what the graph costs for one image; None where there is no torch to count it, or no network in the card."""
    label: str
    """Short and for people, without threads and size."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says before anything is measured."""
        return {
            "model": self.model,
            "variant": self.card.variant,
            "kind": self.kind,
            "backend": self.backend,
            "precision": self.precision,
            "threads": self.threads,
            "image_size": list(self.card.input.image_size),
        }


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """A combination that cannot be measured."""

    facts: dict[str, Any]
    error: InputError | MissingDependency


Found = list[Configuration | Unavailable]


def configurations(models: Sequence[str], wanted: Wanted, folder: Path, *, say: Callable[[str], None]) -> Found:
    """Everything that is asked for; files of networks that have none are written under `folder`, only to be timed.

    Args:
        models: runs, checkpoint files, bundles, names of variants, and "timm:NAME".

    Raises:
        InputError: there is no such model.
        MissingDependency: for "timm:NAME", timm is not installed.
    """
    found: Found = []
    for number, model in enumerate(dict.fromkeys(models)):
        kind = kind_of(model)
        if kind == "bundle":
            found += of_bundle(Path(model), Path(model), kind, wanted)
            continue
        try:
            from nextvit.benchmark import networks
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "torch", extra="train") from None
        if kind in ("variant", "timm"):
            found += networks.of_name(model, kind, wanted, folder / str(number), say=say)
        else:
            found += networks.of_trained(Path(model), kind, wanted)
    return found


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


def exported_from(run: Path) -> list[Path]:
    """The bundles in a run's folder."""
    return [path for path in sorted((run / "exports").glob(f"*{SUFFIX}")) if is_bundle(path)]


def of_bundle(
    bundle: Path, model: Path, kind: Kind, wanted: Wanted, *, cost: "Callable[[], Cost] | None" = None
) -> Found:
    """A bundle at every size that is asked for; nothing where another runtime or precision is. `cost` is that of a
    network that is not ours."""
    manifest = read_manifest(bundle)
    is_asked_for = manifest.backend in (wanted.runtimes or (manifest.backend,))
    if not is_asked_for or manifest.precision not in (wanted.precisions or (manifest.precision,)):
        return []
    found: Found = []
    for size, threads in product(wanted.image_sizes or (manifest.card.input.image_size,), wanted.threads):
        facts = {
            "model": str(model),
            "variant": manifest.card.variant,
            "kind": kind,
            "backend": manifest.backend,
            "precision": manifest.precision,
            "threads": threads,
            "image_size": list(size),
        }
        try:
            factory_of(manifest.backend)
            card = card_at(manifest.card, size, what=bundle, any_size=manifest.dynamic_size)
        except (InputError, MissingDependency) as error:
            found.append(Unavailable(facts=facts, error=error))
            continue
        found.append(
            Configuration(
                model=str(model),
                kind=kind,
                card=card,
                backend=manifest.backend,
                precision=manifest.precision,
                threads=threads,
                path=bundle,
                size_bytes=model_bytes(bundle, manifest),
                load=partial(load_bundle, bundle, threads=threads, device=wanted.device, image_size=size),
                cost=cost or partial(cost_of_card, card),
                label=bundle.resolve().name.removesuffix(SUFFIX),
            )
        )
    return found


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
