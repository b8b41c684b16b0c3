"""The records in a run's folder, as the pages need them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextvit.errors import InputError, suggest_path
from nextvit.files.records import check_types, matches_type
from nextvit.files.regular import read_regular
from nextvit.files.run_folder import ENVIRONMENT, EVALUATION, METRICS, RECIPE, is_run, read_json_lines
from nextvit.files.structured_text import MAX_YAML_BYTES, decode, read_json

EPOCH: dict[str, Any] = {
    "epoch": int,
    "lr": float,
    "train_loss": float,
    "images_per_second": float,
    "waiting_share": float,
    "is_best": bool,
}
"""Fields of an epoch's record, all of which training writes."""
EVALUATION_FIELDS: dict[str, Any] = {
    "main_score": str,
    "scores": dict[str, Any],
    "interval_95": tuple[float, float],
    "images": int,
    "details": dict[str, Any],
    "unreadable": tuple[str, ...],
    "unreadable_training": tuple[str, ...],
}
FACTS: dict[str, Any] = {
    "dataset": str,
    "task": str,
    "variant": str,
    "classes": tuple[str, ...],
    "train_images": int,
    "val_images": int,
    "image_size": tuple[int, int],
    "resize": str,
    "time": str,
    "cpu": str,
    "parameters": int,
    "macs": int,
}
"""Fields of environment.json that pages show; those of older versions are fewer."""


@dataclass(frozen=True, kw_only=True)
class RunContents:
    """The records of a run; those that it does not have yet are empty."""

    path: Path
    recipe: str
    """The text of recipe.yaml."""
    epochs: list[dict[str, Any]]
    """One record for each finished epoch."""
    evaluation: dict[str, Any]
    """The evaluation of the best checkpoint."""
    facts: dict[str, Any]
    """The machine, the dataset and the size of the network."""

    @property
    def main_score(self) -> str:
        """The name of the score that chose the best checkpoint."""
        named = [name.removeprefix("val_") for name in (self.epochs or [{}])[0] if name.endswith("_score")]
        return self.evaluation.get("main_score") or (named or ["top1_score"])[0]

    @property
    def best(self) -> dict[str, Any]:
        """The record of the best epoch; there must be one."""
        return [record for record in self.epochs if record["is_best"]][-1]


def read_run_contents(run: Path) -> RunContents:
    """Read a run; an epoch that was repeated after the process was killed counts once.

    Raises:
        InputError: the folder holds no run, or a record of it is damaged.
    """
    if not is_run(run):
        raise InputError(
            f"{run}: not a run (it has no {RECIPE}); pass folders that nextvit train wrote{suggest_path(run)}"
        )
    return RunContents(
        path=run,
        recipe=read_text(run / RECIPE),
        epochs=read_epochs(run / METRICS),
        evaluation=read_evaluation(run / EVALUATION),
        facts=read_facts(run / ENVIRONMENT),
    )


def read_text(path: Path) -> str:
    """The text of a small file."""
    return decode(read_regular(path, max_bytes=MAX_YAML_BYTES), what=str(path))


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, the last one of each epoch; one of them is the best.

    Raises:
        InputError: a record lacks a field that training writes, or has one of another type.
    """
    epochs: dict[int, dict[str, Any]] = {}
    for record in read_json_lines(path):
        numbers = {name: float for name in record if name.startswith(("val_", "train_"))}
        check_types(record, {**numbers, **EPOCH}, what=str(path), required=(*EPOCH, *epoch_scores(epochs)))
        epochs[record["epoch"]] = record
    if epochs and not (any(each["is_best"] for each in epochs.values()) and epoch_scores(epochs)):
        raise InputError(f"{path}: damaged (no epoch is the best, or none has a score)")
    return list(epochs.values())


def epoch_scores(epochs: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    """The names of the scores in the first record, which all others must have."""
    first = next(iter(epochs.values()), {})
    return tuple(name for name in first if name.startswith("val_") and name.endswith("_score"))


def read_evaluation(path: Path) -> dict[str, Any]:
    """evaluation.json; {} where there is none yet."""
    evaluation = read_record(path, EVALUATION_FIELDS, required=("main_score", "scores", "interval_95", "images"))
    if evaluation and not matches_type(evaluation["scores"].get(evaluation["main_score"]), float):
        raise InputError(f"{path}: damaged (it lacks its main score)")
    return evaluation


def read_facts(path: Path) -> dict[str, Any]:
    """environment.json; {} where there is none."""
    return read_record(path, FACTS)


def read_record(path: Path, types_of: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """A JSON file with named values, of which some are read back; {} where there is none.

    Raises:
        InputError: it is no JSON, holds something else, or lacks a value or has one of another type.
    """
    if not path.exists():
        return {}
    record = read_json(path)
    check_types(record, types_of, what=str(path), required=required)
    return record


def training_seconds(contents: RunContents) -> float | None:
    """How long the epochs took without their evaluations; None where that is not known."""
    images, rates = contents.facts.get("train_images"), [record["images_per_second"] for record in contents.epochs]
    return sum(images / rate for rate in rates if rate) if images and rates else None


def format_count(count: int) -> str:
    """A count in millions or billions: 11.5 M, 5.79 G."""
    return f"{count / 1e9:.3g} G" if count >= 1e9 else f"{count / 1e6:.3g} M"


def format_duration(seconds: float) -> str:
    """A time in hours, minutes and seconds: 2 h 05 min, 3 min 20 s."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
