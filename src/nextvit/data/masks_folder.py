"""Read images with one mask each, in two folder layouts.

images/<split>/, masks/<split>/ and classes.txt; and ADE20K's: images/training/, annotations/training/ and
objectInfo150.txt, where the value 0 means unlabelled.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.class_masks import MAX_CLASSES, MaskEncoding, MaskFiles
from nextvit.data.class_names import normalize_class_name
from nextvit.data.findings import Finding
from nextvit.data.folder_names import find_entry
from nextvit.data.image_files import find_image_files
from nextvit.data.samples import Samples
from nextvit.data.split_names import find_split_folders, splits_to_read
from nextvit.errors import InputError
from nextvit.files.regular import read_regular

CLASSES = "classes.txt"
ADE20K_CLASSES = "objectInfo150.txt"
MAX_LIST_BYTES = 2**20


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
    return find_entry(root, "masks").is_dir() or is_ade20k(root)


def is_ade20k(root: Path) -> bool:
    """Whether a folder is in ADE20K's layout."""
    images, annotations = (find_split_folders(find_entry(root, folder)) for folder in ("images", "annotations"))
    train = [folders["train"].name.casefold() for folders in (images, annotations) if "train" in folders]
    return len(train) == 2 and ("training" in train or find_entry(root, ADE20K_CLASSES).is_file())


def read_masks(
    root: Path, findings: list[Finding], wanted: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, MaskedSplit], bool]:
    """Read a dataset in one of the layouts; no image or mask is opened.

    Args:
        root: folder of the dataset.
        findings: problems of files that are left out are appended here.
        wanted: splits to read; train is read instead of a val that is not there.

    Returns:
        The class names; the splits that were read; and whether there is a split val.

    Raises:
        InputError: the folder is in none of the layouts, or the list of classes cannot be used.
    """
    if is_ade20k(root) and not find_entry(root, "masks").is_dir():
        (sources, has_val), classes = find_split_files(root, "annotations", wanted), read_ade20k_classes(root)
        encoding = MaskEncoding(len(classes), zero_is_ignored=True)
    else:
        (sources, has_val), classes = find_split_files(root, "masks", wanted), read_classes(find_entry(root, CLASSES))
        encoding = MaskEncoding(len(classes))
    if len(classes) == 1:
        message = f"{root / CLASSES}: a single class, {classes[0]!r}; list at least two, such as background and defect"
        findings.append(Finding("single_class", message))
    return classes, {source.split: read_split(source, encoding, findings) for source in sources}, has_val


def find_split_files(root: Path, masks_name: str, wanted: Sequence[str]) -> tuple[list[SplitFiles], bool]:
    """The splits to read, from the folders in images/ and in the folder of the masks; and whether there is a val.

    Raises:
        InputError: a folder is missing, or two are of one split.
    """
    images, masks = (find_split_folders(find_entry(root, name)) for name in ("images", masks_name))
    if not images and not masks and len(wanted) == 1:
        return [SplitFiles(wanted[0], find_entry(root, "images"), find_entry(root, masks_name))], True
    for split in ("train", "val"):
        if split in wanted and (split in images) != (split in masks):
            (there, missing) = ("images", masks_name) if split in images else (masks_name, "images")
            other = (images.get(split) or masks[split]).name
            raise InputError(f"{root}: has {there}/{other} but no folder {missing}/{other}")
    present = images.keys() & masks.keys()
    if "train" in wanted and len(wanted) > 1 and "train" not in present:
        raise InputError(
            f"{root}: has no folder images/train; expected images/train/NAME.jpg and {masks_name}/train/NAME.png"
        )
    splits = splits_to_read(wanted, present, root=root)
    return [SplitFiles(split, images[split], masks[split]) for split in splits], "val" in present


def read_classes(path: Path) -> tuple[str, ...]:
    """The class names in classes.txt, one per line; the line number, from 0, is the value in the masks.

    Raises:
        InputError: the file is missing, not text, or empty, or has empty lines between names, a name twice, or too
            many.
    """
    try:
        lines = read_lines(path)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; it lists the names of the classes, one a line, from value 0 on"
        ) from None
    names = [normalize_class_name(line) for line in lines]
    while names and not names[-1]:
        names.pop()
    return check_names(names, path)


def read_lines(path: Path) -> list[str]:
    """The lines of a list of classes.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not text in UTF-8.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        return read_regular(path, max_bytes=MAX_LIST_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text in UTF-8 ({error})") from None


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
    path = find_entry(root, ADE20K_CLASSES)
    if not path.is_file():
        if find_entry(root, CLASSES).is_file():
            return read_classes(find_entry(root, CLASSES))
        raise InputError(f"{root}: in ADE20K's layout, but has neither {ADE20K_CLASSES} nor {CLASSES}")
    rows = [line.split("\t") for line in read_lines(path)[1:] if line.strip()]
    for number, row in enumerate(rows, 1):
        if len(row) < 2 or row[0].strip() != str(number):
            raise InputError(f"{path}: row {number} is not the class {number}, but {' '.join(row)!r:.60}")
    full = [normalize_class_name(row[-1]) for row in rows]
    short = [name.replace(";", ",").split(",")[0].strip() for name in full]
    # Short names that occur twice, such as "screen", are replaced by the full ones.
    counts = Counter(short)
    names = [each if counts[each] == 1 else whole for each, whole in zip(short, full, strict=True)]
    return check_names(names, path)


def read_split(source: SplitFiles, encoding: MaskEncoding, findings: list[Finding]) -> MaskedSplit:
    """Pair images and masks of the same name, apart from the suffix."""
    images, masks = index_by_stem(source.images, findings), index_by_stem(source.masks, findings)
    for what, files in (("images share the one mask", images), ("masks belong to the one image", masks)):
        for name, same in files.items():
            if len(same) > 1:
                paths = " and ".join(Path(path).name for path in same)
                message = f"{Path(same[0]).parent}: {len(same)} {what} {name!r}: {paths}; keep one"
                findings.append(Finding("ambiguous_mask", message, count=len(same) if files is images else 1))
    findings += find_unpaired(source, images, masks)
    pairs = [
        (images[name][0], masks[name][0])
        for name in images
        if name in masks and len(images[name]) == len(masks[name]) == 1
    ]
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
        return [Finding("image_without_mask", message, count=len(unmasked))]
    findings: list[Finding] = []
    if unmasked:
        what = "1 image has" if len(unmasked) == 1 else f"{len(unmasked)} images have"
        first, expected = images[unmasked[0]][0], source.masks / unmasked[0]
        message = f"{source.images}: {what} no mask, first: {first}; expected {expected}.png"
        findings.append(Finding("image_without_mask", message, count=len(unmasked)))
    if unused:
        what = "1 mask has" if len(unused) == 1 else f"{len(unused)} masks have"
        findings.append(Finding("mask_without_image", f"{source.masks}: {what} no image, first: {masks[unused[0]][0]}"))
    return findings
