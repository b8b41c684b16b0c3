"""An image over bars with the probabilities of classes."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from nextvit.predictions.results import ClassProbability

LARGEST_SIDE_PX, LEAST_WIDTH_PX = 1024, 240
FEWEST_BARS = 3


def draw_probabilities(
    image: Image.Image, predicted: Sequence[ClassProbability], others: Sequence[ClassProbability]
) -> Image.Image:
    """The image, made smaller where it is large, over a bar for each predicted class, and the most probable others in a
    lighter colour where these are few."""
    shown = image.copy()
    shown.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
    width = max(shown.width, LEAST_WIDTH_PX)
    size = max(14, width // 32)
    font = ImageFont.load_default(size)
    line_height = round(size * 1.35)
    bars = (*predicted, *others)[: max(FEWEST_BARS, len(predicted))]
    sheet = Image.new("RGB", (width, shown.height + line_height * len(bars) + line_height // 2), "white")
    sheet.paste(shown, ((width - shown.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for row, each in enumerate(bars):
        top = shown.height + line_height // 4 + row * line_height
        draw.rectangle(
            (0, top, round(width * each.probability), top + line_height - 2),
            fill="#93c5fd" if row < len(predicted) else "#e2e8f0",
        )
        draw.text((6, top), f"{each.label}  {each.probability:.1%}", fill="#0f172a", font=font)
    return sheet
