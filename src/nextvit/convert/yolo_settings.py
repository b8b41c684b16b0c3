"""Read data.yaml, or obj.data of the older YOLO: what a set in YOLO's format says of itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from nextvit.convert.foreign import Record
from nextvit.convert.source_files import SourceFiles, suffix_of
from nextvit.convert.text_file import read_text
from nextvit.data.split_names import standard_split
from nextvit.errors import InputError
from nextvit.files.structured_text import read_yaml

DATA_SUFFIX = ".data"
DECISIVE = frozenset({"names", "kpt_shape", "task"})
"""Entries beside the splits in which two files of one folder must agree."""
MISSING = frozenset({"", "null", "~", "none"})
"""What an entry without value may look like, as text."""


@dataclass(frozen=True)
class SplitEntry:
    """What a file states of one split."""

    file: str
    split: str
    base: str
    """The folder that relative paths count from, as it is written."""
    paths: Sequence[str]
    """Folders, or lists of images."""


@dataclass(frozen=True)
class Settings:
    """All texts stay as they stand in the file: no, 007 and 12:30 are names, too."""

    files: Sequence[str] = ()
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    """The entry `names` by file, as written."""
    entries: Sequence[SplitEntry] = ()
    names_files: Sequence[str] = ()
    """Files with class names that are stated instead, as they are written."""
    others: Record = field(default_factory=dict[str, Any])
    """All entries of the first file but the names."""

    @property
    def source(self) -> str:
        """The file of `others`, for messages."""
        return self.files[0] if self.files else ""


def read_settings(files: SourceFiles) -> Settings:
    """Read the YAML files with class names: those in the folder itself, or else all below it.

    Raises:
        InputError: a file is damaged, or two files in one folder state different things.
    """
    paths = files.with_suffix(".yaml", ".yml")
    contents = (
        read_yaml_files(files, [path for path in paths if "/" not in path])
        or read_yaml_files(files, [path for path in paths if "/" in path])
        or read_data_files(files)
    )
    first = dict[str, str]()
    for path, content in contents.items():
        other = first.setdefault(str(PurePosixPath(path).parent), path)
        if keep_meaning(contents[other]) != keep_meaning(content):
            raise InputError(
                f"{files.root}: {other} and {path} state different things, such as the folds of a cross-validation; "
                "keep one of them in the folder"
            )
    used = list(first.values())
    return Settings(
        files=list(contents),
        names={path: contents[path]["names"] for path in contents if not is_data_file(path)},
        names_files=[contents[path]["names"] for path in contents if is_data_file(path) and "names" in contents[path]],
        entries=[entry for path in used for entry in read_entries(path, contents[path])],
        others={key: value for path in used[:1] for key, value in contents[path].items() if key != "names"},
    )


def keep_meaning(content: Record) -> Record:
    """The entries that decide what is read."""
    return {key: value for key, value in content.items() if key in DECISIVE or standard_split(key)}


def read_yaml_files(files: SourceFiles, paths: Sequence[str]) -> dict[str, Record]:
    """The contents of those YAML files that have class names."""
    contents = {path: read_yaml(files.root / path, as_text=True) for path in paths}
    return {path: content for path, content in contents.items() if isinstance(content, dict) and "names" in content}


def nearest(paths: Iterable[str]) -> list[str]:
    """Of files in several folders, those in the folder of the dataset itself if there are any, else all."""
    paths = list(paths)
    return [path for path in paths if "/" not in path] or paths


def is_data_file(path: str) -> bool:
    """Whether settings are those of the older YOLO."""
    return suffix_of(path) == DATA_SUFFIX


def read_data_files(files: SourceFiles) -> dict[str, Record]:
    """The entries of obj.data, whose names are those of a file."""
    contents: dict[str, Record] = {}
    for path in nearest(files.with_suffix(DATA_SUFFIX)):
        lines = [line.partition("=") for line in read_text(files.root / path).splitlines()]
        entries = {key.strip(): value.strip() for key, equals, value in lines if equals}
        if any(standard_split(key) for key in entries):
            contents[path] = entries
    return contents


def read_entries(path: str, content: Record) -> list[SplitEntry]:
    """What a file states of each split."""
    folder, base = str(PurePosixPath(path).parent), content.get("path", "")
    base = base if isinstance(base, str) and base not in MISSING else ""
    entries: dict[str, SplitEntry] = {}
    for key, value in content.items():
        split = standard_split(key)
        if split is None:
            continue
        paths = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in paths):
            raise InputError(f"{path}: {key} must be a path or a list of paths, got {value!r:.60}")
        paths = [each for each in paths if each not in MISSING]
        if not paths:
            continue
        if split in entries:
            raise InputError(f"{path}: states the split {split} twice; keep one of the entries")
        entries[split] = SplitEntry(path, split, f"{folder}/{base}", paths)
    return list(entries.values())
