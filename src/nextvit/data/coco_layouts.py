"""Find the annotation file and the images of each split of a dataset in COCO's format.

- images/<split>/ or <split>/, and annotations/instances_<split>.json; all images may be in images/ itself
- <split>/ with _annotations.coco.json beside the images, as Roboflow writes it
- <split>/data/ and <split>/labels.json, as FiftyOne writes it

The last two may also stand in the dataset's folder itself, and an annotation file that is alone may have any name: then
there is one split without a name, which is the one that is asked for, or train.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.folder_names import find_entry
from nextvit.data.foreign_layouts import refuse_foreign_layout
from nextvit.data.split_names import find_split_folders, standard_split
from nextvit.errors import InputError

BESIDE_THE_IMAGES = "_annotations.coco.json"
FIFTYONE = "labels.json"
FIFTYONE_IMAGES = "data"
PREFIX = "instances_"
ANNOTATIONS = "annotations"
UNNAMED = ""


@dataclass(frozen=True)
class SplitFiles:
    """The annotation file of one split, and the folders that the file names in it may be relative to."""

    split: str
    """A name from `SPLITS`, or `UNNAMED`."""
    annotations: Path
    own: tuple[Path, ...]
    """Folders of this split."""
    shared: tuple[Path, ...] = ()
    """Folders that may hold the images of all splits."""


def is_coco(root: Path) -> bool:
    """Whether a folder holds COCO annotations, or at least looks like it."""
    return bool(find_beside(root)) or any(list_json(find_entry(root, ANNOTATIONS)))


def find_split_files(root: Path) -> dict[str, SplitFiles]:
    """The files of every split by its name; the only one of a dataset may be called `UNNAMED`.

    Raises:
        InputError: two files are of one split, a split has no folder of images, or no file is of a split.
    """
    found: dict[str, SplitFiles] = {}
    for source in find_beside(root) or find_by_name(root):
        if source.split in found:
            names = " and ".join(str(each.annotations.relative_to(root)) for each in (found[source.split], source))
            raise InputError(f"{root}: {names} are both the split {source.split}; keep one of them")
        found[source.split] = source
    if not found:
        refuse_foreign_layout(root)
        others = ", ".join(path.name for path in list_json(find_entry(root, ANNOTATIONS)))
        raise InputError(
            f"{root}: no annotations of the split train; expected annotations/instances_train.json"
            + (f", got {others:.200}" if others else "")
        )
    return found


def find_beside(root: Path) -> list[SplitFiles]:
    """The splits whose annotation file stands beside the images, or beside their folder `data`."""
    sources: list[SplitFiles] = []
    for split, folder in list_split_folders(root) or [(UNNAMED, root)]:
        if (path := find_entry(folder, BESIDE_THE_IMAGES)).is_file():
            sources.append(SplitFiles(split, path, (folder,)))
        elif (path := find_entry(folder, FIFTYONE)).is_file() and (
            images := find_entry(folder, FIFTYONE_IMAGES)
        ).is_dir():
            sources.append(SplitFiles(split, path, (images,), (folder,)))
    return sources


def find_by_name(root: Path) -> list[SplitFiles]:
    """The splits, from the names of the files in `annotations`."""
    paths = [path for path in list_json(find_entry(root, ANNOTATIONS)) if is_instances(path)]
    images = find_entry(root, "images")
    inside, beside = find_split_folders(images), list_split_folders(root)
    sources: list[SplitFiles] = []
    for path in paths:
        name = path.stem[len(PREFIX) :]
        split = standard_split(name)
        if split is None and len(paths) > 1:
            continue
        named = [folder for each, folder in (*inside.items(), *beside) if each == split]
        own = dict.fromkeys(folder for folder in (images / name, root / name, *named) if folder.is_dir())
        shared = tuple(folder for folder in (images, root) if folder.is_dir())
        sources.append(SplitFiles(split or UNNAMED, path, tuple(own), shared))
    return sources


def is_instances(path: Path) -> bool:
    """Whether a file's name is that of annotated objects, not of captions or key points."""
    return path.name.lower().startswith(PREFIX)


def names_split(path: Path) -> bool:
    """Whether a file's name is that of the annotated objects of a split."""
    return is_instances(path) and standard_split(path.stem[len(PREFIX) :]) is not None


def list_split_folders(root: Path) -> list[tuple[str, Path]]:
    """The folders in a folder that have the name of a split, several of one split among them, such as COCO's train2014
    and train2017."""
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [(split, folder) for folder in folders if (split := standard_split(folder.name))]


def choose_folder(source: SplitFiles, names: Sequence[str], is_found: Callable[[Path, str], bool]) -> Path:
    """The folder that most of the file names are relative to, the first of several.

    Args:
        source: with the folders.
        names: some file names in the annotations.
        is_found: whether there is a file of a name in a folder.

    Raises:
        InputError: there is no folder of the split, and the others have none of the files.
    """
    best, most = source.own[0] if source.own else None, 0
    for folder in (*source.own, *source.shared):
        count = sum(is_found(folder, name) for name in names)
        if count > most:
            best, most = folder, count
        if count == len(names) and best:
            return best
    if best is None:
        images = find_entry(source.annotations.parent.parent, "images")
        expected = images / source.annotations.stem[len(PREFIX) :]
        raise InputError(
            f"{source.annotations}: no folder with its images; expected {expected}, or all of them in {images}"
        )
    return best


def list_json(folder: Path) -> list[Path]:
    """The JSON files in a folder, sorted."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".json" and not path.name.startswith(".") and path.is_file()
    )
