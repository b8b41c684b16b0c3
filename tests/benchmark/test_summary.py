"""What people read below the table."""

from typing import Any

from nextvit.benchmark.summary import comparability_warnings, summary_notes


def record(**changes: Any) -> dict[str, Any]:
    facts = {"name": "a", "runtime": "ONNX Runtime 1", "precision": "fp32", "threads": 1, "image_size": [32, 48]}
    return {**facts, "batch": 1, "verdict": "first", "ratio": 1.0, **changes}


def test_times_of_different_sizes_are_not_compared_without_a_word():
    one, other = record(), record(name="b", image_size=[64, 64], verdict="faster", ratio=0.5)
    assert comparability_warnings([one, record()]) == []
    assert comparability_warnings([one, other]) == [
        "image sizes differ (48x32 px, 64x64 px): these times are not of the same work"
    ]


def test_notes_name_size_and_reasons_once():
    gone = {"name": "c", "unavailable": "not here"}
    faster = record(name="b", verdict="faster", ratio=0.5, cold_start_failed="no such device")
    assert summary_notes([record(), faster], [gone, gone], ["take care"]) == [
        "a: ONNX Runtime 1, fp32, threads 1, 48x32 px",
        "b: ONNX Runtime 1, fp32, threads 1, 48x32 px; no first prediction: no such device",
        "fastest at batch 1: b, 0.50 of the first's time",
        "not available: c: not here",
        "warning: take care",
    ]
