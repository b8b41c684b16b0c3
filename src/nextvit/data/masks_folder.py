"""Read images with one mask each, in two folder layouts.

images/<split>/, masks/<split>/ and classes.txt; and ADE20K's: images/training/, annotations/training/ and
objectInfo150.txt, where the value 0 means unlabelled.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.class_masks import MAX_CLASSES, MaskEncoding, MaskFiles
from nextvit.data.findings import Finding
from nextvit.data.image_files import find_image_files
from nextvit.data.samples import Samples
from nextvit.errors import InputError

CLASSES = "classes.txt"
ADE20K_CLASSES = "objectInfo150.txt"
ADE20K_SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class SplitFiles:
    """The folders of the images and the masks of one split."""

    split: str
    images: Path
    masks: Path


@dataclass(frozen=True)
class MaskedSplit:
    """The images of a split that have a mask, and their masks in the same order."""

    samples: Samples
    """Without labels: these are in the masks, which are not read yet."""
    masks: MaskFiles


def is_masks_folder(root: Path) -> bool:
    """Whether a folder holds images with masks, or at least looks like it."""
    return (root / "masks").is_dir() or is_ade20k(root)


def is_ade20k(root: Path) -> bool:
    """Whether a folder is in ADE20K's layout."""
    return all((root / folder / ADE20K_SPLITS["train"]).is_dir() for folder in ("images", "annotations"))


def read_masks(root: Path, findings: list[Finding]) -> tuple[tuple[str, ...], dict[str, MaskedSplit]]:
    """Read a dataset in one of the layouts; no image or mask is opened.

    Args:
        root: folder of the dataset.
        findings: problems of files that are left out are appended here.

    Returns:
        The class names, and the splits that exist.

    Raises:
        InputError: the folder is in none of the layouts, or the list of classes cannot be used.
    """
    if is_ade20k(root) and not (root / "masks").is_dir():
        sources, classes = ade20k_sources(root), read_ade20k_classes(root)
        encoding = MaskEncoding(len(classes), zero_is_ignored=True)
    else:
        sources, classes = find_split_files(root), read_classes(root / CLASSES)
        encoding = MaskEncoding(len(classes))
    if len(classes) == 1:
        message = f"{root / CLASSES}: a single class, {classes[0]!r}; list at least two, such as background and defect"
        findings.append(Finding("single_class", message))
    return classes, {source.split: read_split(source, encoding, findings) for source in sources}


def ade20k_sources(root: Path) -> list[SplitFiles]:
    """The splits of ADE20K's layout."""
    return [
        SplitFiles(split, root / "images" / name, root / "annotations" / name)
        for split, name in ADE20K_SPLITS.items()
        if (root / "images" / name).is_dir() and (root / "annotations" / name).is_dir()
    ]


def find_split_files(root: Path) -> list[SplitFiles]:
    """The splits of the layout with images, masks and classes.txt.

    Raises:
        InputError: a folder is missing, or has another name.
    """
    for kind in ("images", "masks"):
        for name in ("valid", "validation", "dev"):
            if (root / kind / name).is_dir() and not (root / kind / "val").exists():
                raise InputError(f"{root / kind / name}: rename it to 'val', or it would not be used")
    sources = [SplitFiles(split, root / "images" / split, root / "masks" / split) for split in ("train", "val")]
    for source in sources:
        exist = [folder.is_dir() for folder in (source.images, source.masks)]
        if source.split == "train" and not any(exist):
            raise InputError(f"{root}: has no folder {source.images.relative_to(root)}; expected images/train/NAME.jpg "
                             "and masks/train/NAME.png")  # fmt: skip
        if any(exist) and not all(exist):
            missing, other = (source.masks, source.images) if exist[0] else (source.images, source.masks)
            raise InputError(f"{root}: has {other.relative_to(root)} but no folder {missing.relative_to(root)}")
    return [source for source in sources if source.images.is_dir()]


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names in classes.txt, one per line; the line number, from 0, is the value in the masks.

    Raises:
        InputError: the file is missing, not text, or empty, or has empty lines between names, a name twice, or too
            many.
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
    return check_names(names, path)


