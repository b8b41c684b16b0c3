"""The training loop: read it from top to bottom to know what happens, and in which order."""

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from nextvit.errors import InputError
from nextvit.files.run_folder import EVENTS, METRICS, append_json_line
from nextvit.predictions.kind import output_names
from nextvit.runtime.torch_session import TorchSession
from nextvit.tasks.network import deploy_network
from nextvit.tasks.task import Evaluation
from nextvit.train.checkpoint import save_best, save_last
from nextvit.train.interrupt import Stop, StopRequested
from nextvit.train.optim import set_lr, train_mode
from nextvit.train.plan import describe_steps_made
from nextvit.train.recipe import Recipe
from nextvit.train.schedule import compute_lr
from nextvit.train.state import Progress, Training
from nextvit.train.step import train_step
from nextvit.train.time_left import Kind, WorkTimes
from nextvit.views.training_batches import Batch

Say = Callable[[str], None]
MOST_SKIPPED = 5


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The state of a training that a watcher gets after every step, and after every epoch with an evaluation."""

    epoch: int
    epochs: int
    step: int
    steps: int
    lr: float
    loss: float
    """Mean over the epoch so far."""
    losses: dict[str, float]
    """The mean of each loss, by name."""
    images_per_second: float
    waiting_share: float
    """Fraction of the epoch's time so far that was spent waiting for data."""
    teacher_share: float = 0.0
    """Fraction of the epoch's time so far that a teacher took; 0 without one."""
    seconds_left: float
    """With the evaluations to come and the last one, of the best checkpoint."""
    evaluation: Evaluation | None = None


Watch = Callable[[Tick], None]


def fit(
    training: Training,
    recipe: Recipe,
    *,
    run: Path,
    watch: Watch,
    say: Say,
    stop: Stop,
    now: Callable[[], float] = time.perf_counter,
) -> None:
    """Train to the recipe's last epoch or as long as there is time, keeping the checkpoints "last" and "best" in `run`.

    Args:
        now: the clock by which a time budget is used, in seconds.

    Raises:
        KeyboardInterrupt: `stop` was requested; everything up to the last step is saved.
        InputError: too many unreadable images, losses that are NaN or infinite, a full disk.
    """
    try:
        fit_epochs(training, recipe, run=run, watch=watch, say=say, stop=stop, now=now)
    except StopRequested:  # one process alone: between two steps, or in an evaluation that --resume repeats
        save_last(run, training)
        raise KeyboardInterrupt from None
    if budget := training.progress.budget:
        say(describe_steps_made(budget, run, steps_per_epoch=len(training.sampler)))


def fit_epochs(
    training: Training, recipe: Recipe, *, run: Path, watch: Watch, say: Say, stop: Stop, now: Callable[[], float]
) -> None:
    """`fit`, which leaves a stop while it waits or evaluates to its caller."""
    progress = training.progress
    times, clock = WorkTimes(recipe.epochs, len(training.sampler), now=now), SaveClock()
    while not is_finished(progress, recipe) and not out_of_patience(progress, recipe):
        train_epoch(training, recipe, times, clock, run=run, watch=watch, say=say, stop=stop)
        if progress.budget and not progress.budget.is_evaluation_due:
            progress.start_next_epoch()
            continue
        progress.unreadable = tuple(dict.fromkeys(chain(*training.world.gather(progress.unreadable))))
        check_unreadable(training, recipe)
        tick = make_tick(training, recipe, times)

        # Evaluate the averaged weights in deployment form, record the result, save.
        training.world.share_buffers(training.ema.model)
        session = TorchSession(deploy_network(training.ema.model, training.card), outputs=output_names(training.card))
        with stops_at_once(training, stop):
            evaluation = training.evaluator.evaluate(session.run, split="val", shard=training.world.shard)
        is_best = progress.finish_epoch(rank_epoch(evaluation, tick))
        use_time(training, "evaluation", times.lap("evaluation"))
        if training.world.is_first:
            if is_best:
                save_best(run, training.ema.model, training.card)
            append_json_line(run / METRICS, epoch_record(tick, evaluation, is_best))
            save_last(run, training)
            clock.saved = time.perf_counter()
        training.world.wait()  # for the files, which all processes will read
        use_time(training, "saving", times.lap("saving"))
        times.finish_epoch()
        after = make_tick(training, recipe, times)
        watch(replace(tick, evaluation=evaluation, steps=after.steps, seconds_left=after.seconds_left))


