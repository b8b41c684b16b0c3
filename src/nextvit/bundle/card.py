"""What a model is, beside its weights: task, classes, input, architecture, origin. Written into every file we make."""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

from nextvit.errors import InputError
from nextvit.files.records import fits, from_plain
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME, Preprocess

TaskName = Literal["classification", "multilabel", "detection", "segmentation"]
READ_OF_HEAD: dict[str, Any] = {"masks": bool, "detections": int, "score_threshold": float, "iou": float}
"""What is read of a detector's head where it is not built."""
DEFAULT_THRESHOLD = 0.5
"""More probably there than not. A threshold chosen on the validation images would flatter the scores on them."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The facts that a checkpoint and a bundle share."""

    task: TaskName
    classes: tuple[str, ...]
    """Names in the order of the model's outputs."""
    input: Preprocess
    variant: str
    """Name of the architecture, such as "nextvit_small"."""
    architecture: dict[str, Any]
    """The fields of the backbone's configuration."""
    head: dict[str, Any] = field(default_factory=dict[str, Any])
    """For the tasks "detection" and "segmentation", the fields of the heads' configuration; empty for classifiers, whose head
    has none."""
    pretrained: str | None = None
    """The published tag or the file that training started from; None: from scratch."""
    weights_licence: str = "as the training data allows"
    """Licence of the weights, as far as it is known."""
    thresholds: tuple[float, ...] = ()
    """For the task "multilabel", the probability from which on each class is answered; empty for the others."""
    category_ids: tuple[int, ...] = ()
    """For the task "detection", the dataset's own number of each class, which answers give back; empty for the others."""
    scores: bool = False
    """For the task "segmentation", whether the logits that the classes come from are an output, too; False for the others."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the network's graph takes, by name, in its order."""
        return (INPUT_NAME, SIZES_NAME) if self.input.resize == "fit" else (INPUT_NAME,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the network answers, by name, in its order."""
        if self.task == "detection":
            return ("boxes", "scores", "labels", *(("masks",) if self.head.get("masks") else ()))
        if self.task == "segmentation":
            return ("classes", *(("logits",) if self.scores else ()))
        return ("logits",)

    @property
    def in_own_frames(self) -> bool:
        """Whether a run of the graph is of pictures in frames of one size alone: what lies around a picture has a part in the
        class of every pixel, so that larger company would change it."""
        return self.task == "segmentation" and self.input.resize == "fit"

    def __post_init__(self) -> None:
        expected = len(self.classes) if self.task == "multilabel" else 0
        if len(self.thresholds) != expected:
            raise InputError(f"{self.task} of {len(self.classes)} classes has {len(self.thresholds)} thresholds")
        expected = len(self.classes) if self.task == "detection" else 0
        if len(self.category_ids) != expected:
            raise InputError(f"{self.task} of {len(self.classes)} classes has {len(self.category_ids)} category ids")
        if self.task == "detection":
            self.check_detector()
        if self.scores and self.task != "segmentation":
            raise InputError(f"scores as an output of its own are for segmentation, not for {self.task}")

    def check_detector(self) -> None:
        """Raise InputError where what a detector is served by is not there."""
        if self.input.resize != "fit":
            raise InputError(f"a detector takes whole pictures (resize fit), its card says {self.input.resize}")
        for name, kind in READ_OF_HEAD.items():
            if not fits(self.head.get(name), kind):
                raise InputError(f"head of a detector: {name} cannot be {str(self.head.get(name))[:40]!r}")


def card_from_plain(values: Any, *, what: str) -> ModelCard:
    """The inverse of `nextvit.files.records.to_plain`; InputError names what is wrong, and `what` it is wrong with."""
    if isinstance(values, dict) and "input" in values:
        given = cast(dict[str, Any], values)
        values = {**given, "input": from_plain(Preprocess, given["input"], what=what)}
    return from_plain(ModelCard, values, what=what)
