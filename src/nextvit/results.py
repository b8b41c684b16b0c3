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


Answer = Classification
