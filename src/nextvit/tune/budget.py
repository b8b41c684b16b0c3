"""A budget, "p50<=8ms,size<=10MiB,drop<=0.5": what must hold of a model, and whether a benchmark's record meets it."""

from dataclasses import dataclass
from typing import Any

from nextvit.benchmark.conditions import FIELDS, Grammar, Record, Term, value_of
from nextvit.benchmark.intervals import runs_for_upper_bound
from nextvit.errors import InputError

BUDGET = Grammar(
    flag="--budget",
    fields=[name for name, each in FIELDS.items() if each.in_budget],
    signs=("<=", ">="),
    takes_percent=False,
    accepted="accepted: a field, <= or >=, and a value, as in 'p50<=8ms', 'size<=10MiB' or 'score>=80', several with "
    "commas",
)
SIGNS = {"lower": "<=", "higher": ">="}
"""The sign of a bound, by which values of its field are better."""
LARGEST_SCORE = 100


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One condition of a budget: an upper bound of a cost, or a lower bound of what should be high."""

    text: str
    name: str
    """In `conditions.FIELDS`."""
    limit: float
    """In the field's unit."""

    def is_met_by(self, value: float) -> bool:
        return value <= self.limit if FIELDS[self.name].better == "lower" else value >= self.limit


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a record meets a bound."""

    bound: Bound
    is_met: bool
    value: float | None
    """As it was measured; None if it was not."""
    worse_end: float | None
    """What was compared with the bound: of a time the worse end of its 95 % interval, else the value itself. None if it
    is not known."""
    reason: str
    """One clause for people, with the number that came and the bound."""


@dataclass(frozen=True)
class Budget:
    """Bounds that must all be met, of one field each."""

    bounds: tuple[Bound, ...]

    def __str__(self) -> str:
        return ",".join(each.text for each in self.bounds)

    def verdicts(self, record: Record, *, reference_score: float | None = None) -> list[Verdict]:
        """Compare a record of the benchmark with each bound.

        A time meets its bound if the worse end of its 95 % interval does; a score, a drop, memory and bytes, if the
        value does. What was not measured meets nothing.

        Args:
            reference_score: from which `drop` counts, in points; None: there is none.
        """
        score = value_of(record, "score")
        drop = reference_score - score if score is not None and reference_score is not None else None
        return [give_verdict(bound, {**record, "drop": drop}) for bound in self.bounds]


def parse_budget(text: str) -> Budget:
    """ "p50<=8ms,score>=80" -> two bounds.

    Raises:
        InputError: a condition is malformed, contradicts another one or repeats it, or could not be wanted: a time of
            at least so much, a size of 0, a change in percent.
    """
    terms = BUDGET.read(text)
    seen: dict[str, Term] = {}
    for term in terms:
        if other := seen.get(term.name):
            fault = "bound the same value twice; keep one" if term.sign == other.sign else describe_pair(term, other)
            raise InputError(f"--budget: {other.text!r} and {term.text!r} {fault}")
        seen[term.name] = term
    return Budget(tuple(map(bound_of, terms)))


def describe_pair(term: Term, other: Term) -> str:
    """What is wrong with an upper and a lower bound of one field."""
    low, high = sorted((term, other), key=lambda each: each.sign, reverse=True)
    if low.value > high.value:
        return "contradict each other"
    return f"are a range; a budget bounds {term.name} from one side, as in '{term.name}{usual_sign(term)}...'"


def usual_sign(term: Term) -> str:
    return SIGNS[FIELDS[term.name].better]


def bound_of(term: Term) -> Bound:
    """The bound that a term states.

    Raises:
        InputError: nobody could want it, or nothing could meet it.
    """
    if term.has_sign:
        raise InputError(
            f"--budget {term.text!r}: a budget takes the value itself, without + or -; for points below the reference "
            "write 'drop<=0.5'"
        )
    if term.sign != usual_sign(term):
        side = "above" if usual_sign(term) == "<=" else "below"
        raise InputError(
            f"--budget {term.text!r} would ask for a worse model; a budget bounds {term.name} from {side}, as in "
            f"{term.text.replace(term.sign, usual_sign(term))!r}"
        )
    if term.value == 0 and term.name != "drop":  # no points lost is a wish that can be met
        raise InputError(f"--budget {term.text!r}: the bound must be above 0")
    if term.name == "score" and term.value > LARGEST_SCORE:
        raise InputError(f"--budget {term.text!r}: a score is at most {LARGEST_SCORE} points")
    return Bound(text=term.text, name=term.name, limit=term.value)


def give_verdict(bound: Bound, record: Record) -> Verdict:
    """The verdict on one bound. The record has the field `drop`, None if it is not known."""
    field, value = FIELDS[bound.name], value_of(record, bound.name)
    if value is None:
        return Verdict(
            bound=bound, is_met=False, value=None, worse_end=None, reason=f"{bound.text}: {bound.name} was not measured"
        )
    unit = f" {field.unit}" if field.unit else ""
    came = f"{bound.text}: {bound.name} is {value:.4g}{unit}"
    if field.percentile is None:
        is_met = bound.is_met_by(value)
        return Verdict(bound=bound, is_met=is_met, value=value, worse_end=value, reason=came)
    worse_end = worse_end_of(bound.name, record)
    if worse_end is None:
        more = missing_runs(record["runs"], field.percentile)
        came += (
            f", but {record['runs']} runs are too few for a bound with 95 % confidence; about {more} more are needed"
        )
        return Verdict(bound=bound, is_met=False, value=value, worse_end=None, reason=came)
    came += f", with 95 % confidence at {'most' if field.better == 'lower' else 'least'} {worse_end:.4g}{unit}"
    return Verdict(bound=bound, is_met=bound.is_met_by(worse_end), value=value, worse_end=worse_end, reason=came)


def worse_end_of(name: str, record: Record) -> float | None:
    """The slower end of the 95 % interval of a time, or of images per second; None if there is none."""
    interval: Any = record.get(f"p{FIELDS[name].percentile}_interval_95_ms")
    slowest_ms = interval[1] if interval else None
    if slowest_ms is None or name != "images_per_second":
        return slowest_ms
    return 1000 * record["batch"] / slowest_ms


def missing_runs(runs: int, percentage: int) -> int:
    """About how many runs more an upper bound of a percentile takes: as many again, where the number alone would do but
    the rounds differ too much."""
    needed = runs_for_upper_bound(percentage)
    return needed - runs if needed > runs else runs
