"""Where in a picture the evidence for a class lies: Grad-CAM (Selvaraju et al., arXiv:1610.02391).

On the last feature map of our classifier Grad-CAM is no approximation: behind it come only a batch norm, a mean over
positions and a linear layer, so the map is, but for a constant, the class's logit split over the positions (the class
activation map of Zhou et al., arXiv:1512.04150). Earlier maps are finer but tell only how the logit would change at
first; they are worth it where the last map has next to no positions.
"""

import torch
from torch import Tensor, nn

from nextvit.models.classification import Classifier

LEAST_POSITIONS = 4
STRIDES = (4, 8, 16, 32)


def stage_for(image_size: tuple[int, int]) -> int:
    """The index of the last stage whose map of an image (height, width) has at least 4x4 positions: 3 from 128 px on."""
    return max(stage for stage, stride in enumerate(STRIDES) if min(image_size) / stride >= LEAST_POSITIONS)


def heatmaps(model: Classifier, images_NCHW: Tensor, classes: Tensor, *, stage: int = 3) -> Tensor:
    """How much each position of a stage's map speaks for a class; puts the model in eval mode.

    Args:
        images_NCHW: normalised images on the model's device.
        classes: the index of the class to explain, for each image (N,).
        stage: index of the feature map, 0 to 3 for strides 4, 8, 16 and 32.

    Returns:
        (N, h, w), 0 to 1; the strongest position of a map is 1, unless nothing in it speaks for the class.
    """
    kept: list[Tensor] = []

    def start_graph_here(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    model.eval()
    hook = model.backbone.stages[stage].register_forward_hook(start_graph_here)
    try:
        with torch.enable_grad():
            logits = model(images_NCHW)
            chosen = logits.gather(1, classes[:, None]).sum()
    finally:
        hook.remove()
    features_NCHW = kept[0]
    (gradient_NCHW,) = torch.autograd.grad(chosen, features_NCHW)
    weights_NC = gradient_NCHW.mean(dim=(2, 3))
    maps_NHW = torch.einsum("nc,nchw->nhw", weights_NC, features_NCHW.detach()).relu()
    return maps_NHW / maps_NHW.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps_NHW.dtype).tiny)
