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
    "missing_image": Kind("error", "Images that are listed but not there", "Copy them, or take them off the list."),
    "unknown_image": Kind("error", "Annotations of images that are not listed", "List the images, or remove them."),
    "unknown_category": Kind("error", "Annotations of unknown categories", "Add the categories, or correct the ids."),
    "bad_category": Kind("error", "Categories that contradict each other", "Give each an id and a name of its own."),
    "bad_annotation": Kind("error", "Annotations that cannot be used", "Correct or remove them."),
    "class_without_objects": Kind(
        "error", "Classes without objects in train", "Annotate some, or remove the category from the files."
    ),
    "size_differs": Kind(
        "error",
        "Images of another size than annotated",
        "Boxes lie elsewhere; bring back the image that was annotated.",
    ),
    "box_outside": Kind("error", "Boxes wholly outside their image", "Correct or remove them."),
    "too_elongated": Kind(
        "error", "Pictures that are too elongated to be resized", "Crop them, or use data.resize squash."
    ),
    "image_without_mask": Kind("error", "Images without a mask", "Draw it, or move the image away."),
    "ambiguous_mask": Kind("error", "Images or masks of the same name", "Which belongs to which is open; keep one."),
    "bad_mask": Kind("error", "Masks that cannot be used", "Save them again, or remove them with their images."),
    "mask_in_colours": Kind(
        "error", "Masks in colours instead of indices", "Save the index of each pixel's class, one channel, as PNG."
    ),
    "mask_size_differs": Kind(
        "error", "Masks of another size than their images", "Bring back the image that the mask was drawn on."
    ),
    "class_not_listed": Kind("error", "Classes that classes.txt does not list", "Add their names, in order of values."),
    "value_out_of_range": Kind(
        "error", "Values in masks that are no class", "Correct them, or make them 255: no label."
    ),
    "white_mask": Kind(
        "error", "Masks of 0 and 255 alone", "255 is no label; if white is a class, save it as 1, or as its value."
    ),
    "other_mask_of_copy": Kind("error", "The same picture with different masks", "At most one of them is right."),
    "near_duplicate_across_classes": Kind(
        "warning", "Nearly the same picture under different classes", "Look at them: one label may be wrong."
    ),
    "near_duplicate_across_splits": Kind(
        "warning", "Nearly the same picture in train and in val", "Keep copies and series of one scene in one split."
    ),
    "duplicate": Kind("warning", "The same file several times in one split", "It counts as often; keep one of them."),
    "box_beyond": Kind("warning", "Boxes that reach beyond their image", "They are cut at its edge; were they scaled?"),
    "empty_box": Kind(
        "warning", "Boxes of zero area", "Nothing can be learnt from them; they are left out of training."
    ),
    "mask_differs": Kind("warning", "Masks that disagree with their boxes", "Look at them: one of the two is wrong."),
    "empty_mask": Kind("warning", "Masks without a pixel", "Remove them, or draw them again."),
    "mask_missing": Kind("warning", "Objects without mask among others with", "Their masks are not learnt; draw them."),
    "duplicate_object": Kind(
        "warning", "The same object annotated twice", "One of the two can never be found; remove it."
    ),
    "object_of_two_classes": Kind("warning", "One object in two classes", "Look at them: one of the two may be wrong."),
    "tiny_object": Kind("warning", "Tiny objects", "Hardly anything can be seen of them; are the images scaled down?"),
    "mask_without_image": Kind("warning", "Masks without an image", "They are not used; where are the images?"),
    "class_without_pixels": Kind(
        "warning", "Classes without a pixel", "Nothing can be learnt or judged of them; are the masks complete?"
    ),
    "mostly_unlabelled": Kind(
        "warning", "Masks that are mostly without label", "Little can be learnt from them; draw more, or remove them."
    ),
    "unlisted_image": Kind("warning", "Images that are not listed", "They are not used; list them, or move them away."),
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
    "category_left_out": Kind("note", "Categories that are only names of groups", "They are left out of the classes."),
    "without_objects": Kind("note", "Images without objects", "They teach what is none; is nothing forgotten?"),
    "unlabelled": Kind("note", "Pixels without label", "They are neither learnt nor judged."),
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
    positions: tuple[int, ...] = ()
    """Positions in the survey of the pictures that it is about."""
    objects: tuple[int, ...] = ()
    """In data with objects and a finding about some: for each of `pictures` the one in its split's annotations."""

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
            f"{errors[0].message}; see nextvit check {dataset}, or train all the same with --data.allow-errors"
        )
