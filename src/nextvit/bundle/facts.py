"""The part of a model's card that depends on the task: a type for each task, so that no card has the empty fields of
another task."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.image.resizing import Preprocess

DEFAULT_THRESHOLD = 0.5
"""More probably present than absent. A threshold tuned on the validation images would bias the scores on them."""


class CardWithoutFacts(Protocol):
    """The rest of a card, which its facts are checked against."""

    @property
    def task(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def input(self) -> Preprocess: ...
    @property
    def head(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class NoFacts:
    """For tasks that need none."""

    def check(self, card: CardWithoutFacts) -> None:
        """Nothing can contradict the card."""


@dataclass(frozen=True, kw_only=True)
class MultiLabelFacts:
    """The thresholds of a multi-label classifier."""

    thresholds: tuple[float, ...]
    """For each class the least probability, 0 to 1, at which it counts as present."""

    def check(self, card: CardWithoutFacts) -> None:
        """Raise InputError unless there is a threshold for each class."""
        if len(self.thresholds) != len(card.classes):
            raise InputError(f"{card.task} of {len(card.classes)} classes has {len(self.thresholds)} thresholds")


@dataclass(frozen=True, kw_only=True)
class DetectionFacts:
    """The category ids of a detector."""

    category_ids: tuple[int, ...]
    """The dataset's own id of each class, which predictions contain."""

    def check(self, card: CardWithoutFacts) -> None:
        """Raise InputError where a fact that serving needs is missing or of another type."""
        if len(self.category_ids) != len(card.classes):
            raise InputError(f"{card.task} of {len(card.classes)} classes has {len(self.category_ids)} category ids")
        if not card.input.padded:
            raise InputError(f"a detector keeps aspect ratio and pads (resize pad), its card says {card.input.resize}")
        DetectionLimits.of(card.head)


@dataclass(frozen=True, kw_only=True)
class DetectionLimits:
    """The part of a detector's head that serving reads without building it."""

    masks: bool
    """Whether objects have masks besides boxes."""
    detections: int
    """Largest number of objects on an image."""
    score_threshold: float
    """Objects have a score above it, 0 to 1."""
    iou: float
    """IoU above which non-maximum suppression keeps only the higher-scored of two objects of a class."""

    @classmethod
    def of(cls, head: dict[str, Any]) -> "DetectionLimits":
        """Read them; InputError where one is missing or of another type."""
        return from_plain(cls, {name: head.get(name) for name in cls.__annotations__}, what="head of a detector")


@dataclass(frozen=True, kw_only=True)
class SegmentationFacts:
    """The outputs of a segmentation model."""

    scores: bool = False
    """Whether the logits of the classes are an output besides the class of each pixel."""

    def check(self, card: CardWithoutFacts) -> None:
        """Nothing can contradict the card."""


Facts = NoFacts | MultiLabelFacts | DetectionFacts | SegmentationFacts

FACTS: dict[str, type[Facts]] = {
    "multilabel": MultiLabelFacts,
    "detection": DetectionFacts,
    "segmentation": SegmentationFacts,
}
"""The type of the facts of each task that has any."""

FLAT_BEFORE_0_2 = ("thresholds", "category_ids", "scores")


def facts_from_plain(task: Any, values: dict[str, Any], *, what: str) -> dict[str, Any]:
    """A card's plain values with typed facts; cards written before 0.2 have them as fields of their own.

    Raises:
        InputError: a fact is unknown, missing or of another type; `what` names the source.
    """
    kind = FACTS.get(task, NoFacts) if isinstance(task, str) else NoFacts
    flat = {name: values[name] for name in FLAT_BEFORE_0_2 if name in values}
    if flat:
        values = {name: value for name, value in values.items() if name not in FLAT_BEFORE_0_2}
        known = kind.__annotations__
        if stray := [name for name, value in flat.items() if value and name not in known]:
            raise InputError(f"{what}: {stray[0]} is no fact of the task {task!r}")
        values["facts"] = {name: value for name, value in flat.items() if name in known}
    given = values.get("facts", {})
    return {**values, "facts": from_plain(cast("type[Facts]", kind), given, what=what)}
