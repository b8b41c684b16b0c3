"""A picture with the objects that were found on it."""

from collections import Counter

from PIL import Image

from nextvit.image.drawing import Look, Mark, draw_legend, draw_marks, look_of, readable_scale
from nextvit.predictions.results import Detection, Detections


def draw_detections(image: Image.Image, answer: Detections) -> Image.Image:
    """The picture with masks, boxes, labels and scores over a legend with how many objects of each class there are.

    Small pictures are enlarged. The surest objects get their texts first; where many crowd, the score in percent stands
    alone, and where there is no room at all, nothing: the colour still tells the class.
    """
    sheet = draw_marks(image, [mark_of(each) for each in answer.objects], scale=readable_scale(image.size))
    legend = draw_legend(legend_of(answer), width=max(sheet.width, 320))
    whole = Image.new("RGB", (legend.width, sheet.height + legend.height), "white")
    whole.paste(sheet, ((whole.width - sheet.width) // 2, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def mark_of(found: Detection) -> Mark:
    percent = f"{100 * found.score:.0f}"
    texts = (f"{found.label} {percent}", percent)
    return Mark(box=found.box, look=look_of(found.category_id), texts=texts, mask=found.mask)


def legend_of(answer: Detections) -> list[tuple[Look, str]]:
    """A line for each class that was found, the most frequent first."""
    counts = Counter((each.category_id, each.label) for each in answer.objects)
    if not counts:
        return [(Look("#94a3b8"), "nothing found")]
    return [(look_of(number), f"{label}: {count}") for (number, label), count in counts.most_common()]
