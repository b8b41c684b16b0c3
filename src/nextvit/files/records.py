"""Dataclasses to plain JSON values and back, for configurations, cards and manifests."""

import math
import types
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nextvit.errors import InputError, did_you_mean, shorten
from nextvit.files.limits import MAX_INTEGER

Record = TypeVar("Record")


def to_plain(record: Any) -> dict[str, Any]:
    """A dataclass as values that JSON and YAML can hold: lists for tuples, dicts for nested dataclasses."""
    return {name: to_plain_value(value) for name, value in asdict(record).items()}


def to_plain_value(value: Any) -> Any:
    """A value with lists for tuples, at any depth."""
    if isinstance(value, dict):
        return {name: to_plain_value(each) for name, each in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [to_plain_value(each) for each in cast("list[Any]", value)]
    return value


def from_plain(kind: type[Record], values: Any, *, what: str) -> Record:
    """The inverse of `to_plain`.

    Args:
        kind: the dataclass.
        values: the value of each field; a nested dataclass must already be an instance.
        what: names the source of the values in messages.

    Raises:
        InputError: a field is unknown, missing, of another type, or has a value that the dataclass refuses.
    """
    if not isinstance(values, dict):
        raise InputError(f"{what}: damaged (expected named values, got {type(values).__name__})")
    named_values = cast(dict[Any, Any], values)
    known = {field.name: field for field in fields(cast(Any, kind))}
    for name in named_values:
        if name not in known:
            raise InputError(f"{what}: unknown field {shorten(repr(name))}; {did_you_mean(name, known)}")
    for name, field in known.items():
        if name not in named_values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{what}: lacks {name!r}")
    hints = get_type_hints(kind)
    converted = {
        name: tuple(cast("list[Any]", each)) if isinstance(each, list) else each for name, each in named_values.items()
    }
    for name, value in converted.items():
        if not matches_type(value, hints[name]):
            raise InputError(f"{what}: damaged ({name} cannot be {shorten(repr(named_values[name]), 40)})")
    try:
        return kind(**converted)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def check_types(values: Any, types_of: dict[str, Any], *, what: str, required: Sequence[str] = ()) -> None:
    """Check the fields of a record that are read back; others may be anything.

    Args:
        types_of: the annotated type of each field that is read back; lists count as tuples.
        what: names the source of the values in messages.
        required: the fields that must be there.

    Raises:
        InputError: it is no record, lacks a field, or a field is of another type.
    """
    if not isinstance(values, dict):
        raise InputError(f"{what}: damaged (expected named values, got {type(values).__name__})")
    record = cast(dict[str, Any], values)
    for name in required:
        if name not in record:
            raise InputError(f"{what}: damaged (it lacks {name})")
    for name in types_of.keys() & record.keys():
        value = record[name]
        if not matches_type(tuple(cast("list[Any]", value)) if isinstance(value, list) else value, types_of[name]):
            raise InputError(f"{what}: damaged ({name} cannot be {shorten(repr(value), 40)})")


def matches_type(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, for the few kinds of annotations that our dataclasses have.

    Numbers are finite, and whole ones fit into 64 bits.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(matches_type(value, each) for each in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return isinstance(value, tuple) and all(
                matches_type(each, arguments[0]) for each in cast("tuple[Any]", value)
            )
        is_same_length = isinstance(value, tuple) and len(cast("tuple[Any]", value)) == len(arguments)
        return is_same_length and all(
            matches_type(*pair) for pair in zip(cast("tuple[Any]", value), arguments, strict=True)
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            matches_type(name, arguments[0]) and matches_type(each, arguments[1])
            for name, each in cast(dict[Any, Any], value).items()
        )
    if hint is float:
        return (isinstance(value, float) and math.isfinite(value)) or matches_type(value, int)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER
    return isinstance(value, hint)
