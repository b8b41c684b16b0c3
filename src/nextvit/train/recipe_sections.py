"""A recipe as sections of fields, as files and flags have it, and back.

The settings of a task stand among the others: its sections under their own names, its fields of `data` beside those
that every task has.
"""

from dataclasses import fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nextvit.errors import InputError, did_you_mean, shorten
from nextvit.files.records import from_plain, matches_type, to_plain, to_plain_value
from nextvit.image.resizing import FORMER_NAMES
from nextvit.tasks.task import TASKS, get_task
from nextvit.train.recipe import Recipe

Sections = dict[str, dict[str, Any]]

TASK = "task"
"""The key of a recipe file that names the task; files that were written before tasks had settings of their own lack
it."""


def to_sections(recipe: Recipe) -> Sections:
    """The plain values of a recipe, section by section."""
    values = to_plain(recipe)
    own = values.pop(TASK)
    sections: Sections = {}
    for name in (*values, *own):
        sections[name] = {**values.get(name, {}), **own.get(name, {})}
    return sections


def from_sections(task: str, sections: Sections, *, source: str) -> Recipe:
    """The recipe of a task with the values of some fields; the others have their defaults.

    Args:
        source: names where the values are from, for messages.

    Raises:
        InputError: a section or a field is unknown, or another task's, or a value is of a wrong type or refused.
    """
    check_fields(task, sections, source=source)
    common = {
        each.name: typed_section(Recipe, each.name, sections, source) for each in fields(Recipe) if each.name != TASK
    }
    settings = get_task(task).settings
    own = {each.name: typed_section(settings, each.name, sections, source) for each in fields(settings)}  # pyright: ignore
    return Recipe(**common, task=settings(**own))


def typed_section(parent: type, name: str, sections: Sections, source: str) -> Any:
    """The section `name` of a dataclass of sections, from those of its fields that are given."""
    kind = section_types(parent)[name]
    known = {each.name for each in fields(kind)}
    given = {field: value for field, value in sections.get(name, {}).items() if field in known}
    hints = get_type_hints(kind)
    for field, value in given.items():
        typed = tuple(value) if isinstance(value, list) else value
        if not matches_type(typed, hints[field]):
            raise InputError(
                f"{source}: {name}.{field} cannot be {shorten(repr(value))}; accepted: {describe_type(hints[field])}"
            )
    return from_plain(kind, given, what=f"{source}, {name}")


def describe_type(hint: Any) -> str:
    """The values of an annotated type, for people."""
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return ", ".join(describe_type(each) for each in get_args(hint))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(hint, str(hint))


def section_types(parent: type) -> dict[str, type]:
    """The sections of a dataclass of sections, by name."""
    return {each.name: each.default_factory for each in fields(parent)}  # pyright: ignore


def fields_of_tasks() -> dict[tuple[str, str], set[str]]:
    """Each field of each section, with the tasks that have it; a field that every task has, with all of them."""
    found: dict[tuple[str, str], set[str]] = {}
    for task in TASKS:
        for parent in (Recipe, get_task(task).settings):
            for section, kind in section_types(parent).items():
                if section != TASK:
                    for each in fields(kind):
                        found.setdefault((section, each.name), set()).add(task)
    return found


def check_fields(task: str, sections: Sections, *, source: str) -> None:
    """Raise InputError for a section or a field that the recipe of a task does not have."""
    known = fields_of_tasks()
    for section, values in sections.items():
        in_section = {field for name, field in known if name == section}
        if not in_section:
            raise InputError(
                f"{source}: no section {shorten(repr(section))}; {did_you_mean(section, {name for name, _ in known})}"
            )
        if not isinstance(values, dict):
            raise InputError(f"{source}: expected fields in the section {section!r}, got {type(values).__name__}")
        for field in values:
            if field not in in_section:
                raise InputError(
                    f"{source}: {section} has no field {shorten(repr(field))}; {did_you_mean(field, in_section)}"
                )
            if task not in known[section, field]:
                *first, last = sorted(known[section, field])
                others = f"{', '.join(first)} and {last}" if first else last
                raise InputError(f"{source}: {section}.{field} is for {others}, and this is {task}; leave it out")


def merge_sections(*layers: Sections) -> Sections:
    """Sections in which later layers win, field by field."""
    result: Sections = {}
    for layer in layers:
        for section, values in layer.items():
            result[section] = {**result.get(section, {}), **values}
    return result


def read_sections(task: str, values: dict[str, Any], *, of_run: bool) -> Sections:
    """The sections of a recipe file, in today's terms.

    Args:
        of_run: a run wrote the file. Those of the first format hold the sections of all tasks, of which only the own
            ones can differ from their defaults.
    """
    sections = {name: dict(to_plain_value(each)) if isinstance(each, dict) else each for name, each in values.items()}
    named = sections.pop(TASK, None)
    data = sections.get("data")
    if isinstance(data, dict):
        if (former := str(data.get("resize"))) in FORMER_NAMES:
            data["resize"] = FORMER_NAMES[former]
        data.pop("task", None)
    if of_run and named is None:
        known = fields_of_tasks()
        sections = {
            section: {field: value for field, value in each.items() if task in known.get((section, field), ())}
            for section, each in sections.items()
            if isinstance(each, dict)  # of others `from_sections` says what they are
        }
    return {section: each for section, each in sections.items() if each}
