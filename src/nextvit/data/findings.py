"""The kinds of findings of a dataset check: severity, title and advice."""

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


KINDS = {
    "unreadable": Kind("error", "Files that cannot be read", "Replace or remove them."),
    "duplicate_across_classes": Kind(
        "error", "The same file under different classes", "At most one of the labels is right; remove the others."
    ),
    "duplicate_across_splits": Kind(
        "error", "The same file in train and in val", "Validation would measure memorised images; keep one of them."
    ),
    "empty_class": Kind("error", "Classes without images", "Add images or remove the folder."),
    "class_only_in_val": Kind("error", "Classes that are only in val", "They cannot be learned."),
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
        "Boxes are elsewhere; restore the image that was annotated.",
    ),
    "box_outside": Kind("error", "Boxes completely outside their image", "Correct or remove them."),
    "too_elongated": Kind(
        "error", "Images that are too elongated to be resized", "Crop them, or use data.resize stretch."
    ),
    "image_without_mask": Kind("error", "Images without a mask", "Draw it, or move the image away."),
    "ambiguous_mask": Kind("error", "Images or masks of the same name", "The pairing is ambiguous; keep one."),
    "bad_mask": Kind("error", "Masks that cannot be used", "Save them again, or remove them with their images."),
    "mask_in_colours": Kind(
        "error", "Masks in colours instead of indices", "Save the index of each pixel's class, one channel, as PNG."
    ),
    "mask_size_differs": Kind(
        "error", "Masks of another size than their images", "Restore the image that the mask was drawn on."
    ),
    "class_not_listed": Kind("error", "Classes that classes.txt does not list", "Add their names, in order of values."),
    "value_out_of_range": Kind(
        "error", "Values in masks that are not a class", "Correct them, or make them 255: unlabelled."
    ),
    "white_mask": Kind(
        "error", "Masks of only 0 and 255", "255 means unlabelled; if white is a class, save it as 1, or as its value."
    ),
    "other_mask_of_copy": Kind("error", "The same image with different masks", "At most one of them is right."),
    "near_duplicate_across_classes": Kind(
        "warning", "Nearly the same image under different classes", "Look at them: one label may be wrong."
    ),
    "near_duplicate_across_splits": Kind(
        "warning", "Nearly the same image in train and in val", "Keep copies and series of one scene in one split."
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
    groups: tuple[tuple[int, ...], ...] = ()
    """The positions of the images that belong together, where the finding is about several such groups."""

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings in the order of `KINDS`: errors, then warnings, then notes."""
    order = {kind: position for position, kind in enumerate(KINDS)}
    return sorted(findings, key=lambda finding: order[finding.kind])


def refuse_errors(findings: Sequence[Finding], *, dataset: object) -> None:
    """Raise InputError if there are errors; the message says what the first one is, in which files, and what to do.

    Files that cannot be read do not count: training leaves them out, as long as they are few (data.max_unreadable).
    """
    errors = [each for each in findings if each.severity == "error" and each.kind != "unreadable"]
    if errors:
        title = KINDS[errors[0].kind].title
        raise InputError(
            f"{dataset}: {len(errors)} {'errors' if len(errors) > 1 else 'error'} in the data, first: "
            f"{title[0].lower()}{title[1:]} ({errors[0].message}); see nextvit check {dataset}, or train anyway with "
            "--data.allow-errors"
        )
