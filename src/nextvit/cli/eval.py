"""nextvit eval"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.card import TaskName
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.environment import environment
from nextvit.scores import spoken

if TYPE_CHECKING:
    from rich.table import Table

CLASS_SCORES: dict[TaskName, str] = {
    "classification": "accuracy",
    "multilabel": "average precision",
    "detection": "box AP",
    "segmentation": "IoU",
}


def evaluate(
    model: Path, dataset: Path, /, *, split: str = "val", device: str | None = None, as_json: AsJson = False
) -> None:
    """Score a run, a checkpoint or a bundle on labelled images: the same exam for all.

    Example: nextvit eval runs/photos photos --split val

    Parameters
    ----------
    model: Path
        A run, a checkpoint file, or a bundle.
    dataset: Path
        The labelled images, as for training.
    split: str
        "val" or "train".
    device: str
        Where to compute, by the runtime's name for it, such as cuda. Default: the CPU.
    """
    from nextvit.data.folder import read_dataset
    from nextvit.loading import load
    from nextvit.tasks import task_for

    data = read_dataset(dataset)
    predictor = load(model, device=device)
    evaluation = task_for(data, predictor.card).evaluate(predictor.session.run, split=split)
    for message in evaluation.unreadable:
        progress.print(f"could not be read: {message}", markup=False, soft_wrap=True)
    low, high = evaluation.interval_95
    scores = "  ".join(f"{spoken(name)} {score:.2f} %" for name, score in evaluation.scores.items() if name != "loss")
    show(
        as_json,
        class_table(evaluation.details, CLASS_SCORES[predictor.card.task]),
        f"{scores}  on {evaluation.images} images ({spoken(evaluation.main_score)} 95 %: {low:.1f} to {high:.1f})",
        document={
            "verb": "eval",
            "model": str(model),
            "split": split,
            **asdict(evaluation),
            "runtime": predictor.session.facts(),
            "environment": environment(),
        },
    )


def class_table(details: dict[str, Any], score_name: str) -> "Table":
    """The scores of each class; of a detector's with its number of objects, and the mask AP where there are masks; of a
    segmentation model's with its pixels, Dice, recall and precision."""
    found, pixels = details.get("detection", {}), details.get("segmentation", {})
    columns: dict[str, list[str]] = {}
    if pixels:
        columns["pixels"] = [f"{count:,}" for count in pixels["class_pixels"]]
    if found:
        columns["objects"] = [str(count) for count in found["class_objects"]]
    columns[score_name] = [
        percent(score, "" if found else "no pixels" if pixels else "no images") for score in details["class_scores"]
    ]
    if "class_mask_ap" in found:
        columns["mask AP"] = [percent(score, "") for score in found["class_mask_ap"]]
    for name in ("dice", "recall", "precision") if pixels else ():
        columns["Dice" if name == "dice" else name] = [percent(score, "") for score in pixels[f"class_{name}"]]
    return make_table(["class", *columns], list(zip(details["classes"], *columns.values(), strict=True)))


def percent(score: float | None, otherwise: str) -> str:
    return otherwise if score is None else f"{score:.2f} %"
