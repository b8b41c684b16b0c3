"""Boxes, masks and their texts on a picture, so that they can be read on any ground: Pillow alone."""

import colorsys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

from nextvit.image.class_maps import Labels, rims, shrunk
from nextvit.image.masks import IGNORED, RunLengths, decode

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
Rectangle = tuple[int, int, int, int]

PALETTE = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Colours that colour-blind people tell apart, too (Okabe and Ito, "Color Universal Design", 2008)."""
INK, PAPER = "#0f172a", "#ffffff"
MASK_ALPHA = 100
"""Of 255: what lies under a mask stays seen."""
BAND = 256
"""Rows of a picture that are coloured at once."""
TINT_ALPHA = 140
"""The same for the classes of all pixels."""
MOST, THINNED = 0.75, 0.35
"""A class of so large a part of all pixels has so much of the tint that others have."""
GOLDEN_SHARE = 0.618034
"""Of a circle: steps of it never come near where they were."""
CROWDED = 30
"""From so many marks on, a text is no wider than its box where a shorter one is given: it would hide its neighbours."""
SMALLEST_SIDE_PX, LARGEST_SIDE_PX, MOST_ENLARGED = 1024, 1600, 4.0
"""Smaller pictures are enlarged and larger ones shrunk to so many pixels on their longer side."""


@dataclass(frozen=True)
class Look:
    """A colour and a line: solid, or with gaps of one or two lengths."""

    colour: str
    dash: int = 0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What is drawn of one object, in pixels of the picture."""

    box: Box
    look: Look
    texts: tuple[str, ...] = ()
    """The same told ever shorter; the first that fits beside the texts of earlier marks is written, or none."""
    mask: RunLengths | None = None


