"""nextvit train"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nextvit.cli.console import AsJson, progress, show
from nextvit.cli.recipe_flags import given_sections, recipe_flags
from nextvit.cli.settings import build_recipe, task_of_recipe
from nextvit.files.run_folder import checkpoint_folder
from nextvit.machine.environment import describe_environment
from nextvit.predictions.score_names import display_name

if TYPE_CHECKING:
    from nextvit.train.loop import Tick

Flags = recipe_flags()


def train(
    dataset: Path,
    /,
    *,
    out: Path,
    model: str | None = None,
    weights: str | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    task: Literal["segmentation"] | None = None,
    epochs: int | Literal["auto"] | None = None,
    minutes: float | None = None,
    image_size: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    teacher: str | None = None,
    resume: bool = False,
    watch: tuple[str, ...] = (),
    as_json: AsJson = False,
    settings: Annotated[Flags, Parameter(name="*")] = Flags(),  # pyright: ignore[reportInvalidTypeForm] # noqa: B008
) -> None:
    """Train on your own images.

    Example: nextvit train photos --out runs/photos --model nextvit_nano --image-size 96 --epochs 20

    Parameters
    ----------
    dataset: Path
        Folder with train/<class>/* and, if you like, val/<class>/*; a CSV file with the columns path,label (or
        path,labels); a folder with COCO's annotations of boxes or masks; or one with images/<split>, masks/<split> and
        classes.txt. For the recipe distill, any folder of images, or a CSV file with the column path.
    out: Path
        Folder of the run: recipe, metrics, checkpoints, report.
    model: str
        Name of the network, see `nextvit models`.
    weights: str
        Where its weights start: "none", a published tag (downloaded), "published" (the best published ones, if they
        were downloaded before, or none where there are none), a checkpoint file, or a run.
    recipe: str
        Settings to start from: finetune, finetune_detection, finetune_segmentation, distill, smoke, imagenet,
        imagenet_published, imagenet_384, coco_1x, coco_3x, ade20k_fpn_80k or ade20k_upernet_160k. Default: the first,
        for images with annotated objects the second, for those with masks the third. All of them stand below; flags
        win over --config, --config over this.
    config: Path
        YAML file with sections and fields as below; a run's recipe.yaml will do.
    task: str
        What to learn, where it is not what the dataset is for: segmentation makes masks of COCO's objects, the smaller
        above the larger, and what has none is a class called background.
    epochs: int
        Passes over the training images, unless --schedule.epoch-steps says what an epoch is; auto: by the size of the
        dataset.
    minutes: float
        Time for everything, from the start of this command to its report, instead of --epochs: the schedule is laid
        over the steps that fit.
    image_size: int
        Side of the network's input in pixels; of images that are taken whole, the most of their shorter side.
    batch_size: int
        Images in one step; auto: the largest that fits the memory.
    teacher: str
        A run, checkpoint, bundle, ONNX file or timm:NAME whose predictions are learned besides the labels, or with the
        recipe distill alone; for classifiers.
    resume: bool
        Go on with the run in --out from its last checkpoint; its own recipe then stands in for --recipe.
    watch: tuple[str, ...]
        Watchers that are called after every step, as module:factory; may be repeated. See docs/watching.md.
    """
    started = time.perf_counter()  # what is imported now counts to --minutes
    from nextvit.tasks.reading import find_task
    from nextvit.train.recipe_sections import merge_sections

    learnt = task or recorded_task(out, resume=resume) or task_of_recipe(recipe) or find_task(dataset).name
    short = {
        "model": {"name": model, "weights": weights},
        "data": {"image_size": image_size, "batch_size": batch_size},
        "schedule": {"epochs": epochs, "minutes": minutes},
        "distill": {"teacher": teacher},
    }
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in short.items()
        if any(value is not None for value in values.values())
    }
    resolved = build_recipe(
        learnt,
        merge_sections(given_sections(settings), given),
        name=recipe,
        config=config,
        resumed=out if resume else None,
    )
    from nextvit.cli.run_report import write_report
    from nextvit.train import start
    from nextvit.train.distributed import world_from_environment
    from nextvit.train.watchers import combine_watchers, load_watch

    if not world_from_environment().is_first:  # the first process writes and talks for all
        start.train(
            dataset,
            resolved,
            run=out,
            task=learnt,
            resume=resume,
            watch=combine_watchers([]),
            say=lambda message: None,
            started=started,
        )
        return
    progress_line = ProgressLine()
    watches = [progress_line.update, *(load_watch(name, out, resolved) for name in watch)]
    try:
        evaluation = start.train(
            dataset,
            resolved,
            run=out,
            task=learnt,
            resume=resume,
            watch=combine_watchers(watches),
            say=progress_line.say,
            started=started,
            report_seconds=load_report() if resolved.schedule.minutes else 0.0,
        )
    except KeyboardInterrupt:
        if checkpoint_folder(out, "last").is_dir():
            again = shlex.join(["nextvit", "train", str(dataset), "--out", str(out), "--resume"])
            progress_line.say(f"stopped and saved, go on with: {again}")
        raise
    report = write_report(out)
    low, high = evaluation.interval_95
    teacher_share = mean_teacher_share(out)
    show(
        as_json,
        f"best checkpoint: {display_name(evaluation.main_score)} {evaluation.scores[evaluation.main_score]:.2f} % "
        f"on {evaluation.images} images (95 %: {low:.1f} to {high:.1f})",
        *([f"the teacher took {teacher_share:.0%} of the time of the training's steps"] if teacher_share else []),
        f"report: {report}",
        document={
            "verb": "train",
            "run": str(out),
            "report": str(report),
            "scores": evaluation.scores,
            "interval_95": evaluation.interval_95,
            "images": evaluation.images,
            **({"teacher_share": teacher_share} if teacher_share else {}),
            "environment": describe_environment(),
        },
    )


def load_report() -> float:
    """Import what the report needs. Returns the seconds that this took, and that writing it will take: about as
    many."""
    started = time.perf_counter()
    from nextvit.report import run_report  # noqa: F401

    return time.perf_counter() - started


def recorded_task(run: Path, *, resume: bool) -> str | None:
    """The task of the run to resume; None where none is resumed, or it was written before recipes named their task."""
    from nextvit.cli.settings import read_recipe
    from nextvit.files.run_folder import RECIPE, is_run

    if not resume or not is_run(run):
        return None
    recipe = read_recipe(run / RECIPE)
    if isinstance(recipe.get("task"), str):
        return recipe["task"]
    # The first format says only whether objects are read as masks.
    learnt = (recipe.get("data") or {}).get("task", "auto")
    return None if learnt == "auto" else learnt


class ProgressLine:
    """One line that lives while an epoch runs, and one that stays when it ends."""

    def __init__(self) -> None:
        self.shown_at = time.perf_counter()

    def update(self, tick: "Tick") -> None:
        if tick.evaluation:
            main = tick.evaluation.main_score
            self.say(
                f"epoch {tick.epoch + 1:>3}/{tick.epochs}  loss {tick.loss:.3f}  "
                f"{display_name(main)} {tick.evaluation.scores[main]:6.2f} %  {tick.images_per_second:5.0f} images/s  "
                f"waiting {tick.waiting_share:4.0%}  {describe_teacher(tick)}{left(tick.seconds_left)} left"
            )
        elif time.perf_counter() - self.shown_at > (0.2 if progress.is_terminal else 30):
            self.shown_at = time.perf_counter()
            line = (
                f"epoch {tick.epoch + 1}/{tick.epochs}  step {tick.step}/{tick.steps}  loss {tick.loss:.3f}  "
                f"{tick.images_per_second:.0f} images/s  waiting {tick.waiting_share:.0%}  "
                f"{describe_teacher(tick)}{left(tick.seconds_left)} left"
            )
            if progress.is_terminal:
                progress.file.write(f"\r\x1b[2K{line[: progress.width - 1]}")
                progress.file.flush()
            else:
                self.say(line)

    def say(self, message: str) -> None:
        """A line that stays."""
        if progress.is_terminal:
            progress.file.write("\r\x1b[2K")
        progress.print(message, markup=False, soft_wrap=True)


def describe_teacher(tick: "Tick") -> str:
    """The part of the time that a teacher takes; "" without one."""
    return f"teacher {tick.teacher_share:.0%}  " if tick.teacher_share else ""


def mean_teacher_share(run: Path) -> float:
    """The fraction of the steps' time that a teacher took, a mean over the epochs; 0 without one."""
    from nextvit.report.contents import read_run_contents

    shares = [record.get("teacher_share", 0.0) for record in read_run_contents(run).epochs]
    return round(sum(shares) / max(1, len(shares)), 4)


def left(seconds: float) -> str:
    """A duration as people say it."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
