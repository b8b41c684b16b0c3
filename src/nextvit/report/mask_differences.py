"""Show on the page of a check where the masks of one image differ."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.check.mask_copies import find_differences
from nextvit.check.survey import Survey
from nextvit.image.reading import DecodeError, Encoded, read_image
from nextvit.report.page import Markup, escape, image_grid

SIDE_PX = 320
COLOUR = (234, 88, 12)


def show_differences(survey: Survey, positions: tuple[int, ...]) -> Markup:
    """The image once for each further copy, with the pixels marked whose class is another than in the first one."""
    items: list[tuple[NDArray[np.uint8], Markup]] = []
    for position in positions[1:]:
        differs_HW = find_differences(survey, positions[0], position)
        if differs_HW is None or not differs_HW.any():
            continue
        sample = survey.sample(position)
        try:
            image = read_image(Encoded(sample.read(), sample.path))
        except DecodeError:
            continue
        percent = 100 * differs_HW.mean()
        caption = f"orange: {percent:.2g} % of the pixels have another class in {survey.name(position)}"
        items.append((mark(image, differs_HW), Markup(escape(caption))))
    return image_grid(items, wide=True) if items else Markup("")


def mark(image: Image.Image, differs_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A small image with some of its pixels in one colour; a pixel stands for all those that it was made of."""
    scale = min(1.0, SIDE_PX / max(image.size))
    size_wh = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    pixels = np.array(image.resize(size_wh))
    share = Image.fromarray(np.where(differs_HW, np.uint8(255), np.uint8(0))).resize(size_wh, Image.Resampling.BOX)
    pixels[np.asarray(share) > 0] = COLOUR
    return pixels
