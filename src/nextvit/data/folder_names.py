"""The one rule for the names of folders and files in a layout: capital letters do not count."""

from pathlib import Path


def find_entry(folder: Path, name: str) -> Path:
    """The entry of a folder with a name, or with one that differs in capital letters alone.

    Where there is none, it is the path that is expected.
    """
    expected = folder / name
    if expected.exists() or not folder.is_dir():
        return expected
    return next((path for path in sorted(folder.iterdir()) if path.name.casefold() == name.casefold()), expected)
