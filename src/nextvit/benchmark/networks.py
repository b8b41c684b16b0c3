"""What PyTorch computes, or writes now to be timed: trained weights, and networks by their names."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from nextvit.backends.program import Source
from nextvit.benchmark.configurations import (
    BACKBONE_SIZE,
    PREFIX,
    Configuration,
    Found,
    Kind,
    Size,
    Wanted,
    exported_from,
    not_available,
    of_bundle,
    plain_error,
    without_backbone,
)
from nextvit.benchmark.peers import (
    card_backbone_source,
    cost_of,
    numbered_card,
    photographs,
    timm_source,
    with_statistics,
)
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import SUFFIX, Precision, read_manifest
from nextvit.errors import InputError
from nextvit.export.targets import TARGETS
from nextvit.files.run_folder import best_weights
from nextvit.image.resizing import Preprocess
from nextvit.loading import load_trained
from nextvit.machine.quiet import quietly
from nextvit.models.classification import Classifier
from nextvit.models.cost import Cost, deployed_cost
from nextvit.models.create import create_model
from nextvit.models.network import deployed_form
from nextvit.models.published import PUBLISHED
from nextvit.runtime.predictor import Predictor, card_at
from nextvit.runtime.session import factory_of
from nextvit.runtime.torch_session import TorchSession, torch_device

EAGER, COMPILED = "torch", "torch-compiled"
IN_TORCH: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
OWN_SIZE = (224, 224)
"""Height and width that our networks by name are measured at, where none is asked for."""
FOR_NETWORKS = (EAGER, "onnx", "openvino")
"""What a network without files of its own is measured in, where no runtimes are named."""


def of_trained(path: Path, kind: Kind, wanted: Wanted) -> Found:
    """A run with all that was exported from it, or a checkpoint."""
    bundles = exported_from(path) if kind == "run" else []
    exported = [each for bundle in bundles for each in of_bundle(bundle, str(path), kind, wanted)]
    weights = best_weights(path) if kind == "run" else path
    trained, card = load_trained(path)
    modules: Found = []
    for backend, precision in product(in_torch(wanted), wanted.precisions or ("fp32",)):
        for size in wanted.image_sizes or (card.input.image_size,):
            at_size = replace(wanted, image_sizes=(size,))
            try:
                sized = card_at(card, size, what=path, any_size=True)
            except InputError as error:
                gone = {"variant": card.variant, "backend": backend, "precision": precision}
                modules += not_available(str(path), kind, error, at_size, **gone, own_size=size)
                continue
            modules += of_module(
                partial(deployed_form, trained, sized),
                str(path),
                kind,
                sized,
                backend,
                precision,
                at_size,
                path=path if (backend, precision) == (EAGER, "fp32") else None,
                outputs=sized.outputs,
                cost=partial(deployed_cost, sized),
                size_bytes=weights.stat().st_size,
            )
    manifests = [read_manifest(bundle) for bundle in bundles]
    there = {(each.backend, each.precision) for each in manifests}
    return modules + exported + not_exported(path, kind, card, wanted, there)


def in_torch(wanted: Wanted) -> list[str]:
    """The runtimes that need no file."""
    return [each for each in wanted.runtimes or (EAGER,) if each in (EAGER, COMPILED)]


def not_exported(path: Path, kind: Kind, card: ModelCard, wanted: Wanted, there: set[tuple[str, str]]) -> Found:
    """What was asked for by name and would need a bundle that is not `there`, with the call that makes it."""
    found: Found = []
    for backend, precision in missing_exports(kind, wanted, there):
        if precision in TARGETS[backend].writers:
            text = f"not exported; nextvit export {path} --to {backend} --precision {precision}"
        else:
            text = f"{backend} has no precision {precision!r}"
        found += not_available(
            str(path),
            kind,
            InputError(text),
            wanted,
            variant=card.variant,
            backend=backend,
            precision=precision,
            own_size=card.input.image_size,
        )
    return found


def missing_exports(kind: Kind, wanted: Wanted, there: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs of backend and precision that were asked for and are not there.

    Where only one of the two was named, one bundle of it is enough, and the other is the first that goes with it. A
    checkpoint has no bundles: of one, precisions alone ask for PyTorch.
    """
    runtimes = [each for each in wanted.runtimes or () if each not in (EAGER, COMPILED)]
    if runtimes and wanted.precisions:
        return [pair for pair in product(runtimes, wanted.precisions) if pair not in there]
    if runtimes:
        missing = [each for each in runtimes if each not in {backend for backend, _ in there}]
        return [(backend, next(iter(TARGETS[backend].writers))) for backend in missing]
    if wanted.runtimes or kind != "run":
        return []
    missing = [each for each in wanted.precisions or () if each not in {precision for _, precision in there}]
    return [(first_backend(precision), precision) for precision in missing]


def first_backend(precision: str) -> str:
    """The first backend that writes a precision."""
    return next(name for name, target in TARGETS.items() if precision in target.writers)


def of_name(model: str, kind: Kind, wanted: Wanted, folder: Path, *, say: Callable[[str], None]) -> Found:
    """A network by its name, with random weights, in files that are written now."""
    found: Found = []
    combinations = list(product(wanted.runtimes or FOR_NETWORKS, wanted.precisions or ("fp32",)))
    own_size = OWN_SIZE if kind == "variant" else None
    for size in wanted.image_sizes or (own_size,):
        at_size = replace(wanted, image_sizes=(size,) if size else None)
        try:
            source = network_source(model, size)
        except Exception as error:  # noqa: BLE001 (a network that does not take a size raises whatever it stumbles over)
            for backend, precision in combinations:
                gone = {"variant": model, "backend": backend, "precision": precision}
                found += not_available(model, kind, plain_error(error), at_size, **gone, own_size=size)
            continue
        for backend, precision in combinations:
            found += of_source(replace(source, precision=precision), model, kind, backend, at_size, folder, say=say)
    return found