def check_names(names: list[str], path: Path) -> tuple[str, ...]:
    """Check class names: at least one, none empty or repeated, and not too many. `path` is used in messages."""
    if not names:
        raise InputError(f"{path}: is empty; expected the names of the classes, one a line")
    if len(names) > MAX_CLASSES:
        raise InputError(
            f"{path}: lists {len(names)} classes; masks of one byte hold {MAX_CLASSES} at most, "
            "and 255 means unlabelled"
        )
    for value, name in enumerate(names):
        if not name:
            raise InputError(f"{path}: line {value + 1} is empty, so no class has the value {value}")
        if name in names[:value]:
            raise InputError(f"{path}: {name!r} is on line {names.index(name) + 1} and on line {value + 1}")
    return tuple(names)


def read_ade20k_classes(root: Path) -> tuple[str, ...]:
    """The names of ADE20K's classes, in the order of their values from 1.

    Raises:
        InputError: there is no usable list.
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
    # Short names that occur twice, such as "screen", are replaced by the full ones.
    names = [each if short.count(each) == 1 else whole for each, whole in zip(short, full, strict=True)]
    return check_names(names, path)


def read_split(source: SplitFiles, encoding: MaskEncoding, findings: list[Finding]) -> MaskedSplit:
    """Pair images and masks of the same name, apart from the suffix."""
    images, masks = index_by_stem(source.images, findings), index_by_stem(source.masks, findings)
    for what, files in (("images share the one mask", images), ("masks belong to the one image", masks)):
        for name, same in files.items():
            if len(same) > 1:
                paths = " and ".join(Path(path).name for path in same)
                message = f"{Path(same[0]).parent}: {len(same)} {what} {name!r}: {paths}; keep one"
                findings.append(Finding("ambiguous_mask", message))
    findings += find_unpaired(source, images, masks)
    pairs = [(images[name][0], masks[name][0]) for name in images if name in masks]
    return MaskedSplit(
        Samples.pack((image, ()) for image, _ in pairs),
        MaskFiles.pack([mask for _, mask in pairs], encoding),
    )


def index_by_stem(folder: Path, findings: list[Finding]) -> dict[str, list[str]]:
    """The image files in a folder, by their relative paths without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    for path in find_image_files(folder, findings):
        files[os.path.splitext(path[len(str(folder)) + 1 :])[0]].append(path)  # noqa: PTH122 (10 times faster)
    return dict(files)


def find_unpaired(source: SplitFiles, images: dict[str, list[str]], masks: dict[str, list[str]]) -> list[Finding]:
    """Findings about images without a mask, and masks without an image."""
    unmasked = [name for name in images if name not in masks]
    unused = [name for name in masks if name not in images]
    if not images:
        return [
            Finding("empty_split", f"{source.images}: no images; expected {source.split} images as .jpg, .png, ...")
        ]
    if len(unmasked) == len(images):
        hint = f"; they are named like {Path(masks[unused[0]][0]).name}" if unused else ""
        message = f"{source.masks}: no mask has the name of an image, such as {Path(unmasked[0]).name}.png{hint}"
        return [Finding("image_without_mask", message)]
    findings: list[Finding] = []
    if unmasked:
        what = "1 image has" if len(unmasked) == 1 else f"{len(unmasked)} images have"
        first, expected = images[unmasked[0]][0], source.masks / unmasked[0]
        message = f"{source.images}: {what} no mask, first: {first}; expected {expected}.png"
        findings.append(Finding("image_without_mask", message))
    if unused:
        what = "1 mask has" if len(unused) == 1 else f"{len(unused)} masks have"
        findings.append(Finding("mask_without_image", f"{source.masks}: {what} no image, first: {masks[unused[0]][0]}"))
    return findings
