"""The exceptions that reach a user. Each message says what came, what is accepted and what to do.

Exception
+-- ValueError
|   +-- InputError          the request or the input is wrong        (exit code 2)
|       +-- NoRuntimeHere   the backend does not exist on this system
+-- ImportError
|   +-- MissingDependency   an optional package is not installed     (exit code 3)
+-- NotProven               the work was done and the answer is "no" (exit code 1)
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The request or an input file is wrong; the message is one line meant for the user."""


class NoRuntimeHere(InputError):
    """A backend's runtime does not exist on this system, whatever is installed."""


class MissingDependency(ImportError):
    """An optional package is needed; the message is the install line: of the extra that brings it, or of what `install`
    names where it comes from its vendor."""

    def __init__(self, package: str, *, extra: str = "", install: str = "") -> None:
        what = install or f"'nextvit[{extra}]'"
        super().__init__(f"{package!r} is not installed; install it with: pip install {what}")


class NotProven(Exception):
    """A verification failed; the message says by how much."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suffix for an error message: the nearest known word, else all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"accepted: {', '.join(known)}"
