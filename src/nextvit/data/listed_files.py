"""Find the files that a list or an annotation file names, as other systems write names."""

import os
import unicodedata
from collections import defaultdict
from urllib.parse import unquote


class ListedFiles:
    """Finds files by the names that a list gives, relative to one folder.

    A name is taken as it is where there is such a file. Else, in this order: with "/" for Windows' backslashes, with
    %20 and the like decoded, and without regard to case and to the form of Unicode (macOS writes an accent as a
    character of its own), where one file alone fits.
    """

    def __init__(self, folder: str) -> None:
        """Args: folder: where the names are relative to."""
        self.folder = folder
        self._entries: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """The path of the file of a name, without "./" and the like; None where there is none."""
        if "\0" in name:
            return None
        path = os.path.join(self.folder, name)  # noqa: PTH118 (10 times faster)
        if os.path.isfile(path):  # noqa: PTH113 (likewise)
            return os.path.normpath(path) if "./" in name or "//" in name else path
        for variant in dict.fromkeys((name, unquote(name))):
            path = os.path.normpath(os.path.join(self.folder, variant.replace("\\", "/")))  # noqa: PTH118
            if "\0" in path:
                continue
            if os.path.isfile(path):  # noqa: PTH113
                return path
            if (similar := self._find_similar(path)) is not None:
                return similar
        return None

    def _find_similar(self, path: str) -> str | None:
        """The only file in a path's folder whose name is the same but for case and the form of Unicode."""
        folder, name = os.path.split(path)
        if folder not in self._entries:
            entries: dict[str, list[str]] = defaultdict(list)
            try:
                with os.scandir(folder) as found:
                    for entry in found:
                        entries[fold(entry.name)].append(entry.name)
            except (OSError, ValueError):
                pass
            self._entries[folder] = dict(entries)
        same = self._entries[folder].get(fold(name), [])
        found_path = os.path.join(folder, same[0]) if len(same) == 1 else ""  # noqa: PTH118
        return found_path if os.path.isfile(found_path) else None  # noqa: PTH113


def fold(name: str) -> str:
    """A name without regard to case and to the form of Unicode."""
    return unicodedata.normalize("NFC", name).casefold()