def of_source(
    source: Source, model: str, kind: Kind, backend: str, wanted: Wanted, folder: Path, *, say: Callable[[str], None]
) -> Found:
    """A network in one runtime and precision, at the size of its card."""
    size, precision = source.card.input.image_size, source.precision
    published = published_top1(model, size)
    if backend in (EAGER, COMPILED):
        modules = of_module(
            source.deployed,
            model,
            kind,
            source.card,
            backend,
            precision,
            wanted,
            path=None,
            outputs=source.outputs,
            cost=partial(cost_of, source),
            size_bytes=sum(each.numel() * each.element_size() for each in source.model.parameters()),
        )
        return [
            replace(each, published_top1=published) if isinstance(each, Configuration) else each for each in modules
        ]
    try:
        bundle = written(
            source, source.card.variant, backend, folder / f"{size}-{backend}-{precision}{SUFFIX}", say=say
        )
    except Exception as error:  # noqa: BLE001 (exporters raise whatever the packages beneath them do)
        facts = {"variant": source.card.variant, "backend": backend, "precision": precision, "own_size": size}
        return not_available(model, kind, plain_error(error), wanted, **facts)
    label = f"{model} {backend} {precision}"
    return [
        replace(each, label=label, bundle=None, published_top1=published) if isinstance(each, Configuration) else each
        for each in of_bundle(bundle, model, kind, wanted, cost=partial(cost_of, source))
    ]


def of_backbone(
    detectors: Sequence[Configuration], wanted: Wanted, folder: Path, *, say: Callable[[str], None]
) -> Found:
    """The backbone of a detector alone, in each of the runtimes and precisions in which these run that one detector."""
    card = detectors[0].card
    try:
        source = card_backbone_source(card, image_size=BACKBONE_SIZE)
    except Exception as error:  # noqa: BLE001 (as in `of_source`: what was asked for is measured all the same)
        return without_backbone(detectors, plain_error(error), wanted)
    own_size = replace(wanted, image_sizes=None)
    found: Found = []
    for each in detectors:
        at_precision = replace(source, precision=each.precision)
        found += of_source(at_precision, each.model, each.kind, each.backend, own_size, folder, say=say)
    return found


def written(source: Source, what: str, backend: str, folder: Path, *, say: Callable[[str], None]) -> Path:
    """The network's file for a backend, as an unproven bundle. `what` names the network."""
    if source.precision not in TARGETS[backend].writers:
        raise InputError(f"{backend} has no precision {source.precision!r}")
    factory_of(backend)
    say(f"writing {what} for {backend} {source.precision}")
    with quietly():
        return write_unproven(source, backend, folder)


def published_top1(model: str, size: Size) -> float | None:
    """ImageNet-1k top-1 in percent of one of our networks by its name, or by timm's with or without a tag, at the size that
    it was published for; without a tag that of training on ImageNet-1k alone, as in the paper."""
    variant, _, tag = model.removeprefix(PREFIX).partition(".")
    wanted = (variant, tag or "bd_in1k", size)
    known = {(each.variant, each.tag, (each.image_size_px, each.image_size_px)): each.top1 for each in PUBLISHED}
    return known.get(wanted)


def network_source(model: str, size: Size | None) -> Source:
    """What the files of a network are written from, with random weights; int8 is calibrated on the bundled photographs."""
    if model.startswith(PREFIX):
        return timm_source(model.removeprefix(PREFIX), image_size=size, precision="fp32")
    spec = Preprocess(image_size=size or OWN_SIZE)
    pictures_NHWC = photographs(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = with_statistics(create_model(model).eval(), pictures_NHWC, spec)
    assert isinstance(network, Classifier)
    card = numbered_card(model, spec)
    return Source(model=network, card=card, precision="fp32", calibration=pictures_NHWC)


def of_module(
    module: Callable[..., torch.nn.Module],
    model: str,
    kind: Kind,
    card: ModelCard,
    backend: str,
    precision: Precision,
    wanted: Wanted,
    *,
    path: Path | None,
    outputs: Sequence[str],
    cost: Callable[[], Cost],
    size_bytes: int,
) -> Found:
    """A module in PyTorch at the card's size; `module(dtype=...)` makes it, and `outputs` are the names of what it gives."""
    computed_in = ("fp32",) if card.task == "detection" else tuple(IN_TORCH)
    if precision not in computed_in:
        error = InputError(f"PyTorch has no file in {precision}; it is measured in {', '.join(computed_in)}")
        facts = {"variant": card.variant, "backend": backend, "precision": precision}
        return not_available(model, kind, error, wanted, **facts, own_size=card.input.image_size)

    def predictor(threads: int) -> Predictor:
        made = module(dtype=IN_TORCH[precision]).to(torch_device(wanted.device or "cpu"))
        compiled = backend == COMPILED
        session = TorchSession(made, outputs=outputs, precision=precision, compiled=compiled, threads=threads)
        return Predictor(session, card)

    name = Path(model).resolve().name if kind in ("run", "checkpoint") else model
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
            device=wanted.device,
            size_bytes=size_bytes,
            load=partial(predictor, threads),
            cost=cost,
            label=f"{name} ({'PyTorch' if backend == EAGER else 'torch.compile'}{f' {precision}' if precision != 'fp32' else ''})",
        )
        for threads in wanted.threads
    ]
