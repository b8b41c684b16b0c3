"""Pictures with a mask each, in two layouts of folders.

images/<split>/, masks/<split>/ and classes.txt; and ADE20K's own: images/training/, annotations/training/ and
objectInfo150.txt, where the value 0 is no label.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.class_masks import MAX_CLASSES, Coding, MaskFiles
from nextvit.data.findings import Finding
from nextvit.data.image_files import image_files
from nextvit.data.samples import Samples
from nextvit.errors import InputError

CLASSES = "classes.txt"
ADE20K_CLASSES = "objectInfo150.txt"
ADE20K_SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Source:
    """Where the pictures and the masks of one split lie."""

    split: str
    images: Path
    masks: Path


@dataclass(frozen=True)
class Masked:
    """The pictures of a split that have a mask, and their masks in the same order."""

    samples: Samples
    """Without labels: they are in the masks, of which none is read yet."""
    masks: MaskFiles


def is_masks_folder(root: Path) -> bool:
    """Whether a folder holds pictures with masks, or at least looks as if it was meant to."""
    return (root / "masks").is_dir() or is_ade20k(root)


def is_ade20k(root: Path) -> bool:
    """Whether a folder is in ADE20K's layout."""
    return all((root / folder / ADE20K_SPLITS["train"]).is_dir() for folder in ("images", "annotations"))


def read_masks(root: Path, faults: list[Finding]) -> tuple[tuple[str, ...], dict[str, Masked]]:
    """The names of the classes, and the splits that are there; what cannot be used is left out and told in `faults`.

    Raises:
        InputError: this is in none of the layouts, or the list of classes cannot be used.
    """
    if is_ade20k(root) and not (root / "masks").is_dir():
        sources, classes = ade20k_sources(root), read_ade20k_classes(root)
        coding = Coding(len(classes), zero_is_ignored=True)
    else:
        sources, classes = find_sources(root), read_classes(root / CLASSES)
        coding = Coding(len(classes))
    if len(classes) == 1:
        message = f"{root / CLASSES}: a single class, {classes[0]!r}; list at least two, such as background and defect"
        faults.append(Finding("single_class", message))
    return classes, {source.split: read_split(source, coding, faults) for source in sources}


def ade20k_sources(root: Path) -> list[Source]:
    """The splits of ADE20K's layout."""
    return [
        Source(split, root / "images" / name, root / "annotations" / name)
        for split, name in ADE20K_SPLITS.items()
        if (root / "images" / name).is_dir() and (root / "annotations" / name).is_dir()
    ]


def find_sources(root: Path) -> list[Source]:
    """The splits of the layout with images, masks and classes.txt.

    Raises:
        InputError: a folder is missing, or called otherwise.
    """
    for kind in ("images", "masks"):
        for name in ("valid", "validation", "dev"):
            if (root / kind / name).is_dir() and not (root / kind / "val").exists():
                raise InputError(f"{root / kind / name}: rename it to 'val', or it would not be used")
    sources = [Source(split, root / "images" / split, root / "masks" / split) for split in ("train", "val")]
    for source in sources:
        there = [folder.is_dir() for folder in (source.images, source.masks)]
        if source.split == "train" and not any(there):
            raise InputError(f"{root}: has no folder {source.images.relative_to(root)}; expected images/train/NAME.jpg "
                             "and masks/train/NAME.png")  # fmt: skip
        if any(there) and not all(there):
            lacking, other = (source.masks, source.images) if there[0] else (source.images, source.masks)
            raise InputError(f"{root}: has {other.relative_to(root)} and no folder {lacking.relative_to(root)}")
    return [source for source in sources if source.images.is_dir()]


