"""Milliseconds of networks that were never written, predicted from rows that were measured in the deployed runtime.

The prediction is the sum of a network's rows (`rows.py`).
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError
from nextvit.files.records import from_plain, to_plain
from nextvit.files.run_folder import append_json_line, read_json_lines
from nextvit.tune.rows import Row, make_stem, rows_of
from nextvit.tune.space import Point, Stage, make_config

Measure = Callable[[Sequence[Point]], Sequence[float]]
"""Milliseconds of whole networks, all of one runtime and precision, timed in the same rounds."""

FORMAT = 1
MOST_AT_ONCE = 8
"""Networks that are timed in the same rounds, and in memory at once."""


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
