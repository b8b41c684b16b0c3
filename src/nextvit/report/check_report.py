"""The page of `nextvit check`: the composition of a dataset, and the images of each finding."""

from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextvit.check.check import grey_fractions
from nextvit.check.masks import MaskSurvey, count_images_per_class, count_training_pixels
from nextvit.check.survey import Survey, Trait
from nextvit.data.class_masks import BadMask
from nextvit.data.dataset import Dataset
from nextvit.data.findings import KINDS, Finding
from nextvit.files.durable import write_durably
from nextvit.image.drawing import Mark, class_style, draw_marks
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.reading import FORMATS, DecodeError, Encoded, read_image
from nextvit.report.class_overlays import class_swatch, overlay_row
from nextvit.report.classification_sections import captioned
from nextvit.report.detection_sections import object_legend
from nextvit.report.mask_differences import show_differences
from nextvit.report.page import (
    Markup,
    bar,
    breakable,
    cards,
    escape,
    heading,
    image_grid,
    paragraph,
    render_page,
    section,
    table,
    tiles,
)

THUMBNAIL_PX = 160
WITH_BOXES_PX = 320
BOX, HIGHLIGHTED_BOX = (147, 197, 253), (234, 88, 12)
FINDINGS_SHOWN = 8
IMAGES_SHOWN = 12
SAMPLES_SHOWN, WITH_OBJECTS_PX = 6, 480
SIZES_PX = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TONES = {"error": "bad", "warning": "warn", "note": "soft"}


def write_check_report(path: Path, survey: Survey, findings: list[Finding], masks: MaskSurvey | None = None) -> None:
    """Write the page.

    Args:
        masks: the survey of the class masks, for a dataset that has them.

    Raises:
        InputError: the disk is full or not writable.
    """
    dataset = survey.dataset
    class_pixels: list[int] = count_training_pixels(dataset).tolist() if masks else []
    splits = " and ".join(f"{len(samples)} in {name}" for name, samples in dataset.splits.items())
    classes = f"{len(dataset.classes)} classes" if dataset.classes else "without labels"
    sections = [
        heading(f"Check of {dataset.root.name}", f"{len(survey.rows)} images, {splits}; {classes}"),
        summary_tiles(survey, findings),
        findings_section(findings),
        *([classes_section(survey, masks, class_pixels)] if dataset.classes else []),
        *([masks_section(survey, class_pixels)] if masks else []),
        *([objects_section(survey)] if dataset.annotations else []),
        section("Sizes", size_table(survey), paragraph(describe_sizes(survey), tone="soft")),
        *(
            findings_of_kind(survey, kind, list(same), class_pixels)
            for kind, same in groupby(findings, key=lambda each: each.kind)
        ),
    ]
    write_durably(path, render_page(f"nextvit check: {dataset.root.name}", sections))


def classes_section(survey: Survey, masks: MaskSurvey | None, class_pixels: list[int]) -> Markup:
    """What there is of each class."""
    return section("Classes", mask_table(survey.dataset, masks, class_pixels) if masks else class_table(survey))


def summary_tiles(survey: Survey, findings: list[Finding]) -> Markup:
    """The few numbers that matter most."""
    severities = [finding.severity for finding in findings]
    readable = max(1, len(survey.readable()))
    return tiles(
        [
            (str(severities.count("error")), "errors"),
            (str(severities.count("warning")), "warnings"),
            (str(len(survey.unreadable)), "files cannot be read"),
            (f"{len(survey.positions_with(Trait.GREY)) / readable:.0%}", "of the images are grey"),
        ]
    )


def findings_section(findings: list[Finding]) -> Markup:
    """All kinds of findings with their counts, each a link to its section."""
    if not findings:
        return section("Findings", paragraph("None: this dataset is ready for training.", tone="good"))
    rows: list[tuple[Markup, Markup, int]] = []
    for kind, same in groupby(findings, key=lambda each: each.kind):
        about = KINDS[kind]
        severity = Markup(f'<span class="{TONES[about.severity]}">{about.severity}</span>')
        rows.append((severity, Markup(f'<a href="#{kind}">{escape(about.title)}</a>'), len(list(same))))
    return section("Findings", table(["", "what", "count"], rows))


