"""Find the files of a dataset that its reader does not use, whatever its layout: nothing vanishes without a word."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from nextvit.data.coco_layouts import ANNOTATIONS, list_json, names_split
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.folder_names import find_entry
from nextvit.data.image_files import find_image_files
from nextvit.data.shards import CONTENTS
from nextvit.data.split_names import SPLITS, standard_split
from nextvit.image.reading import SUFFIXES

UNREAD = "unread_format"
"""The kind of finding about images of formats that are not read."""
DEPTH = 2
"""Folders below the dataset's by which files that are not used are grouped, such as images/extra."""


def find_left_out(dataset: Dataset, wanted: Collection[str]) -> list[Finding]:
    """Findings about image and annotation files below a dataset's folder that were not read, each with a count.

    Of a CSV list only the folders of its own images are looked at: it may lie anywhere.

    Args:
        dataset: as it was read.
        wanted: the splits that were asked for; the files of other splits are not missed.
    """
    root, used = dataset.root, used_files(dataset) | dataset.unusable
    if root.is_dir() and (root / CONTENTS).is_file():
        return []
    if root.is_file():
        folders = sorted({os.path.dirname(path) for path in used})  # noqa: PTH120 (10 times faster)
        present = [path for folder in folders for path in list_folder(folder)]
        unlisted = [path for path in present if path not in used]
        return [describe_unlisted(unlisted, root.name, root.parent)] if unlisted and set(SPLITS) <= set(wanted) else []
    findings: list[Finding] = []
    unused = [
        path
        for path in find_image_files(root, findings)
        if os.path.normpath(path) not in used and not is_unwanted(path, root, wanted)
    ]
    if unused:  # a link to a file is the file
        targets = {os.path.realpath(path) for path in used}
        unused = [path for path in unused if os.path.realpath(path) not in targets]
    unread = [finding for finding in findings if finding.kind == UNREAD]
    return [*unread, *group_unused(unused, dataset, used), *find_unused_annotations(dataset)]


def used_files(dataset: Dataset) -> set[str]:
    """The paths of all images and masks that were read."""
    images = (name for samples in dataset.splits.values() for name in samples.names())
    masks = (each.name(index) for each in dataset.masks.values() for index in range(len(each)))
    return {os.path.normpath(path) for paths in (images, masks) for path in paths}


def list_folder(folder: str) -> list[str]:
    """The image files directly in a folder, sorted."""
    with os.scandir(folder or ".") as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return [f"{folder}{os.sep}{name}" for name in sorted(names) if Path(name).suffix.lower() in SUFFIXES]


def is_unwanted(path: str, root: Path, wanted: Collection[str]) -> bool:
    """Whether a file is in a folder of a split that was not asked for."""
    folders = path[len(str(root)) :].split(os.sep)[1:-1][:DEPTH]  # noqa: PTH206 (faster)
    splits = {standard_split(folder) for folder in folders} - {None}
    return bool(splits) and not splits & set(wanted)


def group_unused(unused: Iterable[str], dataset: Dataset, used: Collection[str]) -> list[Finding]:
    """A finding for each folder with images that are not used."""
    groups: dict[str, list[str]] = defaultdict(list)
    root = str(dataset.root)
    for path in unused:
        folders = Path(path).relative_to(root).parent.parts
        groups[str(Path(*folders[:DEPTH]))].append(path)
    findings: list[Finding] = []
    for folder, paths in sorted(groups.items()):
        if is_named_by_reader(folder, dataset, used):
            continue
        if lists := [file for images, file in dataset.lists if images.is_relative_to(dataset.root / folder)]:
            names = " or ".join(str(file.relative_to(dataset.root)) for file in lists)
            findings.append(describe_unlisted(paths, names, dataset.root))
        else:
            findings.append(describe_group(folder, paths, dataset))
    return findings


def is_named_by_reader(folder: str, dataset: Dataset, used: Collection[str]) -> bool:
    """Whether the reader has findings of its own about files that it did not use in a folder: those without a partner
    in a folder of masks or of their images, and those of a class that only test has."""
    parts = Path(folder).parts
    if dataset.masks:
        whole = os.path.normpath(dataset.root / folder) + os.sep
        return len(parts) > 1 and any(path.startswith(whole) for path in used)
    return not dataset.annotations and len(parts) > 1 and standard_split(parts[0]) is not None


def describe_group(folder: str, paths: list[str], dataset: Dataset) -> Finding:
    """The finding about the images of a folder that is not read, with the reason."""
    if dataset.masks:
        reason = "images and masks are read from images/<split> and masks/<split>, where both are there"
    elif dataset.annotations:
        reason = "no annotation file of a split lists them"
    elif standard_split(folder):
        reason = "they are in no class folder"
    else:
        reason = "only the class folders in train, val and test are read"
    count = "1 image" if len(paths) == 1 else f"{len(paths):,} images"
    first = os.path.relpath(paths[0], dataset.root)
    return Finding("left_out", f"{count} in {folder}: {reason}; first: {first}", count=len(paths))


def describe_unlisted(paths: list[str], file: str, root: Path) -> Finding:
    """The finding about images in folders whose images a list names."""
    what = "1 image is" if len(paths) == 1 else f"{len(paths):,} images are"
    message = f"{what} not listed in {file}, first: {os.path.relpath(paths[0], root)}"
    return Finding("unlisted_image", message, count=len(paths))


def find_unused_annotations(dataset: Dataset) -> list[Finding]:
    """A finding about JSON files in COCO's folder of annotations that are not read."""
    if not dataset.annotations:
        return []
    read = {file for _, file in dataset.lists}
    # Those of splits were read, or have findings, or were not asked for.
    unused = [
        path for path in list_json(find_entry(dataset.root, ANNOTATIONS)) if path not in read and not names_split(path)
    ]
    if not unused:
        return []
    names = ", ".join(path.name for path in unused[:3]) + (", ..." if len(unused) > 3 else "")
    count = "1 file" if len(unused) == 1 else f"{len(unused)} files"
    message = f"{count} in {ANNOTATIONS}: only instances_<split>.json are read, not {names}"
    return [Finding("left_out", message, count=len(unused))]
