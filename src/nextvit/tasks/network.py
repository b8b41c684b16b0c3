"""Build and load networks by their cards, their deployment form, and the cost of both."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import is_bundle, require_model
from nextvit.errors import InputError
from nextvit.files.run_folder import find_best_weights
from nextvit.image.canvas import canvas_size
from nextvit.models.cost import Cost, module_cost
from nextvit.models.network import Network
from nextvit.models.weights import load_weights, read_state
from nextvit.tasks.task import get_task


def build_network(card: ModelCard) -> Network:
    """A newly initialised network with the architecture, head and classes of a card."""
    return get_task(card.task).build(card)


def deploy_network(model: Network, card: ModelCard, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of the network in deployment form, as it is exported; see `nextvit.models.deployed`."""
    return get_task(card.task).deploy(model, card, dtype=dtype)


def load_model(path: Path) -> tuple[Network, ModelCard]:
    """Rebuild a model, in eval mode, from a file of `save_model`.

    Raises:
        InputError: the file is missing or damaged, or has no card.
    """
    state, card = read_state(path)
    if card is None:
        raise InputError(f"{path}: has no description of its model; train with it by --weights, or load it in Python")
    check_parameters(card, sum(tensor.numel() for tensor in state.values()), what=path)
    model = build_network(card)
    load_weights(model, path)
    return model.eval(), card


def check_parameters(card: ModelCard, stored: int, *, what: Path) -> None:
    """Refuse a card whose network is larger than the weights beside it, before it is built.

    Args:
        stored: numbers in the file.

    Raises:
        InputError: it is, or the card describes no network.
    """
    with torch.device("meta"):
        network = build_network(card)
    needed = sum(parameter.numel() for parameter in network.parameters())
    if needed > stored:
        raise InputError(f"{what}: damaged, its card describes a network of {needed:,} weights, and it has {stored:,}")


def load_trained(path: Path) -> tuple[Network, ModelCard]:
    """Load the network of a run (its best checkpoint) or of a checkpoint file, as it was trained, and its card.

    Raises:
        InputError: there is no such model, or it is a bundle, or damaged.
    """
    if is_bundle(path):
        raise InputError(f"{path}: is a bundle; this needs the run or the checkpoint that it was exported from")
    require_model(path)
    return load_model(find_best_weights(path) if path.is_dir() else path)


def deployed_cost(card: ModelCard) -> Cost:
    """The cost of the exported graph of a card's network, for one image at the card's size.

    Folding batch norms can change the graph and not only weights, so the deployment form itself is counted.
    """
    with torch.device("meta"):
        model = build_network(card)
    model = model.to_empty(device="cpu")  # folding needs weights with values, whichever
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.zero_()
    height, width = largest_input_size(card)
    inputs = [torch.empty(1, height, width, 3, dtype=torch.uint8, device="meta")]
    if card.input.padded:
        inputs.append(torch.empty(1, 2, dtype=torch.int64))
    return module_cost(deploy_network(model, card), *inputs)


def training_cost(card: ModelCard) -> Cost:
    """The cost of a card's network as it is trained, for one image of the largest size, with the largest number of
    regions and detections."""
    with torch.device("meta"):
        return module_cost(build_network(card), *get_task(card.task).training_inputs(card))


def largest_input_size(card: ModelCard) -> tuple[int, int]:
    """Height and width of the largest input of a card's graph; for padded inputs those of a wide image."""
    return canvas_size(np.array([card.input.image_size])) if card.input.padded else card.input.image_size
