"""Classifier -> its tap points (layers whose outputs can be recorded) and its groups of layers.

Tap points have the same output in the trained and the deployed form. Inside some modules the two forms differ, because
norms are folded.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nextvit.image.resizing import Preprocess
from nextvit.models.backbone import EMHSA, MHCA, NCB, NTB, ConvBNReLU, Mlp, PatchEmbed
from nextvit.models.classification import Classifier
from nextvit.models.deployed import Deployed, Normalise
from nextvit.models.fuse import CeilAveragePool

TAP_SCALE = 0.5
TAPPED_MODULES = (Normalise, ConvBNReLU, PatchEmbed, EMHSA, MHCA, Mlp, NCB, NTB)


class TrainedNetwork(nn.Module):
    """The reference: the trained network behind the same normalisation and with the same module names as `Deployed`."""

    def __init__(self, model: Classifier, spec: Preprocess) -> None:
        super().__init__()
        self.normalise = Normalise(spec)
        self.model = model

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(self.normalise(images_NHWC.permute(0, 3, 1, 2)))


class NetworkWithTaps(nn.Module):
    """A deployed network that also returns the outputs of some layers: a tuple (logits, tensor, ...), float32.

    The tensors are multiplied by `TAP_SCALE`, 0.5, which is exact. So there is an operator between each layer and the
    output: OpenVINO 2026.4 computes wrong values where the result of an int8 layer is itself an output.
    """

    def __init__(self, deployed: nn.Module, taps: Iterable[str]) -> None:
        super().__init__()
        self.deployed, self.taps = deployed, tuple(taps)

    def forward(self, images_NHWC: Tensor) -> tuple[Tensor, ...]:
        with record_outputs(self.deployed, self.taps) as tensors:
            logits = self.deployed(images_NHWC)
        return logits, *(tensors[name].float() * TAP_SCALE for name in self.taps)


@contextmanager
def record_outputs(root: nn.Module, names: Iterable[str]) -> Generator[dict[str, Tensor]]:
    """Record the outputs of the named modules of `root` while the block runs, in the order in which they finish."""
    tensors: dict[str, Tensor] = {}

    def add_hook(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            tensors[name] = output

        return root.get_submodule(name).register_forward_hook(hook)

    handles = [add_hook(name) for name in names]
    try:
        yield tensors
    finally:
        for handle in handles:
            handle.remove()


def tap_points(model: Classifier, spec: Preprocess) -> list[str]:
    """Names of all layers whose output can be recorded in both forms, in the order in which they are computed.

    The deployed form does not compute some tensors of the trained one: a layer that `models.rearrange` averages earlier
    or makes narrower keeps its name, but has another output shape.
    """
    trained = TrainedNetwork(model, spec).eval()
    names = [
        name
        for name, module in trained.named_modules()
        if isinstance(module, TAPPED_MODULES) and not (isinstance(module, PatchEmbed) and is_identity(module))
    ]
    zeros = torch.zeros(1, *spec.image_size, 3, dtype=torch.uint8)
    deployed = Deployed(model, spec)
    with torch.inference_mode(), record_outputs(trained, names) as expected, record_outputs(deployed, names) as found:
        trained(zeros)
        deployed(zeros)
    return [name for name, tensor in expected.items() if found[name].shape == tensor.shape]


def is_identity(module: PatchEmbed) -> bool:
    return isinstance(module.conv, nn.Identity) and not isinstance(module.pool, nn.AvgPool2d | CeilAveragePool)


def is_block_output(name: str) -> bool:
    """Whether all later layers depend on this tap point: the normalisation, a layer of the stem, or a whole block."""
    parts = name.split(".")
    return parts == ["normalise"] or parts[-2] in ("stem", "blocks")


def group_of(name: str) -> str:
    """The group that is quantised or kept in float with a layer: "stem", "stages.0.blocks.1", "head".

    Args:
        name: path of a module, with or without the wrappers around the backbone.
    """
    parts = name.split(".")
    if "stages" in parts:
        start = parts.index("stages")
        return ".".join(parts[start : start + 4])
    return "stem" if "stem" in parts or "normalise" in parts else "head"


def layer_groups(model: Classifier) -> list[str]:
    """All groups of layers, in the order in which they are computed."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, NCB | NTB)]
    return ["stem", *(group_of(name) for name in blocks), "head"]
