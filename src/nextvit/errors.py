"""The exceptions that reach a user, and suggestions for their messages.

Each message is one line: what was given, what is accepted and what to do.

Exception
+-- ValueError
|   +-- InputError          the request or the input is wrong        (exit code 2)
|       +-- NoRuntimeHere   the backend does not exist on this system
+-- ImportError
|   +-- MissingDependency   an optional package is not installed     (exit code 3)
+-- NotProven               the work was done and the result is "no" (exit code 1)
"""

import difflib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MAX_SIBLINGS = 5000
"""How many names of a folder are compared with a mistyped one: a folder of images may have millions."""


class InputError(ValueError):
    """The request or an input file is wrong; the message is one line meant for the user."""


class NoRuntimeHere(InputError):
    """A backend's runtime does not exist on this system, whatever is installed."""


class MissingDependency(ImportError):
    """An optional package is needed; the message has the command that installs it.

    Args:
        package: the name that could not be imported.
        extra: the extra of nextvit that brings the package.
        install: the arguments of `pip install`, for a package that comes from its vendor instead.
    """

    def __init__(self, package: str, *, extra: str = "", install: str = "") -> None:
        # From a clone, not by our name: no registry has it, and what it may have some day need not be ours.
        command = f"pip install {install}" if install else f"pip install '.[{extra}]' in a clone of nextvit"
        super().__init__(f"{package!r} is not installed; install it with: {command}")


class NotProven(Exception):
    """A verification failed; the message says by how much."""


def first_line(error: Exception) -> str:
    """The first line of an error's message that is not blank; without one, the name of its type."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shorten(text: str, limit: int = 100) -> str:
    """The beginning of a text that may be long, on one line, for a message."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit] + "..."


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """The last clause of an error message on an unknown word: the nearest known word, or all of them if none is
    near.

    Args:
        word: what a file has in place of a known word, whatever its type: a number, None.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(word)[:100], known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"accepted: {', '.join(known)}"


def suggest_path(path: Path) -> str:
    """A clause for the end of an error message on a path that does not exist: the nearest path that does.

    That is a file or folder of a similar name in the same parent folder. Where the parent does not exist either, it is
    corrected first, and the name is looked up below the corrected one.

    Returns:
        `; did you mean PATH?`, or "" where nothing is near enough, and where the path exists.
    """
    try:
        if path.exists():
            return ""
        corrected = path.parent if path.parent.is_dir() else find_similar_sibling(path.parent)
        if corrected is None:
            return ""
        exact = corrected / path.name
        found = exact if exact.exists() else find_similar_sibling(exact)
    except (OSError, ValueError):  # a folder that may not be read, a name that is too long or has a null byte
        return ""
    if found is None and corrected != path.parent:
        found = corrected
    return f"; did you mean {found}?" if found and str(found).isprintable() else ""


def find_similar_sibling(path: Path) -> Path | None:
    """The entry of the path's parent folder whose name is most similar to the path's; None where none is near.

    Upper and lower case count as equal.
    """
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in islice(entries, MAX_SIBLINGS)]
    by_lower_case = {name.lower(): name for name in sorted(names)}
    near = difflib.get_close_matches(path.name.lower(), by_lower_case, n=1, cutoff=0.6)
    return path.parent / by_lower_case[near[0]] if near else None
