"""The captured program: what every backend is made from."""

import torch
from torch.export import Dim, ExportedProgram

from nextvit.card import ModelCard
from nextvit.models.classification import Classifier
from nextvit.models.deployed import Deployed


def capture(model: Classifier, card: ModelCard) -> ExportedProgram:
    """The deployment form of a model as a graph: uint8 (N, H, W, 3) of any N -> logits (N, classes).

    Takes the model as it was trained; folding the batch norms is part of the capture, so no graph is without it.
    """
    height, width = card.input.image_size
    example_NHWC = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    deployed = Deployed(model.cpu(), card.input)
    with torch.no_grad():
        return torch.export.export(
            deployed, (example_NHWC,), dynamic_shapes={"images_NHWC": {0: Dim("batch", min=1, max=4096)}}
        )
