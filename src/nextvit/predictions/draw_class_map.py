"""An image with the classes of its pixels: as colours over it, and as an image of indices."""

from PIL import Image

from nextvit.image.drawing import DrawingStyle, class_colours, draw_legend, overlay_class_map, readable_scale
from nextvit.predictions.results import ClassMap


def draw_class_map(image: Image.Image, prediction: ClassMap) -> Image.Image:
    """The image under the colours of its classes, over a legend with the percentage of the pixels of each."""
    colours = class_colours(len(prediction.classes))
    scale = readable_scale(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # An image that is large enough is not copied: it may be very large.
    shown = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
    sheet = overlay_class_map(shown, prediction.labels, class_pixels=prediction.counts.tolist())
    colour_of = dict(zip(prediction.classes, colours, strict=True))
    entries = [
        (DrawingStyle(colour_of[name]), f"{name}: {as_percent(fraction)}")
        for name, fraction in prediction.shares.items()
    ]
    legend = draw_legend(entries, width=max(sheet.width, 320))
    whole = Image.new("RGB", (legend.width, sheet.height + legend.height), "white")
    whole.paste(sheet, ((whole.width - sheet.width) // 2, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def as_percent(fraction: float) -> str:
    """A fraction of the pixels as a percentage; one that is above 0 never reads as 0, one below 1 never as 100."""
    if 0 < fraction < 0.0005:
        return "below 0.1%"
    return "above 99.9%" if 0.9995 <= fraction < 1 else f"{fraction:.1%}"


def index_image(prediction: ClassMap) -> Image.Image:
    """An image of the same size whose values are the indices of the classes, with the colours of the classes as its
    palette."""
    image = Image.fromarray(prediction.labels)
    colours = class_colours(len(prediction.classes))
    image.putpalette([int(colour[at : at + 2], 16) for colour in colours for at in (1, 3, 5)])
    return image
