"""Segmentation models from scratch on two cores, from images with masks to a proven bundle, on two small datasets.

    python benchmarks/segmentation.py FOLDER [--only camvid,magnetic_tile]

FOLDER holds the datasets, each with images/ and masks/: streets (camvid), and magnetic tiles with defects of a few
pixels (magnetic_tile). The network is nextvit_nano. Each step is an ordinary nextvit command. One JSON line for each
dataset is appended to benchmarks/results/segmentation.jsonl, and a figure of the training curves and a contact sheet
of predictions of the exported bundle are written beside it.
"""

import json
from pathlib import Path
from typing import Any

from commands import nextvit
from studies import contact_sheet, run_studies

from nextvit.predictions.score_names import display_name
from nextvit.report.figures import draw_training_curves
from nextvit.tasks.reading import read_dataset

ROOT = Path(__file__).parent / "results"
RESULTS = ROOT / "segmentation.jsonl"
SHOWN = 6
SCORE = "mean_iou_score"
EXPECTED = 40.0
"""The least expected mean IoU of both datasets, in percent."""
MAX_DIFFERENCE = 0.1
"""Percentage points of mean IoU by which the exported bundle may differ."""

STUDIES: dict[str, tuple[str, ...]] = {
    "camvid": ("--image-size", "224", "--epochs", "60"),
    "magnetic_tile": (
        *("--image-size", "160", "--batch-size", "16", "--optim.lr", "0.001"),
        *("--heads.standardise", "--loss.balance", "0.4", "--masks.rare-crops", "0.5", "--masks.crop", "0.8"),
        *("--masks.scale", "0.75", "1.5", "--masks.most-of-one-class", "1", "--masks.photometric", "0"),
        *("--schedule.epoch-steps", "100", "--epochs", "45", "--schedule.patience", "0"),
    ),
}
"""Options of `nextvit train` for each dataset."""


def study(name: str, source: Path, temporary: Path) -> dict[str, Any]:
    """Train, export, and evaluate the run and the bundle."""
    run, data = temporary / name, source / name
    train = nextvit(
        *("train", str(data), "--out", str(run), "--model", "nextvit_nano", "--weights", "none"),
        *STUDIES[name],
    )
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    export = nextvit("export", str(run), "--to", "onnx", "--data", str(data))
    evaluations = {
        kind: nextvit("eval", model, str(data)) for kind, model in (("run", str(run)), ("file", export["bundle"]))
    }
    reached = {kind: evaluation["scores"] for kind, evaluation in evaluations.items()}
    if abs(reached["run"][SCORE] - reached["file"][SCORE]) > MAX_DIFFERENCE:
        raise RuntimeError(f"{name}: the scores of the bundle and of the run differ: {reached}")
    (ROOT / f"segmentation_{name}.svg").write_text(
        draw_training_curves(epochs, score=SCORE, name=display_name(SCORE)), encoding="utf-8"
    )
    nextvit("predict", export["bundle"], *map(str, select_images(data)), "--out", str(temporary / "predictions"))
    contact_sheet(sorted((temporary / "predictions").glob("*.jpg"))).save(ROOT / f"segmentation_{name}.jpg", quality=80)
    return {
        "name": name,
        "expected": EXPECTED,
        "reached": reached,
        "interval_95": evaluations["run"]["interval_95"],
        "classes": dict(
            zip(evaluations["run"]["details"]["classes"], evaluations["run"]["details"]["class_scores"], strict=True)
        ),
        "train": train,
        "epochs": epochs,
        "export": export,
        "environment": evaluations["run"]["environment"],
        "command": f"python benchmarks/segmentation.py FOLDER --only {name}",
    }


def select_images(data: Path) -> list[Path]:
    """Evenly spaced images of the validation split, in the order of their names."""
    images = [sample.path for sample in read_dataset(data).split("val")]
    return [images[(2 * place + 1) * len(images) // (2 * SHOWN)] for place in range(SHOWN)]


def describe(record: dict[str, Any]) -> str:
    """One line to print."""
    reached = {kind: f"{scores[SCORE]:.2f} %" for kind, scores in record["reached"].items()}
    return (
        f"{record['name']}: {display_name(SCORE)} {reached}, expected {EXPECTED} %, {record['train']['seconds']:.0f} s"
    )


if __name__ == "__main__":
    run_studies(__doc__, STUDIES, study, results=RESULTS, describe=describe)
