"""What of a dataset is not converted: every file that is neither used nor known to its reader, with the reason."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from nextvit.convert.foreign import ForeignDataset, LeftOut
from nextvit.convert.source_files import SourceFiles, suffix_of
from nextvit.data.image_files import name_unread_format


def find_left_out(files: SourceFiles, dataset: ForeignDataset) -> list[LeftOut]:
    """All files below the folder that are not used: used and left out together are all files, for every format."""
    used = {image.path for image in dataset.images} | dataset.annotation_files
    known = [LeftOut(each.reason, [path for path in each.paths if path not in used]) for each in dataset.left_out]
    named = used.union(*(each.paths for each in known))
    images = set(files.images)
    others = [path for path in files.paths if path not in named]
    formats = {
        path: name_unread_format(str(files.root / path), suffix_of(path)) for path in others if path not in images
    }
    found = [
        *known,
        LeftOut(dataset.image_left_out_because, [path for path in others if path in images]),
        *(
            LeftOut(f"{name} is not read", [path for path, format in formats.items() if format == name])
            for name in sorted({format for format in formats.values() if format})
        ),
        LeftOut(f"no part of {dataset.source_format}'s format", [path for path in formats if not formats[path]]),
        LeftOut("a link to a folder that is read under another name", files.repeated),
        LeftOut("a pipe, a device or a broken link", files.unreadable),
    ]
    return [each for each in found if each.paths]


def describe(left_out: LeftOut) -> str:
    """One line: how many files, where they are, and why they are left out."""
    count = len(left_out.paths)
    where = describe_files(left_out.paths)
    return f"left out: {count} {'file' if count == 1 else 'files'} ({where}): {left_out.reason}"


def describe_files(paths: Sequence[str]) -> str:
    """The first files, and how many are in which folders."""
    if len(paths) <= 3:
        return ", ".join(paths)
    folders: dict[str, int] = {}
    for path in paths:
        folder = str(PurePosixPath(path).parent)
        folders[folder] = folders.get(folder, 0) + 1
    shown = [f"{count} in {folder}" if folder != "." else f"{count} in no folder" for folder, count in folders.items()]
    more = [f"and {len(shown) - 3} more folders"] if len(shown) > 3 else []
    return ", ".join([*shown[:3], *more, f"first {paths[0]}"])
