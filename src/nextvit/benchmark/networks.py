"""What PyTorch computes, or writes now to be timed: trained weights, and networks by their names."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from nextvit.benchmark.configurations import (
    PREFIX,
    Configuration,
    Found,
    Kind,
    Size,
    Unavailable,
    Wanted,
    exported_from,
    of_bundle,
)
from nextvit.benchmark.peers import cost_of, numbered_card, photographs, timm_source, with_statistics
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle import SUFFIX, Precision
from nextvit.card import ModelCard
from nextvit.errors import InputError, MissingDependency
from nextvit.export.program import Source
from nextvit.export.targets import TARGETS
from nextvit.loading import load_trained
from nextvit.models.classification import Classifier
from nextvit.models.cost import Cost, deployed_cost
from nextvit.models.create import create_model
from nextvit.models.deployed import Deployed
from nextvit.preprocess import Preprocess
from nextvit.quiet import quietly
from nextvit.runs import best_weights
from nextvit.runtime.predictor import Predictor, card_at
from nextvit.runtime.session import factory_of
from nextvit.runtime.torch_session import TorchSession, torch_device

EAGER, COMPILED = "torch", "torch-compiled"
IN_TORCH: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FOR_NETWORKS = (EAGER, "onnx", "openvino")
"""What a network without files of its own is measured in, where no runtimes are named."""


def of_trained(path: Path, kind: Kind, wanted: Wanted) -> Found:
    """A run with all that was exported from it, or a checkpoint."""
    found: Found = []
    bundles = exported_from(path) if kind == "run" else []
    for bundle in bundles:
        found += of_bundle(bundle, path, kind, wanted)
    in_torch = [each for each in wanted.runtimes or (EAGER,) if each in (EAGER, COMPILED)]
    weights = best_weights(path) if kind == "run" else path
    trained, card = load_trained(path)
    modules: Found = []
    for backend, precision in product(in_torch, wanted.precisions or ("fp32",)):
        for size in wanted.image_sizes or (card.input.image_size,):
            sized = card_at(card, size, what=path, any_size=True)
            modules += of_module(
                partial(Deployed, trained, sized.input),
                str(path),
                kind,
                sized,
                backend,
                precision,
                wanted,
                path=path if (backend, precision) == (EAGER, "fp32") else None,
                cost=partial(deployed_cost, sized),
                size_bytes=weights.stat().st_size,
            )
    there = {(each.backend, each.precision) for each in found if isinstance(each, Configuration)}
    exports = [each for each in wanted.runtimes or () if each not in (EAGER, COMPILED)]
    for backend, precision in product(exports, wanted.precisions or ()):
        if (backend, precision) not in there and precision in TARGETS[backend].writers:
            facts = {"model": str(path), "variant": card.variant, "kind": kind, "backend": backend}
            error = InputError(f"not exported; nextvit export {path} --to {backend} --precision {precision}")
            found.append(Unavailable(facts={**facts, "precision": precision}, error=error))
    return modules + found


def of_name(model: str, kind: Kind, wanted: Wanted, folder: Path, *, say: Callable[[str], None]) -> Found:
    """A network by its name, with random weights, in files that are written now."""
    found: Found = []
    runtimes, precisions = wanted.runtimes or FOR_NETWORKS, wanted.precisions or ("fp32",)
    for size, backend, precision in product(wanted.image_sizes or (None,), runtimes, precisions):
        facts = {"model": model, "variant": model, "kind": kind, "backend": backend, "precision": precision}
        facts |= {"image_size": list(size)} if size else {}
        try:
            if backend in (EAGER, COMPILED):
                source = network_source(model, size, "fp32")
                found += of_module(
                    partial(source.deployed),
                    model,
                    kind,
                    source.card,
                    backend,
                    precision,
                    wanted,
                    path=None,
                    cost=partial(cost_of, source),
                    size_bytes=sum(each.numel() * each.element_size() for each in source.model.parameters()),
                )
                continue
            if precision not in TARGETS[backend].writers:
                raise InputError(f"{backend} has no precision {precision!r}")
            factory_of(backend)
            source = network_source(model, size, precision)
            say(f"writing {model} for {backend} {precision}")
            with quietly():
                bundle = write_unproven(source, backend, folder / f"{size}-{backend}-{precision}{SUFFIX}")
        except (InputError, MissingDependency) as error:
            found.append(Unavailable(facts=facts, error=error))
            continue
        found += [
            replace(each, model=model, kind=kind, label=f"{model} {backend} {precision}")
            for each in of_bundle(
                bundle, bundle, kind, replace(wanted, image_sizes=None), cost=partial(cost_of, source)
            )
            if isinstance(each, Configuration)
        ]
    return found


def network_source(model: str, size: Size | None, precision: Precision) -> Source:
    """What the files of a network are written from, with random weights; int8 is calibrated on the bundled photographs."""
    if model.startswith(PREFIX):
        return timm_source(model.removeprefix(PREFIX), image_size=size, precision=precision)
    spec = Preprocess(image_size=size or (224, 224))
    pictures_NHWC = photographs(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = with_statistics(create_model(model).eval(), pictures_NHWC, spec)
    assert isinstance(network, Classifier)
    card = numbered_card(model, spec)
    return Source(model=network, card=card, precision=precision, calibration=pictures_NHWC)


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
    cost: Callable[[], Cost],
    size_bytes: int,
) -> Found:
    """A module in PyTorch; `module(dtype=...)` makes it."""
    facts = {"model": model, "variant": card.variant, "kind": kind, "backend": backend, "precision": precision}
    if precision not in IN_TORCH:
        error = InputError(f"PyTorch has no file in {precision}; it is measured in {', '.join(IN_TORCH)}")
        return [Unavailable(facts=facts, error=error)]

    def predictor(threads: int) -> Predictor:
        made = module(dtype=IN_TORCH[precision]).to(torch_device(wanted.device or "cpu"))
        compiled = backend == COMPILED
        return Predictor(TorchSession(made, precision=precision, compiled=compiled, threads=threads), card)

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
            size_bytes=size_bytes,
            load=partial(predictor, threads),
            cost=cost,
            label=f"{name} ({'PyTorch' if backend == EAGER else 'torch.compile'}{f' {precision}' if precision != 'fp32' else ''})",
        )
        for threads in wanted.threads
    ]
