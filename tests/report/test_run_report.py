"""report.html from what lies in a run's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nextvit.preprocess import DecodeError
from nextvit.report.page import Markup, escape, page, table
from nextvit.report.run_report import THUMBNAIL, millions, write_run_report
from tests.runtime.conftest import write_colour_bundle


def epoch(number: int, score: float, *, is_best: bool = False) -> dict[str, Any]:
    return {
        "epoch": number,
        "train_loss": 1.0 / number,
        "val_loss": 0.5,
        "val_top1_score": score,
        "images_per_second": 100.0 * number,
        "waiting_share": 0.25,
        "is_best": is_best,
    }


@pytest.fixture
def run(tmp_path: Path, shared_colours: Path) -> Path:
    """The smallest run that has everything of a training."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("optim: {lr: 0.1}\n")
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in (epoch(1, 50.0), epoch(2, 75.0, is_best=True)))
    )
    answer = {
        "path": str(shared_colours / "val" / "red" / "0.png"),
        "label": "red",
        "guess": "<blue>",
        "probability": 0.9,
    }
    details = {
        "classes": ["red", "<blue>"],
        "class_scores": [50.0, None],
        "confusion": [[1, 1], [0, 0]],
        "mistakes": [answer, {**answer, "path": "gone.png"}],
        "examples": [{**answer, "guess": "red"}],
    }
    evaluation = {"scores": {"top1_score": 50.0}, "interval_95": [9.0, 91.0], "images": 2, "details": details}
    (folder / "evaluation.json").write_text(json.dumps({**evaluation, "unreadable": ["bad.png: damaged"]}))
    return folder


def test_report_shows_score_mistakes_and_what_could_not_be_read(run: Path):
    text = write_run_report(run).read_text()
    assert "50.00 %" in text and "95 %: 9.0 to 91.0" in text
    assert "1 images could not be read, first: bad.png: damaged" in text
    assert "no images" in text and "optim: {lr: 0.1}" in text
    assert text.count("data:image/jpeg;base64") == 2  # the picture that is gone is left out
    with pytest.raises(DecodeError):
        THUMBNAIL("gone.png")


def test_names_are_escaped(run: Path):
    text = write_run_report(run).read_text()
    assert "&lt;blue&gt;" in text
    assert "<blue>" not in text


def test_a_damaged_bundle_does_not_spoil_the_report(run: Path):
    write_colour_bundle(run / "exports" / "good.nextvit")
    shutil.copytree(run / "exports" / "good.nextvit", run / "exports" / "bad.nextvit")
    (run / "exports" / "bad.nextvit" / "manifest.json").write_text("{")
    assert "manifest.json: damaged" in write_run_report(run).read_text()


def test_an_epoch_that_was_repeated_after_a_kill_counts_once(run: Path):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(epoch(2, 80.0, is_best=True)) + "\n" + '{"epoch": 3, "cut o')
    text = write_run_report(run).read_text()
    assert "best 80.00 %" in text and "best 75.00 %" not in text


def test_page_and_table_are_html():
    text = page("a & b", [table(["name", "count"], [("<x>", 3), (Markup("<b>y</b>"), 4)])])
    assert text.startswith("<!doctype html>") and "<title>a &amp; b</title>" in text
    assert "&lt;x&gt;" in text and "<b>y</b>" in text and "<td class=number>3</td>" in text
    assert escape("<") == "&lt;"


def test_counts_are_said_as_people_do():
    assert (millions(11_500_000), millions(5_794_000_000), millions(2_180_000)) == ("11.5 M", "5.79 G", "2.18 M")
