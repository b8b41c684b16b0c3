"""Which layer an exported file diverges at: its tensors beside PyTorch's, layer by layer."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nextvit.backends.layers import TAP_SCALE, TrainedNetwork, is_block_output, record_outputs, tap_points
from nextvit.backends.program import Source
from nextvit.bundle.manifest import Arrays, Manifest, Precision
from nextvit.export.targets import Target
from nextvit.image.resizing import INPUT_NAME
from nextvit.predictions.tolerances import TOLERANCES
from nextvit.runtime.session import Session

MOVED, MOVED_AT_LEAST = 1.0, 1e-5
"""Mean difference of the logits that watching may make: as much as the file differs from PyTorch, or a trifle. int8
files merge and round otherwise where every layer is an output."""


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How one layer of the exported file compares with PyTorch's."""

    layer: str
    error: float
    """Largest difference, relative to the standard deviation of PyTorch's tensor."""
    mean_error: float
    """Mean difference, likewise."""
    share: float | None
    """What this step adds to the error of the logits, as a share of it: PyTorch is continued from the file's tensors
    here and at the step before, and the mean errors of the logits are compared. None inside a step."""


class Unwatchable(Exception):
    """The layers of a file cannot be seen; the message says why."""


def explain(
    source: Source, target: Target, manifest: Manifest, session: Session, pixels_NHWC: NDArray[np.uint8]
) -> list[LayerError]:
    """Write the file once more with the tensors of all layers as outputs, run it, and compare each with PyTorch's.

    The layers come in the order of computation.

    Raises:
        Unwatchable: the watched file cannot be written or run, or has other outputs than the one that `session` runs. A
            fault that only exists where the runtime merges layers can vanish when they are watched.
    """
    names = tap_points(source.classifier, source.card.input)
    tapped = replace(source, taps=tuple(names))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            model_file = target.writer(source.precision)(tapped, folder)
            outputs = dict.fromkeys(tapped.outputs, "watched")
            watching = target.session(folder, replace(manifest, model_file=model_file, outputs=outputs))
            got = watching.run({INPUT_NAME: pixels_NHWC})
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise Unwatchable(f"the layers could not be watched ({reason})") from error
    answers = session.run({INPUT_NAME: pixels_NHWC})["logits"]
    errors = compare_layers(source, names, got, pixels_NHWC)
    moved = mean_error(torch.from_numpy(np.array(answers)), torch.from_numpy(np.array(got["logits"])))
    if moved > max(MOVED * errors[-1].mean_error, MOVED_AT_LEAST):
        raise Unwatchable(
            f"watching the layers changes the logits (by {moved:.1e} of their standard deviation in the mean)"
        )
    return errors


def compare_layers(source: Source, names: list[str], got: Arrays, pixels_NHWC: NDArray[np.uint8]) -> list[LayerError]:
    """The tensors of a file, by tap point, against PyTorch's."""
    trained = TrainedNetwork(source.classifier, source.card.input).eval()
    pixels = torch.from_numpy(pixels_NHWC)
    with torch.inference_mode(), record_outputs(trained, names) as tensors:
        logits = trained(pixels)
    errors: list[LayerError] = []
    total = mean_error(logits, torch.from_numpy(np.array(got["logits"])))
    before = 0.0
    for name in names:
        expected, other = tensors[name], torch.from_numpy(got[name] / TAP_SCALE).reshape(tensors[name].shape)
        share = None
        if is_block_output(name):
            after = mean_error(logits, continued_from(trained, name, other, pixels))
            share, before = (after - before) / total if total else 0.0, after
        errors.append(
            LayerError(
                layer=name.removeprefix("model.").removeprefix("backbone."),
                error=largest_error(expected, other),
                mean_error=mean_error(expected, other),
                share=share,
            )
        )
    last = (total - before) / total if total else 0.0
    got_logits = torch.from_numpy(np.array(got["logits"]))
    errors.append(LayerError(layer="head", error=largest_error(logits, got_logits), mean_error=total, share=last))
    return errors


def continued_from(trained: nn.Module, name: str, tensor: Tensor, pixels: Tensor) -> Tensor:
    """The logits when PyTorch goes on from another's tensor at a layer."""

    def instead(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return tensor

    handle = trained.get_submodule(name).register_forward_hook(instead)
    try:
        with torch.inference_mode():
            return trained(pixels)
    finally:
        handle.remove()


def largest_error(expected: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the spread of what was expected."""
    return float((other - expected).abs().max() / spread(expected))


def mean_error(expected: Tensor, other: Tensor) -> float:
    """The mean difference, likewise."""
    return float((other - expected).abs().mean() / spread(expected))


def spread(tensor: Tensor) -> Tensor:
    deviation = tensor.std()
    return deviation if deviation > 0 else torch.ones(())


def first_departure(errors: list[LayerError], precision: Precision) -> LayerError | None:
    """The first layer whose error is more than the precision may cost the logits; None: no layer does.

    Where the precision has no bound every layer differs a little: the step that adds most to the error of the logits.
    """
    if precision not in TOLERANCES:
        return max((each for each in errors if each.share is not None), key=lambda each: each.share or 0, default=None)
    return next((each for each in errors if not each.error <= TOLERANCES[precision].max_error), None)
