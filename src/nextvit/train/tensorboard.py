"""TensorBoard: `nextvit train ... --watch nextvit.train.tensorboard:watch`, then `tensorboard --logdir runs`."""

from pathlib import Path
from typing import TYPE_CHECKING

from nextvit.errors import MissingDependency
from nextvit.train.loop import Tick, Watch
from nextvit.train.recipe import Recipe

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardWriter:
    """A watcher that writes training values after every step, and scores after every epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: SummaryWriter | None = None

    def __call__(self, tick: Tick) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self.writer is None:  # a resumed run hides the steps that it repeats
            self.writer = SummaryWriter(str(self.folder), purge_step=tick.step)
        if tick.evaluation:
            for name, value in tick.evaluation.scores.items():
                self.writer.add_scalar(f"val/{name}", value, tick.step)
            self.writer.flush()
        else:
            for name in ("loss", "lr", "images_per_second", "waiting_share"):
                self.writer.add_scalar(f"train/{name}", getattr(tick, name), tick.step)


def watch(run: Path, recipe: Recipe) -> Watch:
    """A watcher that writes to the folder `run`/tensorboard, which appears with the first step."""
    try:
        import tensorboard  # pyright: ignore  # noqa: F401 (reported before training starts, not at its first step)
    except ModuleNotFoundError:
        raise MissingDependency("tensorboard", extra="tensorboard") from None
    return TensorBoardWriter(run / FOLDER)
