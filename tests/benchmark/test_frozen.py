"""What benchmarks/frozen.py keeps of what a command printed, and what it counts as a difference."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import frozen
from frozen_values import flatten, hash_arrays, normalise, read_archive, read_files


def test_times_versions_and_folders_are_left_out_and_their_names_stay():
    document = {
        "environment": {"time": "today", "versions": {"torch": "2.15.0"}, "command": "nextvit models"},
        "report": "/somewhere/report.html",
        "loss": 0.1,
    }
    assert normalise(document, "documents/train", {"/somewhere": "<root>"}) == {
        "environment": {"time": "-", "versions": {"torch": "-"}, "command": "nextvit models"},
        "report": "<root>/report.html",
        "loss": 0.1,
    }


def test_measured_values_are_left_out_of_benchmarks_alone():
    document = {"shares": {"red": 0.5}, "p50_ms": 1.5}
    assert normalise(document, "documents/predict", {}) == document
    assert normalise(document, "documents/bench", {}) == {"shares": {"red": "-"}, "p50_ms": "-"}


def test_a_list_of_records_is_kept_one_by_one_and_a_long_list_of_numbers_as_its_hash():
    flat = flatten({"found": [{"score": 1.0}, {"score": 0.5}], "numbers": list(range(1000)), "none": []}, "a")
    assert flat["a/found/1/score"] == 0.5 and flat["a/none"] == []
    assert flat["a/numbers"].startswith("1000 values, sha256 ")


def test_a_renaming_changes_the_hash_with_names_alone_and_other_numbers_change_both():
    base = hash_arrays({"stem.weight": np.zeros(3)})
    renamed = hash_arrays({"first.weight": np.zeros(3)})
    other = hash_arrays({"stem.weight": np.array([0.0, 0.0, 1e-30])})
    kinds = ("sha256", "sha256 without names")
    assert [base[kind] == renamed[kind] for kind in kinds] == [False, True]
    assert [base[kind] == other[kind] for kind in kinds] == [False, False]


def test_a_missing_file_is_a_value_too(tmp_path: Path):
    found = read_files(tmp_path, {"golden.npz": read_archive})
    assert found == {"golden.npz": "cannot be read: FileNotFoundError"}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (float("nan"), float("nan"), "same"),
        (1, 1.0, "unwanted"),
        (True, 1, "unwanted"),
        (0.1, np.nextafter(0.1, 1), "unwanted"),
    ],
)
def test_values_are_compared_to_the_last_digit_and_by_type(old: Any, new: Any, kind: str):
    assert frozen.kind_of("trainings/a", old, new) == kind


def test_a_difference_with_a_reason_is_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frozen, "WANTED", {"documents/*/answers": "renamed to predictions"})
    assert frozen.kind_of("documents/info/document/answers", 1, 2) == "wanted"
    assert frozen.kind_of("documents/info/document/scores", 1, 2) == "unwanted"


def test_a_value_that_one_side_lacks_is_a_difference():
    found = frozen.pairs({"exports/a": 1, "slow/a": 1}, {"exports/b": 1}, ("exports",))
    assert found == {"exports/a": (1, "(nothing)"), "exports/b": ("(nothing)", 1)}


def test_a_forked_command_gives_its_exit_code_and_what_it_printed():
    def refuse() -> None:
        os.write(1, b"document\n")
        os.write(2, b"reason\n")
        sys.exit(2)

    outcome = frozen.fork(refuse)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (2, "document\n", "reason\n")
    assert frozen.fork(lambda: 1 / 0).code == 1
