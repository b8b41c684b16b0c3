"""Read a CSV file with the columns path and label, or path and labels: red|blue, or empty for none."""

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from nextvit.errors import InputError

SEPARATOR = "|"
"""Between labels: commas separate columns, and names may contain spaces."""

LabelledPath = tuple[str, str, tuple[str, ...]]
"""Split, path and class names of an image."""


def has_label_lists(path: Path) -> bool:
    """Whether a CSV file has the column labels; False also for a file that is not CSV."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return "labels" in columns


def read_label_list(path: Path, on_error: Callable[[str], None]) -> Iterator[LabelledPath]:
    """Read the rows of a list; paths are relative to the file.

    Args:
        path: the CSV file.
        on_error: called with a message for each unusable row, which is skipped.

    Raises:
        InputError: the file is not such a list.
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
            is_multilabel = "labels" in columns
            seen: set[bytes] = set()  # multi-label images, which may have only one row
            for row in reader:
                where, split, name = f"{path}, line {reader.line_num}", row.get("split") or "train", row["path"]
                image = os.path.join(path.parent, name or "")  # noqa: PTH118 (10 times faster)
                labels = parse_labels(row["labels"]) if is_multilabel else (row["label"],)
                if not name or labels is None or (not is_multilabel and not row["label"]):
                    hint = (
                        "labels is missing; an image without labels is written as path,"
                        if is_multilabel
                        else "label is empty"
                    )
                    on_error(f"{where}: path or {hint}")
                elif split not in ("train", "val"):
                    on_error(f"{where}: split must be train or val, got {split!r}")
                elif not os.path.isfile(image):  # noqa: PTH113 (likewise)
                    on_error(f"{where}: no such file: {image}")
                elif is_multilabel and os.fsencode(image) in seen:
                    on_error(f"{where}: {name} already has a row; write all its labels into one, such as a|b")
                elif not all(labels):
                    on_error(f"{where}: a name between {SEPARATOR} is empty in {row['labels']!r}")
                else:
                    if is_multilabel:
                        seen.add(os.fsencode(image))
                    yield split, image, labels
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def parse_labels(cell: str | None) -> tuple[str, ...] | None:
    """ "red | blue" -> ("red", "blue"), "" -> (); None if the row has no such cell."""
    if cell is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in cell.split(SEPARATOR))) if cell.strip() else ()
