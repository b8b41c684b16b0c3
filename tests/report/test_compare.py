"""One page on several runs."""

import json
from pathlib import Path

import pytest

from nextvit.errors import InputError
from nextvit.report.compare import COLOURS, distinct_names, write_comparison
from tests.report.conftest import write_run


def test_the_page_tells_scores_and_what_was_set_differently(run: Path, tmp_path: Path):
    other = write_run(tmp_path / "<other>", recipe="optim: {lr: 0.2, clip_norm: 5}\n", scores=(10.0, 20.0, 30.0))
    found = write_comparison([run, other], tmp_path / "page.html")
    assert [each["score"] for each in found["runs"]] == [50.0, 30.0]
    assert [each["interval_95"] for each in found["runs"]] == [[9.0, 91.0], None]
    assert [each["epochs"] for each in found["runs"]] == [2, 3]
    assert found["different_settings"] == {"optim.lr": [0.1, 0.2], "optim.clip_norm": [None, 5]}
    text = (tmp_path / "page.html").read_text()
    assert "top-1 50.00 % (9.0 to 91.0)" in text and "top-1 30.00 % (still training)" in text
    assert "&lt;other&gt;" in text and "<other>" not in text
    json.dumps(found)


def test_training_time_is_images_over_throughput(tmp_path: Path):
    run = write_run(tmp_path / "a")
    (run / "environment.json").write_text(json.dumps({"train_images": 600, "parameters": 2_000_000, "macs": 10**9}))
    found = write_comparison([run, write_run(tmp_path / "b")], tmp_path / "page.html")["runs"]
    assert [each["training_seconds"] for each in found] == [6.0 + 3.0, None]


def test_runs_on_different_images_get_a_warning(tmp_path: Path):
    runs = [write_run(tmp_path / name) for name in "ab"]
    write_comparison(runs, tmp_path / "page.html")
    assert "different images" not in (tmp_path / "page.html").read_text()
    (runs[0] / "environment.json").write_text(json.dumps({"dataset": "/data/photos", "val_images": 10}))
    write_comparison(runs, tmp_path / "page.html")
    assert "different images" in (tmp_path / "page.html").read_text()


def test_the_same_recipe_is_said_to_be_the_same(tmp_path: Path):
    write_comparison([write_run(tmp_path / name) for name in "ab"], tmp_path / "page.html")
    assert "None: the recipes are the same." in (tmp_path / "page.html").read_text()


def test_eight_runs_have_eight_colours_and_nine_are_refused(tmp_path: Path):
    runs = [write_run(tmp_path / f"run{number}") for number in range(9)]
    write_comparison(runs[:8], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert len(set(COLOURS)) == 8 and all(f"color:{colour}" in text for colour in COLOURS)
    with pytest.raises(InputError, match="at most 8 runs"):
        write_comparison(runs, tmp_path / "page.html")


def test_a_run_without_a_finished_epoch_is_refused(tmp_path: Path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", scores=())]
    with pytest.raises(InputError, match="no finished epoch"):
        write_comparison(runs, tmp_path / "page.html")


def test_runs_of_the_same_name_are_told_apart():
    assert distinct_names([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/a"), Path("/y/a")]) == ["/x/a", "/y/a"]


def test_detectors_have_no_validation_loss(tmp_path: Path):
    runs = [write_run(tmp_path / name) for name in "ab"]
    for run in runs:
        lines = (run / "metrics.jsonl").read_text()
        lines = lines.replace('"val_loss": 0.5, ', "").replace("top1_score", "box_ap_score")
        (run / "metrics.jsonl").write_text(lines)
    write_comparison(runs, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "box AP 75.00 %" in text and "Validation loss" not in text
