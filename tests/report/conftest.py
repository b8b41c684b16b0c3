"""Folders that look as training leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.report.contents import read_run_contents
from nextvit.report.run_report import write_run_report
from nextvit.tasks.task import get_task
from nextvit.views.contact_sheet import write_contact_sheet


def epoch(number: int, score: float, *, is_best: bool = False) -> dict[str, Any]:
    return {
        "epoch": number,
        "lr": 0.1 / number,
        "train_loss": 1.0 / number,
        "val_loss": 0.5,
        "val_top1_score": score,
        "images_per_second": 100.0 * number,
        "waiting_share": 0.25,
        "is_best": is_best,
    }


def write_run(folder: Path, *, recipe: str = "optim: {lr: 0.1}\n", scores: tuple[float, ...] = (50.0, 75.0)) -> Path:
    """A run that was interrupted after some epochs, each better than the one before."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe)
    lines = [json.dumps(epoch(number, score, is_best=True)) + "\n" for number, score in enumerate(scores, start=1)]
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def exam_details(picture: Path) -> dict[str, Any]:
    """What an evaluation of two images of class "red" tells, one of them taken for "<blue>"."""
    answer = {"path": str(picture), "label": "red", "guess": "<blue>", "probability": 0.9}
    return {
        "classes": ["red", "<blue>"],
        "class_scores": [50.0, None],
        "class_intervals": [[9.5, 90.5], [0.0, 100.0]],
        "class_precisions": [100.0, 0.0],
        "class_images": [2, 0],
        "class_training_images": [31, 7],
        "confused_pairs": [{"label": "red", "guess": "<blue>", "count": 1, "share": 50.0}],
        "confusion": [[1, 1], [0, 0]],
        "calibration": {"counts": [0, 2], "confidence": [0.0, 0.9], "accuracy": [0.0, 0.5]},
        "mistakes": [answer, {**answer, "path": "gone.png"}],
        "examples": [{**answer, "guess": "red"}],
    }


def run_page(run: Path, *, task: str = "classification", out: Path | None = None) -> str:
    """The page of a run, with the sections of its task, without the places where names of files may be broken."""
    details = read_run_contents(run).evaluation.get("details", {})
    sections = get_task(task).report_sections(details)
    return write_run_report(run, sections=sections, out=out).read_text(encoding="utf-8").replace("<wbr>", "")


@pytest.fixture
def run(tmp_path: Path, shared_colours: Path) -> Path:
    """The smallest run that has everything of a training."""
    folder = write_run(tmp_path / "run")
    details = exam_details(shared_colours / "val" / "red" / "0.png")
    scores = {"top1_score": 50.0, "mean_class_score": 44.0}
    evaluation = {"scores": scores, "main_score": "top1_score", "interval_95": [9.0, 91.0], "images": 2}
    record = {**evaluation, "details": details, "unreadable": ["bad.png: damaged"]}
    (folder / "evaluation.json").write_text(json.dumps(record))
    write_contact_sheet(folder / "augmented.png", np.zeros((2, 32, 32, 3), np.uint8))
    np.savez(
        folder / "heatmaps.npz",
        pixels=np.zeros((2, 32, 32, 3), np.uint8),
        for_guess=np.full((2, 4, 4), 255, np.uint8),
        for_label=np.zeros((2, 4, 4), np.uint8),
        guesses=["<blue>", "red"],
        labels=["red", "red"],
        probabilities=[0.9, 0.8],
    )
    return folder
