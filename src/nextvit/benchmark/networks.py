"""Configurations that need torch: trained weights, and networks by name, which PyTorch runs or writes to be timed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from nextvit.backends.program import Source
from nextvit.benchmark.configurations import (
    BACKBONE_SIZE,
    TIMM_PREFIX,
    Candidates,
    Configuration,
    Kind,
    Selection,
    Size,
    as_user_error,
    bundle_configurations,
    exported_bundles,
    make_unavailable,
    unavailable_backbones,
)
from nextvit.benchmark.peers import (
    card_backbone_source,
    load_photographs,
    make_numbered_card,
    set_batch_norm_statistics,
    source_cost,
    timm_source,
)
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import SUFFIX, Precision, read_manifest
from nextvit.errors import InputError
from nextvit.export.targets import TARGETS
from nextvit.files.run_folder import find_best_weights
from nextvit.image.resizing import Preprocess
from nextvit.loading import load_trained
from nextvit.machine.quiet import suppress_output
from nextvit.models.classification import Classifier
from nextvit.models.cost import Cost
from nextvit.models.create import create_model
from nextvit.models.published import PUBLISHED
from nextvit.predictions.kind import output_names
from nextvit.runtime.predictor import Predictor, card_at
from nextvit.runtime.session import import_session_class
from nextvit.runtime.torch_session import TorchSession, torch_device
from nextvit.tasks.network import deploy_network, deployed_cost
from nextvit.tasks.task import get_task

EAGER, COMPILED = "torch", "torch-compiled"
TORCH_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DEFAULT_SIZE = (224, 224)
"""Height and width at which Next-ViT variants are measured if no size is selected."""
DEFAULT_RUNTIMES = (EAGER, "onnx", "openvino")
"""Runtimes of a network without files, if none are selected."""


def trained_configurations(path: Path, kind: Kind, selection: Selection) -> Candidates:
    """A run with all bundles that were exported from it, or a checkpoint."""
    bundles = exported_bundles(path) if kind == "run" else []
    exported = [each for bundle in bundles for each in bundle_configurations(bundle, str(path), kind, selection)]
    weights = find_best_weights(path) if kind == "run" else path
    trained, card = load_trained(path)
    modules: Candidates = []
    for backend, precision in product(torch_runtimes(selection), selection.precisions or ("fp32",)):
        for size in selection.image_sizes or (card.input.image_size,):
            at_size = replace(selection, image_sizes=(size,))
            try:
                sized = card_at(card, size, what=path, any_size=True)
            except InputError as error:
                facts = {"variant": card.variant, "backend": backend, "precision": precision}
                modules += make_unavailable(str(path), kind, error, at_size, **facts, default_size=size)
                continue
            modules += module_configurations(
                partial(deploy_network, trained, sized),
                str(path),
                kind,
                sized,
                backend,
                precision,
                at_size,
                path=path if (backend, precision) == (EAGER, "fp32") else None,
                outputs=output_names(sized),
                cost=partial(deployed_cost, sized),
                size_bytes=weights.stat().st_size,
            )
    manifests = [read_manifest(bundle) for bundle in bundles]
    existing = {(each.backend, each.precision) for each in manifests}
    return modules + exported + unexported_configurations(path, kind, card, selection, existing)


def torch_runtimes(selection: Selection) -> list[str]:
    """The selected runtimes that need no file."""
    return [each for each in selection.runtimes or (EAGER,) if each in (EAGER, COMPILED)]


def unexported_configurations(
    path: Path, kind: Kind, card: ModelCard, selection: Selection, existing: set[tuple[str, str]]
) -> Candidates:
    """Selected exports without a bundle, each with the command that would write it."""
    found: Candidates = []
    for backend, precision in missing_exports(kind, selection, existing):
        if precision in TARGETS[backend].writers:
            text = f"not exported; nextvit export {path} --to {backend} --precision {precision}"
        else:
            text = f"{backend} has no precision {precision!r}"
        found += make_unavailable(
            str(path),
            kind,
            InputError(text),
            selection,
            variant=card.variant,
            backend=backend,
            precision=precision,
            default_size=card.input.image_size,
        )
    return found


def missing_exports(kind: Kind, selection: Selection, existing: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Selected pairs of backend and precision without a bundle.

    If only backends or only precisions are selected, one bundle of each is enough; for a missing one, the other half of
    the pair is the first that fits. A checkpoint has no bundles: precisions alone select PyTorch for it.
    """
    runtimes = [each for each in selection.runtimes or () if each not in (EAGER, COMPILED)]
    if runtimes and selection.precisions:
        return [pair for pair in product(runtimes, selection.precisions) if pair not in existing]
    if runtimes:
        missing = [each for each in runtimes if each not in {backend for backend, _ in existing}]
        return [(backend, next(iter(TARGETS[backend].writers))) for backend in missing]
    if selection.runtimes or kind != "run":
        return []
    missing = [each for each in selection.precisions or () if each not in {precision for _, precision in existing}]
    return [(first_backend(precision), precision) for precision in missing]


