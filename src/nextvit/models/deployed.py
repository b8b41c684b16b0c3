"""What is exported: from uint8 pixels to logits, with cast, layout and normalisation inside the graph."""

import torch
from torch import Tensor, nn

from nextvit.models.fuse import fuse
from nextvit.preprocess import Preprocess


def scale_and_shift(spec: Preprocess) -> tuple[Tensor, Tensor]:
    """Normalisation of 0..255 pixels as scale * x + shift, for each channel (C,)."""
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return 1 / (255 * std), -mean / std


def normalise(images_NCHW: Tensor, spec: Preprocess) -> Tensor:
    """uint8 (N, C, H, W) -> float32, as published: scaled to 0..1, less the mean, over the deviation."""
    scale, shift = (each.to(images_NCHW.device)[:, None, None] for each in scale_and_shift(spec))
    return images_NCHW.float() * scale + shift


class Deployed(nn.Module):
    """uint8 (N, H, W, C), RGB -> logits (N, num_classes), float32.

    It fuses the model itself, so that nothing unfused can be exported.
    """

    def __init__(self, model: nn.Module, spec: Preprocess) -> None:
        super().__init__()
        self.model = fuse(model)
        scale, shift = scale_and_shift(spec)
        device = next(model.parameters()).device
        self.scale = nn.Buffer(scale[:, None, None].to(device))
        self.shift = nn.Buffer(shift[:, None, None].to(device))
        self.eval()

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(images_NHWC.permute(0, 3, 1, 2).float() * self.scale + self.shift)
