"""Conditions on what a benchmark measures: the fields with their units, and the one parser of FIELD SIGN VALUE.

`bench --fail-if "p50>+5%,score<80"` states what must not hold; a budget (`tune/budget.py`) states what must.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nextvit.errors import InputError, did_you_mean, shorten

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Field:
    """A value on which there may be conditions."""

    key: str
    """Its name in a record."""
    unit: str = ""
    better: Literal["lower", "higher"] = "lower"
    percentile: int | None = None
    """The percentile of the latency whose interval is the interval of this value; None: it has none."""
    in_fail_if: bool = True
    in_budget: bool = True


FIELDS = {
    "p50": Field(key="p50_ms", unit="ms", percentile=50),
    "p90": Field(key="p90_ms", unit="ms", percentile=90),
    "p99": Field(key="p99_ms", unit="ms", percentile=99),
    # The fastest run says nothing of the others.
    "least": Field(key="least_ms", unit="ms", in_budget=False),
    "images_per_second": Field(key="images_per_second", better="higher", percentile=50),
    "peak_memory": Field(key="peak_memory_mib", unit="MiB"),
    "cold_start": Field(key="cold_start_ms", unit="ms"),
    "size": Field(key="size_mib", unit="MiB"),
    "score": Field(key="score", unit="points", better="higher"),
    "drop": Field(key="drop", unit="points", in_fail_if=False),
    "ratio": Field(key="ratio", in_budget=False),
}
"""The fields by their names in conditions."""

PATTERN = re.compile(
    r"\s*(?P<field>\w+)\s*(?P<sign>[<>]=?)\s*(?P<by>[+-]?)(?P<number>\d+(\.\d*)?|\.\d+)\s*(?P<unit>%|[A-Za-z]*)\s*"
)


@dataclass(frozen=True, kw_only=True)
class Term:
    """One FIELD SIGN VALUE as it is written, with a known field and a unit that fits."""

    text: str
    name: str
    sign: str
    value: float
    """In the field's unit, or in percent."""
    has_sign: bool
    """Whether the value is written with + or -."""
    is_percent: bool


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """What one flag takes as conditions."""

    flag: str
    """For messages."""
    fields: Collection[str]
    """The names in `FIELDS` that are known here."""
    signs: Collection[str]
    """Those of <, >, <= and >= that are known here."""
    takes_percent: bool
    """Whether a value may be a percentage."""
    accepted: str
    """The last clause of the message on what cannot be read."""

    def read(self, text: str) -> list[Term]:
        """Read terms that are separated by commas.

        Raises:
            InputError: a term is malformed, its field is unknown, or its unit is not its field's.
        """
        return [self.read_term(part.strip()) for part in text.split(",")]

    def read_term(self, text: str) -> Term:
        match = PATTERN.fullmatch(text)
        if not match or match["sign"] not in self.signs or not math.isfinite(float(match["number"])):
            raise InputError(f"{self.flag} cannot read {shorten(text)!r}; {self.accepted}")
        name, unit = match["field"], match["unit"]
        if name not in self.fields:
            raise InputError(f"{self.flag} knows no field {shorten(name)!r}; {did_you_mean(name, self.fields)}")
        expected, is_percent = FIELDS[name].unit, unit == "%"
        if unit and unit.lower() != expected.lower() and not (is_percent and self.takes_percent):
            forms = f"in {expected}" if expected else "without a unit"
            forms += " or in %" if self.takes_percent and expected != "points" else ""
            raise InputError(f"{self.flag} {shorten(text)!r}: {name} is {forms}")
        return Term(
            text="".join(text.split()),
            name=name,
            sign=match["sign"],
            value=float(match["by"] + match["number"]),
            has_sign=bool(match["by"]),
            is_percent=is_percent,
        )


def value_of(record: Record, name: str) -> float | None:
    """The value of a field; None if it was not measured."""
    value = record.get(FIELDS[name].key)
    return value["value"] if isinstance(value, dict) else value
