"""What a check can find in a dataset, how bad it is, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nextvit.errors import InputError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Kind:
    """One kind of finding, for people."""

    severity: Severity
    """error: a model would learn or be measured wrongly; warning: look at it; note: handled, but good to know."""
    title: str
    advice: str


KINDS = {
    "unreadable": Kind("error", "Files that cannot be read", "Replace or remove them."),
    "duplicate_across_classes": Kind(
        "error", "The same file under different classes", "At most one of the labels is right; remove the others."
    ),
    "duplicate_across_splits": Kind(
        "error", "The same file in train and in val", "What was learnt by heart counts as known; keep one of them."
    ),
    "empty_class": Kind("error", "Classes without images", "Add images or remove the folder."),
    "class_only_in_val": Kind("error", "Classes that are only in val", "Nothing can be learnt about them."),
    "single_class": Kind("error", "A single class", "A classifier needs at least two."),
    "empty_split": Kind("error", "A split without images", "Fill the folder or remove it."),
    "nothing_to_validate": Kind("error", "No validation images", "Add images, or a split val."),
    "bad_row": Kind("error", "Rows of the list that cannot be used", "Correct the list."),
    "bad_name": Kind("error", "File names that are not UTF-8", "Rename the files."),
    "too_elongated": Kind(
        "error", "Pictures that are too elongated to be resized", "Crop them, or use data.resize squash."
    ),
    "near_duplicate_across_classes": Kind(
        "warning", "Nearly the same picture under different classes", "Look at them: one label may be wrong."
    ),
    "near_duplicate_across_splits": Kind(
        "warning", "Nearly the same picture in train and in val", "Keep copies and series of one scene in one split."
    ),
    "duplicate": Kind("warning", "The same file several times in one split", "It counts as often; keep one of them."),
    "wrong_suffix": Kind("warning", "File names that lie about the format", "They are read all the same; rename them."),
    "class_only_in_train": Kind("warning", "Classes without validation images", "How well they are known stays open."),
    "tiny_class": Kind("warning", "Classes with few training images", "Add images, or merge the class with another."),
    "imbalance": Kind("warning", "Classes of very different size", "A model will prefer the large ones."),
    "grey_share": Kind(
        "warning", "Some classes are grey, others coloured", "A model may learn the colour instead of the thing."
    ),
    "one_colour": Kind("warning", "Pictures of a single colour", "There is nothing to see; remove them."),
    "tiny": Kind("warning", "Tiny pictures", "They are enlarged; are they thumbnails of larger ones?"),
    "elongated": Kind("warning", "Elongated pictures", "Most of each is cropped away; consider data.resize squash."),
    "near_duplicate": Kind("note", "Nearly the same picture in one class and split", "Series and copies teach little."),
    "turned": Kind("note", "Photographs turned by EXIF", "They are turned upright when read."),
    "cmyk": Kind("note", "CMYK pictures", "They are converted without a colour profile, so tints may be off."),
    "deep": Kind("note", "Pictures of more than 8 bits", "They are scaled to 8 bits."),
    "animated": Kind("note", "Pictures of several frames", "Only the first frame is used."),
}
"""By their names in --json, in the order in which they are shown."""


@dataclass(frozen=True)
class Finding:
    """One thing to mend, or to know."""

    kind: str
    message: str
    pictures: tuple[int, ...] = ()
    """Positions in the survey of the pictures that it is about."""

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """As `KINDS` are listed: errors, then warnings, then notes."""
    order = {kind: position for position, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: order[finding.kind])


def refuse_errors(findings: Sequence[Finding], *, dataset: object) -> None:
    """Raise InputError if there are errors; the message names the first one and the ways out.

    Files that cannot be read do not count: training leaves them out, as long as they are few (data.max_unreadable).
    """
    errors = [each for each in findings if each.severity == "error" and each.kind != "unreadable"]
    if errors:
        raise InputError(
            f"{dataset}: {len(errors)} {'errors' if len(errors) > 1 else 'error'} in the data, first: "
            f"{errors[0].message}; see nextvit check {dataset}, or train all the same with --data.allow-errors true"
        )
