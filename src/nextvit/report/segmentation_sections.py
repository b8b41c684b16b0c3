"""Sections on an evaluation of a segmentation model. Each takes the evaluation's details, as
`nextvit.tasks.segmentation` tells them, and is None where they lack what it shows."""

from typing import Any

import numpy as np

from nextvit.image.class_maps import from_base64_png
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.reading import read_image
from nextvit.report import figures
from nextvit.report.class_overlays import GAP_PX, SIDE_PX, class_legend, class_swatch, overlay_row
from nextvit.report.classification_sections import MOST_CLASSES, Details, Shown, captioned, percent, readable
from nextvit.report.page import Cell, Markup, image_element, paragraph, section, table

KINDS = {"best": "The best", "typical": "Typical ones", "worst": "The worst"}
MAPS = ("truth", "answer")
PAIRS_SHOWN = 20
LEAST_SHARE = 1.0
"""In percent of a class's pixels: what is confused less often is left out."""


def overlays(details: Details) -> Markup | None:
    """The best, the typical and the worst images: as they are, with the ground truth and with the prediction."""
    examples: list[Details] = details.get("segmentation", {}).get("examples", [])
    if not examples:
        return None
    shown = [
        Markup(f"<h3>{title}</h3>" + rows)
        for kind, title in KINDS.items()
        if (rows := overlay_rows([each for each in examples if each["kind"] == kind], details))
    ]
    if not shown:
        return None
    there = set[int]().union(*(np.unique(from_base64_png(each[name])).tolist() for each in examples for name in MAPS))
    columns = paragraph("Left: the image; middle: the ground truth; right: the prediction.", tone="soft")
    note = paragraph(
        "What has no colour has no label. Best and worst are by the mean IoU of the image alone, over the classes that "
        "are on it or in the prediction; typical ones are around the median. Of what falls into one pixel here the "
        "rarest class is shown, with its boundaries; a class of most pixels is nearly transparent.",
        tone="soft",
    )
    key = class_legend(sorted(there - {IGNORE_INDEX}), details["classes"])
    return section("Images of the validation set", key, columns, *shown, note)


def overlay_rows(examples: list[Details], details: Details) -> str:
    """Some images, one below the other; those that are gone since are left out."""

    def show(example: Details) -> Shown:
        maps = [from_base64_png(example[name]) for name in MAPS]
        pixels = overlay_row(read_image(example["path"]), maps, class_pixels=details["segmentation"]["class_pixels"])
        said = f"mean IoU {example['iou']:.1f} %, {example['accuracy']:.1f} % of the pixels right"
        return pixels, captioned(said, example["path"])

    return "".join(
        f"<p>{image_element(pixels, side_px=3 * SIDE_PX + 2 * GAP_PX, quality=78).text}<br>{caption.text}</p>"
        for pixels, caption in readable(examples, show)
    )


def class_table(details: Details) -> Markup | None:
    """Pixels and scores of each class, and what it is confused with; worst first."""
    if "segmentation" not in details:
        return None
    pixels, names, scores = details["segmentation"], details["classes"], details["class_scores"]
    total = max(1, sum(pixels["class_pixels"]))
    columns: dict[str, list[Cell]] = {
        "pixels": [f"{count:,}" for count in pixels["class_pixels"]],
        "fraction": [percent(100 * count / total, digits=2) for count in pixels["class_pixels"]],
        "IoU": [percent(score, "no pixels") for score in scores],
        "Dice": [percent(score) for score in pixels["class_dice"]],
        "recall": [percent(score) for score in pixels["class_recall"]],
        "precision": [
            percent(score, "never predicted" if count else "")
            for score, count in zip(pixels["class_precision"], pixels["class_pixels"], strict=True)
        ],
        "most often confused with": [held_for(pixels["confusion"], label, names) for label in range(len(names))],
    }
    # Classes that are neither annotated nor predicted come last.
    order = sorted(range(len(names)), key=lambda label: 101.0 if scores[label] is None else scores[label])
    rows: list[tuple[Cell, ...]] = [
        (class_swatch(label, names), *(values[label] for values in columns.values())) for label in order[:MOST_CLASSES]
    ]
    left_out = len(order) - len(rows)
    note = paragraph(f"{left_out} better classes are left out.", tone="soft") if left_out else Markup("")
    return section("Classes", table(["class", *columns], rows), note)


