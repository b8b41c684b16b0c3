"""A picture with the classes of its pixels: as colours over it, and as an image of indices."""

from PIL import Image

from nextvit.image.drawing import Look, class_colours, draw_legend, overlaid, readable_scale
from nextvit.predictions.results import ClassMap


def draw_classes(image: Image.Image, answer: ClassMap) -> Image.Image:
    """The picture under the colours of its classes, over a legend with the share of the pixels that each has."""
    colours = class_colours(len(answer.classes))
    scale = readable_scale(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # A picture that is large enough is not copied: it may be very large.
    shown = image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)
    sheet = overlaid(shown, answer.labels, class_pixels=answer.counts.tolist())
    colour_of = dict(zip(answer.classes, colours, strict=True))
    entries = [(Look(colour_of[name]), f"{name}: {as_share(share)}") for name, share in answer.shares.items()]
    legend = draw_legend(entries, width=max(sheet.width, 320))
    whole = Image.new("RGB", (legend.width, sheet.height + legend.height), "white")
    whole.paste(sheet, ((whole.width - sheet.width) // 2, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def as_share(share: float) -> str:
    """A share of the pixels in percent; what is there, however small, is not said to be nothing, nor what is not all to be all."""
    if 0 < share < 0.0005:
        return "below 0.1%"
    return "above 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def index_image(answer: ClassMap) -> Image.Image:
    """The picture's size, with the index of each pixel's class as its value, and the classes' colours as its palette."""
    image = Image.fromarray(answer.labels)
    colours = class_colours(len(answer.classes))
    image.putpalette([int(colour[at : at + 2], 16) for colour in colours for at in (1, 3, 5)])
    return image
