"""Conditions are read or refused in one line; evaluated, they fail exactly when the numbers say so."""

import json
from pathlib import Path
from typing import Any

import pytest

from nextvit.benchmark.baseline import Condition, Outcome, evaluate_conditions, parse_conditions, read_baseline
from nextvit.benchmark.configurations import Selection
from nextvit.benchmark.discovery import find_configurations
from nextvit.benchmark.limit import Limits
from nextvit.benchmark.suite import BenchmarkSettings, load_all, run_benchmark
from nextvit.errors import InputError
from tests.conftest import needs
from tests.runtime.conftest import write_colour_bundle

MACHINE = {"cpu": "CPU A", "cores": 2, "versions": {"nextvit": "1", "onnxruntime": "1.32.0", "torch": "2.15.0"}}


def record(**changes: Any) -> dict[str, Any]:
    values = {"p50_ms": 10.0, "p90_ms": 12.0, "p99_ms": 20.0, "least_ms": 9.0, "images_per_second": 100.0}
    more = {"peak_memory_mib": 200.0, "cold_start_ms": 300.0, "size_mib": 8.0, "ratio": 1.0, "busy": False}
    score = {"name": "top1", "value": 97.0, "interval_95": [95.0, 98.0], "images": 434}
    same = {"model": "runs/a", "backend": "onnx", "precision": "fp32", "threads": 1, "batch": 1, "image_size": [64, 64]}
    return {"name": "a onnx", **same, **values, **more, "score": score, "environment": MACHINE, **changes}


def outcome(text: str, now: dict[str, Any], *before: dict[str, Any]) -> Outcome:
    return evaluate_conditions([now], before or None, parse_conditions(text))


def test_conditions_are_read():
    assert parse_conditions("p50>+5%, p90>12ms,size<-1.5MiB , images_per_second<100,score<-.5,p99 > +2") == [
        Condition("p50>+5%", "p50", fails_above=True, value=5.0, is_relative=True, is_percent=True),
        Condition("p90>12ms", "p90", fails_above=True, value=12.0, is_relative=False, is_percent=False),
        Condition("size<-1.5MiB", "size", fails_above=False, value=-1.5, is_relative=True, is_percent=False),
        Condition(
            "images_per_second<100",
            "images_per_second",
            fails_above=False,
            value=100.0,
            is_relative=False,
            is_percent=False,
        ),
        Condition("score<-.5", "score", fails_above=False, value=-0.5, is_relative=True, is_percent=False),
        Condition("p99>+2", "p99", fails_above=True, value=2.0, is_relative=True, is_percent=False),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read ''; accepted: a field, > or <, and a value as in 'p50>+5%'"),
        ("p50", "cannot read 'p50'"),
        ("p50>=5%", "cannot read 'p50>=5%'"),
        ("p50>+5%,", "cannot read ''"),
        ("p50>fast", "cannot read 'p50>fast'"),
        ("p5>+5%", "no field 'p5'; did you mean"),
        ("speed>+5%", "no field 'speed'; accepted: cold_start, images_per_second, least,"),
        ("p50>5%", "needs a sign, as in 'p50>+5%'"),
        ("p50>12s", "p50 is in ms or in %"),
        ("size>+2MB", "size is in MiB or in %"),
        ("images_per_second<5ms", "images_per_second is without a unit or in %"),
        ("score<-1%", "a score changes by points"),
    ],
)
def test_malformed_conditions_are_one_line_errors(text: str, says: str):
    with pytest.raises(InputError) as error:
        parse_conditions(text)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "now", "fails"),
    [
        ("p50>+5%", {"p50_ms": 10.5}, False),
        ("p50>+5%", {"p50_ms": 10.51}, True),
        ("p50<-5%", {"p50_ms": 9.4}, True),
        ("p50>-5%", {"p50_ms": 9.6}, True),  # asks for a gain of 5 %
        ("p90>+1.5ms", {"p90_ms": 13.6}, True),
        ("p90>+1.5ms", {"p90_ms": 13.4}, False),
        ("images_per_second<-5%", {"images_per_second": 94.0}, True),
        ("images_per_second<-5%", {"images_per_second": 120.0}, False),
        ("score<-0.5", {"score": {"name": "top1", "value": 96.4}}, True),
        ("score<-0.5", {"score": {"name": "top1", "value": 96.6}}, False),
        ("size>+0", {"size_mib": 8.01}, True),
        ("least>9.5ms", {"least_ms": 9.6}, True),
        ("peak_memory>+10%", {"peak_memory_mib": 221.0}, True),
        ("cold_start>+10%", {"cold_start_ms": 331.0}, True),
        ("ratio>1.05", {"ratio": 1.06}, True),
    ],
)
def test_a_condition_fails_exactly_beyond_its_limit(text: str, now: dict[str, Any], fails: bool):
    assert bool(outcome(text, record(**now), record()).failed) == fails


