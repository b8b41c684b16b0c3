"""Every field of every recipe as a flag, grouped by the tasks that have it: made from the dataclasses of the
settings."""

from dataclasses import MISSING, field, fields, make_dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cyclopts import Group, Parameter
from docstring_parser import parse_from_object

from nextvit.tasks.task import TASKS, get_task
from nextvit.train.recipe import Recipe
from nextvit.train.recipe_sections import TASK, Sections, section_types

GROUPS = {
    frozenset(TASKS): "Settings of every task",
    frozenset({"classification", "multilabel"}): "Settings of classifiers that learn from labels",
    frozenset({"classification", "multilabel", "distillation"}): "Settings of classifiers",
    frozenset({"distillation"}): "Settings of classifiers that learn from a teacher alone",
    frozenset({"detection"}): "Settings of detectors",
    frozenset({"segmentation"}): "Settings of segmentation models",
    frozenset({"detection", "segmentation"}): "Settings of detectors and segmentation models",
}

OURS = {"__module__": __name__}
"""Where the classes are from: cyclopts takes those of the standard library for plain values."""


@cache
def recipe_flags() -> type:
    """A dataclass of the sections of all tasks, of whose fields none has a value: what is given on the command line
    has."""
    sections: dict[str, dict[str, list[tuple[str, Any, str, Any]]]] = {}
    for task in TASKS:
        for parent in (Recipe, get_task(task).settings):
            for section, kind in section_types(parent).items():
                if section != TASK:
                    add_fields(sections.setdefault(section, {}), task, kind)
    kinds = {
        section: make_dataclass(
            section.capitalize(),
            [(name, flag_type(variants), field(default=None)) for name, variants in found.items()],
            namespace=OURS,
            frozen=True,
            kw_only=True,
        )
        for section, found in sections.items()
    }
    return make_dataclass(
        "RecipeFlags",
        [(section, kind, field(default_factory=kind)) for section, kind in kinds.items()],
        namespace=OURS,
        frozen=True,
        kw_only=True,
    )


def add_fields(found: dict[str, list[tuple[str, Any, str, Any]]], task: str, kind: type) -> None:
    """Add the fields of a section as a task has it: (task, type, meaning, default)."""
    meanings = {each.arg_name: each.description or "" for each in parse_from_object(kind).params}
    for each in fields(kind):
        default = each.default if each.default is not MISSING else None
        found.setdefault(each.name, []).append((task, each.type, meanings.get(each.name, ""), default))


def flag_type(variants: list[tuple[str, Any, str, Any]]) -> Any:
    """The type of a flag, with its help; where tasks describe a field differently, each description names its tasks."""
    tasks = frozenset(task for task, *_ in variants)
    described: dict[str, list[str]] = {}
    for task, _, meaning, _ in variants:
        described.setdefault(" ".join(meaning.split()), []).append(task)
    help_text = next(iter(described))
    if len(described) > 1:
        help_text = "; ".join(f"{' and '.join(names)}: {meaning.rstrip('.')}" for meaning, names in described.items())
    default = variants[0][3]
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
    suffix = f" [default: {shown}]" if default is not None and default != () else ""
    group = Group(
        GROUPS.get(tasks, "Settings of " + " and ".join(sorted(tasks))), sort_key=10 + len(TASKS) - len(tasks)
    )
    return Annotated[union_of([kind for _, kind, _, _ in variants]), Parameter(help=help_text + suffix, group=group)]


def union_of(types: list[Any]) -> Any:
    """What any of the types takes; literals together, each value once. Not None, the value of what is not given: the
    parser would take the word "none" for it."""
    members = [member for kind in types for member in (get_args(kind) if is_union(kind) else (kind,))]
    values = dict.fromkeys(value for each in members if get_origin(each) is Literal for value in get_args(each))
    others = [each for each in dict.fromkeys(members) if get_origin(each) is not Literal]
    return Union[(*others, *((Literal[tuple(values)],) if values else ()))]


def is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def given_sections(flags: Any) -> Sections:
    """The fields that were given, section by section."""
    sections: Sections = {}
    for section in fields(flags):
        values = getattr(flags, section.name)
        given = {each.name: value for each in fields(values) if (value := getattr(values, each.name)) is not None}
        if given:
            sections[section.name] = given
    return sections