def first_backend(precision: str) -> str:
    """The first backend that writes this precision."""
    return next(name for name, target in TARGETS.items() if precision in target.writers)


def named_network_configurations(
    model: str, kind: Kind, selection: Selection, folder: Path, *, say: Callable[[str], None]
) -> Candidates:
    """A network by name, with random weights, in files that are written now."""
    found: Candidates = []
    combinations = list(product(selection.runtimes or DEFAULT_RUNTIMES, selection.precisions or ("fp32",)))
    default_size = DEFAULT_SIZE if kind == "variant" else None
    for size in selection.image_sizes or (default_size,):
        at_size = replace(selection, image_sizes=(size,) if size else None)
        try:
            source = network_source(model, size)
        except Exception as error:  # noqa: BLE001 (a network may raise anything for a size that it does not support)
            for backend, precision in combinations:
                facts = {"variant": model, "backend": backend, "precision": precision}
                found += make_unavailable(model, kind, as_user_error(error), at_size, **facts, default_size=size)
            continue
        for backend, precision in combinations:
            found += source_configurations(
                replace(source, precision=precision), model, kind, backend, at_size, folder, say=say
            )
    return found


def source_configurations(
    source: Source,
    model: str,
    kind: Kind,
    backend: str,
    selection: Selection,
    folder: Path,
    *,
    say: Callable[[str], None],
) -> Candidates:
    """A network in one runtime, at the precision and input size of its source."""
    size, precision = source.card.input.image_size, source.precision
    published = published_top1(model, size)
    if backend in (EAGER, COMPILED):
        modules = module_configurations(
            source.build_deployed,
            model,
            kind,
            source.card,
            backend,
            precision,
            selection,
            path=None,
            outputs=source.outputs,
            cost=partial(source_cost, source),
            size_bytes=sum(each.numel() * each.element_size() for each in source.model.parameters()),
        )
        return [
            replace(each, published_top1=published) if isinstance(each, Configuration) else each for each in modules
        ]
    try:
        bundle = write_for_timing(
            source, source.card.variant, backend, folder / f"{size}-{backend}-{precision}{SUFFIX}", say=say
        )
    except Exception as error:  # noqa: BLE001 (exporters raise whatever their packages raise)
        facts = {"variant": source.card.variant, "backend": backend, "precision": precision, "default_size": size}
        return make_unavailable(model, kind, as_user_error(error), selection, **facts)
    label = f"{model} {backend} {precision}"
    return [
        replace(each, label=label, bundle=None, published_top1=published) if isinstance(each, Configuration) else each
        for each in bundle_configurations(bundle, model, kind, selection, cost=partial(source_cost, source))
    ]


