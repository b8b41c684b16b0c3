"""The kinds of findings of a dataset check: severity, title and advice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nextvit.errors import InputError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Kind:
    """One kind of finding, as it is shown."""

    severity: Severity
    """error: training or evaluation would be wrong; warning: worth a look; note: handled, but good to know."""
    title: str
    advice: str
    left_out: str = ""
    """What of it a training with --data.allow-errors leaves out, as a noun; "": nothing."""


KINDS = {
    "unreadable": Kind("error", "Files that cannot be read", "Replace or remove them."),
    "duplicate_across_classes": Kind(
        "error", "The same file under different classes", "At most one of the labels is right; remove the others."
    ),
    "duplicate_across_splits": Kind(
        "error", "The same file in two splits", "A score would measure memorised images; keep one of them."
    ),
    "empty_class": Kind("error", "Classes without images", "Add images or remove the folder.", left_out="class"),
    "class_only_in_val": Kind("error", "Classes that are only in val", "They cannot be learned."),
    "single_class": Kind("error", "A single class", "A classifier needs at least two."),
    "empty_split": Kind("error", "A split without images", "Fill the folder or remove it."),
    "nothing_to_validate": Kind("error", "No validation images", "Add images, or a split val."),
    "bad_row": Kind("error", "Rows of the list that cannot be used", "Correct the list.", left_out="row"),
    "bad_name": Kind("error", "File names that are not UTF-8", "Rename the files.", left_out="file"),
    "missing_image": Kind(
        "error", "Images that are listed but not there", "Copy them, or take them off the list.", left_out="image"
    ),
    "unknown_image": Kind(
        "error", "Annotations of images that are not listed", "List the images, or remove them.", left_out="annotation"
    ),
    "unknown_category": Kind(
        "error", "Annotations of unknown categories", "Add the categories, or correct the ids.", left_out="annotation"
    ),
    "bad_category": Kind(
        "error", "Categories that contradict each other", "Give each an id and a name of its own.", left_out="category"
    ),
    "bad_image": Kind(
        "error", "Images whose records cannot be used", "Correct or remove the records.", left_out="image"
    ),
    "bad_annotation": Kind(
        "error", "Annotations that cannot be used", "Correct or remove them.", left_out="annotation"
    ),
    "box_fractions": Kind(
        "error", "Boxes in fractions of the image", "COCO's are in pixels: multiply them by width and height."
    ),
    "class_without_objects": Kind(
        "error", "Classes without objects in train", "Annotate some, or remove the category from the files."
    ),
    "size_differs": Kind(
        "error",
        "Images of another size than annotated",
        "Boxes are elsewhere; restore the image that was annotated.",
        left_out="image",
    ),
    "box_outside": Kind("error", "Boxes completely outside their image", "Correct or remove them."),
    "too_elongated": Kind(
        "error", "Images that are too elongated to be resized", "Crop them, or use data.resize stretch."
    ),
    "image_without_mask": Kind("error", "Images without a mask", "Draw it, or move the image away.", left_out="image"),
    "ambiguous_mask": Kind(
        "error", "Images or masks of the same name", "The pairing is ambiguous; keep one.", left_out="image"
    ),
    "bad_mask": Kind(
        "error", "Masks that cannot be used", "Save them again, or remove them with their images.", left_out="image"
    ),
    "mask_in_colours": Kind(
        "error",
        "Masks in colours instead of indices",
        "Save the index of each pixel's class, one channel, as PNG.",
        left_out="image",
    ),
    "mask_size_differs": Kind(
        "error",
        "Masks of another size than their images",
        "Restore the image that the mask was drawn on.",
        left_out="image",
    ),
    "class_not_listed": Kind(
        "error", "Classes that classes.txt does not list", "Add their names, in order of values.", left_out="image"
    ),
    "value_out_of_range": Kind(
        "error", "Values in masks that are not a class", "Correct them, or make them 255: unlabelled.", left_out="image"
    ),
    "white_mask": Kind(
        "error", "Masks of only 0 and 255", "255 means unlabelled; if white is a class, save it as 1, or as its value."
    ),
    "other_mask_of_copy": Kind("error", "The same image with different masks", "At most one of them is right."),
    "nearly_other_mask_of_copy": Kind(
        "warning",
        "The same image with slightly different masks",
        "Keep one; the page of --report shows where they differ.",
    ),
    "left_out": Kind("warning", "Files that are not used", "Move them to where they are read, or out of the dataset."),
    "class_only_in_test": Kind(
        "warning", "Classes that are only in test", "A model cannot know them; they are left out."
    ),
    "nothing_to_test": Kind("warning", "A split test without images", "Fill it or remove it."),
    "similar_class_names": Kind(
        "warning", "Class names that differ in capitals alone", "If they mean the same, write them alike."
    ),
    "stray_part": Kind("warning", "Points and lines beside outlines", "They have no pixel and are passed over."),
    "some_white_masks": Kind(
        "warning", "Masks of 0 and 255 among others", "255 means unlabelled; if white is a class there, save its value."
    ),
    "near_duplicate_across_classes": Kind(
        "warning", "Nearly the same image under different classes", "Look at them: one label may be wrong."
    ),
    "near_duplicate_across_splits": Kind(
        "warning", "Nearly the same image in two splits", "Keep copies and series of one scene in one split."
    ),
    "duplicate": Kind(
        "warning", "The same file several times in one split", "It is weighted accordingly; keep one of them."
    ),
    "box_beyond": Kind("warning", "Boxes that reach beyond their image", "They are clipped to it; were they scaled?"),
    "empty_box": Kind("warning", "Boxes of zero area", "They are left out of training."),
    "mask_differs": Kind("warning", "Masks that disagree with their boxes", "Look at them: one of the two is wrong."),
    "empty_mask": Kind("warning", "Empty masks", "Remove them, or draw them again."),
    "mask_missing": Kind(
        "warning", "Objects without a mask among others with one", "They do not train the mask head; draw their masks."
    ),
    "duplicate_object": Kind(
        "warning", "The same object annotated twice", "Only one of the two can be detected; remove the other."
    ),
    "object_of_two_classes": Kind("warning", "One object in two classes", "Look at them: one of the two may be wrong."),
    "tiny_object": Kind("warning", "Tiny objects", "They have hardly any detail; are the images scaled down?"),
    "mask_without_image": Kind("warning", "Masks without an image", "They are not used; where are the images?"),
    "class_without_pixels": Kind(
        "warning", "Classes without a pixel", "They can be neither learned nor evaluated; are the masks complete?"
    ),
    "mostly_unlabelled": Kind(
        "warning", "Masks that are mostly unlabelled", "They train little; label more pixels, or remove them."
    ),
    "unlisted_image": Kind("warning", "Images that are not listed", "They are not used; list them, or move them away."),
    "unread_format": Kind(
        "warning", "Files of formats that are not read", "They are left out; convert images to JPEG or PNG."
    ),
    "wrong_suffix": Kind(
        "warning", "File names with the suffix of another format", "They are read anyway; rename them."
    ),
    "class_only_in_train": Kind("warning", "Classes without validation images", "They are not evaluated."),
    "tiny_class": Kind("warning", "Classes with few training images", "Add images, or merge the class with another."),
    "imbalance": Kind("warning", "Classes of very different size", "A model will favour the large ones."),
    "side_without_counterpart": Kind(
        "warning",
        "Classes with a side whose mirror image is no class",
        "Training does not flip views; add the counterparts, or rename them if they mean no side.",
    ),
    "grey_share": Kind(
        "warning", "Some classes are grey, others coloured", "A model may learn the colour instead of the object."
    ),
    "one_colour": Kind("warning", "Images of a single colour", "They show nothing; remove them."),
    "tiny": Kind("warning", "Tiny images", "They are enlarged; are they thumbnails of larger ones?"),
    "elongated": Kind("warning", "Elongated images", "Most of each is cropped away; consider data.resize stretch."),
    "near_duplicate": Kind(
        "note", "Nearly the same image in one class and split", "Series and copies add little to training."
    ),
    "class_with_side": Kind(
        "note", "Classes that are each other's mirror image", "Training exchanges them where it flips a view."
    ),
    "class_above_or_below": Kind(
        "note", "Classes that a vertical flip would exchange", "Training flips no view vertically."
    ),
    "category_left_out": Kind("note", "Categories that are only names of groups", "They are left out of the classes."),
    "without_objects": Kind("note", "Images without objects", "They train as background; are annotations missing?"),
    "unlabelled": Kind("note", "Unlabelled pixels", "They are ignored in training and evaluation."),
    "turned": Kind("note", "Images rotated by EXIF", "They are turned upright when read."),
    "cmyk": Kind("note", "CMYK images", "They are converted without a colour profile, so tints may be off."),
    "deep": Kind("note", "Images of more than 8 bits", "They are scaled to 8 bits."),
    "animated": Kind("note", "Images of several frames", "Only the first frame is used."),
}
"""By their names in --json output, in the order in which they are shown."""


@dataclass(frozen=True)
class Finding:
    """One problem of a dataset, or a fact worth knowing."""

    kind: str
    message: str
    positions: tuple[int, ...] = ()
    """Positions, in the survey, of the images concerned."""
    objects: tuple[int, ...] = ()
    """For findings about objects: for each of `positions`, the index of the object in its split's annotations."""
    count: int = 1
    """How many things a finding without positions is about."""

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings in the order of `KINDS`: errors, then warnings, then notes."""
    order = {kind: position for position, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: order[finding.kind])


STOPPING = ("empty_split", "nothing_to_validate", "single_class")
"""Kinds of errors with which nothing can be learned or scored, whatever is allowed."""


def refuse_errors(findings: Sequence[Finding], *, dataset: object, allowed: bool = False) -> None:
    """Raise InputError if there are errors; the message names the first one and what to do.

    Files that cannot be read do not count: training leaves them out, as long as they are few (data.max_unreadable).

    Args:
        findings: of a check.
        dataset: its path, for the message.
        allowed: whether all but those that stop any training are allowed.
    """
    errors = [each for each in findings if each.severity == "error" and each.kind != "unreadable"]
    stopping = [each for each in errors if each.kind in STOPPING]
    if allowed:
        errors = stopping
    if errors:
        title = KINDS[errors[0].kind].title
        advice = "" if stopping else ", or train anyway with --data.allow-errors"
        raise InputError(
            f"{dataset}: {len(errors)} {'errors' if len(errors) > 1 else 'error'} in the data, first: "
            f"{title[0].lower()}{title[1:]} ({errors[0].message}); see nextvit check {dataset}{advice}"
        )


def describe_left_out(findings: Sequence[Finding]) -> str:
    """What is left out because of these findings, such as "left out: 2 annotations, 1 image"; "" for nothing."""
    counts: Counter[str] = Counter()
    for finding in findings:
        if noun := KINDS[finding.kind].left_out:
            counts[noun] += len(set(finding.positions)) or finding.count
    parts = [f"{count:,} {noun if count == 1 else plural(noun)}" for noun, count in counts.items()]
    return f"left out: {', '.join(parts)}" if parts else ""


def plural(noun: str) -> str:
    return {"class": "classes", "category": "categories"}.get(noun, noun + "s")
