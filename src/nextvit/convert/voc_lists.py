"""Read the lists of VOC's splits in ImageSets/Main."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from nextvit.convert.file_index import fold
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
    stated = StatedLists()
    for folder in sorted({*set_folders.values()}):
        by_stem: dict[str, str] = {}
        for path in (path for path, own in set_folders.items() if own == folder):
            stem = PurePosixPath(path).stem
            if other := by_stem.get(stem):
                by_stem[stem] = f"{other} and {path}"  # refused where a list names it
            else:
                by_stem[stem] = path
        lists = [path for path in files.with_suffix(".txt") if is_in_image_sets(path, folder)]
        add_lists(files, stated, lists, by_stem, set(set_folders))
    return stated


def is_in_image_sets(path: str, set_folder: str) -> bool:
    """Whether a file is in the folder ImageSets of a set."""
    parents = PurePosixPath(path).parent
    if set_folder != "." and not parents.is_relative_to(set_folder):
        return False
    parts = parents.relative_to(set_folder).parts
    return bool(parts) and fold(parts[0]) == "imagesets"


def add_lists(
    files: SourceFiles, stated: StatedLists, lists: Sequence[str], by_stem: dict[str, str], xml_files: set[str]
) -> None:
    """Add what the lists of one set state."""
    # 1. The lists of splits: in Main, or in ImageSets itself where there is no Main
    main = [path for path in lists if fold(PurePosixPath(path).parent.name) == "main"]
    main = main or [path for path in lists if fold(PurePosixPath(path).parent.name) == "imagesets"]
    by_split: dict[str, str] = {}
    for path in main:
        stem = PurePosixPath(path).stem
        split = BOTH if stem.casefold() == BOTH else standard_split(stem)
        if split and split in by_split:
            raise InputError(f"{by_split[split]} and {path} are both lists of {split}; keep one of them")
        if split:
            by_split[split] = path
    stated.used += by_split.values()
    stated.unused += [path for path in lists if path not in by_split.values()]
    # 2. Their images; those of trainval that are in neither train nor val belong to the one that has no list
    both = by_split.pop(BOTH, None)
    listed: dict[str, str] = {}
    for split, path in by_split.items():
        for name in read_image_list(files, path):
            file = find_xml(path, name, by_stem, xml_files)
            if file in listed:
                raise InputError(f"{path}: {name} is also in another list, or twice in this one")
            listed[file] = split
    if both:
        split = "val" if "train" in by_split and "val" not in by_split else "train"
        remaining = [
            file
            for name in read_image_list(files, both)
            if (file := find_xml(both, name, by_stem, xml_files)) not in listed
        ]
        listed |= dict.fromkeys(remaining, split)
        if remaining:
            stated.remarks.append(f"{split}: {len(remaining)} images that are in {both}, but in no other list")
    stated.by_file |= listed


def find_xml(path: str, name: str, by_stem: dict[str, str], xml_files: set[str]) -> str:
    """The XML file of a name in a list."""
    file = by_stem.get(name) or by_stem.get(PurePosixPath(name).stem)
    if file is None:
        raise InputError(f"{path}: {name} has no XML file")
    if file not in xml_files:
        raise InputError(f"{path}: {name} may be {file}; rename one")
    return file


def read_image_list(files: SourceFiles, path: str) -> list[str]:
    """The first word of each line."""
    return [
        line.split()[0] for line in read_text(files.root / path, max_bytes=MAX_LIST_BYTES).splitlines() if line.strip()
    ]