def backbone_configurations(
    detectors: Sequence[Configuration], selection: Selection, folder: Path, *, say: Callable[[str], None]
) -> Candidates:
    """The backbone of one detector, in each runtime and precision in which the detector itself is measured."""
    card = detectors[0].card
    try:
        source = card_backbone_source(card, image_size=BACKBONE_SIZE)
    except Exception as error:  # noqa: BLE001 (as in `source_configurations`: the detectors are measured all the same)
        return unavailable_backbones(detectors, as_user_error(error), selection)
    at_default_size = replace(selection, image_sizes=None)
    found: Candidates = []
    for each in detectors:
        at_precision = replace(source, precision=each.precision)
        found += source_configurations(
            at_precision, each.model, each.kind, each.backend, at_default_size, folder, say=say
        )
    return found


def write_for_timing(source: Source, what: str, backend: str, folder: Path, *, say: Callable[[str], None]) -> Path:
    """Write a network for a backend as an unproven bundle.

    Args:
        what: names the network in messages.

    Returns:
        The folder of the bundle.
    """
    if source.precision not in TARGETS[backend].writers:
        raise InputError(f"{backend} has no precision {source.precision!r}")
    import_session_class(backend)
    say(f"writing {what} for {backend} {source.precision}")
    with suppress_output():
        return write_unproven(source, backend, folder)


def published_top1(model: str, size: Size) -> float | None:
    """Published ImageNet-1k top-1 of a Next-ViT in percent; None if there is none for this name and size.

    Args:
        model: a variant, or timm's name. Without a tag: trained on ImageNet-1k alone, as in the paper.
        size: height and width in pixels.
    """
    variant, _, tag = model.removeprefix(TIMM_PREFIX).partition(".")
    key = (variant, tag or "bd_in1k", size)
    known = {(each.variant, each.tag, (each.image_size_px, each.image_size_px)): each.top1 for each in PUBLISHED}
    return known.get(key)


def network_source(model: str, size: Size | None) -> Source:
    """The source of a network with random weights; int8 is calibrated on the bundled photographs."""
    if model.startswith(TIMM_PREFIX):
        return timm_source(model.removeprefix(TIMM_PREFIX), image_size=size, precision="fp32")
    spec = Preprocess(image_size=size or DEFAULT_SIZE)
    images_NHWC = load_photographs(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = set_batch_norm_statistics(create_model(model).eval(), images_NHWC, spec)
    assert isinstance(network, Classifier)
    card = make_numbered_card(model, spec)
    return Source(model=network, card=card, precision="fp32", calibration=images_NHWC)


def module_configurations(
    module: Callable[..., torch.nn.Module],
    model: str,
    kind: Kind,
    card: ModelCard,
    backend: str,
    precision: Precision,
    selection: Selection,
    *,
    path: Path | None,
    outputs: Sequence[str],
    cost: Callable[[], Cost],
    size_bytes: int,
) -> Candidates:
    """A module run by PyTorch at the input size of its card.

    Args:
        module: called with `dtype`, builds the module.
        outputs: names of its outputs.
        cost: counts the cost for one image.
    """
    computed_in = ("fp32",) if get_task(card.task).is_fp32_only else tuple(TORCH_DTYPES)
    if precision not in computed_in:
        error = InputError(f"PyTorch does not compute in {precision}; it is measured in {', '.join(computed_in)}")
        facts = {"variant": card.variant, "backend": backend, "precision": precision}
        return make_unavailable(model, kind, error, selection, **facts, default_size=card.input.image_size)

    def predictor(threads: int) -> Predictor:
        built = module(dtype=TORCH_DTYPES[precision]).to(torch_device(selection.device or "cpu"))
        compiled = backend == COMPILED
        session = TorchSession(built, outputs=outputs, precision=precision, compiled=compiled, threads=threads)
        return Predictor(session, card)

    name = Path(model).resolve().name if kind in ("run", "checkpoint") else model
    runtime = "PyTorch" if backend == EAGER else "torch.compile"
    label = f"{name} ({runtime})" if precision == "fp32" else f"{name} ({runtime} {precision})"
    return [
        Configuration(
            model=model,
            kind=kind,
            card=card,
            backend=backend,
            precision=precision,
            threads=threads,
            path=path,
            bundle=None,
            device=selection.device,
            size_bytes=size_bytes,
            load=partial(predictor, threads),
            cost=cost,
            label=label,
        )
        for threads in selection.threads
    ]
