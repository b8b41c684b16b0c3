"""The layers of a network that can be watched, and their tensors: the same points in the trained and the deployed form.

Inside some modules the two forms differ, because norms are folded; at the outputs of those named here they do not.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nextvit.image.resizing import Preprocess
from nextvit.models.backbone import EMHSA, MHCA, NCB, NTB, ConvBNReLU, Mlp, PatchEmbed
from nextvit.models.classification import Classifier
from nextvit.models.deployed import Deployed, Normalise
from nextvit.models.fuse import EdgePool

TAP_SCALE = 0.5
WATCHED = (Normalise, ConvBNReLU, PatchEmbed, EMHSA, MHCA, Mlp, NCB, NTB)


class Trained(nn.Module):
    """The network as it was trained, behind the same normalisation and with the same names as `Deployed`: the reference."""

    def __init__(self, model: Classifier, spec: Preprocess) -> None:
        super().__init__()
        self.normalise = Normalise(spec)
        self.model = model

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(self.normalise(images_NHWC.permute(0, 3, 1, 2)))


class Tapped(nn.Module):
    """A deployed network whose tensors at some layers are outputs, too: a tuple (logits, half a tensor, ...) in float32.

    They are halved, which is exact, so that an operator stands between each layer and its output: OpenVINO 2026.4 answers
    wrongly where the result of an int8 layer is an output itself.
    """

    def __init__(self, deployed: nn.Module, taps: Iterable[str]) -> None:
        super().__init__()
        self.deployed, self.taps = deployed, tuple(taps)

    def forward(self, images_NHWC: Tensor) -> tuple[Tensor, ...]:
        with watched(self.deployed, self.taps) as tensors:
            logits = self.deployed(images_NHWC)
        return logits, *(tensors[name].float() * TAP_SCALE for name in self.taps)


@contextmanager
def watched(root: nn.Module, names: Iterable[str]) -> Generator[dict[str, Tensor]]:
    """Collect what the named modules of `root` return while the block runs, in the order in which they finish."""
    tensors: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            tensors[name] = output

        return root.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in names]
    try:
        yield tensors
    finally:
        for handle in handles:
            handle.remove()


def tap_points(model: Classifier, spec: Preprocess) -> list[str]:
    """Names of all layers that can be watched, in the order in which they are computed.

    The deployed form never computes some of the trained one's tensors: what `models.rearrange` averages earlier or makes
    narrower has the same name there, but another shape.
    """
    trained = Trained(model, spec).eval()
    names = [
        name
        for name, module in trained.named_modules()
        if isinstance(module, WATCHED) and not (isinstance(module, PatchEmbed) and passes_through(module))
    ]
    zeros = torch.zeros(1, *spec.image_size, 3, dtype=torch.uint8)
    deployed = Deployed(model, spec)
    with torch.inference_mode(), watched(trained, names) as expected, watched(deployed, names) as found:
        trained(zeros)
        deployed(zeros)
    return [name for name, tensor in expected.items() if found[name].shape == tensor.shape]


def passes_through(module: PatchEmbed) -> bool:
    return isinstance(module.conv, nn.Identity) and not isinstance(module.pool, nn.AvgPool2d | EdgePool)


def is_block(name: str) -> bool:
    """Whether a tap point ends a step that all later ones see: the normalisation, a layer of the stem, or a whole block."""
    parts = name.split(".")
    return parts == ["normalise"] or parts[-2] in ("stem", "blocks")


def group_of(name: str) -> str:
    """The group that a layer belongs to when groups are quantised or left in float: "stem", "stages.0.blocks.1", "head".

    `name` is a path of modules, with or without the wrappers around the backbone.
    """
    parts = name.split(".")
    if "stages" in parts:
        start = parts.index("stages")
        return ".".join(parts[start : start + 4])
    return "stem" if "stem" in parts or "normalise" in parts else "head"


def groups(model: Classifier) -> list[str]:
    """All groups, in the order in which they are computed."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, NCB | NTB)]
    return ["stem", *(group_of(name) for name in blocks), "head"]
