"""Draws boxes, masks, their texts and class maps on an image, readable on any background: numpy and Pillow."""

import colorsys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from nextvit.image.class_maps import Labels, find_class_boundaries, shrink_class_map
from nextvit.image.masks import IGNORE_INDEX, RunLengths, decode

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
Rectangle = tuple[int, int, int, int]

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colours that colour-blind people can distinguish, too (Okabe and Ito, "Color Universal Design", 2008)."""
INK, PAPER = "#0f172a", "#ffffff"
MASK_ALPHA = 100
"""Opacity of an object's mask, of 255: the image stays visible below it."""
TINT_ALPHA = 140
"""Opacity of a class map, of 255."""
BAND_ROWS = 256
"""Rows of an image that are coloured together: the colours of a whole large image need much memory."""
DOMINANT_FRACTION, DOMINANT_ALPHA_FACTOR = 0.75, 0.35
"""A class with more than this fraction of all pixels is drawn with this fraction of the opacity of the others."""
GOLDEN_RATIO = 0.618034
"""Step around the circle of hues: steps of this size stay far from all earlier ones."""
CROWDED_COUNT = 30
"""From this many marks on, a text that is wider than its box gives way to a shorter one: it would hide its
neighbours."""
SMALLEST_SIDE_PX, LARGEST_SIDE_PX, MAX_ENLARGEMENT = 1024, 1600, 4.0
"""Smaller images are enlarged, at most by the factor, and larger ones shrunk to this many pixels on their longer
side."""


@dataclass(frozen=True)
class DrawingStyle:
    """The colour and the line in which a class or a kind of box is drawn."""

    colour: str
    """As "#rrggbb"."""
    dash: int = 0
    """0: a solid line; 1, 2: a line with gaps, the dashes of 1 twice as long as those of 2."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One object to draw, in pixels of the image."""

    box: Box
    style: DrawingStyle
    texts: tuple[str, ...] = ()
    """The same text, ever shorter; the first that fits beside the texts of earlier marks is written, or none."""
    mask: RunLengths | None = None


