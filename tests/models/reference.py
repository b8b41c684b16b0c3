"""What PyTorch puts out by the path of training, which exported files are compared with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.tasks.task import get_task


def reference_outputs(model: nn.Module, card: ModelCard, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs of the graph, by name."""
    return get_task(card.task).reference_outputs(model, card, inputs)  # pyright: ignore[reportArgumentType]


def reference_logits(model: nn.Module, card: ModelCard, pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A classifier's logits (N, classes)."""
    return reference_outputs(model, card, {"images": pixels_NHWC})["logits"]
