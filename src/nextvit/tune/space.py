"""What there is to choose from: networks, image sizes, runtimes and precisions, as data.

A network is a `NextViTConfig`. Which block stands where is a string for each stage ("C" a Next Convolution Block, "T" a
Next Transformer Block), so the paper's Next Hybrid Strategy (arXiv:2207.05501, section 3.4) is the set of strings
(C...CT) x L of `hybrid_patterns`, and any other order is a string, too.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product, starmap
from typing import Any, cast

from nextvit.bundle.manifest import MAX_SIDE_PX, Precision
from nextvit.errors import InputError, shorten
from nextvit.export.targets import target_of
from nextvit.files.records import from_plain, to_plain
from nextvit.models.config import NextViTConfig

WIDTH_STEP = 32
"""Channels of an attention head. Runtimes compute other widths no faster than the next multiple."""
LEAST_TRANSFORMER_WIDTH = 128
"""Narrower ones cannot be split into attention and convolution at the paper's ratio of 0.75."""
MIN_SIDE_PX = 32

Stage = tuple[str, int, int]
"""Blocks, width of the convolution blocks, width of the transformer blocks."""
Patterns = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
Widths = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One choice: all that decides how long a prediction takes, except the machine and its threads."""

    config: NextViTConfig
    image_size: tuple[int, int]
    """Height and width in pixels."""
    runtime: str
    precision: Precision

    def to_plain(self) -> dict[str, Any]:
        """As JSON holds it; the inverse of `point_from_plain`."""
        return to_plain(self)


def point_from_plain(values: Any, *, what: str) -> Point:
    """Read a point.

    Args:
        values: what JSON gave.
        what: names the source in messages.

    Raises:
        InputError: a field is missing, unknown or of another type, or the network cannot be built.
    """
    if isinstance(values, dict) and "config" in values:
        given = cast(dict[str, Any], values)
        values = {**given, "config": from_plain(NextViTConfig, given["config"], what=what)}
    return from_plain(Point, values, what=what)


def hybrid_patterns(depths: range) -> tuple[str, ...]:
    """The orders of a stage's blocks by the Next Hybrid Strategy, of each depth: L times N convolution blocks and a
    transformer block, and convolution blocks alone, as in stage 1 of the published networks."""
    return tuple(
        pattern
        for depth in depths
        for pattern in (
            "C" * depth,
            *(("C" * (length - 1) + "T") * (depth // length) for length in range(1, depth + 1) if depth % length == 0),
        )
    )


def width_steps(least: int, most: int) -> tuple[int, ...]:
    """The widths from `least` to `most` in steps of `WIDTH_STEP`."""
    return tuple(range(least, most + 1, WIDTH_STEP))


@dataclass(frozen=True, kw_only=True)
class Space:
    """The choices for each part of a point; every combination is a network that can be built.

    The defaults hold the named variants up to nextvit_small.
    """

    stem_widths: tuple[tuple[int, int, int], ...] = ((32, 16, 32), (64, 32, 64))
    blocks: Patterns = (
        hybrid_patterns(range(1, 4)),
        hybrid_patterns(range(1, 5)),
        hybrid_patterns(range(1, 16)),
        hybrid_patterns(range(1, 4)),
    )
    conv_widths: Widths = (width_steps(32, 96), width_steps(64, 192), width_steps(96, 384), width_steps(192, 768))
    transformer_widths: Widths = (
        width_steps(128, 128),
        width_steps(128, 256),
        width_steps(128, 512),
        width_steps(256, 1024),
    )
    image_sizes: tuple[tuple[int, int], ...] = tuple((side, side) for side in range(64, 257, 32))
    """Height and width in pixels."""
    targets: tuple[tuple[str, Precision], ...] = (
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
        ("openvino", "int8"),
    )
    """Runtimes with a precision."""
    task: str = "classification"

    def __post_init__(self) -> None:
        choices = (self.stem_widths, *self.blocks, *self.conv_widths, *self.transformer_widths)
        if not all((*choices, self.image_sizes, self.targets)):
            raise InputError("a space has at least one choice for each part of a network, image size and runtime")
        self._check_networks()
        for runtime, precision in self.targets:
            target_of(runtime, precision, dynamic_size=False, task=self.task)
        for height, width in self.image_sizes:
            if not MIN_SIDE_PX <= min(height, width) <= max(height, width) <= MAX_SIDE_PX:
                raise InputError(f"images have {MIN_SIDE_PX} to {MAX_SIDE_PX} px a side, got {width}x{height} px")

    def _check_networks(self) -> None:
        """Raise InputError where a choice for a stage is in no network."""
        for blocks in chain(*self.blocks):
            if not blocks or set(blocks) - {"C", "T"}:
                raise InputError(f"blocks of a stage are a string of 'C' and 'T', got {shorten(blocks)!r}")
        for width in chain(*self.conv_widths, *self.transformer_widths):
            if width < WIDTH_STEP or width % WIDTH_STEP:
                raise InputError(f"widths are multiples of {WIDTH_STEP}, got {width}")
        for width in chain(*self.transformer_widths):
            if width < LEAST_TRANSFORMER_WIDTH:
                raise InputError(f"widths of transformer blocks are at least {LEAST_TRANSFORMER_WIDTH}, got {width}")

    def __iter__(self) -> Iterator[Point]:
        """Every point once, in a fixed order."""
        for stem in self.stem_widths:
            for stages in product(*self.stages):
                config = make_config(stem, stages)
                for size, (runtime, precision) in product(self.image_sizes, self.targets):
                    yield Point(config=config, image_size=size, runtime=runtime, precision=precision)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(map(len, (self.stem_widths, *self.stages, self.image_sizes, self.targets)))

    @property
    def stages(self) -> list[list[Stage]]:
        """The choices for each stage, each once."""
        choices = zip(self.blocks, self.conv_widths, self.transformer_widths, strict=True)
        return [list(dict.fromkeys(starmap(make_stage, product(*each)))) for each in choices]

    def sample(self, count: int, *, seed: int) -> list[Point]:
        """Different points at random. The same seed gives the same ones, and for a larger count the same first ones.

        Each part is drawn by itself and evenly; of a stage's blocks first their number, then their order.

        Raises:
            InputError: the space has fewer points.
        """
        if count > self.size:
            raise InputError(f"the space has {self.size} points, and {count} different ones were asked for")
        generator = random.Random(seed)
        found: dict[Point, None] = {}  # a set in the order of insertion
        while len(found) < count:
            found[self.draw(generator)] = None
        return list(found)

    def draw(self, generator: random.Random) -> Point:
        """One point at random."""
        stages: list[Stage] = []
        for blocks, *widths in zip(self.blocks, self.conv_widths, self.transformer_widths, strict=True):
            depth = generator.choice(sorted({len(each) for each in blocks}))
            order = generator.choice([each for each in blocks if len(each) == depth])
            stages.append(make_stage(order, *map(generator.choice, widths)))
        config = make_config(generator.choice(self.stem_widths), stages)
        size, (runtime, precision) = generator.choice(self.image_sizes), generator.choice(self.targets)
        return Point(config=config, image_size=size, runtime=runtime, precision=precision)


def make_stage(blocks: str, conv_width: int, transformer_width: int) -> Stage:
    """A stage; a width that no block has is the least one, so that equal networks are equal."""
    return (
        blocks,
        conv_width if "C" in blocks else WIDTH_STEP,
        transformer_width if "T" in blocks else LEAST_TRANSFORMER_WIDTH,
    )


def make_config(stem: tuple[int, int, int], stages: Sequence[Stage]) -> NextViTConfig:
    """The network with these widths of the stem and these four stages."""
    blocks, conv_widths, transformer_widths = zip(*stages, strict=True)
    return NextViTConfig(
        stem_widths=stem, blocks=blocks, conv_widths=conv_widths, transformer_widths=transformer_widths
    )
