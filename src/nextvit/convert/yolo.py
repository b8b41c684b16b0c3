"""Read YOLO's annotations: one text file per image, one row per object, in fractions of the image's sides."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from nextvit.convert.file_index import FileIndex, swap_folder
from nextvit.convert.foreign import ForeignDataset, ForeignImage, LeftOut, read_upright_size
from nextvit.convert.left_out import describe_files
from nextvit.convert.source_files import SourceFiles
from nextvit.convert.text_file import begins_with_numbers, read_text
from nextvit.convert.yolo_names import is_names_file, read_names
from nextvit.convert.yolo_rows import RowFormat, read_label_file, read_row_format
from nextvit.convert.yolo_settings import read_settings
from nextvit.convert.yolo_splits import read_splits
from nextvit.errors import InputError

IMAGE_FOLDERS = ("images", "JPEGImages")
LABELS = "labels"


def find_yolo_file(files: SourceFiles) -> str | None:
    """A text file with rows of numbers, or an empty one, that is where an image's labels are or in a folder labels.

    Where there is none, one of an image in a folder labels, whatever it holds: its reader says what is wrong.
    """
    texts = [path for path in files.with_suffix(".txt") if not is_names_file(path)]
    index = FileIndex(texts)
    candidates = [path for image in files.images for path in find_label_files(image, index)]
    found = next((path for path in [*candidates, *filter(is_in_labels, texts)] if is_label_file(files, path)), None)
    return found or next(filter(is_in_labels, candidates), None)


def is_label_file(files: SourceFiles, path: str) -> bool:
    """Whether a text file holds rows, or nothing; not a list of images or a text for people."""
    return begins_with_numbers(read_text(files.root / path))


def is_in_labels(path: str) -> bool:
    return bool(swap_folder(str(PurePosixPath(path).parent), [LABELS], [LABELS]))


def find_label_files(image: str, texts: FileIndex) -> list[str]:
    """The text files of an image: in the folder labels instead of images, or beside it."""
    path = PurePosixPath(image)
    folders = [*swap_folder(str(path.parent), IMAGE_FOLDERS, [LABELS]), str(path.parent)]
    return [found for folder in folders for found in texts.with_stem(folder, path.stem)]


def read_yolo(files: SourceFiles) -> ForeignDataset:
    """Read all label files.

    Raises:
        InputError: class names are missing or contradict each other, a row cannot be read, or an image is missing.
    """
    # 1. What the set says of itself
    settings = read_settings(files)
    names = read_names(files, settings)
    splits = read_splits(files, settings)
    row_format = read_row_format(settings.source, settings.others)
    # 2. Which text file belongs to which image
    described = {*names.files, *splits.files, *settings.files}
    texts = [path for path in files.with_suffix(".txt") if path not in described and not is_names_file(path)]
    labels = pair_labels(files, texts)
    paired = {*labels.values()}
    refuse_orphans(files, [path for path in texts if path not in paired])
    # 3. The rows of each image
    images: list[ForeignImage] = []
    for image in files.images:
        size_wh = read_upright_size(files.root / image)
        label_file = labels.get(image)
        objects = read_label_file(files.root / label_file, size_wh, names.by_number, row_format) if label_file else []
        images.append(ForeignImage(image, size_wh, objects, split=splits.by_image.get(image)))
    return ForeignDataset(
        source_format="YOLO",
        categories=[{"id": id, "name": name, "supercategory": ""} for id, name in names.by_number.items()],
        images=images,
        annotation_files=frozenset({*paired, *described}),
        left_out=[LeftOut("class names that are not used", names.unused)],
        image_left_out_because="not read",
        info={"yolo": settings.others} if settings.others else {},
        remarks=[
            "category ids: the numbers of YOLO's classes, from 0",
            *describe_objects(images, row_format),
            *describe_unlabelled([image for image in files.images if image not in labels]),
            *names.remarks,
            *splits.remarks,
        ],
    )


def pair_labels(files: SourceFiles, texts: Sequence[str]) -> dict[str, str]:
    """The label file of each image that has one."""
    index, claims = FileIndex(texts), dict[str, str]()
    labels: dict[str, str] = {}
    for image in files.images:
        found = find_label_files(image, index)
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1]} are both of {image}; keep one of them")
        if found:
            if other := claims.get(found[0]):
                raise InputError(f"{found[0]}: of {other} or of {image}? Rename one of the images")
            claims[found[0]] = image
            labels[image] = found[0]
    return labels


def refuse_orphans(files: SourceFiles, texts: Sequence[str]) -> None:
    """Raise InputError where a label file has no image; texts for people are left out."""
    for path in texts:
        if not is_label_file(files, path):
            continue
        folder = str(PurePosixPath(path).parent)
        expected = (swap_folder(folder, [LABELS], IMAGE_FOLDERS[:1]) or [folder])[0]
        others = [
            other
            for other in files.paths
            if PurePosixPath(other).with_suffix("") == PurePosixPath(expected, PurePosixPath(path).stem)
        ]
        hint = f" ({others[0]} is in a format that is not read)" if others and others[0] != path else ""
        raise InputError(f"{files.root / path}: no image of this name in {files.root / expected}{hint}")


def describe_objects(images: Sequence[ForeignImage], row_format: RowFormat) -> list[str]:
    """What the rows were read as."""
    objects = [each for image in images for each in image.objects]
    outlines = [each["segmentation"][0] for each in objects if "segmentation" in each]
    lines: list[str] = []
    if row_format.keypoints:
        count, dimensions = row_format.keypoints
        lines.append(
            f"keypoints: {count} with {dimensions} numbers for each of {len(objects)} objects, by kpt_shape; left out"
        )
    if outlines:
        lines.append(f"masks: {len(outlines)} of {len(objects)} objects, from their outlines")
    corners = Counter(len(each) // 2 for each in outlines)
    if len(corners) == 1 and row_format.task not in ("segment", "obb"):
        [count] = corners
        meant = "rotated boxes (OBB) become outlines" if count == 4 else "read as outlines"
        lines.append(
            f"every outline has {count} corners: {meant}; if they are boxes with keypoints, state kpt_shape in "
            "data.yaml"
        )
    return lines


def describe_unlabelled(images: Sequence[str]) -> list[str]:
    """Images without a text file."""
    return [f"without a text file, so without objects: {len(images)} ({describe_files(images)})"] if images else []
