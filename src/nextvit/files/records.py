"""Dataclasses to plain JSON values and back: one way for configurations, cards and manifests."""

import types
from dataclasses import MISSING, asdict, fields
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from nextvit.errors import InputError, did_you_mean

Record = TypeVar("Record")


def to_plain(record: Any) -> dict[str, Any]:
    """Values that survive JSON and YAML: lists for tuples, dicts for nested dataclasses."""
    return {name: plain(value) for name, value in asdict(record).items()}


def plain(value: Any) -> Any:
    """One value, with lists for tuples at any depth."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in cast("list[Any]", value)]
    return value


def from_plain(kind: type[Record], values: Any, *, what: str) -> Record:
    """The inverse of `to_plain`; nested dataclasses must have been made before. `what` names the source in messages.

    Raises:
        InputError: a field is unknown, missing, of another type, or has a value that the dataclass refuses.
    """
    if not isinstance(values, dict):
        raise InputError(f"{what}: damaged (expected named values, got {type(values).__name__})")
    given = cast(dict[str, Any], values)
    known = {field.name: field for field in fields(cast(Any, kind))}
    for name in given:
        if name not in known:
            raise InputError(f"{what}: unknown field {name!r}; {did_you_mean(name, known)}")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{what}: lacks {name!r}")
    hints = get_type_hints(kind)
    converted = {
        name: tuple(cast("list[Any]", each)) if isinstance(each, list) else each for name, each in given.items()
    }
    for name, value in converted.items():
        if not fits(value, hints[name]):
            raise InputError(f"{what}: damaged ({name} cannot be {str(given[name])[:40]!r})")
    try:
        return kind(**converted)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, for the few kinds of types that records have."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(fits(value, each) for each in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return isinstance(value, tuple) and all(fits(each, arguments[0]) for each in cast("tuple[Any]", value))
        same = isinstance(value, tuple) and len(cast("tuple[Any]", value)) == len(arguments)
        return same and all(fits(*pair) for pair in zip(cast("tuple[Any]", value), arguments, strict=True))
    if origin is dict:
        named = isinstance(value, dict)
        return named and all(fits(each, arguments[1]) for each in cast(dict[str, Any], value).values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)
