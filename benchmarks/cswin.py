"""CSWin-T's forward pass, implemented from its paper (arXiv:2107.00652), for comparisons of latency only.

A transformer with attention in cross-shaped windows: half of the heads attend inside horizontal stripes of the image,
the other half inside vertical ones, and the stripes grow wider from stage to stage. Positions come from a depthwise
convolution of the values (LePE), which is added to the output of attention. The stem and the three merges between the
stages are convolutions. There are no pretrained weights and no training: no drop path, and PyTorch's default
initialisation.

N batch, C channels, H W height and width, T tokens = H*W
"""

import torch
from torch import Tensor, nn

WIDTH = 64
DEPTHS = (1, 2, 21, 1)
HEADS = (2, 4, 8, 16)
STRIPES = (1, 2, 7, 7)
"""Width of the stripes in tokens. The last stage has one window, the whole map: 7x7 for a 224 px image."""
MLP_RATIO = 4
PUBLISHED_PARAMETERS, PUBLISHED_MACS = 23e6, 4.3e9
"""Of the paper's table of ImageNet-1k results at 224 px, in whole millions; its "FLOPs" are multiply-accumulates."""


class ConvNorm(nn.Module):
    """A convolution, then a layer norm over the channels: (N, H, W, C) -> (N, H', W', C')."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        return self.norm(self.conv(x_NHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class StripeAttention(nn.Module):
    """Attention inside windows of one shape, with locally enhanced positions.

    `stripe` is the width of vertical stripes; with `horizontal` it is the height of horizontal ones; None: one window.
    """

    def __init__(self, channels: int, *, heads: int, stripe: int | None, horizontal: bool = False) -> None:
        super().__init__()
        self.heads, self.stripe, self.horizontal = heads, stripe, horizontal
        self.scale = (channels // heads) ** -0.5
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, q_NHWC: Tensor, k_NHWC: Tensor, v_NHWC: Tensor) -> Tensor:
        height, width = q_NHWC.shape[1:3]
        window = self.window(height, width)
        q, k, v = (self.split_heads(cut(each, window)) for each in (q_NHWC, k_NHWC, v_NHWC))
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        tokens = (weights @ v).transpose(1, 2).flatten(2)
        position = self.position(cut(v_NHWC, window).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return join(tokens.unflatten(1, window) + position, height, width)

    def window(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a window on a map of this size."""
        if self.stripe is None:
            return height, width
        return (self.stripe, width) if self.horizontal else (height, self.stripe)

    def split_heads(self, x_NHWC: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, heads, T, C / heads)"""
        return x_NHWC.flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2)


def cut(x_NHWC: Tensor, window: tuple[int, int]) -> Tensor:
    """Windows of a map, as a batch: (N * windows, h, w, C)."""
    _, height, width, channels = x_NHWC.shape
    h, w = window
    parts = x_NHWC.reshape(-1, height // h, h, width // w, w, channels)
    return parts.transpose(2, 3).reshape(-1, h, w, channels)


def join(windows_NHWC: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `cut`."""
    _, h, w, channels = windows_NHWC.shape
    parts = windows_NHWC.reshape(-1, height // h, width // w, h, w, channels)
    return parts.transpose(2, 3).reshape(-1, height, width, channels)


class Block(nn.Module):
    """Cross-shaped window attention and an MLP, each behind a layer norm and added to its input: (N, H, W, C)."""

    def __init__(self, channels: int, *, heads: int, stripe: int | None) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        self.stripe = stripe
        if stripe is None:
            branches = [StripeAttention(channels, heads=heads, stripe=None)]
        else:
            branches = [
                StripeAttention(channels // 2, heads=heads // 2, stripe=stripe, horizontal=horizontal)
                for horizontal in (True, False)
            ]
        self.branches = nn.ModuleList(branches)
        self.mlp = nn.Sequential(
            nn.Linear(channels, MLP_RATIO * channels), nn.GELU(), nn.Linear(MLP_RATIO * channels, channels)
        )

    def forward(self, x_NHWC: Tensor) -> Tensor:
        x_NHWC = x_NHWC + self.projection(self.attention(self.norm1(x_NHWC)))
        return x_NHWC + self.mlp(self.norm2(x_NHWC))

    def attention(self, x_NHWC: Tensor) -> Tensor:
        """Each branch takes a part of the channels. A map is zero-padded to a multiple of the stripe width."""
        height, width = x_NHWC.shape[1:3]
        stripe = self.stripe or 1
        below, beside = -height % stripe, -width % stripe
        if below or beside:
            x_NHWC = nn.functional.pad(x_NHWC, (0, 0, 0, beside, 0, below))
        branch_inputs = zip(
            *(part.chunk(len(self.branches), dim=-1) for part in self.qkv(x_NHWC).chunk(3, dim=-1)), strict=True
        )
        mixed = [branch(q, k, v) for branch, (q, k, v) in zip(self.branches, branch_inputs, strict=True)]
        return torch.cat(mixed, dim=-1)[:, :height, :width]


class CSWin(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> logits (N, num_classes)."""

    def __init__(self, *, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNorm(3, WIDTH, kernel=7, stride=4, padding=2)]
        channels = WIDTH
        for stage, (depth, heads, stripe) in enumerate(zip(DEPTHS, HEADS, STRIPES, strict=True)):
            if stage:
                layers.append(ConvNorm(channels, 2 * channels, kernel=3, stride=2, padding=1))
                channels *= 2
            last = stage == len(DEPTHS) - 1
            layers += [Block(channels, heads=heads, stripe=None if last else stripe) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, num_classes)

    def forward_features(self, images_NCHW: Tensor) -> Tensor:
        """The last feature map (N, H / 32, W / 32, C), normalised."""
        return self.norm(self.layers(images_NCHW.permute(0, 2, 3, 1)))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.head(self.forward_features(images_NCHW).mean(dim=(1, 2)))


def cswin_tiny() -> CSWin:
    """CSWin-T with random weights, always the same ones, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CSWin().eval()
