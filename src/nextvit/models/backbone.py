"""Next-ViT backbone (arXiv:2207.05501): image -> four feature maps at strides 4, 8, 16 and 32.

Read in order: ConvBNReLU, PatchEmbed, MHCA, EMHSA, Mlp, NCB, NTB, NextViT.
Only BatchNorm and ReLU; no positional encoding, no LayerNorm, no GELU.

Letters behind tensor names: N batch, C channels, H W height and width, T tokens = H * W in row-major order.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import StochasticDepth

from nextvit.errors import InputError
from nextvit.models.config import NextViTConfig

MIN_SIDE_PX = 32  # below it, stage 2 has fewer tokens than one pooling window


class ConvBNReLU(nn.Module):
    """3x3 convolution, batch norm, ReLU: (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x_NCHW)))


class PatchEmbed(nn.Module):
    """First layer of every block: halves the resolution and changes the width, each only where needed.

    (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)). Odd heights and widths are rounded up, as for the
    published weights.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.pool: nn.Module = nn.Identity()
        self.conv: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()
        if stride == 2:
            self.pool = nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False)
        if stride == 2 or in_channels != out_channels:
            self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.norm(self.conv(self.pool(x_NCHW)))


class MHCA(nn.Module):
    """Multi-Head Convolutional Attention (section 3.2): a 3x3 convolution with a group per head, then a 1x1 projection.

    (N, C, H, W) -> (N, C, H, W). No norm before it and none after the projection.
    """

    def __init__(self, channels: int, *, head_dim: int) -> None:
        super().__init__()
        self.group_conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels // head_dim, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        self.projection = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.projection(self.act(self.norm(self.group_conv3x3(x_NCHW))))


class EMHSA(nn.Module):
    """Efficient Multi-Head Self-Attention (section 3.3): keys and values are pooled, queries are not.

    (N, C, H, W) -> (N, C, H, W). The pooling is one-dimensional: it averages windows of `reduction ** 2` consecutive
    tokens in row-major order, which continue across row ends, and drops an incomplete last window. That is not a 2D
    pooling, and the published weights need it exactly.
    """

    def __init__(self, channels: int, *, head_dim: int, reduction: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)
        self.pool: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()
        if reduction > 1:
            self.pool = nn.AvgPool1d(reduction**2)
            self.norm = nn.BatchNorm1d(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCT = x_NCHW.flatten(2)
        x_NTC = x_NCT.transpose(1, 2)
        pooled_NTC = self.norm(self.pool(x_NCT)).transpose(1, 2)
        attended = nn.functional.scaled_dot_product_attention(
            self.split_heads(self.q(x_NTC)), self.split_heads(self.k(pooled_NTC)), self.split_heads(self.v(pooled_NTC))
        )
        attended_NTC = attended.transpose(1, 2).flatten(2)
        return self.proj(attended_NTC).transpose(1, 2).reshape(x_NCHW.shape)

    def split_heads(self, x_NTC: Tensor) -> Tensor:
        """(N, T, C) -> (N, heads, T, head_dim)."""
        return x_NTC.unflatten(2, (-1, self.head_dim)).transpose(1, 2)


class Mlp(nn.Module):
    """Two 1x1 convolutions with a ReLU between them: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, *, expansion: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels * expansion, 1)
        self.act: nn.Module = nn.ReLU()
        self.fc2 = nn.Conv2d(channels * expansion, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x_NCHW)))