def class_table(survey: Survey) -> Markup:
    """How many images each class has, and how many of them are grey."""
    dataset = survey.dataset
    if dataset.annotations:
        return object_table(dataset)
    counts = {name: samples.counts(len(dataset.classes)) for name, samples in dataset.splits.items()}
    largest = max(1, counts["train"].max())
    rows = [
        (name, *(int(each[label]) for each in counts.values()), bar(counts["train"][label] / largest), f"{share:.0%}")
        for label, (name, share) in enumerate(zip(dataset.classes, grey_fractions(survey), strict=True))
    ]
    return table(["class", *counts, "training images", "grey"], rows)


def object_table(dataset: Dataset) -> Markup:
    """How many objects each class has, their median size, and the number of training images with the class."""
    counts = {name: each.counts(len(dataset.classes)) for name, each in dataset.annotations.items()}
    train, image_counts = dataset.annotations["train"], dataset.splits["train"].counts(len(dataset.classes))
    rows: list[tuple[str | int | Markup, ...]] = []
    for label, name in enumerate(dataset.classes):
        areas = train.areas[(train.labels == label) & ~train.crowd]
        side = f"{np.sqrt(max(0.0, float(np.median(areas)))):.0f} px" if len(areas) else "-"
        fraction = bar(counts["train"][label] / max(1, counts["train"].max()))
        rows.append((name, *(int(each[label]) for each in counts.values()), fraction, int(image_counts[label]), side))
    return table(["class", *counts, "training objects", "on images", "median side"], rows)


def mask_table(dataset: Dataset, masks: MaskSurvey, class_pixels: list[int]) -> Markup:
    """The number of images with each class, and its fraction of the labelled pixels of train."""
    images = count_images_per_class(dataset, masks)
    fractions = np.array(class_pixels) / max(1, sum(class_pixels))
    rows = [
        (
            class_swatch(label, dataset.classes),
            *(int(each[label]) for each in images.values()),
            bar(fractions[label]),
            f"{fractions[label]:.2%}",
        )
        for label in range(len(dataset.classes))
    ]
    return table(["class", *(f"images in {split}" for split in images), "labelled pixels in train", ""], rows)


