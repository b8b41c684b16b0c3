"""The page of `nextvit check`: how a dataset is made up, and the pictures of each finding."""

from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextvit.check.check import grey_shares
from nextvit.check.masks import MaskSurvey, pictures_with, training_pixels
from nextvit.check.survey import Survey, Trait
from nextvit.data.class_masks import BadMask
from nextvit.data.findings import KINDS, Finding
from nextvit.data.reading import Dataset
from nextvit.files.durable import write_durably
from nextvit.image.masks import IGNORED
from nextvit.image.resizing import FORMATS, DecodeError, Encoded, read_image
from nextvit.report.class_overlays import named, views
from nextvit.report.classification_sections import captioned
from nextvit.report.page import Markup, bar, cards, escape, heading, page, paragraph, pictures, section, table, tiles

THUMBNAIL_PX = 160
WITH_BOXES_PX = 320
BOX, BOX_IN_QUESTION = (147, 197, 253), (234, 88, 12)
FINDINGS_SHOWN = 8
PICTURES_SHOWN = 12
MASKS_SHOWN = 6
SIZES_PX = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TONES = {"error": "bad", "warning": "warn", "note": "soft"}


def write_check_report(path: Path, survey: Survey, findings: list[Finding], masks: MaskSurvey | None = None) -> None:
    """Write the page; of data with masks with the survey of these."""
    dataset = survey.dataset
    class_pixels: list[int] = training_pixels(dataset, masks).tolist() if masks else []
    splits = " and ".join(f"{len(samples)} in {name}" for name, samples in dataset.splits.items())
    sections = [
        heading(
            f"Check of {dataset.root.name}", f"{len(survey.rows)} pictures, {splits}; {len(dataset.classes)} classes"
        ),
        summary(survey, findings),
        overview(findings),
        section("Classes", mask_table(dataset, masks, class_pixels) if masks else class_table(survey)),
        *([some_masks(survey, class_pixels)] if masks else []),
        section("Sizes", size_table(survey), paragraph(size_note(survey), tone="soft")),
        *(
            kind_section(survey, kind, list(same), class_pixels)
            for kind, same in groupby(findings, key=lambda each: each.kind)
        ),
    ]
    write_durably(path, page(f"nextvit check: {dataset.root.name}", sections))


def summary(survey: Survey, findings: list[Finding]) -> Markup:
    """The few numbers that matter most."""
    severities = [finding.severity for finding in findings]
    readable = max(1, len(survey.readable()))
    return tiles(
        [
            (str(severities.count("error")), "errors"),
            (str(severities.count("warning")), "warnings"),
            (str(len(survey.unreadable)), "files cannot be read"),
            (f"{len(survey.having(Trait.GREY)) / readable:.0%}", "of the pictures are grey"),
        ]
    )


def overview(findings: list[Finding]) -> Markup:
    """All kinds of findings with their counts, each a link to its section."""
    if not findings:
        return section("Findings", paragraph("None: this dataset is fit for training.", tone="good"))
    rows: list[tuple[Markup, Markup, int]] = []
    for kind, same in groupby(findings, key=lambda each: each.kind):
        about = KINDS[kind]
        severity = Markup(f'<span class="{TONES[about.severity]}">{about.severity}</span>')
        rows.append((severity, Markup(f'<a href="#{kind}">{escape(about.title)}</a>'), len(list(same))))
    return section("Findings", table(["", "what", "count"], rows))


def class_table(survey: Survey) -> Markup:
    """How many pictures each class has, and how many of them are grey."""
    dataset = survey.dataset
    if dataset.annotations:
        return object_table(dataset)
    counts = {name: samples.counts(len(dataset.classes)) for name, samples in dataset.splits.items()}
    largest = max(1, counts["train"].max())
    rows = [
        (name, *(int(each[label]) for each in counts.values()), bar(counts["train"][label] / largest), f"{share:.0%}")
        for label, (name, share) in enumerate(zip(dataset.classes, grey_shares(survey), strict=True))
    ]
    return table(["class", *counts, "training pictures", "grey"], rows)


def object_table(dataset: Dataset) -> Markup:
    """How many objects each class has, how large they are, and on how many training pictures they are."""
    counts = {name: each.counts(len(dataset.classes)) for name, each in dataset.annotations.items()}
    train, pictures_with = dataset.annotations["train"], dataset.splits["train"].counts(len(dataset.classes))
    rows: list[tuple[str | int | Markup, ...]] = []
    for label, name in enumerate(dataset.classes):
        areas = train.areas[(train.labels == label) & ~train.crowd]
        typical = f"{np.sqrt(max(0.0, float(np.median(areas)))):.0f} px" if len(areas) else "-"
        share = bar(counts["train"][label] / max(1, counts["train"].max()))
        rows.append((name, *(int(each[label]) for each in counts.values()), share, int(pictures_with[label]), typical))
    return table(["class", *counts, "training objects", "on pictures", "median side"], rows)


def mask_table(dataset: Dataset, masks: MaskSurvey, class_pixels: list[int]) -> Markup:
    """On how many pictures each class is, and its share of the labelled pixels of train."""
    pictures = pictures_with(dataset, masks)
    shares = np.array(class_pixels) / max(1, sum(class_pixels))
    rows = [
        (
            named(label, dataset.classes),
            *(int(each[label]) for each in pictures.values()),
            bar(shares[label]),
            f"{shares[label]:.2%}",
        )
        for label in range(len(dataset.classes))
    ]
    return table(["class", *(f"pictures in {split}" for split in pictures), "labelled pixels in train", ""], rows)


