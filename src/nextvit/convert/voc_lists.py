"""Read the lists of VOC's splits in ImageSets, first of all in Main."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from nextvit.convert.file_index import FileIndex, fold
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.text_file import MAX_LIST_BYTES, read_text
from nextvit.data.split_names import standard_split
from nextvit.errors import InputError

BOTH = "trainval"


@dataclass
class StatedLists:
    """What the lists state."""

    by_file: dict[str, str] = field(default_factory=dict[str, str])
    """The split of each XML file that is in a list."""
    used: list[str] = field(default_factory=list[str])
    unused: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])


def read_lists(files: SourceFiles, set_folders: dict[str, str]) -> StatedLists:
    """The split of each XML file, by the lists of the set that it belongs to.

    Args:
        files: the files of the dataset.
        set_folders: the folder of its set, by XML file.

    Raises:
        InputError: a list names an image without XML file, or two lists name one image.
    """
    # 1. The XML files and the lists of each set
    xml_files: dict[str, list[str]] = {}
    for path, folder in set_folders.items():
        xml_files.setdefault(folder, []).append(path)
    lists: dict[str, list[str]] = {}
    for path in files.with_suffix(".txt"):
        if (folder := find_list_folder(path)) in xml_files:
            lists.setdefault(folder, []).append(path)
    # 2. What the lists state of the files
    stated = StatedLists()
    for folder, paths in lists.items():
        add_lists(files, stated, paths, {path_in_set(path, folder): path for path in xml_files[folder]})
    return stated


def find_list_folder(path: str) -> str | None:
    """The folder of the set that a list in ImageSets is of; None for a file elsewhere."""
    parts = PurePosixPath(path).parent.parts
    positions = [index for index, part in enumerate(parts) if fold(part) == "imagesets"]
    return str(PurePosixPath(*parts[: positions[0]])) if positions else None


def path_in_set(path: str, set_folder: str) -> str:
    """The path of an XML file as lists write it: below the folder of annotations, if it is in one."""
    relative = PurePosixPath(path).relative_to(set_folder)
    return str(PurePosixPath(*relative.parts[1:])) if len(relative.parts) > 1 else str(relative)


def add_lists(files: SourceFiles, stated: StatedLists, lists: Sequence[str], xml_files: dict[str, str]) -> None:
    """Add what the lists of one set state.

    Args:
        files: the files of the dataset.
        stated: what is added to.
        lists: all files in ImageSets.
        xml_files: the XML files of the set by their paths below the folder of annotations.
    """
    index = FileIndex(xml_files)
    # 1. The lists of splits
    by_split = choose_lists(lists)
    stated.used += by_split.values()
    stated.unused += [path for path in lists if path not in by_split.values()]
    # 2. Their images; those of trainval that are in neither train nor val belong to the one that has no list
    both = by_split.pop(BOTH, None)
    listed: dict[str, str] = {}
    for split, path in by_split.items():
        for line in read_lines(files, path):
            file = xml_files[find_xml(path, line, index)]
            if file in listed:
                raise InputError(f"{path}: {line!r:.200} is also in another list, or twice in this one")
            listed[file] = split
    if both:
        split = "val" if "train" in by_split and "val" not in by_split else "train"
        in_both = [xml_files[find_xml(both, line, index)] for line in read_lines(files, both)]
        remaining = [file for file in in_both if file not in listed]
        listed |= dict.fromkeys(remaining, split)
        if remaining:
            stated.remarks.append(f"{split}: {len(remaining)} images that are in {both}, but in no other list")
    stated.by_file |= listed


def choose_lists(lists: Sequence[str]) -> dict[str, str]:
    """The list of each split: in Main, else in ImageSets itself, else in the only other folder with such lists.

    Raises:
        InputError: two lists are of one split, or two other folders have lists.
    """
    by_folder: dict[str, dict[str, str]] = {}
    for path in lists:
        stem, folder = PurePosixPath(path).stem, fold(PurePosixPath(path).parent.name)
        split = BOTH if stem.casefold() == BOTH else standard_split(stem)
        of_folder = by_folder.setdefault(folder, {}) if split else {}
        if split and (other := of_folder.setdefault(split, path)) != path:
            raise InputError(f"{other} and {path} are both lists of {split}; keep one of them")
    for folder in ("main", "imagesets"):
        if folder in by_folder:
            return by_folder[folder]
    if len(by_folder) > 1:
        first, second, *_ = (next(iter(each.values())) for each in by_folder.values())
        raise InputError(f"{first} and {second}: which lists are the splits? Move them to ImageSets/Main")
    return next(iter(by_folder.values()), {})


def find_xml(path: str, line: str, index: FileIndex) -> str:
    """The XML file of a line in a list: a name, with or without suffix, after which a number may follow."""
    for name in (line, line.split()[0]):
        found = index.find(f"{name}.xml") or index.find(f"{name.rpartition('.')[0]}.xml")
        if len(found) > 1:
            raise InputError(f"{path}: {line!r:.200} may be {found[0]} or {found[1]}; write the folder, too")
        if found:
            return found[0]
    raise InputError(f"{path}: {line!r:.200} has no XML file")


def read_lines(files: SourceFiles, path: str) -> list[str]:
    """The lines that are not empty."""
    text = read_text(files.root / path, max_bytes=MAX_LIST_BYTES)
    return [line.strip() for line in text.splitlines() if line.strip()]