def train_epoch(
    training: Training,
    recipe: Recipe,
    times: WorkTimes,
    clock: "SaveClock",
    *,
    run: Path,
    watch: Watch,
    say: Say,
    stop: Stop,
) -> None:
    """Take the remaining steps of an epoch, or those for which there is time."""
    progress = training.progress
    if progress.budget and not progress.budget.steps_left:
        return
    training.sampler.epoch = progress.epoch
    training.sampler.start = progress.step_in_epoch
    train_mode(training.model, training.frozen)
    waiting_since = time.perf_counter()
    alone = training.world.size == 1  # several processes agree on a stop in a step, which all of them take
    for batch in stop.while_waiting(training.batches) if alone else training.batches:
        progress.waited += time.perf_counter() - waiting_since
        if batch.failure:
            raise InputError(batch.failure)
        if batch.unreadable:
            progress.unreadable = tuple(dict.fromkeys((*progress.unreadable, *batch.unreadable)))
            check_unreadable(training, recipe)

        steps_per_epoch, budget = len(training.sampler), progress.budget
        position = budget.advance(steps_per_epoch=steps_per_epoch) if budget else progress.step
        set_lr(training.optimizer, compute_lr(position, steps_per_epoch=steps_per_epoch, recipe=recipe))
        outcome = train_step(training, batch, recipe, stop=stop.requested)
        progress.step += 1
        progress.taught += outcome.taught
        if outcome.skipped:
            note_skipped(training, batch, run=run, say=say)
        else:
            progress.skipped = 0
            progress.loss_sum += outcome.loss * training.images_per_step
            for name, loss in outcome.losses.items():
                progress.losses[name] = progress.losses.get(name, 0.0) + loss * training.images_per_step
            progress.seen += training.images_per_step
        progress.seconds += time.perf_counter() - waiting_since

        use_time(training, "steps", times.lap("steps"))
        watch(make_tick(training, recipe, times))
        due = time.perf_counter() - clock.saved >= 60 * recipe.compute.save_minutes
        if training.world.is_first and (outcome.stop or due):
            save_last(run, training)
            clock.saved = time.perf_counter()
        if outcome.stop:
            training.world.wait()  # when all are here, the first process has saved
            raise KeyboardInterrupt
        if progress.budget and not progress.budget.steps_left:
            return
        waiting_since = time.perf_counter()


def use_time(training: Training, kind: Kind, seconds: float) -> None:
    """Count the time of a piece of work where a time is given, and correct how many steps are left; the clock of the
    first process decides for all."""
    progress = training.progress
    if progress.budget:
        progress.budget.record(kind, seconds)
        progress.budget.count_steps_left(step_in_epoch=progress.step_in_epoch, steps_per_epoch=progress.steps_per_epoch)
        progress.budget = training.world.gather(progress.budget)[0]


def is_finished(progress: Progress, recipe: Recipe) -> bool:
    """Whether all epochs are done, or the time that was given is used."""
    return progress.budget.is_over if progress.budget else progress.epoch >= recipe.epochs


def stops_at_once(training: Training, stop: Stop) -> AbstractContextManager[None]:
    """A block that a requested stop ends at once, where no other process waits for this one."""
    return stop.at_once() if training.world.size == 1 else nullcontext()


@dataclass
class SaveClock:
    """When this process last saved, in seconds of `time.perf_counter`."""

    saved: float = field(default_factory=time.perf_counter)


