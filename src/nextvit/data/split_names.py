"""The one rule for names of splits, for every layout: without regard to case, with the usual synonyms and years."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from nextvit.errors import InputError

SYNONYMS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLITS = ("train", "val", "test")
"""The splits that are read, in this order: to train on, to choose the best checkpoint by, and to score at the end."""
YEAR = re.compile(r"[-_ ]?(?:19|20)\d\d$")
"""As in COCO's train2017."""


def standard_split(name: str) -> str | None:
    """ "train", "val" or "test" for the name of a folder, list or subset, such as Valid or train2017; None for others.

    Other numbers are not taken off: cam1 and cam2, or fold1 and fold2, are not the same.
    """
    return SYNONYMS.get(YEAR.sub("", name.casefold()))


def find_split_folders(parent: Path) -> dict[str, Path]:
    """The folders in a folder that are splits, by our names, in the order train, val, test.

    Raises:
        InputError: two folders are the same split.
    """
    if not parent.is_dir():
        return {}
    return group_splits(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def group_splits(paths: Iterable[Path]) -> dict[str, Path]:
    """The paths whose names (without suffix, if they are files) are those of splits, by our names.

    Raises:
        InputError: two paths are the same split; the message names both.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        split = standard_split(path.name if path.is_dir() else path.stem)
        if split is None:
            continue
        if split in found:
            raise InputError(
                f"{found[split]} and {path.name} are both the split {split}; put the files of both into one of them"
            )
        found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def splits_to_read(wanted: Sequence[str], present: Collection[str], *, root: Path) -> tuple[str, ...]:
    """The splits to read for the wanted ones: where there is no val, it is held out of train.

    Args:
        wanted: names from `SPLITS`; one alone is for scoring, several are for training or a check.
        present: the splits that the dataset has.
        root: of the dataset, for messages.

    Raises:
        InputError: one alone is wanted, and is neither there nor can be held out.
    """
    needed = {"train" if split == "val" and "val" not in present else split for split in wanted}
    if len(wanted) == 1 and not needed <= set(present):
        others = ", ".join(split for split in SPLITS if split in present)
        advice = f"it has {others}" if others else f"expected one called {wanted[0]}"
        raise InputError(f"{root} has no split {wanted[0]!r}; {advice}")
    return tuple(split for split in SPLITS if split in needed and split in present)
