"""The cost of a model: parameters, multiply-accumulates and the least memory traffic, counted on the network itself
without running it."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from nextvit.models.classification import Classifier
from nextvit.models.config import NextViTConfig

BYTES: dict[str, tuple[float, float]] = {
    # precision: bytes of a weight, and of a value that one layer hands to the next
    "fp32": (4, 4),
    "fp16": (2, 2),
    "bf16": (2, 2),
    "int8": (1, 1),
    "w8": (1, 2),
    "w6": (0.75, 2),
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The least cost of one forward pass of one image.

    Convolutions, linear layers and the two products of attention are counted, as in the paper, whose "FLOPs" are MACs.
    For a detector these are the backbone, the pyramid, and the heads for the largest number of proposals and
    detections; pooling of regions, non-maximum suppression and pasting of masks are not counted.
    """

    parameters: int
    macs: int
    """Multiply-accumulates."""
    activations: int
    """Values that these layers read and write: the input and the output of each once; for a product both operands and
    the result. Attention that is one operation of the graph reads q, k and v and writes its output; its scores never
    leave it. Everything else (norms, activations, additions, pooling, layouts) is not counted, as if fused."""

    def bytes(self, precision: str, *, batch: int = 1) -> int:
        """The least memory traffic of one run, in bytes: every parameter once, and the activations of each image once.

        It is the traffic between layers; what stays in a cache from one layer to the next never reaches the memory.

        Args:
            precision: a key of `BYTES`.
            batch: images in the run.
        """
        for_weight, for_value = BYTES[precision]
        return math.ceil(self.parameters * for_weight + batch * self.activations * for_value)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cost(config: NextViTConfig, *, num_classes: int = 1000, image_size: tuple[int, int] = (224, 224)) -> Cost:
    """The cost of a classifier at an image size (height, width) in pixels; tensors have shapes but no data."""
    with torch.device("meta"):
        model = Classifier(config, num_classes=num_classes)
        image_NCHW = torch.empty(1, config.in_chans, *image_size)
    return module_cost(model, image_NCHW)


def module_cost(model: nn.Module, *inputs: Tensor) -> Cost:
    """The cost of any module in eval mode for a batch of one. Only the shapes of the inputs matter; nothing is
    computed."""
    model = copy.deepcopy(model).to("meta").eval()
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    traffic = Traffic(weights)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, traffic, WholeAttention(traffic):
        model(*(each.to("meta") for each in inputs))
    return Cost(
        parameters=count_parameters(model), macs=counter.get_total_flops() // 2, activations=traffic.activations
    )


class Traffic(TorchDispatchMode):
    """Counts the values, without weights, that the operations known to `FlopCounterMode` read and write."""

    def __init__(self, weights: set[int]) -> None:
        super().__init__()
        self.weights = weights
        self.activations = 0
        self.paused = False

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry and not self.paused:
            self.add(*args, result)
        return result

    def add(self, *values: Any) -> None:
        """Count the tensors among the values that are neither weights nor views of weights."""
        for each in values:
            if isinstance(each, Tensor) and each.untyped_storage()._cdata not in self.weights:
                self.activations += each.numel()


class WholeAttention(TorchFunctionMode):
    """Counts `scaled_dot_product_attention` as one operation, however it is implemented on this device."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        self.traffic.paused = True
        result = func(*args, **(kwargs or {}))
        self.traffic.paused = False
        named = [(kwargs or {})[name] for name in ("query", "key", "value") if name in (kwargs or {})]
        self.traffic.add(*args[:3], *named, result)
        return result
