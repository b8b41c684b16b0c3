"""The folder that `nextvit predict` writes: annotated images, and `predictions.jsonl` with a line for each image.

A line is written as soon as its prediction is there, so that an interruption, a kill or a full disk costs none of those
before. Names of images are made safe, and each line states those of its own.
"""

import os
import re
from pathlib import Path
from typing import Any

from PIL import Image

from nextvit.cli.console import UNPRINTABLE, to_json

LINES = "predictions.jsonl"
DEFAULT_NAME_BYTES = 255
"""How long a file name may be where the system does not say it."""
UNSAFE = re.compile(rf"{UNPRINTABLE.pattern}|[\\/:*?\"<>|\ufffd]")
"""What names should not have: characters that a terminal obeys, that some systems refuse, or that are no UTF-8."""


class PredictionFolder:
    """Writes predictions into a folder, which is made where it is missing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name_bytes = longest_name(folder)
        self._lines = create(folder / LINES)

    def close(self) -> None:
        os.close(self._lines)

    def write_line(self, record: dict[str, Any]) -> None:
        """Write one line, whole or not at all.

        Raises:
            OSError: the disk is full.
        """
        line = to_json(record).encode() + b"\n"
        end = os.lseek(self._lines, 0, os.SEEK_END)
        try:
            write_all(self._lines, line)
        except OSError as error:
            os.ftruncate(self._lines, end)
            raise OSError(error.errno, error.strerror, str(self.folder / LINES)) from None

    def write_image(self, image: Image.Image, file: Path, *, number: int, suffix: str, **options: Any) -> str:
        """Save an image that belongs to an input file.

        Args:
            file: the input file.
            number: the position of the input, which makes the name unique.
            suffix: of the format, with its dot.
            options: of the format.

        Returns:
            The name that it has in the folder.
        """
        name = safe_name(file, number=number, suffix=suffix, max_bytes=self.name_bytes)
        try:
            with os.fdopen(create(self.folder / name), "wb") as output:
                image.save(output, Image.registered_extensions()[suffix], **options)
        except BaseException:  # half an image is none
            (self.folder / name).unlink(missing_ok=True)
            raise
        return name


def create(path: Path) -> int:
    """Open a new file for writing, in place of an earlier one; a link of that name is replaced, not followed."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes: a nearly full disk takes a part first."""
    while content:
        content = content[os.write(descriptor, content) :]


def longest_name(folder: Path) -> int:
    """How many bytes a file name in a folder may have: 143 in an encrypted one of eCryptfs."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, ValueError, OSError):
        return DEFAULT_NAME_BYTES


def safe_name(file: Path, *, number: int, suffix: str, max_bytes: int) -> str:
    """A name that any system takes, from that of an input file: numbered, of safe characters, and short enough."""
    head = f"{number:05d}-"
    stem = UNSAFE.sub("_", os.fsencode(file.stem).decode("utf-8", "replace"))
    short = stem.encode()[: max_bytes - len(head) - len(suffix)].decode("utf-8", "ignore")
    return f"{head}{short}{suffix}"


def describe_path(path: Path) -> dict[str, Any]:
    """The path of an input for its line. Bytes that are not UTF-8 are shown as \\xe9, and the line says so."""
    content = os.fsencode(path)
    shown = content.decode("utf-8", "backslashreplace")
    return {"path": shown} if shown.encode() == content else {"path": shown, "path_is_escaped": True}
