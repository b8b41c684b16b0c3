"""RoI pooling and the box and mask heads of Mask R-CNN (He et al., arXiv:1703.06870), as in MMDetection.

Letters: R regions of all images, N images, K boxes of an image, C channels or classes, S side of a pooled region.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from nextvit.models.proposals import STRIDES_PX

BOX_SIDE = 7
"""Side of a region that is pooled for the box head, in positions."""
MASK_SIDE = 14
"""Side of a region that is pooled for the mask head, in positions; the predicted mask has twice this side."""
FINEST_SIDE_PX = 56
"""Regions with a side below twice this are pooled from the finest map (MMDetection: `finest_scale`)."""
POOLED_LEVELS = 4
"""Regions are pooled from the maps of strides 4 to 32; the fifth map is used for proposals only."""
MIN_OTHERS = 1e-30
"""Lower limit of the sum over all other classes, relative to the largest exponential: keeps the odds finite in
float32."""
OUTSIDE_BOX_PX = (-1001.0, -1001.0, -1000.0, -1000.0)
"""Replaces a region on the maps that it is not pooled from. Each position takes one sample, which lies outside of the
map and is 0. A box without area would take no sample, and OpenVINO divides by the number of samples."""


def region_levels(boxes_R4: Tensor) -> Tensor:
    """Index (R,) from 0 to 3 of the map to pool each box from: one coarser for every doubling of the side."""
    sides_R = torch.sqrt((boxes_R4[:, 2] - boxes_R4[:, 0]) * (boxes_R4[:, 3] - boxes_R4[:, 1]))
    return torch.floor(torch.log2(sides_R / FINEST_SIDE_PX + 1e-6)).clamp(0, POOLED_LEVELS - 1)


def pool_regions(maps: Sequence[Tensor], regions_R5: Tensor, output_size: int) -> Tensor:
    """RoIAlign of each region from the map of its size.

    All regions are pooled from every map, so that no shape depends on their sizes. On the maps that a region does not
    belong to, it is replaced by a box outside of the map, which gives exactly 0 at little cost; the results are summed.

    Args:
        maps: of strides 4, 8, 16 and 32; more are ignored.
        regions_R5: index of the image in the batch, and x1, y1, x2, y2 in pixels.
        output_size: side of a pooled region, in positions.

    Returns:
        (R, C, output_size, output_size); 0 for regions without area.
    """
    boxes_R4 = regions_R5[:, 1:]
    has_area_R = (boxes_R4[:, 2:] > boxes_R4[:, :2]).all(dim=1)
    levels_R = torch.where(has_area_R, region_levels(boxes_R4), -1.0)
    outside_4 = boxes_R4.new_tensor(OUTSIDE_BOX_PX)
    pooled: list[Tensor] = []
    for level, (map_NCHW, stride_px) in enumerate(zip(maps[:POOLED_LEVELS], STRIDES_PX, strict=False)):
        level_boxes_R4 = torch.where((levels_R == level)[:, None], boxes_R4, outside_4)
        rois_R5 = torch.cat([regions_R5[:, :1], level_boxes_R4], dim=1)
        pooled.append(roi_align(map_NCHW, rois_R5, output_size, 1 / stride_px, sampling_ratio=0, aligned=True))
    return sum(pooled[1:], start=pooled[0])


def prepend_batch_index(boxes_NK4: Tensor) -> Tensor:
    """Boxes (N, K, 4) as regions (N * K, 5), each preceded by the index of its image."""
    index_N = torch.arange(boxes_NK4.shape[0], device=boxes_NK4.device).to(boxes_NK4.dtype)
    index_NK1 = index_N[:, None, None].expand(-1, boxes_NK4.shape[1], 1)
    return torch.cat([index_NK1, boxes_NK4], dim=2).flatten(0, 1)


class BoxHead(nn.Module):
    """(R, channels, 7, 7) -> logits (R, classes + 1), background last, and box deltas (R, classes * 4)."""

    def __init__(self, channels: int, *, width: int, num_classes: int) -> None:
        super().__init__()
        self.shared_fcs = nn.ModuleList([nn.Linear(channels * BOX_SIDE**2, width), nn.Linear(width, width)])
        self.fc_cls = nn.Linear(width, num_classes + 1)
        self.fc_reg = nn.Linear(width, num_classes * 4)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.normal_(self.fc_reg.weight, std=0.001)
        for linear in self.shared_fcs:
            assert isinstance(linear, nn.Linear)
            nn.init.xavier_uniform_(linear.weight)
        for linear in (*self.shared_fcs, self.fc_cls, self.fc_reg):
            nn.init.zeros_(linear.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pooled_RCSS: Tensor) -> tuple[Tensor, Tensor]:
        x_RC = pooled_RCSS.flatten(1)
        for linear in self.shared_fcs:
            x_RC = nn.functional.relu(linear(x_RC))
        return self.fc_cls(x_RC), self.fc_reg(x_RC)


def class_odds(logits_RC: Tensor) -> Tensor:
    """The odds p / (1 - p) (R, classes) of each class, p by softmax, without the background, which is the last logit.

    Odds rank boxes like probabilities do, but near 1 there are few distinct floating-point probabilities. An object of
    high confidence is detected many times, and the order of these detections must not depend on the runtime.
    """
    exponentials_RC = (logits_RC - logits_RC.amax(dim=1, keepdim=True)).exp()
    # The sum leaves out the class itself; subtracting it from the sum of all would lose as many digits as 1 - p.
    others_CC = 1 - torch.eye(logits_RC.shape[1], dtype=logits_RC.dtype, device=logits_RC.device)
    return (exponentials_RC / (exponentials_RC @ others_CC).clamp(min=MIN_OTHERS))[:, :-1]


class MaskConv(nn.Module):
    """3x3 convolution and ReLU: (R, in, S, S) -> (R, out, S, S)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x_RCSS: Tensor) -> Tensor:
        return nn.functional.relu(self.conv(x_RCSS))


class MaskHead(nn.Module):
    """(R, channels, 14, 14) -> logits (R, classes, 28, 28)."""

    def __init__(self, channels: int, *, width: int, convs: int, num_classes: int) -> None:
        super().__init__()
        widths = [channels, *[width] * convs]
        self.convs = nn.ModuleList(MaskConv(widths[index], width) for index in range(convs))
        self.upsample = nn.ConvTranspose2d(widths[-1], width, 2, stride=2)
        self.conv_logits = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, pooled_RCSS: Tensor) -> Tensor:
        x_RCSS = pooled_RCSS
        for conv in self.convs:
            x_RCSS = conv(x_RCSS)
        return self.conv_logits(nn.functional.relu(self.upsample(x_RCSS)))


class RegionHeads(nn.Module):
    """The two heads, with the names of the published checkpoints; `mask_head` is None in a detector without masks."""

    def __init__(self, bbox_head: BoxHead, mask_head: MaskHead | None) -> None:
        super().__init__()
        self.bbox_head, self.mask_head = bbox_head, mask_head
