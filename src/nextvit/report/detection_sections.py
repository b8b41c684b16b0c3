"""Sections on an evaluation of a detector. Each takes the evaluation's details, as `nextvit.metrics.detection` tells
them, and is None where they lack what it shows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nextvit.image.drawing import DrawingStyle, Mark, Rectangle, class_style, draw_marks
from nextvit.image.reading import read_image
from nextvit.report import figures
from nextvit.report.classification_sections import Details, Shown, captioned, percent, readable
from nextvit.report.detection_figures import PrecisionRecallCurves, draw_precision_recall
from nextvit.report.page import Cell, Markup, escape, image_element, image_grid, paragraph, section, table

SHOWN_PX = 360
EXAMPLE_PX, GAP_PX = 480, 4
AROUND = 1.0
"""What is seen around an object, in parts of its longer side, to each direction."""
SMALLEST_VIEW_PX = 48
MOST_CLASSES = 60
TRUE = DrawingStyle("#ffffff", dash=1)
"""Of the ground truth among predictions: no class is white, so that a colour is always a class."""


def detected(details: Details) -> Markup | None:
    """A few whole images: the ground truth beside the predictions."""
    examples = details.get("detection", {}).get("examples")
    if not examples:
        return None
    shown = [
        Markup(f"<p>{image_element(pixels, side_px=2 * EXAMPLE_PX + GAP_PX).text}<br>{caption.text}</p>")
        for pixels, caption in readable(examples, side_by_side)
    ]
    note = paragraph(
        f"Left: ground truth; right: predictions with a score of {details['detection']['threshold']:.2f} or more, "
        "with their scores in percent. A colour is a class, here and in the sections below.",
        tone="soft",
    )
    there = {shape["class_index"] for each in examples for name in ("objects", "answers") for shape in each[name]}
    return section("Images of the validation set", object_legend(sorted(there), details["classes"]), *shown, note)


def object_legend(labels: Sequence[int], classes: Sequence[str]) -> Markup:
    """The names of some classes, each beside the colour and the line in which its objects are drawn."""
    swatches: list[str] = []
    for label in labels:
        style = class_style(label)
        border = f"border:2px {('solid', 'dashed', 'dotted')[style.dash]} {style.colour}"
        swatches.append(f'<span><i class="swatch" style="{border}"></i>{escape(classes[label])}</span>')
    return Markup(f'<p class="legend">{" ".join(swatches)}</p>')


def side_by_side(example: Details) -> Shown:
    """One image twice: with its objects, and with the predictions."""
    image = read_image(example["path"])
    scale = EXAMPLE_PX / max(image.size)
    views = [
        np.asarray(draw_marks(image, [class_mark(each) for each in example[name]], scale=scale))
        for name in ("objects", "answers")
    ]
    gap = np.full((len(views[0]), GAP_PX, 3), 255, np.uint8)
    caption = f"{len(example['objects'])} annotated, {len(example['answers'])} predicted"
    return np.concatenate([views[0], gap, views[1]], axis=1), captioned(caption, example["path"])


def class_mark(shape: Details) -> Mark:
    """A shape in its class's colour, with its class and of predictions the score, or less where there is no room."""
    score = f"{100 * shape['score']:.0f}" if "score" in shape else ""
    texts = (f"{shape['label']} {score}".rstrip(), *([score] if score else []))
    return Mark(box=tuple(shape["box"]), style=class_style(shape["class_index"]), texts=texts, mask=shape["mask"])


def worst_false_positives(details: Details) -> Markup | None:
    """Crops of the false positives of highest confidence."""
    if "detection" not in details:
        return None
    listed = details["detection"]["false_positives"]
    none = paragraph("None on the validation images.", tone="good")
    shown = image_grid(readable(listed, false_positive), wide=True)
    return section(
        "False positives, the most confident first",
        shown if listed else none,
        legend(details) if listed else Markup(""),
    )


def false_positive(wrong: Details) -> Shown:
    """A false positive among the objects around it."""
    answer = wrong["answer"]
    text = f"{answer['label']} {100 * answer['score']:.0f}"
    style = class_style(answer["class_index"])
    marks = [Mark(box=tuple(answer["box"]), style=style, texts=(text,), mask=answer["mask"])]
    marks += [Mark(box=tuple(each["box"]), style=TRUE, texts=(each["label"],)) for each in wrong["objects"]]
    truth = escape(wrong["truth"] or "")
    said = {
        "twice": f"{truth} that a prediction of higher score has found",
        "class": f"is annotated as {truth}",
        "place": f"not in the place of the {truth}",
        "nothing": "nothing is annotated there",
    }[wrong["kind"]]
    caption = f'<span class="bad">{escape(answer["label"])}</span> {answer["score"]:.0%}: {said}'
    return cut_out(wrong["path"], answer["box"], marks), captioned(caption, wrong["path"])