def choose_samples(survey: Survey) -> tuple[int, ...]:
    """The positions of a few training images, evenly spaced."""
    count = len(survey.dataset.splits["train"])
    return tuple(range(0, count, max(1, -(-count // SAMPLES_SHOWN))))


def masks_section(survey: Survey, class_pixels: list[int]) -> Markup:
    """A few training images with their masks: only a person can see whether the masks cover what their classes name."""
    note = paragraph("The colours are those of the table above; pixels without a colour have no label.", tone="soft")
    images = show_images(survey, choose_samples(survey), frozenset(), class_pixels)
    return section("Images with their masks", images, note)


def objects_section(survey: Survey) -> Markup:
    """A few training images with their objects: only a person can see whether the boxes are around what their classes
    name."""
    dataset = survey.dataset
    annotations, samples = dataset.annotations["train"], dataset.splits["train"]
    shown: list[tuple[NDArray[np.uint8], Markup]] = []
    seen: set[int] = set()
    for index in choose_samples(survey):
        sample = samples[index]
        try:
            image = read_image(Encoded(sample.read(), sample.path))
        except DecodeError:
            continue
        objects = annotations[index]
        marks = [
            Mark(box=(x1, y1, x2, y2), style=class_style(label), texts=(dataset.classes[label],))
            for (x1, y1, x2, y2), label in zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)
        ]
        seen.update(objects.labels.tolist())
        drawn = draw_marks(image, marks, scale=WITH_OBJECTS_PX / max(image.size))
        shown.append((np.asarray(drawn), captioned(f"{len(marks)} objects", str(sample.path))))
    legend = object_legend(sorted(seen), dataset.classes)
    return section("Images with their objects", legend, image_grid(shown, wide=True))


def size_table(survey: Survey) -> Markup:
    """How many images have a shorter side within each range."""
    shorter = survey.rows["size_wh"][survey.readable()].min(axis=1)
    ends = (*SIZES_PX[1:], 1 << 30)
    counts = [int(((shorter >= low) & (shorter < high)).sum()) for low, high in zip(SIZES_PX, ends, strict=True)]
    rows = [
        (f"{low} to {high - 1} px" if high else f"{low} px and more", count, bar(count / max(1, *counts)))
        for low, high, count in zip(SIZES_PX, (*SIZES_PX[1:], 0), counts, strict=True)
        if count
    ]
    return table(["shorter side", "images", ""], rows)


def describe_sizes(survey: Survey) -> str:
    """The median size, and the formats."""
    rows = survey.rows[survey.readable()]
    if not len(rows):
        return "No image could be read."
    width, height = np.median(rows["size_wh"], axis=0)
    formats, counts = np.unique(rows["format"], return_counts=True)
    listed = ", ".join(f"{count} {FORMATS[index]}" for index, count in zip(formats, counts, strict=True))
    return f"The median width is {width:.0f} px, the median height {height:.0f} px. Formats: {listed}."


def findings_of_kind(survey: Survey, kind: str, findings: list[Finding], class_pixels: list[int]) -> Markup:
    """The first findings of one kind, with their images."""
    about = KINDS[kind]
    lead = Markup(f'<p><b class="{TONES[about.severity]}">{about.severity}</b>: {escape(about.advice)}</p>')
    content = [lead, cards([finding_card(survey, finding, class_pixels) for finding in findings[:FINDINGS_SHOWN]])]
    if (more := len(findings) - FINDINGS_SHOWN) > 0:
        content.append(paragraph(f"... and {more} more of this kind; nextvit check --json lists them all", tone="soft"))
    return Markup(f'<a id="{kind}"></a>' + section(about.title, *content).text)


def finding_card(survey: Survey, finding: Finding, class_pixels: list[int]) -> tuple[bool, list[Markup]]:
    """One finding with its first images, and whether it needs a row of its own."""
    positions = tuple(dict.fromkeys(finding.positions))
    content = [
        Markup(f"<p>{breakable(finding.message).text}</p>"),
        show_images(survey, positions[:IMAGES_SHOWN], frozenset(finding.objects), class_pixels),
    ]
    if finding.kind in ("other_mask_of_copy", "nearly_other_mask_of_copy"):
        content.append(show_differences(survey, positions[:IMAGES_SHOWN]))
    if (more := len(positions) - IMAGES_SHOWN) > 0:
        content.append(paragraph(f"... and {more} more images", tone="soft"))
    return len(positions) != 2, content


def show_images(survey: Survey, positions: tuple[int, ...], objects: frozenset[int], class_pixels: list[int]) -> Markup:
    """A grid of images with split, class and file name; those that cannot be read are left out.

    Args:
        positions: the rows of the survey to show.
        objects: the indices of the annotated objects that are highlighted.
        class_pixels: the number of pixels of each class in a dataset with masks, else empty.
    """
    has_boxes = bool(survey.dataset.annotations)
    items: list[tuple[np.ndarray, Markup]] = []
    for position in positions:
        split, sample = survey.locate(position)
        try:
            image = read_image(Encoded(sample.read(), sample.path))
        except DecodeError:
            continue
        if class_pixels:
            pixels = draw_with_mask(image, survey, position, class_pixels)
        elif has_boxes:
            pixels = np.asarray(draw_with_boxes(image, survey, position, objects))
        else:
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            pixels = np.asarray(image)
        labels = ", ".join(survey.dataset.classes[label] for label in sample.labels)
        where = f"{escape(split)}: {escape(labels)}" if labels else escape(split)
        items.append((pixels, captioned(where, str(sample.path))))
    return image_grid(items, wide=has_boxes or bool(class_pixels)) if items else Markup("")


def draw_with_mask(image: Image.Image, survey: Survey, position: int, class_pixels: list[int]) -> NDArray[np.uint8]:
    """A small image, and beside it the same under the colours of its mask; without colours if the mask is damaged."""
    split, index = survey.split_and_index(position)
    masks = survey.dataset.masks[split]
    try:
        labels_HW = masks.encoding.table[masks.values(index)]
    except BadMask:
        labels_HW = np.full((1, 1), IGNORE_INDEX, np.uint8)
    return overlay_row(image, [labels_HW], class_pixels=class_pixels, side_px=THUMBNAIL_PX)


def draw_with_boxes(image: Image.Image, survey: Survey, position: int, objects: frozenset[int]) -> Image.Image:
    """A small image with its boxes, those of `objects` on top and in another colour."""
    split, index = survey.split_and_index(position)
    annotations = survey.dataset.annotations[split]
    # Boxes are drawn in pixels of the file, so that one sees the effect where the annotation assumes another image
    # size.
    scale = min(1.0, WITH_BOXES_PX / max(image.size))
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    drawing = ImageDraw.Draw(small)
    first, end = annotations.offsets[index : index + 2].tolist()
    for k in sorted(range(first, end), key=lambda k: k in objects):
        left, top, right, bottom = (annotations.boxes[k] * scale).tolist()
        is_highlighted = k in objects
        drawing.rectangle(
            (left, top, right, bottom), outline=HIGHLIGHTED_BOX if is_highlighted else BOX, width=1 + is_highlighted
        )
    return small
