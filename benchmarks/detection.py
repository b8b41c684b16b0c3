"""Detectors from scratch on two cores, from annotated images to a proven bundle: nextvit_nano on three small datasets.

    python benchmarks/detection.py FOLDER [--only bccd,nuclei,fruits_nuts]

FOLDER holds the datasets in COCO's layout: blood cells with boxes (bccd), nuclei with masks (nuclei), and fruits and
nuts with masks (fruits_nuts). The 12 images of fruits_nuts are used for training and for validation. Each step is an
ordinary nextvit command. One JSON line for each dataset is appended to benchmarks/results/detection.jsonl, and a
figure of the training curves and a contact sheet of predictions are written beside it.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import nextvit
from studies import contact_sheet, run_studies

from nextvit.predictions.score_names import display_name
from nextvit.report.figures import draw_training_curves

ROOT = Path(__file__).parent / "results"
RESULTS = ROOT / "detection.jsonl"
SHOWN = 6


@dataclass(frozen=True)
class Study:
    """How to train on a dataset, and the score that is expected."""

    options: tuple[str, ...]
    score: str
    """Name of the score."""
    expected: float
    """The least expected score, in percent."""
    memorized: bool = False
    """Whether the training images are also the validation images."""


STUDIES = {
    "bccd": Study(("--image-size", "240", "--epochs", "30"), "box_ap50_score", 65.0),
    "nuclei": Study(("--image-size", "256", "--epochs", "6"), "mask_ap50_score", 50.0),
    "fruits_nuts": Study(
        (
            *("--image-size", "240", "--epochs", "100", "--batch-size", "4", "--schedule.patience", "0"),
            *("--objects.scales", "1.0", "--objects.crop", "0", "--objects.photometric", "0", "--data.allow-errors"),
        ),
        "box_ap50_score",
        90.0,
        memorized=True,
    ),
}


def study(name: str, source: Path, temporary: Path) -> dict[str, Any]:
    """Train, export, and evaluate the run and the bundle."""
    settings, run, data = STUDIES[name], temporary / name, source / name
    if settings.memorized:
        data = copy_training_as_validation(data, temporary / f"{name}_by_heart")
    train = nextvit(
        *("train", str(data), "--out", str(run), "--model", "nextvit_nano", "--weights", "none", *settings.options)
    )
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    export = nextvit("export", str(run), "--to", "onnx", "--data", str(data))
    evaluations = {
        kind: nextvit("eval", model, str(data)) for kind, model in (("run", str(run)), ("file", export["bundle"]))
    }
    (ROOT / f"detection_{name}.svg").write_text(
        draw_training_curves(epochs, score="box_ap_score", name=display_name("box_ap_score")), encoding="utf-8"
    )
    images = sorted((data / "images" / "val").iterdir())[:SHOWN]
    nextvit("predict", export["bundle"], *map(str, images), "--out", str(temporary / f"{name}_predictions"))
    contact_sheet(sorted((temporary / f"{name}_predictions").glob("*.jpg"))).save(
        ROOT / f"detection_{name}.jpg", quality=80
    )
    return {
        "name": name,
        "score": settings.score,
        "expected": settings.expected,
        "reached": {kind: evaluation["scores"] for kind, evaluation in evaluations.items()},
        "train": train,
        "epochs": epochs,
        "export": export,
        "environment": evaluations["run"]["environment"],
        "command": f"python benchmarks/detection.py FOLDER --only {name}",
    }


def copy_training_as_validation(data: Path, folder: Path) -> Path:
    """A copy of a dataset whose validation images are its training images."""
    for split in ("train", "val"):
        shutil.copytree(data / "images" / "train", folder / "images" / split)
        (folder / "annotations").mkdir(exist_ok=True)
        shutil.copy(data / "annotations" / "instances_train.json", folder / "annotations" / f"instances_{split}.json")
    return folder


def describe(record: dict[str, Any]) -> str:
    """One line to print."""
    reached = {kind: f"{scores[record['score']]:.2f} %" for kind, scores in record["reached"].items()}
    return (
        f"{record['name']}: {display_name(record['score'])} {reached}, expected {record['expected']} %, "
        f"{record['train']['seconds']:.0f} s"
    )


if __name__ == "__main__":
    run_studies(__doc__, STUDIES, study, results=RESULTS, describe=describe)
