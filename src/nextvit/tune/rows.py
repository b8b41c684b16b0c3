"""A network as rows of the latency table: each of its blocks as the difference of two whole networks.

These are networks with and without the block, because runtimes fuse across operators and the deployment form moves work
between neighbours (`models/rearrange.py`): operators timed alone do not add up. Both networks of a row have one plain
block (`PLAIN`) in each stage that the row does not concern:

    with:     stem, plain stages, the block before, the block, plain stages, head
    without:  stem, plain stages, the block before,            plain stages, head

(A block that is the first of its stage stands in the place of the plain one, for no stage is empty.)
So a row holds the block behind its true predecessor, and what it changes in its successor while that is the plain
one; the row of the true successor takes this back and puts in its own. The sum of the rows of a network's blocks and of
the network of plain blocks alone is therefore exact wherever a block's time depends on the block itself and on its
neighbours, not on what is farther away.
"""

from dataclasses import dataclass, replace
from typing import Literal, cast

from nextvit.errors import InputError
from nextvit.models.config import NextViTConfig
from nextvit.tune.space import LEAST_TRANSFORMER_WIDTH, WIDTH_STEP, Stage, make_config

PLAIN: Stage = ("C", WIDTH_STEP, LEAST_TRANSFORMER_WIDTH)
"""The stage of a row's networks that the row does not concern: the cheapest."""
REPEATS = 4
"""How many blocks are added to measure one that follows its like: the error of its row is the smaller, and it is added
up most often."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A block where it stands; without one, the network of plain blocks, from which all rows are counted."""

    image_size: tuple[int, int]
    """Height and width in pixels, from which the sides of the block's map follow."""
    stem_width: int
    """Channels that the stem gives; in rows of later stages the least, since they do not depend on it."""
    stage: int = 0
    before: Literal["stem", "C", "T"] = "stem"
    """What stands before the block: the stem, or a block of the stage, or the last block of the stage before."""
    width_before: int = 0
    block: Literal["C", "T", ""] = ""
    width: int = 0
    is_first: bool = False
    """Whether the block is the first of its stage, which halves the sides (but in stage 1)."""

    @property
    def repeats(self) -> int:
        """How many such blocks the two networks differ by."""
        follows_its_like = not self.is_first and (self.before, self.width_before) == (self.block, self.width)
        return REPEATS if follows_its_like else 1

    def without(self) -> list[Stage]:
        """The stages of the network without the block."""
        stages = [PLAIN] * 4
        if self.before != "stem":
            stages[self.stage - self.is_first] = add_block(("", *PLAIN[1:]), self.before, self.width_before)
        return stages

    def with_block(self) -> list[Stage]:
        """The stages of the network with the block."""
        stages = self.without()
        if self.block:
            stage = ("", *PLAIN[1:]) if self.is_first else stages[self.stage]
            for _ in range(self.repeats):
                stage = add_block(stage, self.block, self.width)
            stages[self.stage] = stage
        return stages


def add_block(stage: Stage, block: str, width: int) -> Stage:
    """A stage with one block more at its end."""
    blocks, conv_width, transformer_width = stage
    if block == "C":
        return blocks + block, width, transformer_width
    return blocks + block, conv_width, width


def rows_of(config: NextViTConfig, image_size: tuple[int, int]) -> list[Row]:
    """The rows whose sum is the time of a network: that of plain blocks first, then one a block, in order.

    Raises:
        InputError: the network differs from the paper's in more than blocks and widths.
    """
    require_known(config)
    stem_width = config.stem_widths[-1]
    rows = [Row(image_size=image_size, stem_width=stem_width)]
    before, width_before = "stem", stem_width
    for stage, blocks in enumerate(config.blocks):
        for position, block in enumerate(blocks):
            width = (config.conv_widths if block == "C" else config.transformer_widths)[stage]
            rows.append(
                Row(
                    image_size=image_size,
                    stem_width=stem_width if before == "stem" else WIDTH_STEP,
                    stage=stage,
                    before=before,
                    width_before=width_before,
                    block=cast(Literal["C", "T"], block),
                    width=width,
                    is_first=position == 0,
                )
            )
            before, width_before = cast(Literal["C", "T"], block), width
    return rows


def require_known(config: NextViTConfig) -> None:
    """Raise InputError for a network that the networks of rows do not stand for."""
    plain = make_config(make_stem(config.stem_widths[-1]), [PLAIN] * 4)
    described = ("blocks", "conv_widths", "transformer_widths", "drop_path")
    if replace(config, **{name: getattr(plain, name) for name in described}) != plain:
        raise InputError(
            "the latency table knows networks that differ in their blocks, their widths and the width of a stem "
            f"(w, w / 2, w); got {config}"
        )


def make_stem(width: int) -> tuple[int, int, int]:
    """The widths of a stem that gives `width` channels, by the rule of the published one."""
    return width, width // 2, width
