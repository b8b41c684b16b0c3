"""The records of a run, as anybody may have written them: the page is made, or one line names what is damaged."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nextvit.cli.info import describe
from nextvit.cli.run_report import write_report
from nextvit.errors import InputError
from nextvit.report.compare import write_comparison
from nextvit.report.contents import read_run_contents
from tests.report.conftest import epoch, exam_details, write_run

EVALUATION: dict[str, Any] = {
    "main_score": "top1_score",
    "scores": {"top1_score": 50.0, "loss": 0.5},
    "interval_95": [9.5, 90.5],
    "images": 2,
    "details": exam_details(Path("gone.png")),
    "unreadable": [],
}
FACTS: dict[str, Any] = {"dataset": "photos", "task": "classification", "classes": ["red"], "image_size": [32, 32]}


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A whole run, of which a test changes one file."""
    folder = write_run(tmp_path / "run")
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    (folder / "environment.json").write_text(json.dumps(FACTS))
    return folder


def refused(run: Path, name: str) -> None:
    with pytest.raises(InputError, match=name.replace(".", r"\.")) as error:
        write_report(run)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 700


def test_a_whole_run_has_a_page(damaged: Path):
    assert write_report(damaged).is_file() and describe(write_run(damaged.parent / "other", scores=()))


@pytest.mark.parametrize("name", ["evaluation.json", "environment.json", "recipe.yaml"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"3", b'"x"', b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 5000, b"\x00"])
def test_files_of_other_things_are_refused(name: str, content: bytes, damaged: Path):
    (damaged / name).write_bytes(content)
    if name == "recipe.yaml":  # the page shows its text, and the comparison reads it
        with pytest.raises(InputError, match=r"recipe\.yaml"):
            write_comparison([damaged, damaged], damaged.parent / "comparison.html")
    else:
        refused(damaged, name)


@pytest.mark.parametrize(
    "change",
    [
        {"main_score": 3},
        {"main_score": "other_score"},
        {"scores": []},
        {"scores": {"top1_score": None}},
        {"scores": {"top1_score": "50"}},
        {"scores": {"top1_score": float("nan")}},
        {"interval_95": None},
        {"interval_95": [1]},
        {"interval_95": ["a", "b"]},
        {"images": "2"},
        {"details": []},
        {"details": {"confusion": 3, "classes": ["a"]}},
        {"details": {**EVALUATION["details"], "mistakes": 3}},
        {"details": {**EVALUATION["details"], "mistakes": [3]}},
        {"details": {**EVALUATION["details"], "confused_pairs": [{}]}},
        {"details": {**EVALUATION["details"], "class_intervals": [[]]}},
        {"unreadable": 3},
        {"unreadable": [3]},
    ],
)
def test_damaged_evaluations_are_refused(change: dict[str, Any], damaged: Path):
    (damaged / "evaluation.json").write_text(json.dumps({**EVALUATION, **change}))
    refused(damaged, "evaluation.json")


@pytest.mark.parametrize(
    "change",
    [{"dataset": 3}, {"classes": "red"}, {"image_size": [1]}, {"image_size": 3}, {"time": 3}, {"macs": "a"},
     {"task": []}, {"parameters": 10**20}],
)  # fmt: skip
def test_damaged_facts_are_refused(change: dict[str, Any], damaged: Path):
    (damaged / "environment.json").write_text(json.dumps({**FACTS, **change}))
    refused(damaged, "environment.json")


@pytest.mark.parametrize(
    "change",
    [{"epoch": "1"}, {"epoch": None}, {"lr": []}, {"is_best": 1}, {"is_best": False}, {"val_top1_score": None},
     {"val_top1_score": "a"}, {"images_per_second": {}}, {"train_loss": True}],
)  # fmt: skip
def test_damaged_records_of_epochs_are_refused(change: dict[str, Any], damaged: Path):
    (damaged / "metrics.jsonl").write_text(json.dumps({**epoch(1, 50.0, is_best=True), **change}))
    refused(damaged, "metrics.jsonl")
    with pytest.raises(InputError, match=r"metrics\.jsonl"):
        describe(damaged)


@pytest.mark.parametrize("name", epoch(1, 50.0))
def test_records_without_a_field_are_refused(name: str, damaged: Path):
    first, second = epoch(1, 50.0, is_best=True), epoch(2, 60.0)
    del second[name]
    (damaged / "metrics.jsonl").write_text(json.dumps(first) + "\n" + json.dumps(second))
    if name == "val_loss":  # not every task has one
        assert len(read_run_contents(damaged).epochs) == 2
    else:
        refused(damaged, "metrics.jsonl")


@pytest.mark.parametrize("name", ["evaluation.json", "environment.json", "metrics.jsonl", "benchmark.jsonl"])
def test_mutations_of_records_are_read_or_refused(name: str, damaged: Path):
    """Values replaced by those of other types, at any depth: never another exception."""
    chance = random.Random(0)
    benchmark = {"ratio": 1.0, "environment": {"time": "now"}, "batch": 1, "backend": "onnx", "p50_ms": 1.0}
    original = {"evaluation.json": EVALUATION, "environment.json": FACTS, "benchmark.jsonl": benchmark}.get(name)
    original = original or epoch(1, 50.0, is_best=True)
    for _ in range(4):
        (damaged / name).write_text(json.dumps(mutated(original, chance)))
        try:
            write_report(damaged)
        except InputError as error:
            assert len(str(error).splitlines()) == 1


def mutated(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(sorted(value))
        return {**value, name: mutated(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], mutated(value[at], chance), *value[at + 1 :]]
    return chance.choice([None, True, -1, 10**15, 0.5, "text", "", [], {}, [[]], {"a": 1}])
