"""Every file below the folder of a dataset, listed once, so that none can be forgotten."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from nextvit.data.image_files import is_data_folder, is_utf8
from nextvit.errors import InputError
from nextvit.image.reading import SUFFIXES


@dataclass(frozen=True)
class SourceFiles:
    """The files below a folder, by their paths from there, with forward slashes, sorted."""

    root: Path
    paths: tuple[str, ...]
    """Regular files, and links to them."""
    unreadable: tuple[str, ...]
    """Pipes, devices and broken links."""
    repeated: tuple[str, ...]
    """Links to folders that are listed under another name already."""

    def with_suffix(self, *suffixes: str) -> list[str]:
        """The files with one of these suffixes, in small or capital letters."""
        return [path for path in self.paths if suffix_of(path) in suffixes]

    @property
    def images(self) -> list[str]:
        """The files with the suffix of an image format."""
        return [path for path in self.paths if suffix_of(path) in SUFFIXES]


def suffix_of(path: str) -> str:
    """The suffix in small letters, with its dot."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 (10 times faster)


def list_source_files(root: Path) -> SourceFiles:
    """List a folder. Links to folders are followed, after all folders that are none, and each folder is listed once.

    Raises:
        InputError: a name is not UTF-8, so that it cannot be written into annotations.
    """
    paths: list[str] = []
    unreadable: list[str] = []
    repeated: list[str] = []
    visited: set[str] = set()
    folders: list[str] = [""]
    links: list[str] = []
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        real = os.path.realpath(root / folder)
        if real in visited:
            repeated.append(folder)
            continue
        visited.add(real)
        for entry in list_entries(root / folder):
            path = str(PurePosixPath(folder, entry.name))
            match kind_of(entry):
                case "folder":
                    (links if entry.is_symlink() else folders).append(path)
                case "file":
                    paths.append(path)
                case _:
                    unreadable.append(path)
    return SourceFiles(root, sort_paths(paths), sort_paths(unreadable), sort_paths(repeated))


def list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is directly in a folder and may be data: no hidden files and no folders of systems."""
    try:
        with os.scandir(folder) as entries:
            found = [each for each in entries if is_data_folder(each.name)]
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror or error}") from None
    for entry in found:
        if not is_utf8(entry.name):
            raise InputError(f"{folder}: the file name {os.fsencode(entry.name)!r} is not UTF-8; rename it")
    return found


def kind_of(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    """What an entry is, or what a link leads to; a link to nowhere or to itself is none of the first two."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:
        return "other"


def sort_paths(paths: list[str]) -> tuple[str, ...]:
    """Sorted folder by folder."""
    return tuple(sorted(paths, key=lambda path: path.split("/")))