def worst_misses(details: Details) -> Markup | None:
    """The clearest objects that were not found, cut out."""
    if "detection" not in details:
        return None
    listed = details["detection"]["misses"]
    none = paragraph("None on the validation images.", tone="good")
    shown = image_grid(readable(listed, miss), wide=True)
    return section("Objects not found", shown if listed else none, legend(details) if listed else Markup(""))


def miss(missed: Details) -> Shown:
    """An object that was not found among the predictions around it."""
    shape = missed["object"]
    marks = [Mark(box=tuple(shape["box"]), style=TRUE, texts=(shape["label"],), mask=shape["mask"])]
    for each in missed["answers"]:
        text = f"{each['label']} {100 * each['score']:.0f}"
        marks.append(Mark(box=tuple(each["box"]), style=class_style(each["class_index"]), texts=(text,)))
    found = "" if missed["found_at"] is None else f": found with {missed['found_at']:.1%}, below the threshold"
    caption = f'<span class="bad">{escape(shape["label"])}</span>{found}'
    return cut_out(missed["path"], shape["box"], marks), captioned(caption, missed["path"])


def legend(details: Details) -> Markup:
    """What the colours mean, and the threshold of the score."""
    threshold = details["detection"]["threshold"]
    return paragraph(
        "In the colour of its class: a prediction with its score; white, dashed: ground truth. A prediction is correct "
        "where its IoU with an object of its class is at least 0.5. The threshold of the score is "
        f"{threshold:.2f}, where the F1 on these images is highest. At most two of one image are shown.",
        tone="soft",
    )


def cut_out(path: str, box: list[float], marks: list[Mark]) -> NDArray[np.uint8]:
    """A box and what is around it, with marks."""
    image = read_image(path)
    region = region_around(box, image.size)
    longer = max(region[2] - region[0], region[3] - region[1])
    return np.asarray(draw_marks(image, marks, scale=SHOWN_PX / longer, region=region))


def region_around(box: list[float], size_wh: tuple[int, int]) -> Rectangle:
    """A part of the image around a box, square where the image has room."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = max((0.5 + AROUND) * max(box[2] - box[0], box[3] - box[1]), SMALLEST_VIEW_PX / 2)
    width, height = size_wh
    left, top = (int(max(0, min(middle - half, side - 2 * half))) for middle, side in ((x, width), (y, height)))
    return left, top, min(width, int(left + 2 * half) + 1), min(height, int(top + 2 * half) + 1)


def curves(details: Details) -> Markup | None:
    """Precision over recall of each class, where the place need be right by half and by three quarters."""
    if "detection" not in details:
        return None
    given = details["detection"]["curves"]
    panels = [
        PrecisionRecallCurves(
            f"Overlap of at least {overlap} (IoU)",
            given["recall"],
            [
                (number, name, values)
                for number, (name, values) in enumerate(zip(details["classes"], given[key], strict=True))
                if values is not None
            ],
        )
        for overlap, key in ((0.5, "precision_50"), (0.75, "precision_75"))
    ]
    return section("Precision over recall, of boxes", Markup(draw_precision_recall(panels)))


def confusion(details: Details) -> Markup | None:
    """Which class is taken for which, and for nothing."""
    if "detection" not in details:
        return None
    detection = details["detection"]
    drawn = Markup(figures.draw_confusion(detection["confusion"], [*details["classes"], "(nothing)"]))
    note = paragraph(
        f"Predictions with a score of {detection['threshold']:.2f} or more, by the object with an IoU of at least 0.5. "
        "The last row is predictions where nothing is annotated, the last column objects that were not found.",
        tone="soft",
    )
    return section("Confusion", drawn, note)


def class_table(details: Details) -> Markup | None:
    """Objects and scores of each class, worst first."""
    if "detection" not in details:
        return None
    detection, names = details["detection"], details["classes"]
    columns: dict[str, list[Cell]] = {
        "objects": detection["class_objects"],
        "box AP": [percent(score, "no objects") for score in details["class_scores"]],
        "box AP50": [percent(score) for score in detection["class_box_ap50"]],
    }
    for title, name in (("mask AP", "class_mask_ap"), ("mask AP50", "class_mask_ap50")):
        if name in detection:
            columns[title] = [percent(score) for score in detection[name]]
    columns["precision"] = [percent(share, "never predicted") for share in detection["class_precisions"]]
    columns["recall"] = [percent(share) for share in detection["class_recalls"]]
    order = sorted(range(len(names)), key=lambda label: details["class_scores"][label] or 0.0)
    rows = [(names[label], *(values[label] for values in columns.values())) for label in order[:MOST_CLASSES]]
    left_out = len(order) - len(rows)
    more = f" {left_out} better classes are left out." if left_out else ""
    note = f"Precision and recall are those of predictions with a score of {detection['threshold']:.2f} or more.{more}"
    return section("Classes", table(["class", *columns], rows), paragraph(note, tone="soft"))


SECTIONS = (detected, worst_false_positives, worst_misses, curves, class_table, confusion)
