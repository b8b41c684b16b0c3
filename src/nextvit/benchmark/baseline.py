"""The comparison with an earlier benchmark, for continuous integration: --baseline FILE --fail-if "p50>+5%"."""

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from nextvit.benchmark.conditions import FIELDS, Grammar, Term, value_of
from nextvit.errors import InputError

Record = dict[str, Any]
Key = tuple[Any, ...]

FAIL_IF = Grammar(
    flag="--fail-if",
    fields=[name for name, each in FIELDS.items() if each.in_fail_if],
    signs=("<", ">"),
    takes_percent=True,
    accepted="accepted: a field, > or <, and a value as in 'p50>+5%', 'p90>+1.5ms' (against the baseline), 'p50>12ms', "
    "'images_per_second<100' (the value itself), several with commas",
)
MACHINE_INDEPENDENT = {"size", "score"}


@dataclass(frozen=True)
class Condition:
    """A condition under which a benchmark fails: a field is above (or below) a value, or its baseline plus a value."""

    text: str
    name: str
    fails_above: bool
    value: float
    is_relative: bool
    """Whether `value` is relative to the baseline (written with a sign)."""
    is_percent: bool

    def limit(self, before: float | None) -> float:
        """The limit in the field's unit. `before` is the value in the baseline."""
        if not self.is_relative:
            return self.value
        assert before is not None, "a relative condition has a baseline"
        return before * (1 + self.value / 100) if self.is_percent else before + self.value

    def is_violated(self, now: float, before: float | None) -> bool:
        return now > self.limit(before) if self.fails_above else now < self.limit(before)


def parse_conditions(text: str) -> list[Condition]:
    """ "p50>+5%,size>100" -> two conditions.

    Raises:
        InputError: a condition is malformed, or its field is unknown.
    """
    return [condition_of(term) for term in FAIL_IF.read(text)]


def condition_of(term: Term) -> Condition:
    if term.is_percent and term.name == "score":
        raise InputError(f"--fail-if {term.text!r}: a score changes by points, write it without %, as in 'score<-0.5'")
    if term.is_percent and not term.has_sign:
        raise InputError(
            f"--fail-if {term.text!r}: a percentage is against the baseline and needs a sign, as in '{term.name}>+5%'"
        )
    return Condition(term.text, term.name, term.sign == ">", term.value, term.has_sign, term.is_percent)


def read_baseline(path: Path) -> list[Record]:
    """The records of a file of JSON lines, or of the one document that `nextvit bench --json` prints.

    Raises:
        InputError: the file is not there, is damaged, or holds no configuration that was measured.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the baseline {path}: {getattr(error, 'strerror', None) or 'it is not text'}"
        ) from None
    records: list[Record] = []
    for place, each in read_entries(path, text):
        if not isinstance(each, dict) or not {*KEY, "p50_ms"} <= each.keys():
            continue
        if fault := find_damage(each):
            raise InputError(f"{path}, {place}: damaged ({fault}); repair it, or measure a new baseline")
        records.append(each)
    if not records:
        raise InputError(f"{path}: holds no measured configuration; write one with nextvit bench ... --json > {path}")
    return records


def read_entries(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The entries of a file, each with its place in it, for error messages."""
    try:
        yield from unpack_document(json.loads(text), place="")
        return
    except ValueError:
        pass  # JSON lines, or not JSON at all
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                document = json.loads(line)
            except ValueError:
                raise InputError(
                    f"{path}, line {number}: neither JSON lines nor the document of nextvit bench --json"
                ) from None
            yield from unpack_document(document, place=f"line {number}")


def unpack_document(document: Any, *, place: str) -> Iterator[tuple[str, Any]]:
    """The records of the document of `nextvit bench --json` or of a list; else the document is the only record."""
    results = document.get("results") if isinstance(document, dict) else document
    if not isinstance(results, list):
        yield place or "its one record", document
        return
    for number, each in enumerate(results, start=1):
        yield f"{place + ', ' if place else ''}result {number}", each


def find_damage(record: Record) -> str | None:
    """Why a record cannot be compared; None if it can."""
    if not isinstance(record["model"], str):
        return f"model is not text: {reprlib.repr(record['model'])}"
    machine = record.get("environment")
    if not isinstance(machine, dict) or not isinstance(machine.get("versions", {}), dict):
        return "it has no environment, which says what it was measured with"
    for name in (FIELDS[each].key for each in FAIL_IF.fields):
        value = record.get(name)
        if isinstance(value, dict) and name == "score":
            value = value.get("value")
        elif value is None and name != "p50_ms":
            continue  # not measured
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return f"{name} is not a finite number: {reprlib.repr(value)}"
    return None


KEY = ("model", "backend", "precision", "threads", "batch", "image_size")


def configuration_key(record: Record) -> Key:
    """Equal for two records of the same configuration, apart from the bundle and the device."""
    model = PurePath(record["model"]).as_posix()
    return (model, record.get("part", "whole"), *(str(record.get(name)) for name in KEY[1:]))


def is_same(record: Record, old: Record) -> bool:
    """Whether both are of one configuration.

    A run may have several bundles of one backend and precision. An older record does not name its bundle, and matches
    any.
    """
    same_bundle = "bundle" not in record or old.get("bundle", record["bundle"]) == record["bundle"]
    return (
        same_bundle
        and configuration_key(record) == configuration_key(old)
        and record.get("device", "cpu") == old.get("device", "cpu")
    )


def is_lost(unavailable: Record, old: Record) -> bool:
    """Whether what could not be measured now is what an old record measured.

    The unavailable one has no device, which only a session reports, and no bundle if the file itself is missing.
    """
    bundle = unavailable.get("bundle")
    return configuration_key(unavailable) == configuration_key(old) and (
        not bundle or old.get("bundle", bundle) == bundle
    )


