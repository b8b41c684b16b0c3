"""Dataclasses to plain JSON values and back: one way for configurations, cards and manifests."""

from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar, cast

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
    """The inverse of `to_plain` for a dataclass without nested ones; `what` names the source in messages.

    Raises:
        InputError: a field is unknown, missing, or has a value that the dataclass refuses.
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
    try:
        return kind(
            **{
                name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
                for name, value in given.items()
            }
        )
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: damaged ({error})") from None
