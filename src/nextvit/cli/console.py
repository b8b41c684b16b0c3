"""What people see. With --json stdout belongs to one JSON document, and everything for people goes to stderr."""

import codecs
import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document on stdout.")]

progress = Console(stderr=True, highlight=False)
"""For progress and remarks: always stderr."""


def show(as_json: bool, *content: str | Table, document: dict[str, Any]) -> None:
    """Print a result: as JSON on stdout, or for people."""
    if as_json:
        # Where stdout cannot hold every character, JSON's own escapes keep the document valid.
        is_utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
        print(json.dumps(document, ensure_ascii=not is_utf8))
        return
    # Into a file or a pipe nothing is wrapped, so that lines can be searched.
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    for each in content:
        console.print(each, markup=False)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Table:
    """A plain table; the first `left` columns stand to the left, numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for index, column in enumerate(columns):
        is_text = index < left
        table.add_column(column, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for row in rows:
        table.add_row(*map(Text, row))  # names may look like markup
    return table
