"""Find the image files below a folder, by their suffixes, and count the images that are left out."""

import os
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nextvit.data.findings import Finding
from nextvit.errors import InputError
from nextvit.image.reading import SUFFIXES
from nextvit.image.signatures import LENGTH, find_format

SYSTEM_FOLDERS = frozenset(
    {
        *("@eadir", "#recycle", "@recycle", "@tmp", "__macosx", "$recycle.bin"),
        *("system volume information", "lost+found", "__pycache__"),
    }
)
"""Folders, in lower case, that systems and storage devices make beside data: thumbnails, deleted files."""

OTHER_KINDS = {
    "text and annotations": "txt text md rst rtf log csv tsv json jsonl ndjson geojson xml xsd dtd lst names data",
    "settings and pages": "yaml yml toml ini cfg conf config html htm css js tex bib srt sub vtt nfo license sql",
    "code": "py pyc ipynb sh bat ps1 m r c cc cpp h hpp java ts lua rb pl",
    "documents": "doc docx xls xlsx ods odt ppt pptx odp pdf epub",
    "archives and checksums": "zip tar gz tgz bz2 xz 7z rar zst lz4 iso md5 sha1 sha256 sha512 asc sig",
    "remains": "bak tmp temp swp lock part crdownload cache db sqlite sqlite3 url lnk webloc",
    "features": "npz pkl pickle joblib h5 hdf5 parquet arrow feather tfrecord tfrecords record lmdb mdb bin dat idx",
    "weights": "pt pth ckpt onnx safetensors pb tflite engine",
    "sidecars of cameras and editors": "xmp aae thm pp3 dop cos lrcat",
    "sound and video": "mp4 m4v mov avi mkv webm wmv flv mpg mpeg mts m2ts 3gp ogv mp3 m4a aac wav flac ogg opus",
}
OTHER_SUFFIXES = frozenset(f".{suffix}" for suffixes in OTHER_KINDS.values() for suffix in suffixes.split())
"""Suffixes of files that are no images; they may lie beside images, and nobody misses them."""


@dataclass(frozen=True, kw_only=True)
class FolderContents:
    """The files below a folder, sorted; those that are no images are not listed."""

    images: list[str]
    unread: list[tuple[str, str]]
    """Images that are left out, or files that may be such, each with the name of its format."""
    bad_names: list[str]
    """Images whose names, or those of their folders, are not UTF-8, and which are not among `images`."""


@dataclass(frozen=True, kw_only=True)
class UnreadFiles(Finding):
    """The one finding on files that are left out."""

    counts: Mapping[str, int]
    """The number of files of each format."""
    first: tuple[str, str]
    """The first file and its format."""


def list_images(folder: Path) -> list[Path]:
    """All files below a folder with the suffix of an image format, sorted, without hidden files and folders.

    Links to folders are followed, and each folder is visited once.

    Raises:
        InputError: a name is not UTF-8, so that it cannot be written into results.
    """
    contents = scan_folder(folder)
    if contents.bad_names:
        raise InputError(refuse_name(contents.bad_names[0]))
    return [Path(path) for path in contents.images]


def find_image_files(folder: Path, findings: list[Finding]) -> list[str]:
    """`list_images` as text, for a million `Path` take a gigabyte; what is left out is added to `findings`.

    Names of files and folders that are not UTF-8 have a finding each. Of files in formats that are not read there is
    one finding in the whole list, which grows with each folder.
    """
    contents = scan_folder(folder)
    messages = Counter(map(refuse_name, contents.bad_names))
    findings += [Finding("bad_name", message, count=count) for message, count in messages.items()]
    if contents.unread:
        earlier = next((each for each in findings if isinstance(each, UnreadFiles)), None)
        if earlier:
            findings.remove(earlier)
        findings.append(count_unread(contents.unread, earlier))
    return contents.images


def count_unread(unread: list[tuple[str, str]], earlier: UnreadFiles | None = None) -> UnreadFiles:
    """The finding on files that are left out, together with that on earlier ones."""
    counts = Counter(format for _, format in unread) + Counter(earlier.counts if earlier else {})
    path, format = first = earlier.first if earlier else unread[0]
    total = sum(counts.values())
    formats = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    what = "1 file of a format that is not read" if total == 1 else f"{total} files of formats that are not read"
    listed = f" ({formats})" if len(counts) > 1 else ""
    name = path if is_utf8(path) else repr(os.fsencode(path))
    return UnreadFiles(
        kind="unread_format", message=f"{what}{listed}, first: {name} ({format})", counts=counts, first=first
    )


def scan_folder(folder: Path, *, is_left_out: Callable[[str], bool] = lambda path: False) -> FolderContents:
    """Sort the files below a folder into images, files of formats that are not read, and others.

    Args:
        is_left_out: called with the path of each folder below it; whether it is not visited.
    """
    images: list[str] = []
    unread: list[tuple[str, str]] = []
    bad_names: list[str] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if is_data_folder(name) and not is_left_out(f"{parent}{os.sep}{name}")]
        is_parent_utf8 = is_utf8(parent)
        for name in names:
            if name.startswith("."):
                continue
            suffix, path = os.path.splitext(name)[1].lower(), f"{parent}{os.sep}{name}"  # noqa: PTH122 (10 times faster)
            if suffix not in SUFFIXES:
                if format := name_unread_format(path, suffix):
                    unread.append((path, format))
            elif is_parent_utf8 and is_utf8(name):
                images.append(path)
            else:
                bad_names.append(path)
    images.sort(key=split_path)
    return FolderContents(images=images, unread=sorted(unread), bad_names=sorted(bad_names))


def split_path(path: str) -> list[str]:
    """The key by which paths are sorted: folder by folder."""
    return path.split(os.sep)  # noqa: PTH206 (`Path` takes 10 times as long)


def refuse_name(path: str) -> str:
    """A message on the first name in a path that is not UTF-8."""
    parts = Path(path).parts
    first = next((index for index, part in enumerate(parts) if not is_utf8(part)), len(parts) - 1)
    what = "file" if first == len(parts) - 1 else "folder"
    return f"{Path(*parts[:first])}: the {what} name {os.fsencode(parts[first])!r} is not UTF-8; rename it"


def is_data_folder(name: str) -> bool:
    """Whether a folder may hold data, by its name: hidden ones and those of systems do not."""
    return not name.startswith(".") and name.lower() not in SYSTEM_FOLDERS


def name_unread_format(path: str, suffix: str) -> str | None:
    """The format of a file that has no suffix of an image, by its suffix; None for what is no image.

    Suffixes that nobody knows count as formats, for nobody can say that they are no images. A file without suffix
    counts where it begins as an image does.
    """
    if suffix in OTHER_SUFFIXES:
        return None
    if len(suffix) > 1:
        return suffix[1:].upper()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 (a name may not be UTF-8)
            return None
        with open(path, "rb") as file:  # noqa: PTH123 (likewise)
            format = find_format(file.read(LENGTH))
    except OSError:
        return None
    return f"{format} without a suffix" if format else None


def is_utf8(name: str) -> bool:
    """Whether a file name can be encoded as UTF-8, as JSON and CSV need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
