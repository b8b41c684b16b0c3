"""Boxes, masks and texts on images."""

import numpy as np
import pytest
from PIL import Image

from nextvit.image.drawing import (
    CROWDED_COUNT,
    PALETTE,
    DrawingStyle,
    Mark,
    class_colours,
    class_style,
    contrasting_colour,
    draw_marks,
    find_free_place,
    readable_scale,
    tint_classes,
)
from nextvit.image.masks import encode
from nextvit.predictions.draw_detections import draw_detections
from nextvit.predictions.results import Detection, Detections

CLASSES = tuple(f"class <{index}>" for index in range(9))


def grey(width: int, height: int, value: int = 128) -> Image.Image:
    return Image.new("RGB", (width, height), (value, value, value))


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_a_box_has_its_colour_on_its_border_and_the_image_inside():
    mark = Mark(box=(20, 30, 80, 70), style=DrawingStyle(PALETTE[1]))
    pixels = np.asarray(draw_marks(grey(100, 100), [mark]))
    for x, y in ((20, 50), (80, 50), (50, 30), (50, 70)):
        assert tuple(pixels[y, x]) == rgb(PALETTE[1])
    assert tuple(pixels[50, 50]) == (128, 128, 128)
    assert tuple(pixels[50, 19]) == rgb(contrasting_colour(PALETTE[1]))  # a frame of the opposite brightness


def test_what_is_drawn_scales_and_moves_with_the_region():
    mark = Mark(box=(20, 30, 80, 70), style=DrawingStyle(PALETTE[0]))
    pixels = np.asarray(draw_marks(grey(100, 100), [mark], scale=2, region=(10, 20, 90, 90)))
    assert pixels.shape == (140, 160, 3)
    assert tuple(pixels[60, 20]) == rgb(PALETTE[0]) and tuple(pixels[60, 140]) == rgb(PALETTE[0])


def test_a_mask_tints_its_pixels_alone_and_the_image_stays_seen_below():
    mask = np.zeros((60, 60), np.bool_)
    mask[20:40, 10:50] = True
    image = np.zeros((60, 60, 3), np.uint8)
    image[:, 30:] = 200
    mark = Mark(box=(10, 20, 50, 40), style=DrawingStyle(PALETTE[2]), mask=encode(mask))
    pixels = np.asarray(draw_marks(Image.fromarray(image), [mark])).astype(int)
    left, right = pixels[30, 20], pixels[30, 40]
    assert (left > 0).any() and (right - left > 100).all()
    assert tuple(pixels[10, 10]) == (0, 0, 0) and tuple(pixels[50, 55]) == (200, 200, 200)


def test_texts_lie_on_the_image_and_on_no_other_text():
    taken: list[tuple[int, int, int, int]] = []
    for _ in range(40):
        place = find_free_place((90, -5, 130, 20), (30, 12), taken, size=(100, 60))
        if place is None:
            break
        left, top, right, bottom = place
        assert 0 <= left < right < 100 and 0 <= top < bottom < 60
        for start, first, end, last in taken:
            assert left > end or right < start or top > last or bottom < first
        taken.append(place)
    assert 2 <= len(taken) < 40


def test_in_a_crowd_a_text_wider_than_its_box_gives_way_to_the_shorter_one():
    def drawn(texts: tuple[str, ...], count: int) -> bytes:
        marks = [
            Mark(box=(40 * index, 50, 40 * index + 20, 80), style=DrawingStyle(PALETTE[3]), texts=texts)
            for index in range(count)
        ]
        return draw_marks(grey(40 * count, 100), marks).tobytes()

    assert (
        drawn(("a long name 93", "93"), CROWDED_COUNT)
        == drawn(("93",), CROWDED_COUNT)
        != drawn(("a long name 93",), CROWDED_COUNT)
    )
    assert drawn(("a long name 93", "93"), 2) == drawn(("a long name 93",), 2)


def test_the_colour_of_a_detection_follows_the_index_of_its_class_and_not_its_category_id():
    found = Detection(label="nut", category_id=90, score=0.5, box=(20.0, 20.0, 80.0, 80.0))
    drawn = draw_detections(
        grey(1200, 1200), Detections(width=1200, height=1200, objects=(found,)), classes=("bolt", "nut")
    )
    assert tuple(np.asarray(drawn)[50, 20]) == rgb(class_style(1).colour) == rgb(class_colours(2)[1])


def test_styles_repeat_only_after_three_lines_of_each_colour():
    assert len({class_style(number) for number in range(21)}) == 21 and class_style(21) == class_style(0)


@pytest.mark.parametrize("colour", [*PALETTE, "#000000", "#ffffff"])
def test_texts_are_read_on_every_colour(colour: str):
    """A contrast of at least 4.5, as WCAG asks of small text."""

    def luminance(name: str) -> float:
        channels = np.array(rgb(name)) / 255
        return float(
            np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
            @ [0.2126, 0.7152, 0.0722]
        )

    light, dark = sorted((luminance(colour), luminance(contrasting_colour(colour))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def detections(count: int, size: tuple[int, int]) -> Detections:
    width, height = size
    generator = np.random.default_rng(0)
    objects = []
    for index in range(count):
        x, y = generator.uniform(-5, width - 2), generator.uniform(-5, height - 2)
        box = (float(x), float(y), float(x + generator.uniform(0, 40)), float(y + generator.uniform(0, 40)))
        mask = encode(generator.random((height, width)) < 0.1) if index % 2 else None
        label = index % len(CLASSES)
        objects.append(Detection(label=CLASSES[label], category_id=17 * label, score=0.5, box=box, mask=mask))
    return Detections(width=width, height=height, objects=tuple(objects))


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7), (64, 48), (2000, 1100)])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_any_image_with_any_number_of_objects_can_be_drawn(size: tuple[int, int], count: int):
    drawn = draw_detections(grey(*size), detections(count, size), classes=CLASSES)
    longer = max(size) * readable_scale(size)
    assert drawn.width >= 320 or drawn.height >= longer - 1
    assert drawn.width <= max(320, round(longer) + 1)
    assert drawn.mode == "RGB"


def test_small_images_are_enlarged_and_large_ones_shrunk():
    assert readable_scale((64, 48)) == 4 and readable_scale((512, 256)) == 2
    assert readable_scale((1200, 300)) == 1 and readable_scale((800, 3200)) == 0.5


def test_the_legend_tells_each_class_below_the_image():
    some, none = (draw_detections(grey(400, 300), detections(count, (400, 300)), classes=CLASSES) for count in (5, 0))
    height = round(300 * readable_scale((400, 300)))
    colours = {tuple(pixel) for pixel in np.asarray(some)[height:].reshape(-1, 3)}
    assert {rgb(class_style(number).colour) for number in range(5)} <= colours
    assert (np.asarray(none)[height:] < 100).any()  # it says that nothing was found


def test_the_colours_of_classes_lie_on_their_pixels_however_high_the_image_is():
    labels = np.random.default_rng(0).choice([0, 1, 2, 255], (600, 5)).astype(np.uint8)
    sheet = np.asarray(tint_classes(grey(5, 600), labels, ("#ff0000", "#00ff00")))
    ground = np.asarray(grey(5, 600))
    assert np.array_equal(sheet[labels >= 2], ground[labels >= 2])
    for label, channel in ((0, 0), (1, 1)):
        assert (sheet[labels == label].argmax(axis=1) == channel).all()
