"""The one rule for names of classes, whatever file they were read from."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from nextvit.data.findings import Finding

INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
"""The byte order mark and characters without width, which editors and spreadsheets leave at the ends of a line."""


def normalize_class_name(text: str) -> str:
    """A class name without white space and invisible characters at its ends, in Unicode's composed form (NFC).

    So "part" and "part ", and the two ways to write "é", are one class. Inner white space is kept: it may be meant.
    """
    end = None
    while text != end:  # the two kinds may alternate
        text, end = text.strip().strip(INVISIBLE), text
    return unicodedata.normalize("NFC", text)


def find_similar_names(names: Iterable[str]) -> list[Finding]:
    """A finding for each group of class names that differ in capitals alone: both are kept, for they may be meant."""
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        same[name.casefold()].append(name)
    return [
        Finding("similar_class_names", f"{' and '.join(map(repr, group))} are different classes")
        for group in same.values()
        if len(group) > 1
    ]