def read_classes(path: Path) -> tuple[str, ...]:
    """The names in classes.txt, one a line; the line's number, from 0, is the value in the masks.

    Raises:
        InputError: it is missing, no text, or empty, or has empty lines between names, the same name twice, or too many.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; it lists the names of the classes, one a line, from value 0 on"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no text in UTF-8 ({error})") from None
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    return checked_names(names, path)


def checked_names(names: list[str], path: Path) -> tuple[str, ...]:
    """The names of classes; `path` stands in messages."""
    if not names:
        raise InputError(f"{path}: is empty; expected the names of the classes, one a line")
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"{path}: lists {len(names)} classes; masks of one byte hold {MAX_CLASSES} at most, and 255 is none"
        )
    for value, name in enumerate(names):
        if not name:
            raise InputError(f"{path}: line {value + 1} is empty, so no class has the value {value}")
        if name in names[:value]:
            raise InputError(f"{path}: {name!r} stands on line {names.index(name) + 1} and on line {value + 1}")
    return tuple(names)


def read_ade20k_classes(root: Path) -> tuple[str, ...]:
    """The names of ADE20K's classes, in the order of their values from 1 on.

    Raises:
        InputError: there is no list, or it cannot be used.
    """
    path = root / ADE20K_CLASSES
    if not path.is_file():
        if (root / CLASSES).is_file():
            return read_classes(root / CLASSES)
        raise InputError(f"{root}: in ADE20K's layout, but has neither {ADE20K_CLASSES} nor {CLASSES}")
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()[1:] if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no text in UTF-8 ({error})") from None
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or row[0].strip() != str(number):
            raise InputError(f"{path}: row {number} is not the class {number}, but {' '.join(row)!r:.60}")
    full = [row[-1].strip() for row in rows]
    short = [name.replace(";", ",").split(",")[0].strip() for name in full]
    # Several things are called a screen: they keep all their names.
    names = [each if short.count(each) == 1 else whole for each, whole in zip(short, full, strict=True)]
    return checked_names(names, path)


def read_split(source: Source, coding: Coding, faults: list[Finding]) -> Masked:
    """Pictures and masks of the same name, but for its suffix."""
    images, masks = by_name(source.images, faults), by_name(source.masks, faults)
    for what, files in (("images share the one mask", images), ("masks are of the one image", masks)):
        for name, same in files.items():
            if len(same) > 1:
                paths = " and ".join(Path(path).name for path in same)
                message = f"{Path(same[0]).parent}: {len(same)} {what} {name!r}: {paths}; keep one"
                faults.append(Finding("ambiguous_mask", message))
    faults += unpaired(source, images, masks)
    pairs = [(images[name][0], masks[name][0]) for name in images if name in masks]
    return Masked(
        Samples.pack((image, ()) for image, _ in pairs),
        MaskFiles.pack([mask for _, mask in pairs], coding),
    )


def by_name(folder: Path, faults: list[Finding]) -> dict[str, list[str]]:
    """The image files in a folder by their paths in it without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    for path in image_files(folder, faults):
        files[os.path.splitext(path[len(str(folder)) + 1 :])[0]].append(path)  # noqa: PTH122 (10 times faster)
    return dict(files)


def unpaired(source: Source, images: dict[str, list[str]], masks: dict[str, list[str]]) -> list[Finding]:
    """Images without mask, and masks without image."""
    bare = [name for name in images if name not in masks]
    stray = [name for name in masks if name not in images]
    if not images:
        return [
            Finding("empty_split", f"{source.images}: no images; expected {source.split} pictures as .jpg, .png, ...")
        ]
    if len(bare) == len(images):
        found = f"; they are called as {Path(masks[stray[0]][0]).name}" if stray else ""
        message = f"{source.masks}: no mask is called as an image, such as {Path(bare[0]).name}.png{found}"
        return [Finding("image_without_mask", message)]
    findings: list[Finding] = []
    if bare:
        what = "1 image has" if len(bare) == 1 else f"{len(bare)} images have"
        message = f"{source.images}: {what} no mask, first: {images[bare[0]][0]}; expected {source.masks / bare[0]}.png"
        findings.append(Finding("image_without_mask", message))
    if stray:
        what = "1 mask has" if len(stray) == 1 else f"{len(stray)} masks have"
        findings.append(Finding("mask_without_image", f"{source.masks}: {what} no image, first: {masks[stray[0]][0]}"))
    return findings
