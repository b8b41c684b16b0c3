"""Networks in deployment form: from uint8 pixels to outputs, with cast, layout and normalisation inside the graph."""

import torch
from torch import Tensor, nn

from nextvit.image.resizing import Preprocess
from nextvit.models.classification import Classifier
from nextvit.models.detection import MaskRCNN
from nextvit.models.fuse import adapt_to_multiples_of_32, fuse
from nextvit.models.rearrange import rearrange_classifier
from nextvit.models.segmentation import Segmenter, class_map_from_logits, standardise_images
from nextvit.models.segmentation_losses import IGNORE_INDEX


def scale_and_shift(spec: Preprocess) -> tuple[Tensor, Tensor]:
    """Normalisation of 0..255 pixels as scale * x + shift, for each channel (C,)."""
    mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
    return 1 / (255 * std), -mean / std


def normalise(images_NCHW: Tensor, spec: Preprocess) -> Tensor:
    """Normalise pixels 0..255 (N, C, H, W) to float32: scaled to 0..1, minus the mean, divided by the standard
    deviation."""
    scale, shift = (each.to(images_NCHW.device)[:, None, None] for each in scale_and_shift(spec))
    return images_NCHW.float() * scale + shift


def zero_padding(images_NCHW: Tensor, sizes_N2: Tensor) -> Tensor:
    """Set normalised images to zero beyond the height and width of each: MMDetection pads after normalisation."""
    return torch.where(is_inside(images_NCHW, sizes_N2), images_NCHW, 0.0)


class Normalise(nn.Module):
    """`normalise` as a module: pixels 0..255 (N, C, H, W) of any type -> float32."""

    def __init__(self, spec: Preprocess) -> None:
        super().__init__()
        scale, shift = scale_and_shift(spec)
        self.scale = nn.Buffer(scale[:, None, None])
        self.shift = nn.Buffer(shift[:, None, None])

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW.float() * self.scale + self.shift


class Deployed(nn.Module):
    """uint8 (N, H, W, C), RGB -> logits (N, num_classes), float32.

    It fuses the model itself, so that nothing unfused can be exported. A classifier is also rearranged, because its
    intermediate feature maps are not used elsewhere. With another `dtype` the network between the normalised image and
    the logits computes in that type.
    """

    def __init__(self, model: nn.Module, spec: Preprocess, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.normalise = Normalise(spec).to(next(model.parameters()).device)
        fused = fuse(model)
        self.model = (rearrange_classifier(fused) if isinstance(fused, Classifier) else fused).to(dtype)
        self.dtype = dtype
        self.eval()

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(self.normalise(images_NHWC.permute(0, 3, 1, 2)).to(self.dtype)).float()


class DeployedDetector(nn.Module):
    """uint8 (N, H, W, 3), RGB, and int64 (N, 2), height and width of the image at the top left of each canvas -> the
    outputs of `MaskRCNN`, float32 except for the labels, int64.

    H and W are multiples of 32. The padding may have any values: it becomes 0 after the normalisation, as in training.
    The module fuses the model itself, so that nothing unfused can be exported.
    """

    def __init__(self, model: MaskRCNN, spec: Preprocess) -> None:
        super().__init__()
        self.normalise = Normalise(spec).to(next(model.parameters()).device)
        self.model = adapt_to_multiples_of_32(fuse(model))
        self.eval()

    def forward(self, images_NHWC: Tensor, sizes_N2: Tensor) -> tuple[Tensor, ...]:
        images_NCHW = self.normalise(images_NHWC.permute(0, 3, 1, 2))
        return self.model(zero_padding(images_NCHW, sizes_N2), sizes_N2)


class DeployedSegmenter(nn.Module):
    """uint8 (N, H, W, 3), RGB -> the class of each pixel, uint8 (N, H, W); with `scores` also their logits, float32 (N,
    num_classes, H / 4, W / 4), rounded up.

    Where images are padded (resize "pad"), it also takes int64 (N, 2), height and width of the image at the top left of
    each canvas. H and W are then multiples of 32. The padding may have any values: it becomes the mean colour, as in
    training, and its class is `IGNORE_INDEX`.

    The module fuses the model itself, so that nothing unfused can be exported. With another `dtype` the network between
    the normalised image and the logits computes in that type.
    """

    def __init__(
        self, model: Segmenter, spec: Preprocess, *, scores: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.normalise = Normalise(spec).to(next(model.parameters()).device)
        fused = fuse(model)
        self.model = (adapt_to_multiples_of_32(fused) if spec.padded else fused).to(dtype)
        self.dtype, self.scores, self.standardise = dtype, scores, model.segmenter.standardise
        self.eval()

    def forward(self, images_NHWC: Tensor, sizes_N2: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        images_NCHW = self.normalise(images_NHWC.permute(0, 3, 1, 2))
        inside_N1HW = None
        if sizes_N2 is not None:
            inside_N1HW = is_inside(images_NCHW, sizes_N2)
            images_NCHW = torch.where(inside_N1HW, images_NCHW, 0.0)
        if self.standardise:
            images_NCHW = standardise_images(images_NCHW, inside_N1HW)
        logits_NCHW = self.model(images_NCHW.to(self.dtype)).float()
        classes_NHW = class_map_from_logits(logits_NCHW, images_NCHW.shape[2:])
        if inside_N1HW is not None:
            classes_NHW = torch.where(inside_N1HW[:, 0], classes_NHW, IGNORE_INDEX)
        return (classes_NHW, logits_NCHW) if self.scores else classes_NHW


def is_inside(images_NCHW: Tensor, sizes_N2: Tensor) -> Tensor:
    """Which positions (N, 1, H, W) belong to images of heights and widths `sizes_N2` at the top left."""
    height, width = images_NCHW.shape[2:]
    rows_NH = torch.arange(height, device=sizes_N2.device)[None] < sizes_N2[:, :1]
    columns_NW = torch.arange(width, device=sizes_N2.device)[None] < sizes_N2[:, 1:]
    return (rows_NH[:, :, None] & columns_NW[:, None])[:, None]
