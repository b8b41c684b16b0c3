"""A recipe: everything that a training run is told. Each field is reachable as --section.field and from a YAML file."""

from dataclasses import dataclass, field
from typing import Literal

from nextvit.data.augment import Augment
from nextvit.errors import InputError
from nextvit.preprocess import Preprocess


def require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which network, and where its weights start."""

    name: str = "nextvit_small"
    """Variant, see `nextvit models`."""
    weights: str = "none"
    """"none" (from scratch), a published tag such as "bd_ssld_6m_in1k", a checkpoint file, or a run."""
    drop_path: float | None = None
    """Stochastic depth of the last block; none: the variant's own."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """How pictures are read."""

    image_size: int = 224
    """Side of the network's square input in pixels."""
    resize: Literal["crop", "squash"] = "crop"
    """For evaluation and serving: keep the aspect ratio and cut, or scale each side alone."""
    crop_ratio: float = 1.0
    """For evaluation and serving with "crop": kept share of the shorter side."""
    batch_size: int = 32
    """Images in one step of the optimizer, over all accumulated parts."""
    workers: int = 2
    """Processes that read and augment; 0: none, in the training process itself."""
    max_unreadable: float = 0.02
    """Training stops when more than this share of the pictures cannot be read."""

    def __post_init__(self) -> None:
        self.preprocess()
        require(self.batch_size >= 1, f"data.batch_size must be at least 1, got {self.batch_size}")
        require(self.workers >= 0, f"data.workers must not be negative, got {self.workers}")
        require(0 <= self.max_unreadable <= 1, f"data.max_unreadable is a share of 1, got {self.max_unreadable}")

    def preprocess(self) -> Preprocess:
        """The input as evaluation and serving make it."""
        size = (self.image_size, self.image_size)
        return Preprocess(image_size=size, resize=self.resize, crop_ratio=self.crop_ratio)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised."""

    label_smoothing: float = 0.1
    """Probability mass taken from the true class and spread over all."""

    def __post_init__(self) -> None:
        require(0 <= self.label_smoothing < 1, f"loss.label_smoothing must be in [0, 1), got {self.label_smoothing}")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW; one-dimensional parameters (norms, biases) are not decayed."""

    lr: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    clip_norm: float = 5.0
    """Largest norm of the whole gradient; 0: no clipping."""
    accumulate: int = 1
    """Parts into which a batch is cut, to save memory."""

    def __post_init__(self) -> None:
        require(self.lr > 0, f"optim.lr must be positive, got {self.lr}")
        require(self.weight_decay >= 0, f"optim.weight_decay must not be negative, got {self.weight_decay}")
        require(all(0 <= beta < 1 for beta in self.betas), f"optim.betas must be in [0, 1), got {self.betas}")
        require(self.clip_norm >= 0, f"optim.clip_norm must not be negative, got {self.clip_norm}")
        require(self.accumulate >= 1, f"optim.accumulate must be at least 1, got {self.accumulate}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Linear warm-up, then half a cosine."""

    epochs: int = 30
    """Passes over the training pictures."""
    warmup_epochs: float = 2.0
    """Epochs from nearly 0 to the peak learning rate."""
    final_lr_ratio: float = 0.01
    """Last over peak learning rate."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"schedule.epochs must be at least 1, got {self.epochs}")
        require(self.warmup_epochs >= 0, f"schedule.warmup_epochs must not be negative, got {self.warmup_epochs}")
        require(0 <= self.final_lr_ratio <= 1, f"schedule.final_lr_ratio is in [0, 1], got {self.final_lr_ratio}")


@dataclass(frozen=True, kw_only=True)
class Ema:
    """An exponential moving average of the weights; it is what is evaluated and exported."""

    decay: float = 0.99
    """Share kept of the old average at each step; it rises to this value; 0: no averaging."""

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"ema.decay must be in [0, 1), got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how it is computed."""

    device: str = "auto"
    """"auto" (a GPU where there is one), or a torch device."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast; "auto" is bf16 on a GPU that has it, else fp32."""
    threads: int = 0
    """CPU threads of a step; 0: as many as torch takes. Fewer than the cores where other work shares the machine."""
    seed: int = 0
    """Of weights, shuffling, augmentation and drop path."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. The defaults are those of `nextvit.recipes.finetune`."""

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    loss: Loss = field(default_factory=Loss)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    ema: Ema = field(default_factory=Ema)
    compute: Compute = field(default_factory=Compute)

    def __post_init__(self) -> None:
        require(
            self.data.batch_size >= 2 * self.optim.accumulate,
            f"batch norms need at least two images at once, got data.batch_size {self.data.batch_size} "
            f"in optim.accumulate {self.optim.accumulate} parts",
        )
