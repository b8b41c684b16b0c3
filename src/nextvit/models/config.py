"""The architecture of a Next-ViT as data (arXiv:2207.05501, sections 3.4 and 3.5), and the named variants.

The Next Hybrid Strategy, the order of the blocks, is a string for each stage: "C" is a Next Convolution Block, "T" a
Next Transformer Block.
"""

from dataclasses import dataclass, replace

from nextvit.errors import InputError, shorten

MAX_WIDTH, MAX_BLOCKS = 2**14, 1000
"""Limits of an architecture that a file describes, many times beyond the published ones."""


@dataclass(frozen=True, kw_only=True)
class NextViTConfig:
    """The architecture of one backbone. Tuples over stages have four entries, for strides 4, 8, 16 and 32."""

    in_chans: int = 3
    """Channels of the input image."""
    stem_widths: tuple[int, int, int] = (64, 32, 64)
    """Channels of the stem's convolutions; the last width is used twice."""
    blocks: tuple[str, str, str, str]
    """The blocks of each stage in order: "CCCT" is three convolution blocks, then a transformer block."""
    conv_widths: tuple[int, int, int, int]
    """Output channels of the convolution blocks of each stage."""
    transformer_widths: tuple[int, int, int, int]
    """Output channels of the transformer blocks of each stage."""
    head_dim: int = 32
    """Channels of an attention head, and of a group of a grouped convolution."""
    mix_ratio: float = 0.75
    """Fraction of a transformer block's channels from self-attention, "r" in the paper; the rest is from
    convolution."""
    conv_expansion: int = 3
    """Ratio of hidden to input channels in the MLP of a convolution block."""
    transformer_expansion: int = 2
    """Ratio of hidden to input channels in the MLP of a transformer block."""
    spatial_reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    """In stage s, keys and values are pooled over `spatial_reductions[s] ** 2` consecutive tokens."""
    drop_path: float = 0.1
    """Stochastic depth rate of the last block; it grows linearly from 0 at the first block."""

    def __post_init__(self) -> None:
        self._check_sizes()
        for stage, blocks in enumerate(self.blocks):
            if not blocks or set(blocks) - {"C", "T"}:
                raise InputError(
                    f"blocks of stage {stage + 1} must be a string of 'C' and 'T', got {shorten(blocks)!r}"
                )
            if self.conv_widths[stage] % self.head_dim:
                raise InputError(
                    f"convolution width of stage {stage + 1} must be a multiple of head_dim {self.head_dim}, "
                    f"got {self.conv_widths[stage]}"
                )
            if "T" in blocks:
                mhsa_width, mhca_width = self.split_width(self.transformer_widths[stage])
                if mhsa_width <= 0 or mhca_width <= 0 or mhca_width % self.head_dim:
                    raise InputError(
                        f"transformer width {self.transformer_widths[stage]} of stage {stage + 1} cannot be split by "
                        f"mix_ratio {self.mix_ratio} into two positive multiples of head_dim {self.head_dim}"
                    )
        if not 0 <= self.drop_path < 1:
            raise InputError(f"drop_path must be at least 0 and below 1, got {self.drop_path}")

    def _check_sizes(self) -> None:
        """Raise InputError where a number of channels or the like is below 1, or larger than any network's."""
        sizes = {
            "in_chans": (self.in_chans,),
            "head_dim": (self.head_dim,),
            "stem_widths": self.stem_widths,
            "conv_widths": self.conv_widths,
            "transformer_widths": self.transformer_widths,
            "conv_expansion": (self.conv_expansion,),
            "transformer_expansion": (self.transformer_expansion,),
            "spatial_reductions": self.spatial_reductions,
        }
        for name, values in sizes.items():
            if not all(1 <= value <= MAX_WIDTH for value in values):
                raise InputError(f"{name} must be from 1 to {MAX_WIDTH}, got {shorten(str(values))}")
        if not 0 < self.mix_ratio < 1:
            raise InputError(f"mix_ratio must be above 0 and below 1, got {self.mix_ratio}")
        if sum(map(len, self.blocks)) > MAX_BLOCKS:
            raise InputError(f"at most {MAX_BLOCKS} blocks, got {sum(map(len, self.blocks))}")

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return tuple(len(blocks) for blocks in self.blocks)

    @property
    def feature_widths(self) -> tuple[int, ...]:
        """Channels of the four feature maps."""
        return tuple(
            self.transformer_widths[stage] if blocks.endswith("T") else self.conv_widths[stage]
            for stage, blocks in enumerate(self.blocks)
        )

    def split_width(self, width: int) -> tuple[int, int]:
        """Split the channels of a transformer block into those from self-attention and those from convolution."""
        mhsa_width = make_divisible(int(width * self.mix_ratio), self.head_dim)
        return mhsa_width, width - mhsa_width


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, and never below 0.9 of `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


# The published variants differ only in how often stage 3 repeats (N x C + 1 x T), and in the drop path rate.
SMALL = NextViTConfig(
    blocks=("CCC", "CCCT", "CCCCT" * 2, "CCT"),
    conv_widths=(96, 192, 384, 768),
    transformer_widths=(128, 256, 512, 1024),
    drop_path=0.1,
)
BASE = replace(SMALL, blocks=("CCC", "CCCT", "CCCCT" * 4, "CCT"), drop_path=0.2)
LARGE = replace(BASE, blocks=("CCC", "CCCT", "CCCCT" * 6, "CCT"))

# Our own variants, scaled by the rules of the paper: head_dim, mix ratio, expansions, reductions and the pattern
# (N x C + T) x L are unchanged.
# TINY halves every width of SMALL (stage 1: 48 would not divide into heads, so 64) and repeats stage 3 once more.
TINY = replace(
    SMALL,
    stem_widths=(32, 16, 32),
    blocks=("CC", "CCCT", "CCCCT" * 3, "CCT"),
    conv_widths=(64, 96, 192, 384),
    transformer_widths=(128, 128, 256, 512),
)
# NANO has a third of the widths of SMALL, rounded to the next width that can be split into attention and convolution.
NANO = replace(
    SMALL,
    stem_widths=(32, 16, 32),
    blocks=("CC", "CT", "CCCT", "CT"),
    conv_widths=(32, 64, 128, 256),
    transformer_widths=(128, 128, 160, 320),
    drop_path=0.05,
)

VARIANTS: dict[str, NextViTConfig] = {
    "nextvit_nano": NANO,
    "nextvit_tiny": TINY,
    "nextvit_small": SMALL,
    "nextvit_base": BASE,
    "nextvit_large": LARGE,
}
