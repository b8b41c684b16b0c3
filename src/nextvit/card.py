"""What a model is, beside its weights: task, classes, input, architecture, origin. Written into every file we make."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nextvit.errors import InputError, did_you_mean
from nextvit.preprocess import Preprocess

TaskName = Literal["classification"]


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
    pretrained: str | None = None
    """The published tag or the file that training started from; None: from scratch."""
    weights_licence: str = "as the training data allows"
    """Licence of the weights, as far as it is known."""


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """Plain JSON values."""
    return asdict(card)


def card_from_dict(values: dict[str, Any]) -> ModelCard:
    """The inverse of `card_to_dict`; raises InputError naming the first field that is unknown or missing."""
    known = {field.name for field in fields(ModelCard)}
    for name in values:
        if name not in known:
            raise InputError(f"unknown field {name!r} in the model's description; {did_you_mean(name, known)}")
    for name in ("task", "classes", "input", "variant", "architecture"):
        if name not in values:
            raise InputError(f"the model's description lacks {name!r}")
    given = dict(values)
    given["classes"] = tuple(given["classes"])
    given["input"] = Preprocess.from_dict(given["input"])
    return ModelCard(**given)
