"""What a model answers, as plain values."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One class and how probable the model holds it, 0 to 1."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The most probable classes of one image, best first."""

    top: tuple[Guess, ...]

    @property
    def label(self) -> str:
        return self.top[0].label

    @property
    def probability(self) -> float:
        return self.top[0].probability

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """All classes of one image in two parts, each with the most probable first; either part may be empty."""

    present: tuple[Guess, ...]
    """Those that reach their threshold."""
    absent: tuple[Guess, ...]
    """The others."""

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(guess.label for guess in self.present)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


Answer = Classification | MultiLabel
