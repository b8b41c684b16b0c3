"""The one rule for names of classes, whatever file they were read from."""

import unicodedata

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
