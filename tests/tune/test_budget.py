"""A budget is read or refused in one line, and met exactly when the worse end of what was measured meets it."""

from typing import Any

import pytest

from nextvit.benchmark.conditions import FIELDS
from nextvit.errors import InputError
from nextvit.tune.budget import Bound, Budget, parse_budget


def record(**changes: Any) -> dict[str, Any]:
    times = {"p50_ms": 7.0, "p50_interval_95_ms": [6.8, 7.4], "p99_ms": 9.0, "p99_interval_95_ms": [8.0, None]}
    other = {"batch": 1, "runs": 200, "images_per_second": 142.9, "size_mib": 9.5, "peak_memory_mib": 140.0}
    return {**times, **other, "score": {"name": "top1", "value": 81.0}, **changes}


def only_verdict(text: str, measured: dict[str, Any], **options: Any):
    (verdict,) = parse_budget(text).verdicts(measured, **options)
    return verdict


def test_a_budget_is_read_and_written_again():
    budget = parse_budget("p50<=8ms, peak_memory <= 150,size<=10mib,drop<=0,score\n>=80.5 , images_per_second>=.5")
    assert budget == Budget(
        (
            Bound(text="p50<=8ms", name="p50", limit=8.0),
            Bound(text="peak_memory<=150", name="peak_memory", limit=150.0),
            Bound(text="size<=10mib", name="size", limit=10.0),
            Bound(text="drop<=0", name="drop", limit=0.0),
            Bound(text="score>=80.5", name="score", limit=80.5),
            Bound(text="images_per_second>=.5", name="images_per_second", limit=0.5),
        )
    )
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read ''; accepted: a field, <= or >=, and a value, as in 'p50<=8ms'"),
        ("fast", "cannot read 'fast'"),
        ("p50<8ms", "cannot read 'p50<8ms'; accepted: a field, <= or >=,"),
        ("p50<=8ms,", "cannot read ''"),
        ("p50<=8ms;size<=1", "cannot read"),
        ("p50<=nan", "cannot read"),
        ("p50<=1e400", "cannot read"),
        ("p50<=" + "9" * 400, "cannot read"),
        ("p5<=8ms", "no field 'p5'; did you mean"),
        ("latency<=8ms", "no field 'latency'; accepted: cold_start, drop, images_per_second, p50,"),
        ("least<=8ms", "no field 'least'"),
        ("ratio<=1", "no field 'ratio'"),
        ("p50<=8s", "p50 is in ms"),
        ("p50<=8%", "p50 is in ms"),
        ("size<=10MB", "size is in MiB"),
        ("score>=80%", "score is in points"),
        ("images_per_second>=9ms", "images_per_second is without a unit"),
        ("p50<=5ms,p50>=8ms", "'p50<=5ms' and 'p50>=8ms' contradict each other"),
        ("score>=90,score<=80", "'score>=90' and 'score<=80' contradict each other"),
        ("p50>=5ms,p50<=8ms", "are a range; a budget bounds p50 from one side, as in 'p50<=...'"),
        ("p50<=5ms,size<=9,p50<=8ms", "'p50<=5ms' and 'p50<=8ms' bound the same value twice; keep one"),
        ("p50>=8ms", "would ask for a worse model; a budget bounds p50 from above, as in 'p50<=8ms'"),
        ("score<=80", "bounds score from below, as in 'score>=80'"),
        ("drop>=1", "bounds drop from above, as in 'drop<=1'"),
        ("p50<=0", "the bound must be above 0"),
        ("score>=0.0", "the bound must be above 0"),
        ("p50<=-5ms", "takes the value itself, without + or -"),
        ("p50<=+5ms", "takes the value itself, without + or -"),
        ("score>=101", "a score is at most 100 points"),
    ],
)
def test_nonsense_is_one_line(text: str, says: str):
    with pytest.raises(InputError) as error:
        parse_budget(text)
    assert says in str(error.value) and "--budget" in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "is_met", "worse_end"),
    [
        ("p50<=7.4ms", True, 7.4),
        ("p50<=7.3ms", False, 7.4),  # the estimate is 7
        ("images_per_second>=135", True, 1000 / 7.4),
        ("images_per_second>=140", False, 1000 / 7.4),  # the estimate is 142.9
        ("size<=9.5", True, 9.5),
        ("size<=9.4", False, 9.5),
        ("peak_memory<=139", False, 140.0),
        ("score>=81", True, 81.0),
        ("score>=81.1", False, 81.0),
    ],
)
def test_a_time_is_met_by_the_worse_end_of_its_interval_and_the_rest_by_its_value(
    text: str, is_met: bool, worse_end: float
):
    verdict = only_verdict(text, record())
    assert verdict.is_met == is_met
    assert verdict.worse_end == pytest.approx(worse_end)


def test_images_per_second_count_the_batch():
    assert only_verdict("images_per_second>=1000", record(batch=8)).is_met


def test_a_drop_counts_from_the_reference():
    assert only_verdict("drop<=0.5", record(), reference_score=81.5).is_met
    assert not only_verdict("drop<=0.5", record(), reference_score=81.6).is_met
    better = only_verdict("drop<=0", record(), reference_score=80.0)
    assert better.is_met and better.value == -1.0
    assert not only_verdict("drop<=0.5", record()).is_met


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.in_budget])
def test_what_was_not_measured_meets_nothing(name: str):
    sign = "<=" if FIELDS[name].better == "lower" else ">="
    verdict = only_verdict(f"{name}{sign}100", {"batch": 1}, reference_score=80.0)
    assert not verdict.is_met and verdict.value is None and verdict.worse_end is None
    assert verdict.reason == f"{name}{sign}100: {name} was not measured"


def test_too_few_runs_are_said_with_how_many_more():
    few = only_verdict("p99<=100ms", record())
    assert not few.is_met and few.value == 9.0 and few.worse_end is None
    assert few.reason.startswith("p99<=100ms: p99 is 9 ms, but 200 runs are too few")
    assert few.reason.endswith("about 329 more are needed")
    enough_in_number = only_verdict("p99<=100ms", record(runs=900))  # but the rounds differ too much
    assert enough_in_number.reason.endswith("about 900 more are needed")
    without_interval = only_verdict("p50<=100ms", record(p50_interval_95_ms=None, runs=4))
    assert not without_interval.is_met and "4 runs are too few" in without_interval.reason


def test_the_reason_has_the_number_that_came_and_the_bound():
    verdicts = parse_budget("p50<=7.3ms,size<=10MiB,images_per_second>=100").verdicts(record())
    assert [each.reason for each in verdicts] == [
        "p50<=7.3ms: p50 is 7 ms, with 95 % confidence at most 7.4 ms",
        "size<=10MiB: size is 9.5 MiB",
        "images_per_second>=100: images_per_second is 142.9, with 95 % confidence at least 135.1",
    ]
