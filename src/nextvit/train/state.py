"""The objects of a training, and its progress."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Samples
from nextvit.models.network import Network
from nextvit.tasks.task import Evaluator, Objective
from nextvit.train.device import Precision
from nextvit.train.distributed import World
from nextvit.train.ema import Ema
from nextvit.train.time_budget import TimeBudget
from nextvit.views.training_batches import Batch, EpochSampler


@dataclass
class Progress:
    """The progress of a training."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps, in this and all earlier epochs."""
    steps_per_epoch: int = 0
    steps_per_pass: int = 0
    """Steps in a pass over the training images, where an epoch has another number of steps; else 0."""
    seen: int = 0
    """Images seen in the current epoch."""
    loss_sum: float = 0.0
    """The sum of their losses."""
    losses: dict[str, float] = field(default_factory=dict[str, float])
    """The sum of each loss, by name."""
    seconds: float = 0.0
    """Time spent in the current epoch."""
    waited: float = 0.0
    """Part of it that was spent waiting for data."""
    taught: float = 0.0
    """Part of it that a teacher took."""
    skipped: int = 0
    """Steps in a row that were skipped because the loss was NaN or infinite."""
    best: tuple[float, float] | None = None
    """Main score and negative loss of the best epoch; the loss decides between equal scores."""
    epochs_since_best: int = 0
    unreadable: tuple[str, ...] = ()
    """Messages of training images that could not be read so far."""
    budget: TimeBudget | None = None
    """Of a training in a given time."""

    @property
    def step_in_epoch(self) -> int:
        """Finished steps of the current epoch."""
        return self.step - self.epoch * self.steps_per_epoch

    def start_next_epoch(self) -> None:
        """Count an epoch, without its evaluation."""
        self.epoch += 1
        self.seen, self.loss_sum, self.losses, self.seconds, self.waited, self.taught = 0, 0.0, {}, 0.0, 0.0, 0.0

    def finish_epoch(self, rank: tuple[float, float]) -> bool:
        """Count an epoch with its main score and negative loss, and return whether it is the best so far."""
        is_best = self.best is None or rank > self.best
        self.best = rank if is_best else self.best
        self.epochs_since_best = 0 if is_best else self.epochs_since_best + 1
        self.start_next_epoch()
        return is_best


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that a training needs, ready for the next step."""

    objective: Objective
    evaluator: Evaluator
    card: ModelCard
    dataset: Dataset
    samples: Samples
    """The samples that batches are drawn from: the dataset's training images, then those without labels."""
    model: Network
    forward: nn.Module
    """The module that is called in a step: `parallel`, perhaps compiled."""
    parallel: nn.Module
    """The model wrapped to average gradients over processes; the model itself where there is only one."""
    frozen: list[nn.Module]
    """Modules that stay in eval mode."""
    statistics: list[Tensor]
    """The model's buffers."""
    ema: Ema[Network]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    batches: DataLoader[Batch]
    sampler: EpochSampler
    device: torch.device
    precision: Precision
    world: World
    progress: Progress

    @property
    def images_per_step(self) -> int:
        """Images in a step, over all processes."""
        return self.sampler.batch_size
