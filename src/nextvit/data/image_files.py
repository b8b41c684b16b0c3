"""Find the image files below a folder, by their suffixes."""

import os
from pathlib import Path

from nextvit.data.findings import Finding
from nextvit.errors import InputError
from nextvit.image.reading import SUFFIXES


def list_images(folder: Path) -> list[Path]:
    """All files below a folder with the suffix of an image format, sorted, without hidden files.

    Links to folders are followed, and each folder is visited once.

    Raises:
        InputError: a name is not UTF-8, so that it cannot be written into results.
    """
    findings: list[Finding] = []
    found = find_image_files(folder, findings)
    if findings:
        raise InputError(findings[0].message)
    return [Path(path) for path in found]


def find_image_files(folder: Path, findings: list[Finding]) -> list[str]:
    """`list_images` as text, for a million `Path` take a gigabyte; names that are not UTF-8 are added to `findings`."""
    found: list[str] = []
    visited: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            suffix = os.path.splitext(name)[1]  # noqa: PTH122 (10 times faster)
            if not name.startswith(".") and suffix.lower() in SUFFIXES:
                if is_utf8(name):
                    found.append(f"{parent}{os.sep}{name}")
                else:
                    message = f"{parent}: the file name {os.fsencode(name)!r} is not UTF-8; rename it"
                    findings.append(Finding("bad_name", message))
    return sorted(found, key=lambda path: path.split(os.sep))  # noqa: PTH206 (likewise)


def is_utf8(name: str) -> bool:
    """Whether a file name can be encoded as UTF-8, as JSON and CSV need it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
