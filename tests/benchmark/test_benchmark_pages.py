"""docs/benchmarks.md is what benchmarks/pages.py makes of the committed results, and nothing is committed unread."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pages import PAGE, RESULTS, bench, page, table
from tests.report.bench_records import MACHINE, records


def test_the_page_is_what_the_script_makes_of_the_committed_results():
    assert PAGE.read_text(encoding="utf-8") == page(RESULTS), "run: python benchmarks/pages.py"


def test_every_file_of_results_is_read_or_named():
    text = page(RESULTS)
    for path in RESULTS.glob("*.jsonl"):
        assert path.name in text or f"[{path.stem}.md]" in text, path


def test_results_without_a_section_are_an_error(tmp_path: Path):
    (tmp_path / "news.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match=r"no section for news\.jsonl"):
        page(tmp_path)


def test_a_file_that_is_not_there_has_no_section(tmp_path: Path):
    assert "##" not in page(tmp_path)
    (tmp_path / "bench.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records(4)))
    text = page(tmp_path)
    assert text.count("## ") == 1 and "## Latency: nextvit bench" in text


def test_the_newest_call_of_a_command_counts_and_what_was_not_available_is_said():
    def called(time: str, command: str, **changes: Any) -> dict[str, Any]:
        return {**records(1)[0], "environment": {**MACHINE, "time": time, "command": command}, **changes}

    refused = {"name": "gone", "unavailable": "not <here>"}
    lines = bench(
        [
            called("2026-01-01", "a", name="old"),
            called("2026-01-01", "b", name="other"),
            called("2026-02-01", "a", name="new"),
            called("2026-02-01", "b", name="newer", busy=True, noise=0.31, verdict="faster", ratio=0.5),
            refused,
        ]
    )
    text = "\n".join(lines)
    assert "| old |" not in text and "| other |" not in text
    assert "| new |" in text and "| newer |" in text
    assert "- gone: not available (not <here>)" in text
    assert "Noise of the machine meanwhile: 31%; **the machine was too busy" in text
    assert text.count("`a`, 2026-02-01: CPU <A>, 2 cores") == 1


def test_columns_without_values_are_left_out():
    made = [{**each, "cold_start_ms": None, "score": None, "noise": None} for each in records(2, batches=(1,))]
    text = "\n".join(bench(made))
    assert "cold start" not in text and "score" not in text and "threads" not in text and "Noise" not in text
    made[1] |= {"threads": 2, "ratio": 0.5, "ratio_interval_95": [0.4, 0.6]}
    text = "\n".join(bench(made))
    assert "threads" in text and "0.50 (0.40 to 0.60)" in text


def test_a_table_is_markdown():
    assert table(["a", "b"], [["x|z", 1], ["y", None]]) == [
        "| a | b |",
        "| --- | ---: |",
        "| x/z | 1 |",
        "| y |  |",
        "",
    ]
