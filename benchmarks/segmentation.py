"""Segmentation models from scratch on two cores, from pictures with masks to a proven file: nextvit_nano on two small sets.

    python benchmarks/segmentation.py FOLDER [--only camvid,magnetic_tile]

FOLDER holds the sets, each with images/ and masks/: streets (camvid), and magnetic tiles with defects of a few pixels
(magnetic_tile). Each step is the ordinary command. One JSON line for each set is appended to
benchmarks/results/segmentation.jsonl, and a figure with the curves of its training and a picture with some answers of the
exported file are written beside it.
"""

import json
from pathlib import Path
from typing import Any

from commands import nextvit
from studies import contact_sheet, each_study

from nextvit.data.reading import read_dataset
from nextvit.predictions.score_names import spoken
from nextvit.report.figures import training_curves

ROOT = Path(__file__).parent / "results"
RESULTS = ROOT / "segmentation.jsonl"
SHOWN = 6
SCORE = "mean_iou_score"
EXPECTED = 40.0
"""Percent of mean IoU, at least, of both sets."""
LARGEST_LOSS = 0.1
"""Percentage points of mean IoU that the exported file may have less or more."""

STUDIES: dict[str, tuple[str, ...]] = {
    "camvid": ("--image-size", "224", "--epochs", "60"),
    "magnetic_tile": (
        *("--image-size", "160", "--batch-size", "16", "--optim.lr", "0.001"),
        *("--heads.standardise", "--loss.balance", "0.4", "--masks.rare-crops", "0.5", "--masks.crop", "0.8"),
        *("--masks.scale", "0.75", "1.5", "--masks.most-of-one-class", "1", "--masks.photometric", "0"),
        *("--schedule.epoch-steps", "100", "--epochs", "45", "--schedule.patience", "0"),
    ),
}
"""How each is learnt."""


def study(name: str, source: Path, temporary: Path) -> dict[str, Any]:
    """Train, export, and let both sit the exam."""
    run, data = temporary / name, source / name
    train = nextvit(
        *("train", str(data), "--out", str(run), "--model", "nextvit_nano", "--weights", "none"),
        *STUDIES[name],
    )
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    export = nextvit("export", str(run), "--to", "onnx", "--data", str(data))
    exams = {kind: nextvit("eval", model, str(data)) for kind, model in (("run", str(run)), ("file", export["bundle"]))}
    reached = {kind: exam["scores"] for kind, exam in exams.items()}
    if abs(reached["run"][SCORE] - reached["file"][SCORE]) > LARGEST_LOSS:
        raise RuntimeError(f"{name}: the file does not score as the run does: {reached}")
    (ROOT / f"segmentation_{name}.svg").write_text(
        training_curves(epochs, score=SCORE, name=spoken(SCORE)), encoding="utf-8"
    )
    nextvit("predict", export["bundle"], *map(str, shown(data)), "--out", str(temporary / "answers"))
    contact_sheet(sorted((temporary / "answers").glob("*.jpg"))).save(ROOT / f"segmentation_{name}.jpg", quality=80)
    return {
        "name": name,
        "expected": EXPECTED,
        "reached": reached,
        "interval_95": exams["run"]["interval_95"],
        "classes": dict(zip(exams["run"]["details"]["classes"], exams["run"]["details"]["class_scores"], strict=True)),
        "train": train,
        "epochs": epochs,
        "export": export,
        "environment": exams["run"]["environment"],
        "command": f"python benchmarks/segmentation.py FOLDER --only {name}",
    }


def shown(data: Path) -> list[Path]:
    """Pictures of the validation split at equal distances in the order of their names."""
    pictures = [sample.path for sample in read_dataset(data).split("val")]
    return [pictures[(2 * place + 1) * len(pictures) // (2 * SHOWN)] for place in range(SHOWN)]


def told(record: dict[str, Any]) -> str:
    """One line for people."""
    reached = {kind: f"{scores[SCORE]:.2f} %" for kind, scores in record["reached"].items()}
    return f"{record['name']}: {spoken(SCORE)} {reached}, expected {EXPECTED} %, {record['train']['seconds']:.0f} s"


if __name__ == "__main__":
    each_study(__doc__, STUDIES, study, results=RESULTS, told=told)