def make_tick(training: Training, recipe: Recipe, times: WorkTimes) -> Tick:
    """The progress of the current epoch, for watchers."""
    progress, steps_per_epoch, budget = training.progress, len(training.sampler), training.progress.budget
    seconds = max(progress.seconds, 1e-9)
    steps = progress.step + budget.steps_left if budget else steps_per_epoch * recipe.epochs
    position = budget.position if budget else progress.step - 1
    return Tick(
        epoch=progress.epoch,
        epochs=math.ceil(steps / steps_per_epoch),
        step=progress.step,
        steps=steps,
        lr=compute_lr(position, steps_per_epoch=steps_per_epoch, recipe=recipe),
        loss=progress.loss_sum / max(1, progress.seen),
        losses={name: loss / max(1, progress.seen) for name, loss in progress.losses.items()},
        images_per_second=progress.seen / seconds,
        waiting_share=progress.waited / seconds,
        teacher_share=round(progress.taught / seconds, 4),
        seconds_left=(
            max(0.0, budget.seconds - budget.used)
            if budget
            else times.seconds_left(epoch=progress.epoch, step=progress.step)
        ),
    )


def out_of_patience(progress: Progress, recipe: Recipe) -> bool:
    """Whether as many epochs as the recipe allows have passed without a new best one."""
    return 0 < recipe.schedule.patience <= progress.epochs_since_best


def check_unreadable(training: Training, recipe: Recipe) -> None:
    """Raise InputError where more images could not be read than the recipe allows."""
    found, count = training.progress.unreadable, len(training.samples)
    if len(found) > recipe.data.max_unreadable * count:
        raise InputError(
            f"{len(found)} of {count} training images cannot be read, more than data.max_unreadable "
            f"{recipe.data.max_unreadable:g} allows; first: {found[0]}; "
            f"list them all with: nextvit check {training.dataset.root}"
        )


def note_skipped(training: Training, batch: Batch, *, run: Path, say: Say) -> None:
    """Record a step that was skipped because its loss was NaN or infinite, with its files; InputError after several in
    a row."""
    progress = training.progress
    progress.skipped += 1
    own_files = [str(training.samples[index].path) for index in batch.indices]
    files = list(chain(*training.world.gather(own_files)))
    if training.world.is_first:
        append_json_line(
            run / EVENTS,
            {"event": "skipped step", "epoch": progress.epoch + 1, "step": progress.step, "files": files},
        )
        say(f"step {progress.step} was skipped: its loss is NaN or infinite; its files are listed in {run / EVENTS}")
    if progress.skipped == MOST_SKIPPED:
        raise InputError(
            f"the loss was NaN or infinite in {MOST_SKIPPED} steps in a row, in epoch {progress.epoch + 1}; lower "
            f"--optim.lr, or look at the files of the last: {', '.join(files[:3])}, ...; "
            "what was saved before is intact"
        )


def rank_epoch(evaluation: Evaluation, tick: Tick) -> tuple[float, float]:
    """The key by which the best epoch is chosen: the main score, and between equal scores the negative loss of the
    evaluation, or of training where the evaluation has none. A detector scores 0 for many epochs while it learns.
    A loss that is NaN or infinite is the worst."""
    loss = evaluation.scores.get("loss", tick.loss)
    return evaluation.scores[evaluation.main_score], -loss if math.isfinite(loss) else -sys.float_info.max


def epoch_record(tick: Tick, evaluation: Evaluation, is_best: bool) -> dict[str, Any]:
    """One line of metrics.jsonl."""
    return {
        "epoch": tick.epoch + 1,
        "step": tick.step,
        "lr": tick.lr,
        "train_loss": round(tick.loss, 6),
        **({f"train_{name}": round(loss, 6) for name, loss in tick.losses.items()} if len(tick.losses) > 1 else {}),
        **{f"val_{name}": round(value, 6) for name, value in evaluation.scores.items()},
        "images_per_second": round(tick.images_per_second, 1),
        "waiting_share": round(tick.waiting_share, 4),
        **({"teacher_share": tick.teacher_share} if tick.teacher_share else {}),
        "is_best": is_best,
    }
