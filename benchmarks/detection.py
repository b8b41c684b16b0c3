"""Detectors from scratch on two cores, from annotated pictures to a proven file: nextvit_nano on three small sets.

    python benchmarks/detection.py FOLDER [--only bccd,nuclei,fruits_nuts]

FOLDER holds the sets in COCO's layout: blood cells with boxes (bccd), nuclei with masks (nuclei), and fruits and nuts with
masks (fruits_nuts), whose 12 pictures are learnt by heart and asked about again. Each step is the ordinary command. One
JSON line for each set is appended to benchmarks/results/detection.jsonl, and a figure with the curves of its training and a
picture with some answers are written beside it.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands import nextvit
from studies import contact_sheet, each_study

from nextvit.predictions.score_names import spoken
from nextvit.report.figures import training_curves

ROOT = Path(__file__).parent / "results"
RESULTS = ROOT / "detection.jsonl"
SHOWN = 6


@dataclass(frozen=True)
class Study:
    """How a set is learnt, and what is expected of it."""

    options: tuple[str, ...]
    score: str
    """Which score."""
    expected: float
    """At least, in percent."""
    by_heart: bool = False
    """Whether it is asked about the pictures that it learnt from."""


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
        by_heart=True,
    ),
}


def study(name: str, source: Path, temporary: Path) -> dict[str, Any]:
    """Train, export, and let both sit the exam."""
    settings, run, data = STUDIES[name], temporary / name, source / name
    if settings.by_heart:
        data = asked_again(data, temporary / f"{name}_by_heart")
    train = nextvit(
        *("train", str(data), "--out", str(run), "--model", "nextvit_nano", "--weights", "none", *settings.options)
    )
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    export = nextvit("export", str(run), "--to", "onnx", "--data", str(data))
    exams = {kind: nextvit("eval", model, str(data)) for kind, model in (("run", str(run)), ("file", export["bundle"]))}
    (ROOT / f"detection_{name}.svg").write_text(
        training_curves(epochs, score="box_ap_score", name=spoken("box_ap_score")), encoding="utf-8"
    )
    pictures = sorted((data / "images" / "val").iterdir())[:SHOWN]
    nextvit("predict", export["bundle"], *map(str, pictures), "--out", str(temporary / f"{name}_answers"))
    contact_sheet(sorted((temporary / f"{name}_answers").glob("*.jpg"))).save(
        ROOT / f"detection_{name}.jpg", quality=80
    )
    return {
        "name": name,
        "score": settings.score,
        "expected": settings.expected,
        "reached": {kind: exam["scores"] for kind, exam in exams.items()},
        "train": train,
        "epochs": epochs,
        "export": export,
        "environment": exams["run"]["environment"],
        "command": f"python benchmarks/detection.py FOLDER --only {name}",
    }


def asked_again(data: Path, folder: Path) -> Path:
    """A copy of a set whose validation pictures are those of its training."""
    for split in ("train", "val"):
        shutil.copytree(data / "images" / "train", folder / "images" / split)
        (folder / "annotations").mkdir(exist_ok=True)
        shutil.copy(data / "annotations" / "instances_train.json", folder / "annotations" / f"instances_{split}.json")
    return folder


def told(record: dict[str, Any]) -> str:
    """One line for people."""
    reached = {kind: f"{scores[record['score']]:.2f} %" for kind, scores in record["reached"].items()}
    return (
        f"{record['name']}: {spoken(record['score'])} {reached}, expected {record['expected']} %, "
        f"{record['train']['seconds']:.0f} s"
    )


if __name__ == "__main__":
    each_study(__doc__, STUDIES, study, results=RESULTS, told=told)