@dataclass
class Outcome:
    """The result of the conditions: the benchmark fails if `failed` holds a reason."""

    failed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def evaluate_conditions(
    now: Sequence[Record], baseline: Sequence[Record] | None, conditions: Sequence[Condition]
) -> Outcome:
    """Check each condition on each measured configuration, against the same configuration of the baseline.

    Only the numbers decide: a condition fails exactly when its field is beyond the limit, whatever the noise, so that
    the same two files always give the same result. The margin for noise is part of the condition; a failure says
    whether the machine was busy. (To distinguish a small loss from a slow machine, measure the old bundle beside the
    new one, and use `ratio>1.02`: it compares within the same rounds and needs no baseline.)

    A configuration without a baseline, or without the field of a condition, is a warning. A configuration of the
    baseline that was selected now and could not be measured is a failure. Backbones alone are not evaluated: a user
    runs the whole detector.

    Raises:
        InputError: a relative condition has no baseline, or one from another CPU (except for sizes and scores), or no
            configuration has the field of a condition: a check that checks nothing must not pass.
    """
    # 1. Find the baseline of each configuration
    outcome = Outcome()
    now = [each for each in now if each.get("part", "whole") == "whole"]
    relative = [condition for condition in conditions if condition.is_relative]
    if relative and baseline is None:
        raise InputError(
            f"--fail-if {relative[0].text!r} compares with a baseline; add --baseline FILE, or write it without a sign"
        )
    measured = [record for record in now if "unavailable" not in record]
    before = [find_baseline_record(record, baseline or []) for record in measured]
    if relative:
        require_same_cpu(measured, before, relative)
        outcome.failed += find_lost_configurations(now, baseline or [])
        outcome.warnings += comparison_warnings(measured, before)

    # 2. Check each condition
    for condition in conditions:
        is_checked = False
        for record, old in zip(measured, before, strict=True):
            value, reference = value_of(record, condition.name), value_of(old, condition.name) if old else None
            if value is None or (condition.is_relative and reference is None):
                if value is None or old:  # a missing baseline is a warning already
                    outcome.warnings.append(
                        f"{describe(record)}: {condition.name} was not measured, so {condition.text} was not checked"
                    )
                continue
            is_checked = True
            if condition.is_violated(value, reference):
                outcome.failed.append(failure_message(condition, record, value, reference))
        if not is_checked:
            where = " here and in the baseline" if condition.is_relative else ""
            raise InputError(f"--fail-if {condition.text!r}: no configuration has {condition.name}{where}")
    return outcome


def find_baseline_record(record: Record, baseline: Sequence[Record]) -> Record | None:
    """The newest record of the same configuration; among several (bundles of one run), the one of the same name."""
    same = [each for each in baseline if is_same(record, each)]
    named = [each for each in same if each.get("name") == record.get("name")]
    return (named or same or [None])[-1]


def find_lost_configurations(now: Sequence[Record], baseline: Sequence[Record]) -> list[str]:
    """Failures: configurations of the baseline that could not be measured now."""
    return [
        f"{describe(record)}: is in the baseline, but could not be measured now: {record['unavailable']}"
        for record in now
        if "unavailable" in record and any(is_lost(record, old) for old in baseline)
    ]


def comparison_warnings(measured: Sequence[Record], before: Sequence[Record | None]) -> list[str]:
    """Warnings: configurations without a baseline, and different versions of packages."""
    warnings = [
        f"{describe(record)}: not in the baseline, so not compared"
        for record, old in zip(measured, before, strict=True)
        if old is None
    ]
    pairs = [(record["environment"], old["environment"]) for record, old in zip(measured, before, strict=True) if old]
    changed: dict[str, None] = {}
    for here, there in pairs:
        if here.get("cores") != there.get("cores"):
            changed[f"{there.get('cores')} cores (now {here.get('cores')})"] = None
        for package, version in there.get("versions", {}).items():
            current = here.get("versions", {}).get(package)
            # A new version of nextvit is what the comparison tests.
            if package != "nextvit" and current and current != version:
                changed[f"{package} {version} (now {current})"] = None
    return [*warnings, *([f"the baseline was measured with {', '.join(changed)}"] if changed else [])]


def require_same_cpu(
    measured: Sequence[Record], before: Sequence[Record | None], conditions: Sequence[Condition]
) -> None:
    """Raise InputError if a condition on times would compare two CPUs: that says nothing about the software."""
    timed = [condition for condition in conditions if condition.name not in MACHINE_INDEPENDENT]
    for record, old in zip(measured, before, strict=True):
        here, there = record["environment"].get("cpu"), old["environment"].get("cpu") if old else None
        if timed and there and here != there:
            raise InputError(
                f"--fail-if {timed[0].text!r}: the baseline was measured on {there!r}, this machine is {here!r}; "
                f"measure a baseline here, or check only {' and '.join(sorted(MACHINE_INDEPENDENT))}"
            )


def describe(record: Record) -> str:
    return f"{record['name']} (batch {record['batch']}, threads {record['threads']})"


def failure_message(condition: Condition, record: Record, value: float, before: float | None) -> str:
    """One line that says why a condition failed. `before` is the value in the baseline."""
    unit = FIELDS[condition.name].unit
    unit = f" {unit}" if unit and condition.name != "score" else ""
    text = f"{describe(record)}: {condition.name} {value:.4g}{unit}"
    if condition.is_relative and before is not None:
        change = f"{value / before - 1:+.1%}" if condition.is_percent and before else f"{value - before:+.4g}"
        text += f", {before:.4g}{unit} in the baseline ({change})"
    return text + f", fails {condition.text}{'; the machine was busy' if record.get('busy') else ''}"