class NCB(nn.Module):
    """Next Convolution Block (section 3.2): MHCA, then a batch norm and an MLP, both residual.

    (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, head_dim: int, expansion: int, drop_path: float
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(in_channels, out_channels, stride=stride)
        self.mhca = MHCA(out_channels, head_dim=head_dim)
        self.norm: nn.Module = nn.BatchNorm2d(out_channels)
        self.mlp = Mlp(out_channels, expansion=expansion)
        self.shortcut: nn.Module = nn.Identity()
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.patch_embed(x_NCHW)
        x_NCHW = x_NCHW + self.drop_path(self.mhca(x_NCHW))
        return self.shortcut(x_NCHW) + self.drop_path(self.mlp(self.norm(x_NCHW)))


class NTB(nn.Module):
    """Next Transformer Block (section 3.3).

    E-MHSA gives `mhsa_channels` (low frequencies), MHCA on a projection of them gives `mhca_channels` (high
    frequencies); both are concatenated and go through an MLP.

    (N, in, H, W) -> (N, mhsa + mhca, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        in_channels: int,
        mhsa_channels: int,
        mhca_channels: int,
        *,
        stride: int,
        head_dim: int,
        expansion: int,
        reduction: int,
        mix_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        out_channels = mhsa_channels + mhca_channels
        self.patch_embed = PatchEmbed(in_channels, mhsa_channels, stride=stride)
        self.norm1: nn.Module = nn.BatchNorm2d(mhsa_channels)
        self.e_mhsa: nn.Module = EMHSA(mhsa_channels, head_dim=head_dim, reduction=reduction)
        self.mhsa_drop_path = StochasticDepth(drop_path * mix_ratio, mode="row")
        self.projection = PatchEmbed(mhsa_channels, mhca_channels)
        self.mhca = MHCA(mhca_channels, head_dim=head_dim)
        self.mhca_drop_path = StochasticDepth(drop_path * (1 - mix_ratio), mode="row")
        self.norm2: nn.Module = nn.BatchNorm2d(out_channels)
        self.mlp = Mlp(out_channels, expansion=expansion)
        self.shortcut: nn.Module = nn.Identity()
        self.mlp_drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.patch_embed(x_NCHW)
        low_NCHW = x_NCHW + self.mhsa_drop_path(self.e_mhsa(self.norm1(x_NCHW)))
        high_NCHW = self.projection(low_NCHW)
        high_NCHW = high_NCHW + self.mhca_drop_path(self.mhca(high_NCHW))
        x_NCHW = torch.cat([low_NCHW, high_NCHW], dim=1)
        return self.shortcut(x_NCHW) + self.mlp_drop_path(self.mlp(self.norm2(x_NCHW)))


class Stage(nn.Module):
    """The blocks of one resolution; with `checkpoint_activations` each is recomputed in the backward pass."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.checkpoint_activations = False

    def forward(self, x_NCHW: Tensor) -> Tensor:
        for block in self.blocks:
            if self.checkpoint_activations and torch.is_grad_enabled():
                x_NCHW = checkpoint(block, x_NCHW, use_reentrant=False)
            else:
                x_NCHW = block(x_NCHW)
        return x_NCHW


class NextViT(nn.Module):
    """The backbone: (N, in_chans, H, W) -> four maps (N, config.feature_widths[s], H / 2^(s+2), W / 2^(s+2)).

    Any height and width of at least 32 px; those that are not a multiple of 32 are rounded up at every halving.
    """

    def __init__(self, config: NextViTConfig) -> None:
        super().__init__()
        self.config = config
        self.fused = False  # set only by nextvit.models.fuse; part of the state dict, see get_extra_state
        first, narrow, last = config.stem_widths
        self.stem = nn.Sequential(
            ConvBNReLU(config.in_chans, first, stride=2),
            ConvBNReLU(first, narrow, stride=1),
            ConvBNReLU(narrow, last, stride=1),
            ConvBNReLU(last, last, stride=2),
        )
        self.stages = nn.ModuleList(build_stages(config))
        self.apply(init_weights)

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        check_sides(image_NCHW)
        x_NCHW = self.stem(image_NCHW)
        maps: list[Tensor] = []
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
            maps.append(x_NCHW)
        return maps

    def set_activation_checkpointing(self, *, enabled: bool) -> None:
        """Save memory at the cost of time: keep only the inputs of the blocks for the backward pass."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.checkpoint_activations = enabled

    def get_extra_state(self) -> Tensor:
        """Whether batch norms are folded, as a part of every state dict; see `set_extra_state`."""
        return torch.tensor(self.fused)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights of the other form; `load_state_dict` calls this even with strict=False.

        Raises:
            InputError: the weights are fused and the model is not, or the other way round.
        """
        if bool(state) != self.fused:
            form = {True: "fused (batch norms folded, for deployment)", False: "unfused (for training)"}
            raise InputError(
                f"the weights are {form[bool(state)]} but the model is {form[self.fused]}; "
                "load unfused weights into an unfused model, then call nextvit.fuse(model)"
            )


def check_sides(image_NCHW: Tensor) -> None:
    """Raise InputError if the images are too small for the second stage."""
    if min(image_NCHW.shape[2:]) < MIN_SIDE_PX:
        raise InputError(f"images must be at least {MIN_SIDE_PX} px a side, got {tuple(image_NCHW.shape[2:])}")


def build_stages(config: NextViTConfig) -> list[Stage]:
    """The four stages; the drop path rate grows linearly over all blocks, as in the official code."""
    last_block = sum(config.depths) - 1
    drop_paths = (config.drop_path * block / max(1, last_block) for block in range(last_block + 1))
    channels = config.stem_widths[-1]
    stages: list[Stage] = []
    for stage, block_types in enumerate(config.blocks):
        blocks: list[nn.Module] = []
        for position, block_type in enumerate(block_types):
            stride = 2 if stage > 0 and position == 0 else 1
            if block_type == "C":
                block = NCB(
                    channels,
                    config.conv_widths[stage],
                    stride=stride,
                    head_dim=config.head_dim,
                    expansion=config.conv_expansion,
                    drop_path=next(drop_paths),
                )
                channels = config.conv_widths[stage]
            else:
                block = NTB(
                    channels,
                    *config.split_width(config.transformer_widths[stage]),
                    stride=stride,
                    head_dim=config.head_dim,
                    expansion=config.transformer_expansion,
                    reduction=config.spatial_reductions[stage],
                    mix_ratio=config.mix_ratio,
                    drop_path=next(drop_paths),
                )
                channels = config.transformer_widths[stage]
            blocks.append(block)
        stages.append(Stage(blocks))
    return stages


def init_weights(module: nn.Module) -> None:
    """Truncated normal initialisation with std 0.02 of convolutions and linear layers, as in the official code."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
