"""A model's metadata: task, classes, input, architecture, origin. It is written into every checkpoint and bundle."""

from dataclasses import dataclass, field
from typing import Any, cast

from nextvit.bundle.facts import FACTS, Facts, NoFacts, facts_from_plain
from nextvit.errors import InputError
from nextvit.files.records import from_plain
from nextvit.image.resizing import FORMER_NAMES, Preprocess

CARD_KEY = "nextvit_card"
"""The name of a card in the metadata of our checkpoint files."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The metadata that checkpoints and bundles have in common."""

    task: str
    """A name of `nextvit.predictions.kind.KINDS`."""
    classes: tuple[str, ...]
    """Names in the order of the model's outputs."""
    input: Preprocess
    variant: str
    """Name of the architecture, such as "nextvit_small"."""
    architecture: dict[str, Any]
    """The fields of the backbone's configuration."""
    head: dict[str, Any] = field(default_factory=dict[str, Any])
    """The fields of the heads' configuration; empty for classifiers, whose head has none."""
    facts: Facts = field(default_factory=NoFacts)
    """What else the predictions of this task depend on, such as thresholds."""
    pretrained: str | None = None
    """The published tag or the file that training started from; None: from scratch."""
    weights_licence: str = "as the training data allows"
    """Licence of the weights, as far as it is known."""

    def __post_init__(self) -> None:
        expected = FACTS.get(self.task, NoFacts)
        if not isinstance(self.facts, expected):
            raise InputError(f"a card of {self.task} has {expected.__name__}, got {type(self.facts).__name__}")
        self.facts.check(self)


def card_from_plain(values: Any, *, what: str) -> ModelCard:
    """Read a card; the inverse of `nextvit.files.records.to_plain`.

    Args:
        values: what JSON gave.
        what: names the source in messages.

    Raises:
        InputError: a field is missing, unknown or of another type.
    """
    if isinstance(values, dict):
        given = facts_from_plain(values.get("task"), cast(dict[str, Any], values), what=what)
        if isinstance(spec := given.get("input"), dict):
            resize = cast(dict[str, Any], spec).get("resize")
            renamed = {**spec, "resize": FORMER_NAMES.get(str(resize), resize)}
            given["input"] = from_plain(Preprocess, renamed, what=what)
        values = given
    return from_plain(ModelCard, values, what=what)