def held_for(confusion: list[list[int]], label: int, names: list[str]) -> str:
    """The class that the pixels of a class are most often mistaken for."""
    wrong = np.array(confusion[label])
    total, wrong[label] = max(1, wrong.sum()), 0
    share = 100 * wrong.max() / total
    return f"{names[int(wrong.argmax())]} ({share:.0f} %)" if share >= LEAST_SHARE else ""


def confused_pairs(details: Details) -> Markup | None:
    """Which class is predicted as which, by the fraction of its pixels."""
    if "segmentation" not in details:
        return None
    names, counts = details["classes"], np.array(details["segmentation"]["confusion"])
    wrong = counts - np.diag(counts.diagonal())
    share = 100 * wrong / np.maximum(1, counts.sum(axis=1, keepdims=True))
    order = [divmod(int(flat), len(names)) for flat in np.argsort(-share, axis=None, kind="stable")[:PAIRS_SHOWN]]
    rows: list[tuple[Cell, ...]] = [
        (
            class_swatch(true, names),
            class_swatch(predicted, names),
            f"{share[true, predicted]:.1f} %",
            f"{int(wrong[true, predicted]):,}",
            f"{100 * wrong[true, predicted] / wrong.sum():.1f} %",
        )
        for true, predicted in order
        if share[true, predicted] >= LEAST_SHARE
    ]
    if not rows:
        return None
    columns = ["true class", "predicted as", "of the class's pixels", "pixels", "of all wrong pixels"]
    return section("Most confused pairs", table(columns, rows))


def confusion(details: Details) -> Markup | None:
    """The confusion matrix of the classes."""
    if "segmentation" not in details:
        return None
    names = details["classes"]
    drawn = figures.draw_confusion(details["segmentation"]["confusion"], names, percent=True)
    some = f" over all {len(names)} classes, of which those with most wrong pixels are shown"
    note = (
        f"Percent of the true class's pixels; a row adds up to 100{some if len(names) > figures.MAX_CLASSES else ''}."
    )
    return section("Confusion", Markup(drawn), paragraph(note, tone="soft"))


def defects(details: Details) -> Markup | None:
    """Of two classes, how well defects are separated by their score, whatever the threshold, and at one."""
    found: dict[str, Any] | None = details.get("segmentation", {}).get("defects")
    if not found:
        return None
    rows: list[tuple[Cell, ...]] = [
        (name, f"{found[f'{key}_auroc']:.2f} %", *miss_cells(found[f"{key}_miss"]))
        for name, key in (("pixels", "pixel"), ("images", "image"))
        if found[f"{key}_auroc"] is not None and found[f"{key}_miss"]
    ]
    if not rows:
        return None
    columns = ["of", "AUROC", "missed", "false alarms", "from a score of"]
    note = paragraph(
        f"The threshold is the one where at most {found['false_alarms']:g} % of what has no defect raise a false "
        "alarm.",
        tone="soft",
    )
    return section("Defects", table(columns, rows), note)


def miss_cells(miss: dict[str, float | None]) -> tuple[str, str, str]:
    """A miss rate, and the false alarms and the score that it is at; without a score there is no alarm at all."""
    threshold = "none" if miss["threshold"] is None else f"{miss['threshold']:.4f}"
    return percent(miss["miss_rate"]), percent(miss["false_alarm_rate"], digits=2), threshold


SECTIONS = (overlays, defects, class_table, confused_pairs, confusion)
