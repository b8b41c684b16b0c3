"""A picture with the classes of its pixels: as colours over it, and as an image of indices."""

from PIL import Image

from nextvit.drawing import Look, class_colours, draw_legend, readable_scale, tinted
from nextvit.results import ClassMap


def draw_classes(image: Image.Image, answer: ClassMap) -> Image.Image:
    """The picture under the colours of its classes, over a legend with the share of the pixels that each has."""
    colours = class_colours(len(answer.classes))
    sheet = tinted(image, answer.labels, colours)
    scale = readable_scale(sheet.size)
    size = max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))
    sheet = sheet.resize(size, Image.Resampling.BICUBIC)
    colour_of = dict(zip(answer.classes, colours, strict=True))
    entries = [(Look(colour_of[name]), f"{name}: {share:.1%}") for name, share in answer.shares.items()]
    legend = draw_legend(entries, width=max(sheet.width, 320))
    whole = Image.new("RGB", (legend.width, sheet.height + legend.height), "white")
    whole.paste(sheet, ((whole.width - sheet.width) // 2, 0))
    whole.paste(legend, (0, sheet.height))
    return whole


def index_image(answer: ClassMap) -> Image.Image:
    """The picture's size, with the index of each pixel's class as its value, and the classes' colours as its palette."""
    image = Image.fromarray(answer.labels)
    colours = class_colours(len(answer.classes))
    image.putpalette([int(colour[at : at + 2], 16) for colour in colours for at in (1, 3, 5)])
    return image
