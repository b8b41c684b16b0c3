"""Grad-CAM (Selvaraju et al., arXiv:1610.02391): which positions of an image contribute to the logit of a class.

For the last feature map of our classifier Grad-CAM is exact: only a batch norm, a mean over positions and a linear
layer follow, so that up to a constant the map is the logit of the class split over the positions (the class activation
map of Zhou et al., arXiv:1512.04150). Earlier maps are finer, but are only a first-order approximation; they are used
where the last map has very few positions.
"""

import torch
from torch import Tensor, nn

from nextvit.models.classification import Classifier

MIN_POSITIONS = 4  # a side
STRIDES = (4, 8, 16, 32)


def choose_stage(image_size: tuple[int, int]) -> int:
    """Index of the last stage with a map of at least 4x4 positions for an image (height, width); 3 from 128 px on."""
    return max(stage for stage, stride in enumerate(STRIDES) if min(image_size) / stride >= MIN_POSITIONS)


def grad_cam(model: Classifier, images_NCHW: Tensor, classes: Tensor, *, stage: int = 3) -> Tensor:
    """Grad-CAM heatmaps of one class for each image; sets the model to eval mode.

    Args:
        model: a trained classifier, fused or not.
        images_NCHW: normalised images on the model's device.
        classes: the index of the class to explain, for each image (N,).
        stage: index of the feature map, 0 to 3 for strides 4, 8, 16 and 32.

    Returns:
        (N, h, w), from 0 to 1; the maximum of each map is 1, or 0 if no position contributes to the class.
    """
    features: list[Tensor] = []

    def start_graph_here(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        features.append(output.detach().requires_grad_())
        return features[0]

    model.eval()
    hook = model.backbone.stages[stage].register_forward_hook(start_graph_here)
    try:
        with torch.enable_grad():
            logits = model(images_NCHW)
            class_logits = logits.gather(1, classes[:, None]).sum()
    finally:
        hook.remove()
    features_NCHW = features[0]
    (gradient_NCHW,) = torch.autograd.grad(class_logits, features_NCHW)
    weights_NC = gradient_NCHW.mean(dim=(2, 3))
    maps_NHW = torch.einsum("nc,nchw->nhw", weights_NC, features_NCHW.detach()).relu()
    return maps_NHW / maps_NHW.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(maps_NHW.dtype).tiny)
