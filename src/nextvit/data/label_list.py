"""Read a CSV file with the columns path and label, or path and labels: red|blue, or empty for none."""

import csv
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from nextvit.data.class_names import normalize_class_name
from nextvit.data.listed_files import ListedFiles
from nextvit.data.split_names import SPLITS, standard_split
from nextvit.errors import InputError
from nextvit.files.regular import require_regular

SEPARATOR = "|"
"""Between labels: commas separate columns, and names may contain spaces."""

HAS_LABELS = (
    "has labels, and a teacher alone teaches without; learn from both with --recipe finetune and --teacher, or pass "
    "a folder of images or a list with the column path"
)
"""What is said of a dataset that is to be read without labels."""

LabelledPath = tuple[str, str, tuple[str, ...]]
"""Split, path and class names of an image."""


def has_label_lists(path: Path) -> bool:
    """Whether a CSV file has the column labels; False also for a file that is not CSV."""
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):  # UnicodeDecodeError is a ValueError, and so is InputError
        return False
    return "labels" in read_columns(columns)


def splits_in_list(path: Path, *, labelled: bool = True) -> set[str]:
    """The splits that the rows of a list are of; `labelled` as of `read_rows`.

    Raises:
        InputError: the file is not such a list.
    """
    return {
        split for _, row in read_rows(path, labelled=labelled) if (split := standard_split(row["split"] or "train"))
    }


def read_label_list(path: Path, on_error: Callable[[str], None], *, wanted: Collection[str]) -> Iterator[LabelledPath]:
    """Read the rows of a list; paths are relative to the file.

    Args:
        path: the CSV file.
        on_error: called with a message for each unusable row, which is skipped.
        wanted: the splits that are read; rows of others are not looked at.

    Raises:
        InputError: the file is not such a list.
    """
    seen: set[str] = set()  # multi-label images, which may have only one row
    files = ListedFiles(str(path.parent))
    for line, row in read_rows(path):
        where, split, name = f"{path}, line {line}", standard_split(row["split"] or "train"), row["path"]
        is_multilabel = "labels" in row
        labels = parse_labels(row["labels"]) if is_multilabel else parse_label(row["label"])
        if split is None:
            on_error(f"{where}: split must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, got {row['split']!r:.60}")
        elif split not in wanted:
            continue
        elif not name or labels is None:
            hint = (
                "labels is missing; an image without labels is written as path," if is_multilabel else "label is empty"
            )
            on_error(f"{where}: path or {hint}")
        elif (image := files.find(name)) is None:
            on_error(f"{where}: no such file: {path.parent / name}")
        elif is_multilabel and image in seen:
            on_error(f"{where}: {name} already has a row; write all its labels into one, such as a|b")
        elif not all(labels):
            on_error(f"{where}: a name between {SEPARATOR} is empty in {row['labels']!r}")
        else:
            if is_multilabel:
                seen.add(image)
            yield split, image, labels


def read_rows(path: Path, *, labelled: bool = True) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Yield the line number and the columns path, split, and label or labels of each row; None for a missing cell.

    Args:
        labelled: whether the list has labels, which it must have or must not have.

    Raises:
        InputError: the file is not CSV, or lacks columns.
    """
    try:
        require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            columns = read_columns(next(reader, []))
            if not labelled and {"label", "labels"} & {*columns}:
                raise InputError(f"{path}: {HAS_LABELS}")
            if not labelled and "path" not in columns:
                raise InputError(
                    f"{path}: expected a first line with the column path and optionally split; got "
                    f"{','.join(columns) or 'an empty file':.200}"
                )
            if labelled and ("path" not in columns or ("label" in columns) == ("labels" in columns)):
                raise InputError(
                    f"{path}: expected a first line with the columns path,label (or path,labels) and optionally split; "
                    f"got {','.join(columns) or 'an empty file':.200}"
                )
            missing = dict.fromkeys(("split", *columns))
            for cells in reader:
                if cells:
                    yield reader.line_num, {**missing, **dict(zip(columns, cells, strict=False))}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def read_path_list(path: Path, on_error: Callable[[str], None], *, wanted: Collection[str]) -> Iterator[LabelledPath]:
    """Read the rows of a list without labels, as `read_label_list` does those of one with labels."""
    files = ListedFiles(str(path.parent))
    for line, row in read_rows(path, labelled=False):
        where, split, name = f"{path}, line {line}", standard_split(row["split"] or "train"), row["path"]
        if split is None:
            on_error(f"{where}: split must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, got {row['split']!r:.60}")
        elif split not in wanted:
            continue
        elif not name:
            on_error(f"{where}: path is empty")
        elif (image := files.find(name)) is None:
            on_error(f"{where}: no such file: {path.parent / name}")
        else:
            yield split, image, ()


def read_columns(cells: list[str]) -> list[str]:
    """The names of the columns, without regard to case and white space."""
    return [cell.strip().lower() for cell in cells]


def parse_label(cell: str | None) -> tuple[str, ...] | None:
    """ "red " -> ("red",); None for an empty or missing cell."""
    name = normalize_class_name(cell or "")
    return (name,) if name else None


def parse_labels(cell: str | None) -> tuple[str, ...] | None:
    """ "red | blue" -> ("red", "blue"), "" -> (); None if the row has no such cell."""
    if cell is None:
        return None
    names = (normalize_class_name(name) for name in cell.split(SEPARATOR))
    return tuple(dict.fromkeys(names)) if cell.strip() else ()
