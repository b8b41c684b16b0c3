"""The records in a run's folder, as the pages need them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextvit.errors import InputError, suggest_path
from nextvit.files.run_folder import ENVIRONMENT, EVALUATION, METRICS, RECIPE, is_run, read_json_lines


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
        InputError: the folder holds no run.
    """
    if not is_run(run):
        raise InputError(
            f"{run}: not a run (it has no {RECIPE}); pass folders that nextvit train wrote{suggest_path(run)}"
        )
    return RunContents(
        path=run,
        recipe=(run / RECIPE).read_text(encoding="utf-8"),
        epochs=list({record["epoch"]: record for record in read_json_lines(run / METRICS)}.values()),
        evaluation=read_json(run / EVALUATION),
        facts=read_json(run / ENVIRONMENT),
    )


def training_seconds(contents: RunContents) -> float | None:
    """How long the epochs took without their evaluations; None where that is not known."""
    images, rates = contents.facts.get("train_images"), [record["images_per_second"] for record in contents.epochs]
    return sum(images / rate for rate in rates if rate) if images and rates else None


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def format_count(count: int) -> str:
    """A count in millions or billions: 11.5 M, 5.79 G."""
    return f"{count / 1e9:.3g} G" if count >= 1e9 else f"{count / 1e6:.3g} M"


def format_duration(seconds: float) -> str:
    """A time in hours, minutes and seconds: 2 h 05 min, 3 min 20 s."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
