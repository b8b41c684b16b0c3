"""Find files by name or by what is written of them, without regard to case and to how accents are encoded."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath

from nextvit.errors import InputError

DRIVE = re.compile(r"^[A-Za-z]:")


class FileIndex:
    """Paths below the folder of a dataset, with forward slashes."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = {*paths}
        self._by_stem: dict[tuple[str, str], list[str]] = {}
        self._by_name: dict[str, list[str]] = {}
        for text in paths:
            path = PurePosixPath(text)
            self._by_stem.setdefault((fold(str(path.parent)), fold(path.stem)), []).append(text)
            self._by_name.setdefault(fold(path.name), []).append(text)

    def with_stem(self, folder: str, stem: str) -> list[str]:
        """The files of a folder with this name before the suffix; those of exactly this spelling, if there are any."""
        found = [(path, PurePosixPath(path)) for path in self._by_stem.get((fold(folder), fold(stem)), [])]
        same_folder = [(text, path) for text, path in found if str(path.parent) == folder] or found
        return [text for text, path in same_folder if path.stem == stem] or [text for text, _ in same_folder]

    def with_name(self, folder: str, name: str) -> list[str]:
        """The files of a folder with this name, else with this name and another suffix, else with a suffix added."""
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        same_stem = self.with_stem(folder, stem) if stem else []
        exact = [path for path in same_stem if fold(PurePosixPath(path).suffix) == fold(suffix)]
        return exact or same_stem or self.with_stem(folder, name)

    def find(self, written: str, *, below: str = "") -> list[str]:
        """The files that a written path may mean.

        The path counts from `below`. Where nothing is there, its beginning may be of another machine, or missing: then
        a file is meant whose own path is the end of the written one, the longest such, or else ends with it.
        """
        parts = split_path(written)
        if not parts:
            return []
        same_name = self._by_name.get(fold(parts[-1]), [])
        exact = "/".join((*split_path(below), *parts))
        if exact in self._paths:
            return [exact]
        if found := [path for path in same_name if fold(path) == fold(exact)]:
            return found
        tails = [path for path in same_name if ends_with(parts, split_path(path))]
        longest = max((path.count("/") for path in tails), default=0)
        found = [path for path in tails if path.count("/") == longest]
        found = found or [path for path in same_name if ends_with(split_path(path), parts)]
        return [path for path in found if "/".join(parts).endswith(path) or path.endswith("/".join(parts))] or found


def fold(text: str) -> str:
    """The form in which names are compared."""
    return unicodedata.normalize("NFC", text).casefold()


def split_path(written: str) -> tuple[str, ...]:
    """The parts of a path of any system, without drive, root and leading "." and ".."."""
    parts = [part for part in DRIVE.sub("", written.replace("\\", "/")).split("/") if part not in ("", ".")]
    kept: list[str] = []
    for part in parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return tuple(kept)


def ends_with(parts: Sequence[str], end: Sequence[str]) -> bool:
    """Whether the last parts of a path are these."""
    return 0 < len(end) <= len(parts) and [*map(fold, parts[-len(end) :])] == [*map(fold, end)]


def swap_folder(folder: str, names: Iterable[str], others: Sequence[str]) -> list[str]:
    """The folder with its last part of one of these names replaced by each of the others; nothing without such a part.

    So the labels of images/train are in labels/train.
    """
    names = {*map(fold, names)}
    parts = PurePosixPath(folder).parts
    positions = [index for index, part in enumerate(parts) if fold(part) in names]
    if not positions:
        return []
    return [str(PurePosixPath(*parts[: positions[-1]], other, *parts[positions[-1] + 1 :])) for other in others]


def pair_image(images: FileIndex, annotation: str, folders: Sequence[str], stated: str) -> str:
    """The image of an annotation file: that of the same name, and of the name that is stated in the file.

    Args:
        images: all images of the dataset.
        annotation: the annotation file.
        folders: where its image may be; the first that holds one counts.
        stated: the image's file name according to the file; "" if there is none.

    Raises:
        InputError: there is no such image, or two different ones.
    """
    name, stem = (split_path(stated) or ("",))[-1], PurePosixPath(annotation).stem
    by_name = next((found for folder in folders if name and (found := images.with_name(folder, name))), [])
    by_stem = next((found for folder in folders if (found := images.with_stem(folder, stem))), [])
    found = [path for path in by_name if path in by_stem] if by_name and by_stem else by_name or by_stem
    if by_name and by_stem and not found:
        raise InputError(
            f"{annotation}: of {by_stem[0]} by its own name, of {by_name[0]} by the name stated in it; were files "
            "renamed? Make both names agree"
        )
    if not found:
        raise InputError(f"{annotation}: no image {name or stem!r} in {' or '.join(folders)}")
    if len(found) > 1:
        raise InputError(f"{annotation}: of {found[0]} or of {found[1]}? Rename one of the images")
    return found[0]


def claim(claims: dict[str, str], image: str, annotation: str) -> None:
    """Note which annotation file an image belongs to.

    Raises:
        InputError: it belongs to another one already.
    """
    if other := claims.get(image):
        raise InputError(f"{other} and {annotation} are both of {image}; keep one of them, or put its objects together")
    claims[image] = annotation
