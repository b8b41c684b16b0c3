"""An exponential moving average of a model's weights and batch-norm statistics."""

import copy
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


class Ema(Generic[Model]):
    """A copy of a model with averaged weights. With decay 0 the copy is the model after the last step."""

    def __init__(self, model: Model, *, decay: float) -> None:
        self.model: Model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average in the model's weights. The decay starts low, so that the random initialisation has no influence
        later."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged, current = float_tensors(self.model), float_tensors(model)
        torch._foreach_lerp_(averaged, current, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]


def float_tensors(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers that can be averaged, in a fixed order."""
    tensors = [*model.parameters(), *model.buffers()]
    return [cast(Tensor, tensor.detach()) for tensor in tensors if tensor.is_floating_point()]
