"""Points are timed as files of their runtimes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nextvit.tune.latency_table import LatencyTable
from nextvit.tune.space import Point, make_config
from tests.conftest import needs

POINT = Point(
    config=make_config((32, 16, 32), [("C", 32, 128)] * 4), image_size=(32, 32), runtime="onnx", precision="fp32"
)


@pytest.mark.backend
def test_a_table_is_measured_in_the_runtime_and_reused(tmp_path: Path):
    needs("torch", "onnx", "onnxruntime")
    from nextvit.tune.measure import measure_points, setup_here

    setup = setup_here(POINT, threads=1)
    assert setup.versions.keys() == {"nextvit", "onnxruntime"}
    large = replace(POINT, image_size=(320, 320))
    calls: list[int] = []

    def measure(points: Sequence[Point]) -> list[float]:
        calls.append(len(points))
        return measure_points(points, threads=1, runs=5, min_seconds=0.05)

    table = LatencyTable(setup.file(tmp_path), setup)
    table.fill([POINT, large], measure)
    assert 0 < table.predict(POINT) < table.predict(large)
    calls.clear()
    LatencyTable(setup.file(tmp_path), setup_here(POINT, threads=1)).fill([POINT, large], measure)
    assert calls == []
