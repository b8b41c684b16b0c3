"""The names of YOLO's classes, from data.yaml or from a text file with a name in each line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nextvit.convert.file_index import FileIndex
from nextvit.convert.source_files import SourceFiles, suffix_of
from nextvit.convert.yolo_settings import Settings, nearest
from nextvit.data.class_names import normalize_class_name
from nextvit.errors import InputError
from nextvit.files.regular import read_regular
from nextvit.files.structured_text import decode

NAME_FILES = frozenset({"classes.txt", "predefined_classes.txt", "_darknet.labels"})
MAX_BYTES = 2**22


@dataclass(frozen=True)
class ClassNames:
    by_number: dict[int, str]
    """Ascending; there may be gaps."""
    files: Sequence[str]
    """The files that say so."""
    unused: Sequence[str]
    """Files that say otherwise, further down."""
    remarks: Sequence[str]


def is_names_file(path: str) -> bool:
    """Whether a text file is known to hold class names, by its own name."""
    return PurePosixPath(path).name.lower() in NAME_FILES or suffix_of(path) == ".names"


def read_names(files: SourceFiles, settings: Settings) -> ClassNames:
    """Class names by number. Files in the dataset's own folder come before those further down.

    Raises:
        InputError: there are none, or two files of the same rank contradict each other.
    """
    found = {path: number_names(path, names) for path, names in settings.names.items()}
    index = FileIndex(files.paths)
    stated = [path for written in settings.names_files for path in index.find(written)]
    for path in dict.fromkeys([*stated, *filter(is_names_file, files.paths)]):
        found[path] = read_names_file(files, path)
    if not found:
        raise InputError(f"{files.root}: no class names; expected data.yaml with names, or classes.txt")
    first, *others = nearest(found)
    for path in others:
        if found[path] != found[first]:
            raise InputError(
                f"{files.root}: {first} and {path} name the classes differently; keep the right one, or convert "
                "the folders one by one"
            )
    unused = [path for path in found if found[path] != found[first]]
    count = settings.others.get("nc", settings.others.get("classes"))
    if isinstance(count, str) and count.isdecimal() and int(count) != len(found[first]):
        raise InputError(f"{settings.files[0]}: states {count} classes, {first} names {len(found[first])}")
    return ClassNames(
        by_number=found[first],
        files=[path for path in found if path not in unused],
        unused=unused,
        remarks=[f"class names: from {first}"] if unused else [],
    )


def read_names_file(files: SourceFiles, path: str) -> dict[int, str]:
    """The name in each line; a line without one leaves a gap."""
    file = files.root / path
    lines = decode(read_regular(file, max_bytes=MAX_BYTES), what=str(file)).splitlines()
    while lines and not normalize_class_name(lines[-1]):
        lines.pop()
    return check_names(
        path, {number: name for number, line in enumerate(lines) if (name := normalize_class_name(line))}
    )


def number_names(path: str, names: Any) -> dict[int, str]:
    """Class names by number, ascending, from a list or a dict of texts."""
    pairs = {str(number): name for number, name in enumerate(names)} if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not pairs or not all(re.fullmatch(r"[0-9]{1,9}", key) for key in pairs):
        raise InputError(f"{path}: names must be a list, or a dict with numbers as keys, got {names!r:.60}")
    if wrong := [name for name in pairs.values() if not isinstance(name, str) or not normalize_class_name(name)]:
        raise InputError(f"{path}: a class name must be a text, got {wrong[0]!r:.60}")
    return check_names(path, {int(key): normalize_class_name(pairs[key]) for key in sorted(pairs, key=int)})


def check_names(path: str, names: dict[int, str]) -> dict[int, str]:
    """The names, of which no two may be equal."""
    first: dict[str, int] = {}
    for number, name in names.items():
        if (other := first.setdefault(name, number)) != number:
            raise InputError(f"{path}: the classes {other} and {number} are both named {name!r}; rename one")
    return names
