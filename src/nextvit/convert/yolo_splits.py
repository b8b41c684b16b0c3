"""Which images are in which split, as data.yaml, obj.data or lists of images state it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nextvit.convert.file_index import DRIVE, FileIndex, split_path
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.text_file import MAX_LIST_BYTES, begins_with_numbers, read_text
from nextvit.convert.yolo_settings import Settings, SplitEntry
from nextvit.data.split_names import standard_split
from nextvit.errors import InputError


@dataclass
class StatedSplits:
    """What is stated; images that are not mentioned are in no split here."""

    by_image: dict[str, str] = field(default_factory=dict[str, str])
    files: list[str] = field(default_factory=list[str])
    """The lists that were read."""
    remarks: list[str] = field(default_factory=list[str])


class PathResolver:
    """Find the folders, lists and images that are meant by written paths."""

    def __init__(self, files: SourceFiles) -> None:
        self.files = files
        self.images = FileIndex(files.images)
        self.lists = FileIndex(files.with_suffix(".txt"))
        folders = {str(parent) for image in files.images for parent in PurePosixPath(image).parents}
        self.folders = FileIndex(folders - {"."})
        self.remarks: dict[str, str] = {}
        """The first path of each file that was found by its end alone."""

    def find(self, index: FileIndex, written: str, *, base: str, source: str) -> list[str]:
        """The paths that are meant, counted from a base, which may itself be of another machine."""
        written = self.strip_root(written)
        is_absolute = written.startswith(("/", "\\")) or bool(DRIVE.match(written))
        full = written if is_absolute else f"{self.strip_root(base)}/{written}"
        found = index.find(full) or index.find(written)
        if found and split_path(found[0]) not in (split_path(full), split_path(written)):
            self.remarks.setdefault(source, f"{source}: {written!r:.200} was taken as {found[0]}")
        return found

    def strip_root(self, written: str) -> str:
        """A path of this machine that leads into the dataset, from the dataset."""
        path = Path(written)
        root = self.files.root.absolute()
        for each in (root, root.resolve()):
            if path.is_absolute() and path.is_relative_to(each):
                return path.relative_to(each).as_posix()
        return written


def read_splits(files: SourceFiles, settings: Settings) -> StatedSplits:
    """The split of each image that the files mention.

    Raises:
        InputError: what a file names does not exist or may be several things, or an image is in two splits.
    """
    resolver, stated = PathResolver(files), StatedSplits()
    entries = [*settings.entries] or find_lists(resolver)
    images: dict[str, dict[str, str]] = {}
    for entry in entries:
        found = [image for written in entry.paths for image in resolve(resolver, stated, entry, written)]
        images.setdefault(entry.split, {}).update(dict.fromkeys(found, entry.file))
    for split, of_split in images.items():
        add_split(stated, images, split, of_split)
    stated.remarks += resolver.remarks.values()
    return stated


def add_split(stated: StatedSplits, images: dict[str, dict[str, str]], split: str, of_split: dict[str, str]) -> None:
    """Add the images of a split; one that states the same images as another one is passed over."""
    shared = [image for image in of_split if image in stated.by_image]
    if not shared:
        stated.by_image |= dict.fromkeys(of_split, split)
        return
    other = stated.by_image[shared[0]]
    if of_split.keys() != images[other].keys():
        raise InputError(f"{of_split[shared[0]]}: {shared[0]} is in {other} and in {split}; state it once")
    stated.remarks.append(f"{split}: states the same images as {other}, and is passed over")


def resolve(resolver: PathResolver, stated: StatedSplits, entry: SplitEntry, written: str) -> Sequence[str]:
    """The images of a folder or a list."""
    if written.lower().endswith(".txt"):
        found = resolver.find(resolver.lists, written, base=entry.base, source=entry.file)
        path = require_one(entry.file, f"list {written!r:.200}", found)
        stated.files.append(path)
        return read_image_list(resolver, path)
    images = resolver.files.images
    if not split_path(f"{resolver.strip_root(entry.base)}/{resolver.strip_root(written)}"):
        return images
    found = resolver.find(resolver.folders, written, base=entry.base, source=entry.file)
    if not found and entry.split == "test":  # exporters state it whether or not it is there
        stated.remarks.append(f"{entry.file}: states test as {written!r:.200}, where no images are; left out")
        return []
    folder = require_one(entry.file, f"folder {written!r:.200} with images, which it states as {entry.split},", found)
    return [image for image in images if image.startswith(f"{folder}/")]


def read_image_list(resolver: PathResolver, path: str) -> list[str]:
    """The images of a list, one path a line."""
    base = str(PurePosixPath(path).parent)
    images: list[str] = []
    for number, line in enumerate(read_text(resolver.files.root / path, max_bytes=MAX_LIST_BYTES).splitlines(), 1):
        if written := line.strip():
            found = resolver.find(resolver.images, written, base=base, source=path)
            images.append(require_one(f"{path}, line {number}", f"image {written!r:.200}", found))
    return images


def require_one(source: str, what: str, found: Sequence[str]) -> str:
    """The one path that was found.

    Raises:
        InputError: there is none, or more than one.
    """
    if not found:
        raise InputError(f"{source}: there is no {what} below the dataset's folder")
    if len(found) > 1:
        raise InputError(f"{source}: {what} may be {found[0]} or {found[1]}; write the whole path")
    return found[0]


def find_lists(resolver: PathResolver) -> list[SplitEntry]:
    """Lists of images with the name of a split, where no other file states the splits."""
    entries: dict[str, SplitEntry] = {}
    for path in resolver.files.with_suffix(".txt"):
        split = standard_split(PurePosixPath(path).stem)
        if split is None or not is_image_list(resolver, path):
            continue
        if split in entries:
            raise InputError(f"{entries[split].file} and {path} are both lists of {split}; keep one of them")
        entries[split] = SplitEntry(path, split, "", [path])
    return list(entries.values())


def is_image_list(resolver: PathResolver, path: str) -> bool:
    """Whether the first line of a text file names an image."""
    text = read_text(resolver.files.root / path, max_bytes=MAX_LIST_BYTES)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if not first or begins_with_numbers(text):
        return False
    return bool(resolver.find(resolver.images, first, base=str(PurePosixPath(path).parent), source=path))