def class_style(class_index: int) -> DrawingStyle:
    """The style of a class's objects: seven colours, each with three lines.

    Everything that draws objects takes the style from here, so that a class looks the same in predictions and reports.

    Args:
        class_index: the index of the class in the model's classes (not its category id).
    """
    return DrawingStyle(PALETTE[class_index % len(PALETTE)], dash=class_index // len(PALETTE) % 3)


def readable_scale(size_wh: tuple[int, int]) -> float:
    """The factor by which an image is enlarged or shrunk so that lines and texts on it can be read."""
    longer = max(size_wh)
    if longer < SMALLEST_SIDE_PX:
        return min(MAX_ENLARGEMENT, SMALLEST_SIDE_PX / longer)
    return min(1.0, LARGEST_SIDE_PX / longer)


def draw_marks(
    image: Image.Image, marks: Sequence[Mark], *, scale: float = 1.0, region: Rectangle | None = None
) -> Image.Image:
    """The image, or a region of it, resized, with the marks drawn on it: masks below boxes below texts.

    Args:
        scale: the factor by which the image is resized; marks are in pixels of the original.
        region: left, top, right, bottom of the part that is drawn.
    """
    left, top, right, bottom = region or (0, 0, image.width, image.height)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    sheet = image.convert("RGB").resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
    scale_x, scale_y = size[0] / (right - left), size[1] / (bottom - top)
    line = max(2, round(max(size) / 450))
    boxes: list[Box] = []
    for mark in marks:
        x1, y1, x2, y2 = mark.box
        boxes.append(((x1 - left) * scale_x, (y1 - top) * scale_y, (x2 - left) * scale_x, (y2 - top) * scale_y))
        if mark.mask:
            draw_mask(sheet, mark.mask, mark.style.colour, region=(left, top, right, bottom))
    draw = ImageDraw.Draw(sheet)
    for mark, box in zip(marks, boxes, strict=True):
        draw_box(draw, box, mark.style, line=line)
    draw_texts(draw, marks, boxes, size=size)
    return sheet


def draw_mask(sheet: Image.Image, mask: RunLengths, colour: str, *, region: Rectangle) -> None:
    """Fill a mask with a transparent colour, and draw its outline in the solid one."""
    left, top, right, bottom = region
    original = Image.fromarray(decode(mask)[top:bottom, left:right].astype(np.uint8) * 255)
    smooth = np.asarray(original.resize(sheet.size, Image.Resampling.BILINEAR))
    inside = Image.fromarray(np.where(smooth >= 128, 255, 0).astype(np.uint8))
    found = inside.getbbox()
    if not found:
        return
    x1, y1, x2, y2 = max(0, found[0] - 2), max(0, found[1] - 2), found[2] + 2, found[3] + 2
    part = inside.crop((x1, y1, x2, y2))
    dilated = np.asarray(part.filter(ImageFilter.MaxFilter(3)))
    eroded = np.asarray(part.filter(ImageFilter.MinFilter(3)))
    sheet.paste(colour, (x1, y1), Image.fromarray(np.where(np.asarray(part), MASK_ALPHA, 0).astype(np.uint8)))
    sheet.paste(colour, (x1, y1), Image.fromarray(np.where(dilated != eroded, 255, 0).astype(np.uint8)))


def draw_box(draw: ImageDraw.ImageDraw, box: Box, style: DrawingStyle, *, line: int) -> None:
    """A rectangle between two thin ones of the opposite brightness, so that it stands out from any background."""
    x1, y1, x2, y2 = (round(value) for value in box)
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    opposite = contrasting_colour(style.colour)
    for grow, colour in ((1, opposite), (-line, opposite), (0, style.colour)):
        width = line if colour == style.colour else 1
        corners = (x1 - grow, y1 - grow, x2 + grow, y2 + grow)
        if corners[2] > corners[0] and corners[3] > corners[1]:
            draw_rectangle(draw, corners, colour, width=width, dash=style.dash, unit=4 * line)


def draw_rectangle(
    draw: ImageDraw.ImageDraw, corners: Rectangle, colour: str, *, width: int, dash: int, unit: int
) -> None:
    """A rectangle whose lines, solid or dashed, lie inside its corners; `unit` is the length of a gap in pixels."""
    if not dash:
        draw.rectangle(corners, outline=colour, width=width)
        return
    x1, y1, x2, y2 = corners
    length = unit * (3 - dash)
    for start in range(x1, x2 + 1, length + unit):
        end = min(start + length, x2)
        draw.rectangle((start, y1, end, min(y1 + width - 1, y2)), fill=colour)
        draw.rectangle((start, max(y2 - width + 1, y1), end, y2), fill=colour)
    for start in range(y1, y2 + 1, length + unit):
        end = min(start + length, y2)
        draw.rectangle((x1, start, min(x1 + width - 1, x2), end), fill=colour)
        draw.rectangle((max(x2 - width + 1, x1), start, x2, end), fill=colour)


def draw_texts(
    draw: ImageDraw.ImageDraw, marks: Sequence[Mark], boxes: Sequence[Box], *, size: tuple[int, int]
) -> None:
    """Write the marks' texts on a background of their colours; none covers another."""
    font = ImageFont.load_default(max(13, max(size) // 70))
    taken: list[Rectangle] = []
    for mark, box in zip(marks, boxes, strict=True):
        for index, text in enumerate(mark.texts, start=1):
            x1, y1, x2, y2 = font.getbbox(text)
            extent = round(x2 - x1) + 6, round(y2 - y1) + 6
            if len(marks) >= CROWDED_COUNT and index < len(mark.texts) and extent[0] > box[2] - box[0]:
                continue
            place = find_free_place(box, extent, taken, size=size)
            if place:
                taken.append(place)
                draw.rectangle(place, fill=mark.style.colour)
                ink = contrasting_colour(mark.style.colour)
                draw.text((place[0] + 3 - x1, place[1] + 3 - y1), text, fill=ink, font=font)
                break


def find_free_place(
    box: Box, extent: tuple[int, int], taken: Sequence[Rectangle], *, size: tuple[int, int]
) -> Rectangle | None:
    """Where a text fits at its box: above, below or inside it.

    Args:
        extent: width and height of the text.
        taken: where the earlier texts are.
        size: width and height of the image.

    Returns:
        A place on the image that covers no earlier text; None where there is none.
    """
    width, height = extent
    x1, y1, x2, y2 = (round(value) for value in box)
    for left, top in (
        *((x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2)),
        *((x1, y1), (x2 - width, y1), (x1, y2 - height), (x2 - width, y2 - height)),
    ):
        left, top = max(0, min(left, size[0] - width - 1)), max(0, min(top, size[1] - height - 1))
        if not any(
            left <= right and left + width >= start and top <= bottom and top + height >= first
            for start, first, right, bottom in taken
        ):
            return left, top, left + width, top + height
    return None


def class_colours(num_classes: int) -> tuple[str, ...]:
    """The colour of each class in a class map, by its index in the model's classes.

    The palette first, where the colours are those of `class_style`, then ever further ones around the circle of hues: a
    filled area cannot show the dashes by which `class_style` repeats its colours.
    """
    further: list[str] = []
    for number in range(num_classes - len(PALETTE)):
        hue, value = number * GOLDEN_RATIO % 1, (0.95, 0.7, 0.45)[number % 3]
        further.append("#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return (*PALETTE, *further)[:num_classes]


def overlay_class_map(image: Image.Image, labels_HW: Labels, *, class_pixels: Sequence[int]) -> Image.Image:
    """The image under the colours of a class map.

    Rarer classes get a solid outline where they touch others; a class that has most of the pixels is the background
    of the others and is drawn with less opacity.

    Args:
        image: at the size at which it is shown.
        labels_HW: a class map of any size.
        class_pixels: the number of pixels of each class, by which rarity is decided.
    """
    shrunk = shrink_class_map(labels_HW, longer_side=max(image.size), class_pixels=class_pixels)
    labels = np.asarray(Image.fromarray(shrunk).resize(image.size, Image.Resampling.NEAREST))
    dominant = find_dominant_classes(class_pixels)
    colours = class_colours(len(class_pixels))
    sheet = tint_classes(image, labels, colours, thin=dominant)
    outline = find_class_boundaries(labels, class_pixels=class_pixels) & ~np.isin(labels, [*dominant, IGNORE_INDEX])
    table = colour_table(colours)
    for top in range(0, len(labels), BAND_ROWS):
        solid = Image.fromarray(np.where(outline[top : top + BAND_ROWS], np.uint8(255), np.uint8(0)))
        sheet.paste(Image.fromarray(table[labels[top : top + BAND_ROWS]]), (0, top), solid)
    return sheet


def colour_table(colours: Sequence[str]) -> NDArray[np.uint8]:
    """The RGB colour of each value of a class map (256, 3); black where no colour is given."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = [ImageColor.getrgb(colour) for colour in colours]
    return table


def find_dominant_classes(class_pixels: Sequence[int]) -> list[int]:
    """The class with more than three quarters of all pixels, if there is one."""
    return [label for label, count in enumerate(class_pixels) if count > DOMINANT_FRACTION * sum(class_pixels)]


def tint_classes(
    image: Image.Image, labels_HW: NDArray[np.uint8], colours: Sequence[str], *, thin: Collection[int] = ()
) -> Image.Image:
    """The image under the colours of its pixels' classes.

    Pixels without label, and those of a class without a colour, stay as they are.

    Args:
        labels_HW: a class map of the image's size.
        colours: "#rrggbb" of each class.
        thin: the classes that are drawn with less opacity.
    """
    table, alpha = colour_table(colours), np.zeros(256, np.uint8)
    alpha[: min(len(colours), IGNORE_INDEX)] = TINT_ALPHA
    alpha[list(thin)] = round(DOMINANT_ALPHA_FACTOR * TINT_ALPHA)
    sheet = image.convert("RGB")
    for top in range(0, len(labels_HW), BAND_ROWS):
        band_HW = labels_HW[top : top + BAND_ROWS]
        sheet.paste(Image.fromarray(table[band_HW]), (0, top), Image.fromarray(alpha[band_HW]))
    return sheet


def draw_legend(entries: Sequence[tuple[DrawingStyle, str]], *, width: int) -> Image.Image:
    """A strip of that width with each style and its meaning."""
    size = max(14, width // 60)
    font = ImageFont.load_default(size)
    row_height = round(size * 1.7)
    places: list[tuple[int, int]] = []
    left, row = 8, 0
    for _, text in entries:
        needed = row_height + round(font.getlength(text)) + 20
        if left > 8 and left + needed > width:
            left, row = 8, row + 1
        places.append((left, row))
        left += needed
    strip = Image.new("RGB", (width, (row + 1) * row_height + 8), PAPER)
    draw = ImageDraw.Draw(strip)
    for (style, text), (x, row) in zip(entries, places, strict=True):
        y = 4 + row * row_height
        swatch = (x, y + row_height // 5, x + row_height - 8, y + row_height * 4 // 5)
        draw.rectangle(swatch, fill=PAPER)
        draw_rectangle(draw, swatch, style.colour, width=4, dash=style.dash, unit=5)
        draw.text((x + row_height, y + row_height // 2), text, fill=INK, font=font, anchor="lm")
    return strip


def contrasting_colour(colour: str) -> str:
    """Black or white, whichever has more contrast with a colour "#rrggbb" (by WCAG's relative luminance)."""
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return INK if linear @ [0.2126, 0.7152, 0.0722] > 0.19 else PAPER
