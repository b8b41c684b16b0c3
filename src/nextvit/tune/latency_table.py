"""Milliseconds of networks that were never written, predicted from a table of blocks measured in the deployed runtime.

A row is the difference of two whole networks, with and without the block, because runtimes fuse across operators and
the deployment form moves work between neighbours (`models/rearrange.py`): operators timed alone do not add up. Both
networks of a row have one plain block (`PLAIN`) in each stage that the row does not concern:

    with:     stem, plain stages, the block before, the block, plain stages, head
    without:  stem, plain stages, the block before,            plain stages, head

(A block that is the first of its stage stands in the place of the plain one, for no stage is empty.)
So a row holds the block behind its true predecessor, and what it changes in its successor while that is the plain
one; the row of the true successor takes this back and puts in its own. The sum of the rows of a network's blocks and of
the network of plain blocks alone is therefore exact wherever a block's time depends on the block itself and on its
neighbours, not on what is farther away.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError
from nextvit.files.records import from_plain, to_plain
from nextvit.files.run_folder import append_json_line, read_json_lines
from nextvit.models.config import NextViTConfig
from nextvit.tune.space import LEAST_TRANSFORMER_WIDTH, WIDTH_STEP, Point, Stage, make_config

Measure = Callable[[Sequence[Point]], Sequence[float]]
"""Milliseconds of whole networks, all of one runtime and precision, timed in the same rounds."""

FORMAT = 1
PLAIN: Stage = ("C", WIDTH_STEP, LEAST_TRANSFORMER_WIDTH)
"""The stage of a row's networks that the row does not concern: the cheapest."""
REPEATS = 4
"""How many blocks are added to measure one that follows its like: the error of its row is the smaller, and it is added
up most often."""
MOST_AT_ONCE = 8
"""Networks that are timed in the same rounds, and in memory at once."""


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


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where networks are timed: what a table holds for."""

    machine: dict[str, Any]
    """As `machine.environment.describe_machine` gives it."""
    versions: dict[str, str]
    """Of the packages that write and run the files."""
    runtime: str
    precision: Precision
    threads: int

    def file(self, folder: Path) -> Path:
        """The table's file in a folder of tables, which machines may share."""
        where = json.dumps([self.machine, self.versions], sort_keys=True)
        name = f"{self.runtime}-{self.precision}-{self.threads}-{hashlib.sha256(where.encode()).hexdigest()[:12]}.jsonl"
        return folder / name


class LatencyTable:
    """The rows for one setup, in memory and in a file of JSON lines: the setup, then a line for each row."""

    def __init__(self, path: Path, setup: Setup) -> None:
        """Open the table at `path`, or begin it there.

        Raises:
            InputError: the file is damaged, was measured in another setup, or cannot be written.
        """
        self.path, self.setup = path, setup
        self.milliseconds: dict[Row, float] = {}
        lines = read_json_lines(path)
        if lines:
            self.require_same_setup(lines[0])
        else:
            self.append(self.header)
        for number, line in enumerate(lines[1:], start=2):
            row, milliseconds = read_row(line, what=f"{path}, record {number}")
            self.milliseconds[row] = milliseconds

    @property
    def header(self) -> dict[str, Any]:
        return {"latency_table": FORMAT, **to_plain(self.setup)}

    def require_same_setup(self, header: dict[str, Any]) -> None:
        """Raise InputError for the first line of another table, or of something else."""
        for name, here in self.header.items():
            if name not in header:
                raise InputError(f"{self.path}: not a latency table (its first line has no {name!r}); remove it")
            if header[name] != here:
                raise InputError(
                    f"{self.path}: measured with {name} {header[name]}, here it is {here}; remove it, and the table "
                    "is measured anew"
                )

    def missing(self, points: Sequence[Point]) -> list[Row]:
        """The rows that predictions for these points need and the table lacks, each once."""
        needed = dict.fromkeys(row for point in points for row in rows_of(point.config, point.image_size))
        return [row for row in needed if row not in self.milliseconds]

    def fill(self, points: Sequence[Point], measure: Measure) -> None:
        """Measure the rows that predictions for these points need and the table lacks.

        Rows with the same network without the block are timed in the same rounds. Each is kept as soon as it is known.
        """
        groups: dict[Point, list[Row]] = {}
        for row in self.missing(points):
            groups.setdefault(self.point(row, row.without()), []).append(row)
        for without, rows in groups.items():
            for start in range(0, len(rows), MOST_AT_ONCE - 1):
                self.measure_together(without, rows[start : start + MOST_AT_ONCE - 1], measure)

    def measure_together(self, without: Point, rows: Sequence[Row], measure: Measure) -> None:
        """Measure rows with the same network without the block, and keep them."""
        networks = dict.fromkeys([without, *(self.point(row, row.with_block()) for row in rows)])
        times = dict(zip(networks, measure(list(networks)), strict=True))
        for row in rows:
            if row.block:
                added = times[self.point(row, row.with_block())] - times[without]
                self.keep(row, added / row.repeats)
            else:
                self.keep(row, times[without])

    def keep(self, row: Row, milliseconds: float) -> None:
        self.append({"row": to_plain(row), "ms": milliseconds})
        self.milliseconds[row] = milliseconds

    def append(self, line: dict[str, Any]) -> None:
        """Write a line to the file.

        Raises:
            InputError: the disk is full or not writable.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_json_line(self.path, line)
        except OSError as error:
            raise InputError(f"could not write {self.path}: {error.strerror or error}") from None

    def predict(self, point: Point) -> float:
        """The milliseconds of a network, whose rows must be in the table (`fill`)."""
        assert (point.runtime, point.precision) == (self.setup.runtime, self.setup.precision), "another table's point"
        return math.fsum(self.milliseconds[row] for row in rows_of(point.config, point.image_size))

    def point(self, row: Row, stages: Sequence[Stage]) -> Point:
        return Point(
            config=make_config(make_stem(row.stem_width), stages),
            image_size=row.image_size,
            runtime=self.setup.runtime,
            precision=self.setup.precision,
        )


def read_row(line: dict[str, Any], *, what: str) -> tuple[Row, float]:
    """A row and its milliseconds.

    Raises:
        InputError: the line is damaged.
    """
    milliseconds = line.get("ms")
    if not isinstance(milliseconds, int | float) or isinstance(milliseconds, bool) or not math.isfinite(milliseconds):
        raise InputError(f"{what}: damaged (ms is no finite number); remove the file")
    return from_plain(Row, line.get("row"), what=what), milliseconds
