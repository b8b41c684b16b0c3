"""Read text files of a dataset that anybody may have written."""

import codecs
from pathlib import Path

from nextvit.files.regular import read_regular

MAX_BYTES = 2**24
MAX_LIST_BYTES = 2**27
"""Of a list with a line for each image."""


def read_text(path: Path, *, max_bytes: int = MAX_BYTES) -> str:
    """A text in UTF-8, with or without a byte order mark, or in UTF-16 with one, as PowerShell writes it.

    What is neither becomes replacement characters.

    Raises:
        InputError: the file cannot be read or is too large.
    """
    content = read_regular(path, max_bytes=max_bytes)
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def begins_with_numbers(text: str) -> bool:
    """Whether the first row that is not empty has a number and at least four further words, or there is none.

    So label files look, unlike lists of images, numbered lists of names, and texts for people.
    """
    words = next((line.split() for line in text.splitlines() if line.strip()), None)
    if words is None:
        return True
    try:
        float(words[0])
    except ValueError:
        return False
    return len(words) > 4
