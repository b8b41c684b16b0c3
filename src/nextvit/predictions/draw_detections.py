"""An image with the objects that were detected on it."""

from collections import Counter

from PIL import Image

from nextvit.image.drawing import DrawingStyle, Mark, class_style, draw_legend, draw_marks, readable_scale
from nextvit.predictions.results import Detection, Detections


def draw_detections(image: Image.Image, prediction: Detections, *, classes: tuple[str, ...]) -> Image.Image:
    """The image with masks, boxes, labels and scores, over a legend with the number of objects of each class.

    Small images are enlarged. Objects of higher scores get their texts first; in a crowd the score in percent stands
    alone, and where there is no room at all, nothing: the colour still shows the class.

    Args:
        classes: the model's, in order: the index of a class decides its colour, here as in reports.
    """
    marks = [mark_of(each, classes) for each in prediction.objects]
    sheet = draw_marks(image, marks, scale=readable_scale(image.size))
    legend = draw_legend(legend_of(prediction, classes), width=max(sheet.width, 320))
    whole = Image.new("RGB", (legend.width, sheet.height + legend.height), "white")
    whole.paste(sheet, ((whole.width - sheet.width) // 2, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def mark_of(found: Detection, classes: tuple[str, ...]) -> Mark:
    """How an object is drawn."""
    percent = f"{100 * found.score:.0f}"
    texts = (f"{found.label} {percent}", percent)
    return Mark(box=found.box, style=class_style(classes.index(found.label)), texts=texts, mask=found.mask)


def legend_of(prediction: Detections, classes: tuple[str, ...]) -> list[tuple[DrawingStyle, str]]:
    """A line for each class that was detected, the most frequent first."""
    counts = Counter(each.label for each in prediction.objects)
    if not counts:
        return [(DrawingStyle("#94a3b8"), "nothing found")]
    return [(class_style(classes.index(label)), f"{label}: {count}") for label, count in counts.most_common()]