def test_the_reason_is_one_line_with_both_numbers():
    slow = record(p50_ms=11.0, busy=True)
    assert outcome("p50>+5%", slow, record()).failed == [
        "a onnx (batch 1, threads 1): p50 11 ms, 10 ms in the baseline (+10.0%), fails p50>+5%; the machine was busy"
    ]
    assert outcome("p50>+0.5ms", record(p50_ms=11.0), record()).failed == [
        "a onnx (batch 1, threads 1): p50 11 ms, 10 ms in the baseline (+1), fails p50>+0.5ms"
    ]
    assert outcome("p50>9", record()).failed == ["a onnx (batch 1, threads 1): p50 10 ms, fails p50>9"]


def test_every_failure_of_every_condition_is_reported():
    now = [record(p50_ms=20.0, size_mib=9.0), record(batch=8, p50_ms=80.0)]
    before = [record(), record(batch=8, p50_ms=70.0)]
    assert len(evaluate_conditions(now, before, parse_conditions("p50>+5%,size>+5%")).failed) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"model": "runs/b"},
        {"backend": "openvino"},
        {"precision": "int8"},
        {"threads": 2},
        {"batch": 8},
        {"image_size": [96, 64]},
        {"device": "cuda"},
    ],
)
def test_another_configuration_is_no_baseline(change: dict[str, Any]):
    other = record(**change)
    with pytest.raises(InputError, match="no configuration has p50 here and in the baseline"):
        outcome("p50>+5%", record(p50_ms=99.0), other)
    result = evaluate_conditions([record(p50_ms=99.0), other], [other], parse_conditions("p50>+5%"))
    assert result == Outcome([], ["a onnx (batch 1, threads 1): not in the baseline, so not compared"])


def test_the_newest_of_the_same_configuration_counts_and_of_two_at_once_that_of_the_same_name():
    assert outcome("p50>+5%", record(p50_ms=12.0), record(), record(p50_ms=12.0)).failed == []
    assert outcome("p50>+5%", record(p50_ms=12.0), record(), record(p50_ms=12.0, name="b onnx")).failed


def test_what_cannot_be_measured_any_more_is_a_failure():
    gone = {name: value for name, value in record(batch=8).items() if not name.endswith("_ms")}
    now = [record(), {**gone, "unavailable": "the file is damaged"}]
    before = [record(), record(batch=8)]
    assert evaluate_conditions(now, before, parse_conditions("p50>+5%")).failed == [
        "a onnx (batch 8, threads 1): is in the baseline, but could not be measured now: the file is damaged"
    ]
    assert evaluate_conditions(now, before[:1], parse_conditions("p50>+5%")).failed == []


def records_of(folder: Path) -> list[dict[str, Any]]:
    """A benchmark of the two bundles of a folder."""
    found = find_configurations(
        [str(folder / name) for name in ("a.nextvit", "b.nextvit")], Selection(), folder, say=print
    )
    settings = BenchmarkSettings(batches=(1, 2), runs=2, min_seconds=0.0, with_cold_start=False)
    loaded, refused = load_all(found, settings.batches)
    return run_benchmark(loaded, settings, limits=Limits(), unavailable=refused)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_bundle_that_does_not_load_any_more_is_a_failure_wherever_it_was_measured(device: str, tmp_path: Path):
    needs("onnxruntime")
    for name in ("a.nextvit", "b.nextvit"):
        write_colour_bundle(tmp_path / name)
    before = records_of(tmp_path)
    assert not evaluate_conditions(before, before, parse_conditions("size>+0")).failed
    (tmp_path / "b.nextvit" / "model.onnx").write_bytes(b"damaged")
    now = records_of(tmp_path)
    assert ["unavailable" in each for each in now] == [False, False, True, True]
    elsewhere = [{**each, "device": device} if each["model"].endswith("b.nextvit") else each for each in before]
    failed = evaluate_conditions(now, elsewhere, parse_conditions("size>+0")).failed
    assert len(failed) == 2 and all("is in the baseline, but could not be measured now" in each for each in failed)


def test_bundles_of_one_run_are_distinguished_and_older_records_did_not_name_them():
    fixed, dynamic = record(bundle="fixed.nextvit"), record(bundle="dynamic.nextvit", p50_ms=20.0)
    assert not evaluate_conditions([fixed, dynamic], [fixed, dynamic], parse_conditions("p50>+5%")).failed
    assert evaluate_conditions([fixed], [dynamic], parse_conditions("p50<12")).failed
    result = evaluate_conditions([fixed, dynamic], [fixed], parse_conditions("p50>+5%"))
    assert result == Outcome([], ["a onnx (batch 1, threads 1): not in the baseline, so not compared"])
    assert outcome("p50>+5%", dynamic, record()).failed  # of any bundle
    assert outcome("p50>+5%", record(p50_ms=30.0), dynamic).failed


def test_a_bundle_that_is_gone_is_lost_by_its_name_or_where_that_is_unknown_by_the_rest():
    def fails(gone: dict[str, Any], *old: dict[str, Any]) -> bool:
        return bool(
            evaluate_conditions([record(batch=8), gone], [record(batch=8), *old], parse_conditions("p50>+5%")).failed
        )

    before = record(bundle="a.nextvit")
    gone = {**{name: value for name, value in before.items() if not name.endswith("_ms")}, "unavailable": "not there"}
    assert fails(gone, before) and fails({**gone, "bundle": None}, before) and fails(gone, record())
    assert not fails(gone, {**before, "bundle": "b.nextvit"})
    assert not fails(gone, {**before, "threads": 2})


