"""nextvit eval"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle.card import ModelCard
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.cli.tiling import views_of
from nextvit.errors import InputError
from nextvit.machine.environment import describe_environment
from nextvit.predictions.kind import kind_of, output_names
from nextvit.predictions.score_names import display_name

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    model: Path,
    dataset: Path,
    /,
    *,
    split: str = "val",
    false_alarms: float | None = None,
    windows: int | None = None,
    scales: str | None = None,
    flip: bool = False,
    device: str | None = None,
    allow_errors: bool = False,
    as_json: AsJson = False,
) -> None:
    """Score a run, a checkpoint or a bundle on labelled images: the same evaluation for all.

    Example: nextvit eval runs/photos photos --split test

    Parameters
    ----------
    model: Path
        A run, a checkpoint file, or a bundle.
    dataset: Path
        The labelled images, as for training. Only the split that is scored need be there; class folders without a
        split are taken as it. Its classes may be some of the model's.
    split: str
        "val", "test" or "train".
    false_alarms: float
        Of a segmentation model with two classes, the first of them normal: at how many percent of false alarms missed
        defects are counted, of pixels and of images. Default: 1. A bundle must have been exported with --scores.
    windows: int
        Of a segmentation model: predict in windows of so many pixels a side, as `nextvit predict` does.
    scales: str
        Of a segmentation model: the mean over several sizes of the image, such as 0.5,1,1.5, as `nextvit predict`
        does.
    flip: bool
        Of a segmentation model: average with the mirrored image, too.
    device: str
        Where to compute, by the runtime's name for it, such as cuda. Default: the CPU.
    allow_errors: bool
        Leave out what `nextvit check` finds unusable, such as images that are missing, and say how many.
    """
    from nextvit.loading import load
    from nextvit.tasks.reading import read_split
    from nextvit.tasks.task import get_task, make_evaluator

    views = views_of(windows, scales, flip)
    data = read_split(
        dataset,
        split,
        allow_errors=allow_errors,
        flag="--allow-errors",
        say=lambda line: progress.print(line, markup=False, soft_wrap=True),
    )
    predictor = load(model, device=device, tiling=views)
    evaluator = make_evaluator(data, predictor.card)
    task = get_task(predictor.card.task)
    if (wanted := task.evaluation_card(predictor.card)) != predictor.card:
        predictor = load(model, device=device, scores="logits" in output_names(wanted), tiling=views)
    options: dict[str, Any] = {}
    if false_alarms is not None:
        options["false_alarms"] = checked_false_alarms(false_alarms, predictor.card, model)
    evaluation = evaluator.evaluate(predictor.session.run, split=split, **options)
    for message in evaluation.unreadable:
        progress.print(f"could not be read: {message}", markup=False, soft_wrap=True)
    low, high = evaluation.interval_95
    scores = "  ".join(
        f"{display_name(name)} {score:.2f} %" for name, score in evaluation.scores.items() if name != "loss"
    )
    show(
        as_json,
        class_table(evaluation.details, task.class_score),
        *defect_lines(evaluation.details),
        f"{scores}  on {evaluation.images} images ({display_name(evaluation.main_score)} 95 %: {low:.1f} to "
        f"{high:.1f})",
        document={
            "verb": "eval",
            "model": str(model),
            "split": split,
            **asdict(evaluation),
            "runtime": predictor.session.facts(),
            "environment": describe_environment(),
        },
    )


def checked_false_alarms(false_alarms: float, card: ModelCard, model: Path) -> float:
    """The percentage of false alarms at which misses are counted.

    Raises:
        InputError: the model does not tell defects from what is normal, or puts out no logits, or this is no
            percentage.
    """
    kind = kind_of(card)
    if not kind.can_be_tiled or len(card.classes) != 2:
        raise InputError("--false-alarms is for segmentation models with two classes, normal and defect; leave it out")
    if "logits" not in kind.output_meanings():
        raise InputError(
            f"{model}: puts out classes alone, and --false-alarms needs their logits; export it again with --scores"
        )
    if not 0 <= false_alarms <= 100:
        raise InputError(f"--false-alarms is a percentage from 0 to 100, got {false_alarms:g}")
    return false_alarms


def defect_lines(details: dict[str, Any]) -> list[str]:
    """How well defects are found, where that was scored."""
    defects = details.get("segmentation", {}).get("defects")
    if not defects:
        return []
    lines: list[str] = []
    for of, whole in (("pixel", "pixels"), ("image", "images")):
        auroc, miss = defects[f"{of}_auroc"], defects[f"{of}_miss"]
        if auroc is None:
            lines.append(f"{whole}: there are not both defects and normal ones, so they cannot be scored")
            continue
        threshold = "none" if miss["threshold"] is None else f"{miss['threshold']:.4f}"
        lines.append(
            f"{whole}: AUROC {auroc:.2f} %, {miss['miss_rate']:.2f} % of defects missed at "
            f"{miss['false_alarm_rate']:.2f} % "
            f"false alarms (of {defects['false_alarms']:g} % allowed; threshold {threshold})"
        )
    return lines


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