def look_of(number: int) -> Look:
    """The look of a class by its number: seven colours, each with three lines."""
    return Look(PALETTE[number % len(PALETTE)], dash=number // len(PALETTE) % 3)


def readable_scale(size_wh: tuple[int, int]) -> float:
    """By how much a picture is enlarged or shrunk so that lines and texts on it can be read."""
    longer = max(size_wh)
    if longer < SMALLEST_SIDE_PX:
        return min(MOST_ENLARGED, SMALLEST_SIDE_PX / longer)
    return min(1.0, LARGEST_SIDE_PX / longer)


def draw_marks(
    image: Image.Image, marks: Sequence[Mark], *, scale: float = 1.0, region: Rectangle | None = None
) -> Image.Image:
    """The picture, or a region of it, with the marks drawn on it at another scale: masks below boxes below texts."""
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
            draw_mask(sheet, mark.mask, mark.look.colour, region=(left, top, right, bottom))
    draw = ImageDraw.Draw(sheet)
    for mark, box in zip(marks, boxes, strict=True):
        draw_box(draw, box, mark.look, line=line)
    draw_texts(draw, marks, boxes, size=size)
    return sheet


def draw_mask(sheet: Image.Image, mask: RunLengths, colour: str, *, region: Rectangle) -> None:
    """Lay a colour over a mask, and a line of it around."""
    left, top, right, bottom = region
    given = Image.fromarray(decode(mask)[top:bottom, left:right].astype(np.uint8) * 255)
    smooth = np.asarray(given.resize(sheet.size, Image.Resampling.BILINEAR))
    inside = Image.fromarray(np.where(smooth >= 128, 255, 0).astype(np.uint8))
    found = inside.getbbox()
    if not found:
        return
    x1, y1, x2, y2 = max(0, found[0] - 2), max(0, found[1] - 2), found[2] + 2, found[3] + 2
    part = inside.crop((x1, y1, x2, y2))
    grown, shrunk = np.asarray(part.filter(ImageFilter.MaxFilter(3))), np.asarray(part.filter(ImageFilter.MinFilter(3)))
    sheet.paste(colour, (x1, y1), Image.fromarray(np.where(np.asarray(part), MASK_ALPHA, 0).astype(np.uint8)))
    sheet.paste(colour, (x1, y1), Image.fromarray(np.where(grown != shrunk, 255, 0).astype(np.uint8)))


def draw_box(draw: ImageDraw.ImageDraw, box: Box, look: Look, *, line: int) -> None:
    """A frame between two thin ones of the opposite brightness, so that it stands out from any ground."""
    x1, y1, x2, y2 = (round(value) for value in box)
    x2, y2 = max(x2, x1 + 1), max(y2, y1 + 1)
    opposite = contrasting(look.colour)
    for grow, colour in ((1, opposite), (-line, opposite), (0, look.colour)):
        width = line if colour == look.colour else 1
        corners = (x1 - grow, y1 - grow, x2 + grow, y2 + grow)
        if corners[2] > corners[0] and corners[3] > corners[1]:
            draw_frame(draw, corners, colour, width=width, dash=look.dash, unit=4 * line)


def draw_frame(draw: ImageDraw.ImageDraw, corners: Rectangle, colour: str, *, width: int, dash: int, unit: int) -> None:
    """A frame whose lines lie inside its corners; with a dash they have gaps."""
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
    """The marks' texts on their colours; none lies over another."""
    font = ImageFont.load_default(max(13, max(size) // 70))
    taken: list[Rectangle] = []
    for mark, box in zip(marks, boxes, strict=True):
        for index, text in enumerate(mark.texts, start=1):
            x1, y1, x2, y2 = font.getbbox(text)
            extent = round(x2 - x1) + 6, round(y2 - y1) + 6
            if len(marks) >= CROWDED and index < len(mark.texts) and extent[0] > box[2] - box[0]:
                continue
            place = free_place(box, extent, taken, size=size)
            if place:
                taken.append(place)
                draw.rectangle(place, fill=mark.look.colour)
                draw.text((place[0] + 3 - x1, place[1] + 3 - y1), text, fill=contrasting(mark.look.colour), font=font)
                break


def free_place(
    box: Box, extent: tuple[int, int], taken: Sequence[Rectangle], *, size: tuple[int, int]
) -> Rectangle | None:
    """Where a text of that extent lies at a box and on the picture, but on no other text: above, below, or inside."""
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


def class_colours(count: int) -> tuple[str, ...]:
    """A colour for each of so many classes: those of the palette, then ever further ones around the circle of hues."""
    further: list[str] = []
    for number in range(count - len(PALETTE)):
        hue, value = number * GOLDEN_SHARE % 1, (0.95, 0.7, 0.45)[number % 3]
        further.append("#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hsv_to_rgb(hue, 0.75, value)))
    return (*PALETTE, *further)[:count]


def overlaid(small: Image.Image, labels_HW: Labels, *, class_pixels: Sequence[int]) -> Image.Image:
    """A picture, at the size at which it is shown, under the colours of a map of any size.

    Rarer classes have a solid rim where they meet others, and a class of most pixels is laid on thinly: it is what others lie on.

    Args:
        class_pixels: how common each class is.
    """
    fitting = shrunk(labels_HW, longer_side=max(small.size), class_pixels=class_pixels)
    labels = np.asarray(Image.fromarray(fitting).resize(small.size, Image.Resampling.NEAREST))
    common = common_classes(class_pixels)
    colours = class_colours(len(class_pixels))
    sheet = tinted(small, labels, colours, thin=common)
    rim = rims(labels, class_pixels=class_pixels) & ~np.isin(labels, [*common, IGNORED])
    table = colour_table(colours)
    for top in range(0, len(labels), BAND):
        solid = Image.fromarray(np.where(rim[top : top + BAND], np.uint8(255), np.uint8(0)))
        sheet.paste(Image.fromarray(table[labels[top : top + BAND]]), (0, top), solid)
    return sheet


def colour_table(colours: Sequence[str]) -> NDArray[np.uint8]:
    """(256, 3), the colour of each value of a map; black where no colour is given."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = [ImageColor.getrgb(colour) for colour in colours]
    return table


def common_classes(class_pixels: Sequence[int]) -> list[int]:
    """The class that has most of all pixels by far, if there is one."""
    return [label for label, count in enumerate(class_pixels) if count > MOST * sum(class_pixels)]


def tinted(
    image: Image.Image, labels_HW: NDArray[np.uint8], colours: Sequence[str], *, thin: Collection[int] = ()
) -> Image.Image:
    """The picture under the colours of its pixels' classes, thinly under those of `thin`.

    IGNORED pixels, and those that no colour is given for, stay as they are.
    """
    table, alpha = colour_table(colours), np.zeros(256, np.uint8)
    alpha[: min(len(colours), IGNORED)] = TINT_ALPHA
    alpha[list(thin)] = round(THINNED * TINT_ALPHA)
    sheet = image.convert("RGB")
    for top in range(0, len(labels_HW), BAND):  # a large picture's colours need not be in memory at once
        band_HW = labels_HW[top : top + BAND]
        sheet.paste(Image.fromarray(table[band_HW]), (0, top), Image.fromarray(alpha[band_HW]))
    return sheet


def draw_legend(entries: Sequence[tuple[Look, str]], *, width: int) -> Image.Image:
    """A strip of that width that says what the looks mean."""
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
    for (look, text), (x, row) in zip(entries, places, strict=True):
        y = 4 + row * row_height
        swatch = (x, y + row_height // 5, x + row_height - 8, y + row_height * 4 // 5)
        draw.rectangle(swatch, fill=PAPER)
        draw_frame(draw, swatch, look.colour, width=4, dash=look.dash, unit=5)
        draw.text((x + row_height, y + row_height // 2), text, fill=INK, font=font, anchor="lm")
    return strip


def contrasting(colour: str) -> str:
    """Black or white, whichever is read better on a colour "#rrggbb" (by WCAG's relative luminance)."""
    channels = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return INK if linear @ [0.2126, 0.7152, 0.0722] > 0.19 else PAPER