def test_a_value_that_was_not_measured_is_a_warning_and_with_no_other_an_error():
    without = record(score=None, batch=8)
    result = evaluate_conditions([record(), without], [record(), without], parse_conditions("score<-0.5"))
    assert result == Outcome([], ["a onnx (batch 8, threads 1): score was not measured, so score<-0.5 was not checked"])
    with pytest.raises(InputError, match="no configuration has score"):
        evaluate_conditions([without], [record(batch=8)], parse_conditions("score<-0.5"))


def test_a_relative_condition_needs_a_baseline_and_an_absolute_one_none():
    with pytest.raises(InputError, match=r"add --baseline FILE"):
        outcome("p50>+5%", record())
    assert outcome("p50>12", record()) == Outcome()


def test_times_of_another_cpu_are_refused_sizes_and_scores_are_not():
    elsewhere = record(environment={**MACHINE, "cpu": "CPU B"})
    with pytest.raises(InputError, match=r"measured on 'CPU B', this machine is 'CPU A'.*check only score and size"):
        outcome("size>+1%,p50>+5%", record(), elsewhere)
    assert outcome("size>+1%,score<-1", record(size_mib=9.0), elsewhere).failed
    assert outcome("p50>12", record(), elsewhere) == Outcome()


def test_other_versions_are_said_but_not_those_of_nextvit():
    older = {"nextvit": "0", "onnxruntime": "1.31.0", "torch": "2.15.0", "openvino": "2026.1"}
    result = outcome("p50>+5%", record(), record(environment={**MACHINE, "versions": older, "cores": 4}))
    assert result.warnings == ["the baseline was measured with 4 cores (now 2), onnxruntime 1.31.0 (now 1.32.0)"]


def test_a_baseline_is_json_lines_or_the_document_of_the_verb(tmp_path: Path):
    records = [record(), record(batch=8)]
    refused = {"name": "b", "model": "b", "unavailable": "not here"}
    lines, document = tmp_path / "a.jsonl", tmp_path / "a.json"
    lines.write_text("".join(json.dumps(each) + "\n" for each in [*records, refused]))
    document.write_text(json.dumps({"verb": "bench", "results": [*records, refused]}, indent=2))
    assert read_baseline(lines) == read_baseline(document) == records
    document.write_text(json.dumps(records[0], indent=2))
    assert read_baseline(document) == records[:1]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "it is not text"),
        (b"p50: 3", "neither JSON lines nor the document"),
        (b"", "holds no measured configuration"),
        (b"[1, 2]", "holds no measured configuration"),
        (b'{"verb": "bench", "results": []}', "holds no measured configuration"),
        (b'{"model": "a"}', "write one with nextvit bench"),
    ],
)
def test_a_file_that_is_no_baseline(content: bytes | None, says: str, tmp_path: Path):
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_baseline(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"environment": None}, "it has no environment"),
        ({"environment": "CPU A"}, "it has no environment"),
        ({"environment": {"versions": ["1"]}}, "it has no environment"),
        ({"model": 3}, "model is not text: 3"),
        ({"p50_ms": "12.3"}, "p50_ms is not a finite number: '12.3'"),
        ({"p50_ms": None}, "p50_ms is not a finite number: None"),
        ({"p90_ms": True}, "p90_ms is not a finite number: True"),
        ({"size_mib": [1, 2]}, r"size_mib is not a finite number: \[1, 2\]"),
        ({"p99_ms": float("nan")}, "p99_ms is not a finite number: nan"),
        ({"score": {"name": "top1"}}, "score is not a finite number: None"),
        ({"score": {"value": "high"}}, "score is not a finite number: 'high'"),
    ],
)
def test_a_damaged_record_is_named_by_its_line(changes: dict[str, Any], says: str, tmp_path: Path):
    path = tmp_path / "baseline.jsonl"
    damaged = {name: value for name, value in {**record(), **changes}.items() if name != "environment" or value}
    path.write_text(f"{json.dumps(record())}\n\n{json.dumps(damaged)}\n")
    with pytest.raises(InputError, match=rf"baseline\.jsonl, line 3: damaged \({says}") as error:
        read_baseline(path)
    assert "\n" not in str(error.value)
    path.write_text(json.dumps({"results": [record(), record(), damaged]}, indent=2))
    with pytest.raises(InputError, match=rf"baseline\.jsonl, result 3: damaged \({says}"):
        read_baseline(path)


def test_a_line_that_was_cut_off_is_named(tmp_path: Path):
    path = tmp_path / "baseline.jsonl"
    path.write_text(f"{json.dumps(record())}\n{json.dumps(record())[:-9]}\n")
    with pytest.raises(InputError, match=r"baseline\.jsonl, line 2: neither JSON lines nor"):
        read_baseline(path)
