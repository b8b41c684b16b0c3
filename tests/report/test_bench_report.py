"""The benchmark's page: every number that it should show is there, whatever is missing from the records."""

import re
from itertools import pairwise
from typing import Any

import pytest

from nextvit.report.bench_figures import (
    draw_latency_bars,
    draw_pareto_front,
    find_pareto_front,
    format_number,
    points_along_steps,
    shorten_name,
    space_apart,
)
from nextvit.report.bench_report import render_bench_report
from tests.report.bench_records import records

MISSING = [
    {"name": "<b> tensorrt", "unavailable": "needs a CUDA device"},
    {"name": "c tensorrt", "unavailable": "needs a CUDA device"},
    {"name": "d onnx", "unavailable": "no <file>"},
]


def text_of(page: str) -> str:
    """What a reader sees."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


@pytest.fixture(scope="module")
def page() -> str:
    made = records(20)
    made[2] |= {"ratio_interval_95": None, "verdict": "no difference shown"}
    return render_bench_report(made, MISSING, warning="this machine is too busy: other processes took 31%")


def test_the_page_is_one_file_that_loads_nothing(page: str):
    assert page.startswith("<!doctype html>") and "<script" not in page
    assert not re.search(r'(src|href)="(?!#)(?!data:)', page)


def test_every_section_is_there(page: str):
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles == [
        "Latency, batch 1",
        "Latency, batch 8",
        "top-1 against latency, measured, batch 1",
        "Published accuracy against latency, batch 1",
        "What it costs",
        "The limit",
        "End to end",
        "Not available here",
        "How it was measured",
    ]
    text = text_of(page)
    assert "CPU &lt;A&gt;, 2 cores, 23.5 GiB, Linux 6 x86_64; device: cpu; threads: 1; 224x224 px; 2026-11-22" in text
    assert "This machine is too busy: other processes took 31%." in text
    assert "nextvit bench runs/defects --compare timm:resnet101" in text
    assert "nextvit 0.1.0, onnxruntime 1.32.0" in text and "Allowed to run on cores 0, 1" in text
    assert "A point cannot be above its flat roof; it can be above the slope if its data stays in a cache" in text
    assert (
        "2% noise of the machine during the benchmark" in text and "20 configurations measured, 3 not available" in text
    )


def test_a_row_tells_the_ratio_with_its_interval_and_the_verdict():
    made = records(4, batches=(1,))
    made[1] |= {"ratio": 0.5, "ratio_interval_95": [0.48, 0.53], "verdict": "faster"}
    made[2] |= {"ratio": 1.01, "ratio_interval_95": None, "verdict": "no difference shown"}
    text = text_of(render_bench_report(made))
    assert re.search(r"0\.50 \(0\.48 to 0\.53\) +faster", text)
    assert re.search(r"1\.01 \(too few rounds\) +no difference shown", text)
    assert re.search(r" 1 +first", text)


def test_what_was_not_available_stands_with_its_reason_once(page: str):
    assert "&lt;b&gt; tensorrt, c tensorrt</td><td>needs a CUDA device" in page
    assert "d onnx</td><td>no &lt;file&gt;" in page
    assert "Not available" not in render_bench_report(records(2))


OPTIONAL = (
    "cold_start_ms",
    "peak_memory_mib",
    "macs",
    "parameters",
    "gflops_per_second",
    "peak_gflops_per_second",
    "peak_share",
    "bytes",
    "bandwidth_gb_per_second",
    "end_to_end",
    "score",
    "published_top1",
    "noise",
    "affinity",
)


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("gone", [True, False])
def test_any_value_may_be_missing(name: str, gone: bool):
    made = records(4)
    for record in made:
        del record[name]
        if not gone:
            record[name] = None
    assert "Latency, batch 8" in render_bench_report(made)


def test_sections_without_values_are_left_out():
    made = [{**record, **dict.fromkeys(OPTIONAL)} for record in records(4)]
    titles = re.findall(r"<h2>(.*?)</h2>", render_bench_report(made))
    assert titles == ["Latency, batch 1", "Latency, batch 8", "What it costs", "How it was measured"]


def test_nothing_measured_is_a_page_too():
    text = text_of(render_bench_report([], MISSING))
    assert "nothing could be measured" in text and "needs a CUDA device" in text


def test_one_score_makes_no_front():
    made = records(1)
    assert "against latency" not in render_bench_report(made)


def test_threads_and_sizes_are_columns_where_they_differ():
    made = records(4, batches=(1,))
    assert "<th>image_size" not in render_bench_report(made)
    made[1] |= {"threads": 2, "image_size": [384, 512]}
    page = render_bench_report(made)
    assert "512x384" in page and "threads: 1, 2" in text_of(page)


def test_the_pareto_front_is_what_none_beats_in_both():
    times, scores = [3.0, 1.0, 2.0, 2.0, 4.0, 1.0], [90.0, 80.0, 80.0, 85.0, 89.0, 79.0]
    assert find_pareto_front(times, scores) == [1, 3, 0]
    assert find_pareto_front([5.0], [1.0]) == [0]


def texts_with_places(svg: str) -> list[tuple[float, float, str]]:
    pattern = r'transform="(?:translate\(|rotate\([^)]*\) ?translate\()?([\d.]+)[ ,]([\d.]+)\)[^>]*>([^<]+)</text>'
    found = re.findall(r'<text[^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]+)</text>', svg) or re.findall(pattern, svg)
    return [(float(x), float(y), text) for x, y, text in found]


def test_labels_of_the_front_do_not_overlap():
    made = [record for record in records(60, batches=(1,)) if record["published_top1"]]
    for place, record in enumerate(made):
        record |= {"p50_ms": 10.0 + place, "name": f"network number {place}"}
    svg = draw_pareto_front(made[:14], [70 + 0.05 * place for place in range(14)], name="top-1, %")
    placed = sorted((y, x) for x, y, text in texts_with_places(svg) if text.startswith("network number"))
    assert len(placed) >= 5
    for place, (y, x) in enumerate(placed):
        for below, right in placed[place + 1 :]:
            assert below - y >= 7 or abs(right - x) >= 30


def test_a_far_p99_ends_in_an_arrow_and_leaves_the_bars_long():
    made = records(3, batches=(1,))
    made[0]["p99_ms"] = 1e6
    svg = draw_latency_bars(made)
    assert "1e6" not in svg and "1000000" not in svg
    assert f"{format_number(made[1]['p50_ms'])} ms" in svg


def test_old_and_unrated_records_are_drawn_without_a_ratio():
    made: list[dict[str, Any]] = [{**each, "ratio": None} for each in records(2, batches=(1,))]
    assert "(1.00)" not in draw_latency_bars(made)
    assert "(1.00)" in draw_latency_bars(records(2, batches=(1,)))


def test_heights_are_spread_in_their_order():
    moved = space_apart([0.5, 0.1, 0.52, 0.51], least=0.05)
    assert moved[1] == 0.1
    assert all(b - a >= 0.0499 for a, b in pairwise(sorted(moved)))
    assert moved[0] < moved[3] < moved[2]


def test_small_things():
    assert [format_number(value) for value in (0.456, 12.34, 123.4, 12345.6)] == ["0.46", "12.3", "123", "12346"]
    assert shorten_name("a" * 80) == "a" * 20 + "\N{HORIZONTAL ELLIPSIS}" + "a" * 20
    assert shorten_name("short") == "short"
    assert points_along_steps([(1.0, 5.0)]) == []
    assert (1.0, 5.0) in points_along_steps([(1.0, 5.0), (2.0, 6.0)])


def test_names_are_text_and_start_no_formula():
    made = records(2, batches=(1,))
    for place, record in enumerate(made):
        record["name"] = f"cost $x^2$ <{place}>"
    page = render_bench_report(made)
    assert "cost $x^2$ &lt;1&gt;" in page
