"""nextvit eval"""

from dataclasses import asdict
from pathlib import Path

from nextvit.card import TaskName
from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.environment import environment
from nextvit.scores import spoken

CLASS_SCORES: dict[TaskName, str] = {"classification": "accuracy", "multilabel": "average precision"}


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
    rows = [
        (name, "no images" if score is None else f"{score:.2f} %")
        for name, score in zip(evaluation.details["classes"], evaluation.details["class_scores"], strict=True)
    ]
    scores = "  ".join(f"{spoken(name)} {score:.2f} %" for name, score in evaluation.scores.items() if name != "loss")
    show(
        as_json,
        make_table(["class", CLASS_SCORES[predictor.card.task]], rows),
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