def some_masks(survey: Survey, class_pixels: list[int]) -> Markup:
    """A few training pictures with their masks: whether classes lie on what they are called, no check can tell."""
    count = len(survey.dataset.splits["train"])
    positions = tuple(range(0, count, max(1, -(-count // MASKS_SHOWN))))
    note = paragraph("The colours are those of the table above; what has none has no label.", tone="soft")
    return section("Pictures with their masks", shown(survey, positions, frozenset(), class_pixels), note)


def size_table(survey: Survey) -> Markup:
    """How many pictures have a shorter side within each range."""
    shorter = survey.rows["size_wh"][survey.readable()].min(axis=1)
    counts = [int(((shorter >= low) & (shorter < high)).sum()) for low, high in zip(SIZES_PX, (*SIZES_PX[1:], 1 << 30))]  # noqa: B905
    rows = [
        (f"{low} to {high - 1} px" if high else f"{low} px and more", count, bar(count / max(1, *counts)))
        for low, high, count in zip(SIZES_PX, (*SIZES_PX[1:], 0), counts, strict=True)
        if count
    ]
    return table(["shorter side", "pictures", ""], rows)


def size_note(survey: Survey) -> str:
    """The median size, and the formats."""
    rows = survey.rows[survey.readable()]
    if not len(rows):
        return "No picture could be read."
    width, height = np.median(rows["size_wh"], axis=0)
    formats, counts = np.unique(rows["format"], return_counts=True)
    shown = ", ".join(f"{count} {FORMATS[which]}" for which, count in zip(formats, counts, strict=True))
    return f"In the median {width:.0f} px wide and {height:.0f} px high. Formats: {shown}."


def kind_section(survey: Survey, kind: str, findings: list[Finding], class_pixels: list[int]) -> Markup:
    """The first findings of one kind, with their pictures."""
    about = KINDS[kind]
    lead = Markup(f'<p><b class="{TONES[about.severity]}">{about.severity}</b>: {escape(about.advice)}</p>')
    content = [lead, cards([card(survey, finding, class_pixels) for finding in findings[:FINDINGS_SHOWN]])]
    if (more := len(findings) - FINDINGS_SHOWN) > 0:
        content.append(paragraph(f"... and {more} more of this kind; nextvit check --json lists them all", tone="soft"))
    return Markup(f'<a id="{kind}"></a>' + section(about.title, *content).text)


def card(survey: Survey, finding: Finding, class_pixels: list[int]) -> tuple[bool, list[Markup]]:
    """One finding with its first pictures, and whether it needs a row of its own."""
    positions = tuple(dict.fromkeys(finding.pictures))
    content = [
        paragraph(finding.message),
        shown(survey, positions[:PICTURES_SHOWN], frozenset(finding.objects), class_pixels),
    ]
    if (more := len(positions) - PICTURES_SHOWN) > 0:
        content.append(paragraph(f"... and {more} more pictures", tone="soft"))
    return len(positions) != 2, content


def shown(survey: Survey, positions: tuple[int, ...], objects: frozenset[int], class_pixels: list[int]) -> Markup:
    """Pictures with split, class and file name; those that cannot be read are left out. `objects` stand out.

    Args:
        class_pixels: of data with masks how many pixels of each class there are, else empty.
    """
    has_boxes = bool(survey.dataset.annotations)
    items: list[tuple[np.ndarray, Markup]] = []
    for position in positions:
        split, sample = survey.place(position)
        try:
            image = read_image(Encoded(sample.read(), sample.path))
        except DecodeError:
            continue
        if class_pixels:
            pixels = with_mask(image, survey, position, class_pixels)
        elif has_boxes:
            pixels = np.asarray(with_boxes(image, survey, position, objects))
        else:
            image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
            pixels = np.asarray(image)
        labels = ", ".join(survey.dataset.classes[label] for label in sample.labels)
        where = f"{escape(split)}: {escape(labels)}" if labels else escape(split)
        items.append((pixels, captioned(where, str(sample.path))))
    return pictures(items, wide=has_boxes or bool(class_pixels)) if items else Markup("")


def with_mask(image: Image.Image, survey: Survey, position: int, class_pixels: list[int]) -> NDArray[np.uint8]:
    """A small picture, and beside it the same under the colours of its classes, as far as its mask tells them."""
    split, index = survey.split_and_index(position)
    masks = survey.dataset.masks[split]
    try:
        labels_HW = masks.coding.table[masks.values(index)]
    except BadMask:
        labels_HW = np.full((1, 1), IGNORED, np.uint8)
    return views(image, [labels_HW], class_pixels=class_pixels, side_px=THUMBNAIL_PX)


def with_boxes(image: Image.Image, survey: Survey, position: int, objects: frozenset[int]) -> Image.Image:
    """A small picture with its boxes, those of `objects` last and in another colour."""
    split, index = survey.split_and_index(position)
    annotations = survey.dataset.annotations[split]
    # In pixels of the file, so that one sees what it means where another size was annotated.
    scale = min(1.0, WITH_BOXES_PX / max(image.size))
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    drawing = ImageDraw.Draw(small)
    first, end = annotations.ends[index : index + 2].tolist()
    for k in sorted(range(first, end), key=lambda k: k in objects):
        left, top, right, bottom = (annotations.boxes[k] * scale).tolist()
        in_question = k in objects
        drawing.rectangle(
            (left, top, right, bottom), outline=BOX_IN_QUESTION if in_question else BOX, width=1 + in_question
        )
    return small
