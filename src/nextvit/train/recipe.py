"""A recipe: all settings of a training. Each field is reachable as --section.field and from a YAML file."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from nextvit.image.resizing import Preprocess
from nextvit.tasks.settings import LabelSettings, TaskSettings, require


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which network, and where its weights start."""

    name: str = "nextvit_small"
    """Variant, see `nextvit models`."""
    weights: str = "none"
    """"none" (from scratch), a published tag, a file, a run, "published" (downloaded before), "given" (by
    --weights)."""
    drop_path: float | None = None
    """Stochastic depth of the last block; none: the variant's own."""
    frozen_stages: int = 0
    """Keep the weights and statistics of the stem and this many stages as they are; 0: train everything."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time; batch norms see each batch twice."""
    frozen_norms: bool = False
    """Keep the statistics of all batch norms of the backbone as they are, as small batches of large images need."""

    def __post_init__(self) -> None:
        require(0 <= self.frozen_stages <= 4, f"model.frozen_stages is 0 to 4, got {self.frozen_stages}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """How images are read, whatever the task; each task has further fields."""

    image_size: int = 224
    """Side of the network's square input in pixels; where images keep their aspect ratio and are padded, the limit of
    their shorter side."""
    batch_size: int | Literal["auto"] = 32
    """Images in one step of the optimizer, over all processes and parts; "auto": the largest that fits the memory."""
    workers: int = 2
    """Processes that read and augment, for each training process, at most as many as it may use cores; 0: none, in the
    training process itself."""
    max_unreadable: float = 0.02
    """Training stops when more than this fraction of the images cannot be read; until then others replace them."""
    allow_errors: bool = False
    """Train although `nextvit check` finds errors."""

    def __post_init__(self) -> None:
        require(
            self.batch_size == "auto" or self.batch_size >= 2,
            f"data.batch_size must be auto or at least 2 (batch norms need two images at once), got {self.batch_size}",
        )
        require(self.workers >= 0, f"data.workers must not be negative, got {self.workers}")
        require(0 <= self.max_unreadable <= 1, f"data.max_unreadable is a fraction of 1, got {self.max_unreadable}")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW; one-dimensional parameters (norms, biases) are not decayed, unless `decay_biases` or `decay_norms` says
    so."""

    lr: float | Literal["auto"] = 1e-3
    """Peak learning rate; "auto": 5e-4 from scratch, 2e-4 from weights."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; 0: no clipping."""
    layer_decay: float | Literal["auto"] = 1.0
    """Learning rate of a block relative to the block after it; "auto": 1 from scratch, 0.8 from weights."""
    decay_biases: bool = False
    """Decay the biases of convolutions and linear layers, too."""
    decay_norms: bool = False
    """Decay the weights and biases of norms, too."""
    accumulate: int = 1
    """Parts into which a process cuts its batch, to save memory."""

    def __post_init__(self) -> None:
        require(self.lr == "auto" or self.lr > 0, f"optim.lr must be positive, got {self.lr}")
        require(self.weight_decay >= 0, f"optim.weight_decay must not be negative, got {self.weight_decay}")
        require(all(0 <= beta < 1 for beta in self.betas), f"optim.betas must be in [0, 1), got {self.betas}")
        require(self.clip_norm >= 0, f"optim.clip_norm must not be negative, got {self.clip_norm}")
        layer_decay_fits = self.layer_decay == "auto" or 0 < self.layer_decay <= 1
        require(layer_decay_fits, f"optim.layer_decay must be in (0, 1], got {self.layer_decay}")
        require(self.accumulate >= 1, f"optim.accumulate must be at least 1, got {self.accumulate}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, then half a cosine, or another `shape`. An epoch is a pass, or `epoch_steps` steps."""

    epochs: int | Literal["auto"] = 30
    """Passes over the training images; "auto": 10 to 100, to see about 100,000 (20,000 with objects or masks)."""
    minutes: float = 0.0
    """Time for everything, from the start of the command to its report, instead of a number of epochs: the schedule is
    laid over the steps that fit (`nextvit.train.time_budget`); 0: the epochs decide."""
    epoch_steps: int = 0
    """Steps of an epoch, after which the model is evaluated, wherever a pass over the images ends; 0: one pass, or with
    `minutes` what leaves at least four fifths of the time to the steps."""
    warmup_epochs: float = 2.0
    """Epochs from nearly 0 to the peak learning rate."""
    final_lr_ratio: float = 0.01
    """Last learning rate as a fraction of the peak."""
    shape: Literal["cosine", "constant", "steps", "poly", "published"] = "cosine"
    """"steps": a tenth of the rate from each epoch of `milestones` on; "poly": towards the last rate, as the fraction
    of remaining steps to the power of `power`; "published": as in the official logs of ImageNet, constant within an
    epoch and one epoch late (`nextvit.train.schedule`)."""
    milestones: tuple[int, ...] = ()
    """For "steps": numbers of finished epochs after which the rate falls."""
    power: float = 1.0
    """For "poly"; 1: linearly."""
    warmup_steps: int = 0
    """For "steps" and "poly", instead of `warmup_epochs`: steps from a millionth of the rate to the full rate."""
    patience: int = 0
    """Stop after this many epochs without a better one; 0: never."""

    def __post_init__(self) -> None:
        require(self.epochs == "auto" or self.epochs >= 1, f"schedule.epochs must be at least 1, got {self.epochs}")
        require(0 <= self.minutes <= 1e6, f"schedule.minutes is from 0 to a million, got {self.minutes:g}")
        require(
            self.minutes == 0 or self.shape != "steps",
            "schedule.shape steps counts epochs, which schedule.minutes does not know before; take cosine",
        )
        require(self.epoch_steps >= 0, f"schedule.epoch_steps must not be negative, got {self.epoch_steps}")
        require(self.warmup_epochs >= 0, f"schedule.warmup_epochs must not be negative, got {self.warmup_epochs}")
        require(0 <= self.final_lr_ratio <= 1, f"schedule.final_lr_ratio is in [0, 1], got {self.final_lr_ratio}")
        in_order = all(0 < earlier < later for earlier, later in pairwise((0.5, *self.milestones)))
        require(in_order, f"schedule.milestones must rise from at least 1, got {self.milestones}")
        require(self.power > 0, f"schedule.power must be above 0, got {self.power}")
        require(self.warmup_steps >= 0, f"schedule.warmup_steps must not be negative, got {self.warmup_steps}")
        require(self.patience >= 0, f"schedule.patience must not be negative, got {self.patience}")


@dataclass(frozen=True, kw_only=True)
class Ema:
    """An exponential moving average of the weights, which is evaluated and exported."""

    decay: float = 0.99
    """Fraction of the old average that is kept at each step, after a start with less; 0: no averaging."""

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"ema.decay must be in [0, 1), got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Device, precision and seed."""

    device: str = "auto"
    """"auto" (a GPU where there is one), or a torch device."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast; "auto" is bf16 where the device has instructions for it, else fp32; fp16 scales the loss."""
    channels_last: bool = True
    """Keep feature maps and filters with the channels innermost in memory, which makes convolutions faster."""
    sync_batch_norm: bool = True
    """On several GPUs, batch norms see the whole batch; false: the part of their own process."""
    compile: bool = False
    """Use torch.compile: minutes at the start, faster steps afterwards."""
    threads: int = 0
    """CPU threads of a step; 0: torch's default, at most as many as the container has cores. Use fewer where other
    programs share the machine."""
    save_minutes: float = 10.0
    """Save the state of the training when this time has passed, besides at the end of every epoch."""
    seed: int = 0
    """Seed of weights, shuffling, augmentation and drop path."""

    def __post_init__(self) -> None:
        require(self.threads >= 0, f"compute.threads must not be negative, got {self.threads}")
        require(self.save_minutes >= 0, f"compute.save_minutes must not be negative, got {self.save_minutes}")
        require(self.seed >= 0, f"compute.seed must not be negative, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of one training run: those that all tasks have, and those of one task."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    task: TaskSettings = field(default_factory=LabelSettings)
    """`Task.settings` of one task: its augmentation, heads and losses."""
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    ema: Ema = field(default_factory=Ema)
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        self.preprocess()

    def preprocess(self) -> Preprocess:
        """The input as evaluation and serving make it."""
        return self.task.preprocess(self.data.image_size)

    # Once the recipe is resolved (`nextvit.train.resolve`), nothing is "auto", and these have their values.

    @property
    def batch_size(self) -> int:
        assert self.data.batch_size != "auto"
        return self.data.batch_size

    @property
    def epochs(self) -> int:
        assert self.schedule.epochs != "auto"
        return self.schedule.epochs

    @property
    def lr(self) -> float:
        assert self.optim.lr != "auto"
        return self.optim.lr
