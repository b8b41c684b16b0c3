"""The table predicts any machine on which a block's time depends on itself and its neighbours, and no other machine."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nextvit.errors import InputError
from nextvit.models.config import SMALL
from nextvit.tune.latency_table import LatencyTable, Setup
from nextvit.tune.rows import Row, rows_of
from nextvit.tune.space import Point, Space, make_config
from tests.conftest import needs

SETUP = Setup(
    machine={"cpu": "CPU A", "cores": 2, "system": "Linux x86_64"},
    versions={"nextvit": "1", "onnxruntime": "1.32.0"},
    runtime="onnx",
    precision="fp32",
    threads=1,
)
SPACE = Space(targets=(("onnx", "fp32"),), image_sizes=((96, 96), (160, 128)))


def neighbours(point: Point) -> list[tuple[object, ...]]:
    """Each part of a network (a block with its map, the head) after the kind and width of what stands before it: all
    that the time of an additive machine is made of."""
    config = point.config
    before: tuple[object, ...] = ("stem", config.stem_widths[-1])
    pairs: list[tuple[object, ...]] = [("image", *config.stem_widths, *point.image_size)]
    for stage, blocks in enumerate(config.blocks):
        for position, block in enumerate(blocks):
            width = (config.conv_widths if block == "C" else config.transformer_widths)[stage]
            pairs.append((*before, block, width, stage, position == 0, *point.image_size))
            before = (block, width)
    return [*pairs, (*before, "head", *point.image_size)]


def arbitrary_machine(points: Sequence[Point]) -> list[float]:
    """Each pair of neighbours takes a time of its own that has no pattern at all."""

    def milliseconds(pair: tuple[object, ...]) -> float:
        return int(hashlib.sha256(repr(pair).encode()).hexdigest()[:8], 16) / 2**32

    return [math.fsum(map(milliseconds, neighbours(point))) for point in points]


def plausible_milliseconds(point: Point) -> float:
    """Some time for each block, and time for its multiplications."""
    total, width_before = 0.2, point.config.stem_widths[-1]
    for stage, blocks in enumerate(point.config.blocks):
        pixels = math.prod(math.ceil(side / 4 / 2**stage) for side in point.image_size)
        for block in blocks:
            width = (point.config.conv_widths if block == "C" else point.config.transformer_widths)[stage]
            total += 0.03 + 2e-8 * pixels * (7 * width**2 + width_before * width)
            width_before = width
    return total


def test_the_prediction_is_exact_where_a_block_depends_on_its_neighbours_alone(tmp_path: Path):
    points = SPACE.sample(40, seed=0)
    table = LatencyTable(tmp_path / "table.jsonl", SETUP)
    table.fill(points, arbitrary_machine)
    predicted = [table.predict(point) for point in points]
    np.testing.assert_allclose(predicted, arbitrary_machine(points), rtol=1e-9)
    # Other networks of the same rows, too
    swapped = replace(points[0], config=replace(SMALL, blocks=("CCC", "CCCT", "CCCCT" * 3, "CCT")))
    table.fill([replace(swapped, config=SMALL)], arbitrary_machine)
    assert table.missing([swapped]) == []
    assert table.predict(swapped) == pytest.approx(arbitrary_machine([swapped])[0], rel=1e-9)


@pytest.mark.backend
def test_the_multiplications_of_the_deployed_networks_are_predicted_exactly(tmp_path: Path):
    """The deployment form moves work between blocks, and the rows hold what it moves."""
    needs("torch")
    from nextvit.tasks.network import deployed_cost
    from nextvit.tune.measure import random_card

    def multiplications(points: Sequence[Point]) -> list[float]:
        return [deployed_cost(random_card(point)).macs for point in points]

    config = make_config((32, 16, 32), [("C", 64, 128), ("TC", 96, 160), ("CTT", 160, 128), ("T", 32, 192)])
    point = Point(config=config, image_size=(96, 64), runtime="onnx", precision="fp32")
    table = LatencyTable(tmp_path / "table.jsonl", SETUP)
    table.fill([point], multiplications)
    assert [table.predict(point)] == multiplications([point])


@pytest.mark.parametrize("seed", range(5))
def test_on_a_noisy_machine_networks_that_made_no_row_are_predicted_within_8_percent(seed: int, tmp_path: Path):
    rng = np.random.default_rng(seed)
    measured: set[Point] = set()

    def noisy_machine(points: Sequence[Point]) -> list[float]:
        measured.update(points)
        drift = rng.normal(0, 0.05)  # the same for all that are timed in the same rounds
        return [plausible_milliseconds(point) * math.exp(drift + rng.normal(0, 0.01)) for point in points]

    points = SPACE.sample(12, seed=seed)
    table = LatencyTable(tmp_path / "table.jsonl", SETUP)
    table.fill(points, noisy_machine)
    assert not measured & set(points)
    errors = [abs(table.predict(point) / plausible_milliseconds(point) - 1) for point in points]
    assert np.median(errors) < 0.08
    assert np.percentile(errors, 90) < 0.15


def test_what_was_measured_is_kept_and_not_measured_again(tmp_path: Path):
    path, points = SETUP.file(tmp_path / "tables"), SPACE.sample(3, seed=0)
    calls: list[int] = []

    def counted(points: Sequence[Point]) -> list[float]:
        calls.append(len(points))
        return arbitrary_machine(points)

    first = LatencyTable(path, SETUP)
    first.fill(points[:2], counted)
    assert max(calls) <= 8, "in memory at once"
    calls.clear()
    again = LatencyTable(path, SETUP)
    assert again.milliseconds == first.milliseconds
    again.fill(points[:2], counted)
    assert calls == []
    again.fill(points, counted)
    assert calls and again.missing(points) == []


def test_what_a_killed_process_measured_is_kept(tmp_path: Path):
    path, points = tmp_path / "table.jsonl", SPACE.sample(2, seed=0)

    def killed(points: Sequence[Point], left: list[int] = [3]) -> list[float]:  # noqa: B006 (counts over calls)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return arbitrary_machine(points)

    with pytest.raises(KeyboardInterrupt):
        LatencyTable(path, SETUP).fill(points, killed)
    path.write_bytes(path.read_bytes() + b'{"row": {"stage": 2, "bef')
    table = LatencyTable(path, SETUP)
    assert 0 < len(table.milliseconds) < len(table.missing(points))
    table.fill(points, arbitrary_machine)
    reread = LatencyTable(path, SETUP)
    assert [reread.predict(point) for point in points] == pytest.approx(arbitrary_machine(points))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"machine": {"cpu": "CPU B", "cores": 2, "system": "Linux x86_64"}}, "measured with machine .*CPU A.*CPU B"),
        ({"versions": {"nextvit": "1", "onnxruntime": "1.33.0"}}, "measured with versions .*1.32.0.*1.33.0"),
        ({"runtime": "openvino"}, "measured with runtime onnx, here it is openvino"),
        ({"precision": "int8"}, "measured with precision fp32, here it is int8"),
        ({"threads": 2}, "measured with threads 1, here it is 2"),
    ],
)
def test_the_table_of_another_setup_is_another_file_and_is_refused(
    change: dict[str, object], says: str, tmp_path: Path
):
    other = replace(SETUP, **change)  # pyright: ignore[reportArgumentType]
    assert other.file(tmp_path) != SETUP.file(tmp_path)
    LatencyTable(SETUP.file(tmp_path), SETUP)
    with pytest.raises(InputError, match=says) as error:
        LatencyTable(SETUP.file(tmp_path), other)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"row": {}, "ms": 1.0}', "lacks 'image_size'"),
        ('{"row": {"image_size": [32, 32], "stem_width": 32}}', "ms is no finite number"),
        ('{"row": {"image_size": [32, 32], "stem_width": 32}, "ms": NaN}', "ms is no finite number"),
        ('{"row": {"image_size": [32, 32], "stem_width": 32, "block": "X"}, "ms": 1}', "block cannot be 'X'"),
        ('{"other": 1}', "ms is no finite number"),
    ],
)
def test_a_damaged_table_is_one_line(line: str, says: str, tmp_path: Path):
    path = tmp_path / "table.jsonl"
    LatencyTable(path, SETUP)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(InputError, match=says) as error:
        LatencyTable(path, SETUP)
    assert f"{path}, record 2" in str(error.value) and "\n" not in str(error.value)
    path.write_text(json.dumps({"model": "runs/a", "p50_ms": 3}) + "\n")
    with pytest.raises(InputError, match="not a latency table"):
        LatencyTable(path, SETUP)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"could not write .*table\.jsonl: (Not a directory|File exists)"):
        LatencyTable(tmp_path / "file" / "table.jsonl", SETUP)
    (tmp_path / "folder" / "table.jsonl").mkdir(parents=True)
    with pytest.raises(InputError, match=r"table\.jsonl"):
        LatencyTable(tmp_path / "folder" / "table.jsonl", SETUP)


def test_a_network_that_differs_in_more_than_blocks_and_widths_is_refused():
    for change in ({"conv_expansion": 4}, {"in_chans": 4}, {"stem_widths": (64, 64, 64)}):
        with pytest.raises(InputError, match="the latency table knows networks that differ in"):
            rows_of(replace(SMALL, **change), (64, 64))


def test_the_rows_of_a_small_network_are_the_blocks_with_what_stands_before():
    small = replace(SMALL, blocks=("C", "CCT", "T", "C"), stem_widths=(32, 16, 32))
    same = {"image_size": (64, 64), "stem_width": 32}
    assert rows_of(small, (64, 64)) == [
        Row(**same),
        Row(**same, stage=0, before="stem", width_before=32, block="C", width=96, is_first=True),
        Row(**same, stage=1, before="C", width_before=96, block="C", width=192, is_first=True),
        Row(**same, stage=1, before="C", width_before=192, block="C", width=192),
        Row(**same, stage=1, before="C", width_before=192, block="T", width=256),
        Row(**same, stage=2, before="T", width_before=256, block="T", width=512, is_first=True),
        Row(**same, stage=3, before="T", width_before=512, block="C", width=768, is_first=True),
    ]
