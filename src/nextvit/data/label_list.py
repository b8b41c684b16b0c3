"""A CSV file with the columns path and label; or labels, of which an image may have several, or none: red|blue."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from nextvit.errors import InputError

SEPARATOR = "|"
"""Between labels. Commas separate columns, and spaces stand in names."""

Found = tuple[str, str, tuple[str, ...]]
"""Split, path and classes of an image."""


def has_label_lists(path: Path) -> bool:
    """Whether a CSV file has the column labels; False for what is no CSV file, too."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return "labels" in columns


def read_list(path: Path, fault: Callable[[str], None]) -> Iterator[Found]:
    """The rows of a list; paths are relative to the file. `fault` is told of each row that cannot be used.

    Raises:
        InputError: this is no such list.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if "path" not in columns or ("label" in columns) == ("labels" in columns):
                raise InputError(
                    f"{path}: expected a first line with the columns path,label (or path,labels) and optionally split; "
                    f"got {','.join(columns) or 'an empty file'}"
                )
            several = "labels" in columns
            seen: set[bytes] = set()  # of images that may have only one row
            for row in reader:
                where, split, name = f"{path}, line {reader.line_num}", row.get("split") or "train", row["path"]
                image = os.path.join(path.parent, name or "")  # noqa: PTH118 (10 times faster)
                labels = labels_of(row["labels"]) if several else (row["label"],)
                if not name or labels is None or (not several and not row["label"]):
                    hint = (
                        "labels is missing; an image with none of the classes is path," if several else "label is empty"
                    )
                    fault(f"{where}: path or {hint}")
                elif split not in ("train", "val"):
                    fault(f"{where}: split must be train or val, got {split!r}")
                elif not os.path.isfile(image):  # noqa: PTH113 (likewise)
                    fault(f"{where}: no such file: {image}")
                elif several and os.fsencode(image) in seen:
                    fault(f"{where}: {name} has a row already; write all its labels into one, such as a|b")
                elif not all(labels):
                    fault(f"{where}: a name between {SEPARATOR} is empty in {row['labels']!r}")
                else:
                    if several:
                        seen.add(os.fsencode(image))
                    yield split, image, labels
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def labels_of(cell: str | None) -> tuple[str, ...] | None:
    """ "red | blue" -> ("red", "blue"); an empty cell has none. None where the row has no such cell."""
    if cell is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in cell.split(SEPARATOR))) if cell.strip() else ()
