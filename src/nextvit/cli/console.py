"""What people see. With --json stdout belongs to one JSON document, and everything for people goes to stderr."""

import io
import json
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document on stdout.")]

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, which a terminal obeys, overrides of the writing direction, which hide what follows, and halves
of surrogate pairs, which no encoding can write."""


def printable(text: str) -> str:
    """A text from a file or a file name, safe for a terminal: what it would obey stands there as an escape.

    Line ends and tabs are escaped, too: a name has none.
    """
    return UNPRINTABLE.sub(lambda match: escape(match[0]), text)


def escape(character: str) -> str:
    """A character as Python and JSON write it: "\\x1b", "\\u202e"."""
    return f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"


def printable_lines(text: str) -> str:
    """As `printable`, for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def to_json(document: Any) -> str:
    """A JSON document on one line. The same characters are escaped, as JSON does it, so that its values are exact."""
    text = json.dumps(document, ensure_ascii=False)
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class SafeConsole(Console):
    """A console that prints texts without what a terminal would obey."""

    def print(self, *objects: Any, **options: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print texts and other things, as `Console` does."""
        super().print(*(printable_lines(each) if isinstance(each, str) else each for each in objects), **options)


progress = SafeConsole(stderr=True, highlight=False)
"""For progress and remarks: always stderr."""


def show(as_json: bool, *content: str | Table, document: dict[str, Any]) -> None:
    """Print a result: as JSON on stdout, or for people."""
    if as_json:
        is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        print(to_json(document) if is_unicode else json.dumps(document))
        return
    if isinstance(sys.stdout, io.TextIOWrapper):  # an ASCII locale takes no names in other letters
        sys.stdout.reconfigure(errors="backslashreplace")
    # Into a file or a pipe nothing is wrapped, so that lines can be searched.
    console = SafeConsole(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    for each in content:
        console.print(each, markup=False)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """A plain table; the first `left` columns stand to the left, numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for index, column in enumerate(columns):
        is_text = index < left
        table.add_column(
            Text(printable(column)), justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text
        )
    for row in rows:
        table.add_row(*(Text(printable_lines(cell)) for cell in row))  # names may look like markup
    return table
