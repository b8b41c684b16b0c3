"""A CSV file with the columns path and labels, of which an image may have several, or none: red|blue."""

import csv
from pathlib import Path

from nextvit.errors import InputError

SEPARATOR = "|"
"""Commas separate columns, and spaces stand in names."""


def has_label_lists(path: Path) -> bool:
    """Whether a CSV file has the column labels; False for what is no CSV file, too."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (UnicodeDecodeError, csv.Error):
        return False
    return "labels" in columns


def read_label_list(path: Path) -> dict[str, list[tuple[Path, tuple[str, ...]]]]:
    """The images of each split with their labels; paths are relative to the file.

    Raises:
        InputError: a row without its image, with an unknown split, or about an image that has a row already.
    """
    found: dict[str, list[tuple[Path, tuple[str, ...]]]] = {}
    seen: set[Path] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or ()
            if "path" not in columns or "label" in columns:
                raise InputError(
                    f"{path}: expected a first line with the columns path,labels (or path,label) and optionally split; "
                    f"got {','.join(columns)}"
                )
            for row in reader:
                where, split, image = f"{path}, line {reader.line_num}", row.get("split") or "train", row["path"]
                if not image or row["labels"] is None:
                    raise InputError(f"{where}: path or labels is missing; an image with none of the classes is path,")
                if split not in ("train", "val"):
                    raise InputError(f"{where}: split must be train or val, got {split!r}")
                file_path = path.parent / image
                if not file_path.is_file():
                    raise InputError(f"{where}: no such file: {file_path}")
                if file_path in seen:
                    raise InputError(f"{where}: {image} has a row already; write all its labels into one, such as a|b")
                seen.add(file_path)
                found.setdefault(split, []).append((file_path, labels_of(row["labels"], where)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if "train" not in found:
        raise InputError(f"{path}: no rows for the split train")
    return found


def labels_of(cell: str, where: str) -> tuple[str, ...]:
    """ "red | blue" -> ("red", "blue"); an empty cell has none. `where` names the row in messages."""
    if not cell.strip():
        return ()
    labels = tuple(dict.fromkeys(name.strip() for name in cell.split(SEPARATOR)))
    if not all(labels):
        raise InputError(f"{where}: a name between {SEPARATOR} is empty in {cell!r}")
    return labels
