"""From a file's bytes and its objects to training's view of them: pixels, boxes and masks stay in step."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nextvit.data.object_masks import rasterize_mask
from nextvit.data.objects import Objects, Segmentation, Targets
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError, Pixels
from nextvit.views.colour import TO_YIQ, jitter_colours
from nextvit.views.detection_view import DetectionView, draw_placement, rasterize_crop
from nextvit.views.settings import DetectionAugment

NAME = Path("picture")
COLOURS = [(230, 30, 30), (30, 220, 30), (40, 40, 230), (230, 230, 30)]
PLAIN = DetectionAugment(flip=0, scales=(1.0,), crop=0)


def saved(image: Image.Image | Pixels, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, form, **options)
    return file.getvalue()


def scene(
    size_wh: tuple[int, int] = (120, 90), *, count: int = 4, seed: int = 0, form: str = "PNG"
) -> tuple[bytes, Objects]:
    """Ellipses on grey, each in its quarter and of its class's colour, with polygons around them."""
    rng, (width, height) = np.random.default_rng(seed), size_wh
    image = Image.new("RGB", size_wh, (120, 120, 120))
    boxes: list[list[float]] = []
    polygons: list[Segmentation] = []
    for number in range(count):
        quarter_x, quarter_y = number % 2 * width / 2, number // 2 % 2 * height / 2
        radii = rng.uniform(0.15, 0.24, 2) * size_wh
        middle = np.array([quarter_x + width / 4, quarter_y + height / 4])
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        outline = middle + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        ImageDraw.Draw(image).polygon([tuple(point - 0.5) for point in outline], fill=COLOURS[number])
        boxes.append([*outline.min(axis=0), *outline.max(axis=0)])
        polygons.append([outline.ravel().tolist()])
    objects = objects_of(boxes, polygons)
    return saved(image, form, **({"quality": 95} if form == "JPEG" else {})), objects


def objects_of(boxes: list[list[float]], segmentations: list[Segmentation], crowd: list[bool] | None = None) -> Objects:
    """Objects of classes 0, 1, 2, ..."""
    return Objects(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(len(boxes)),
        crowd=np.array(crowd or [False] * len(boxes), dtype=bool),
        areas=np.zeros(len(boxes)),
        segmentations=tuple(segmentations),
    )


def view_of(
    content: bytes, objects: Objects, settings: DetectionAugment, image_size: tuple[int, int], seed: int = 0
) -> tuple[Pixels, Targets]:
    return DetectionView(settings, image_size)(content, objects, name=NAME, rng=np.random.default_rng(seed))


def box_around(mask: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float((a & b).sum() / (a | b).sum())


def coloured_like(pixels: Pixels, label: int) -> NDArray[np.bool_]:
    """Where an image shows the colour of a class."""
    return (np.abs(pixels.astype(int) - COLOURS[label]) < 50).all(axis=2)


def test_a_view_of_the_whole_image_is_the_image_with_its_objects_and_may_be_mirrored():
    content, objects = scene()
    image = np.array(Image.open(io.BytesIO(content)))
    pixels, targets = view_of(content, objects, PLAIN, (90, 120))
    assert np.array_equal(pixels, image) and targets.masks is not None
    assert np.allclose(targets.boxes, objects.boxes, atol=1e-4) and np.array_equal(targets.labels, objects.labels)
    whole = [rasterize_mask(segmentation, 90, 120) for segmentation in objects.segmentations]
    assert np.array_equal(targets.masks, whole)
    mirrored, turned = view_of(content, objects, DetectionAugment(flip=1, scales=(1.0,), crop=0), (90, 120))
    assert turned.masks is not None
    assert np.array_equal(mirrored, image[:, ::-1]) and np.array_equal(turned.masks, np.array(whole)[:, :, ::-1])
    assert np.allclose(turned.boxes, (120, 0, 120, 0) + objects.boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1), atol=1e-4)
    assert mirrored.flags.c_contiguous and mirrored.flags.writeable
    assert turned.boxes.dtype == np.float32 and turned.masks.dtype == bool


MODES = {
    "scales": DetectionAugment(crop=0),
    "crop": DetectionAugment(crop=1),
    "cut boxes": DetectionAugment(crop=1, tighten=False),
    "larger": DetectionAugment(scales=(1.3, 1.7), crop=0.5, crop_sides=(0.3, 0.9)),
    "jitter": DetectionAugment(jitter=1, jitter_scale=(0.4, 2.0)),
}


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", MODES)
def test_pixels_boxes_and_masks_stay_in_step(mode: str, form: str):
    # As a JPEG the image is so large that it is decoded at a fraction of its size.
    content, objects = scene((120, 90) if form == "PNG" else (960, 720), form=form)
    seen = 0
    for seed in range(12):
        pixels, targets = view_of(content, objects, MODES[mode], (90, 120), seed=seed)
        assert targets.masks is not None and targets.masks.shape == (len(targets.boxes), *pixels.shape[:2])
        assert (targets.boxes[:, 2:] - targets.boxes[:, :2] >= 1).all() and targets.boxes.min(initial=0) >= 0
        assert (targets.boxes[:, 2:] <= pixels.shape[1::-1]).all()
        for label, box, mask in zip(targets.labels, targets.boxes, targets.masks, strict=True):
            if mask.sum() < 60:
                continue
            seen += 1
            assert iou(mask, coloured_like(pixels, label)) > 0.8
            if mode != "cut boxes":
                assert np.abs(box - box_around(mask)).max() < 2.5
        visible = {label for label in range(4) if coloured_like(pixels, label).sum() > 20}
        assert visible <= set(targets.labels.tolist())
    assert seen > 15


def test_the_sizes_of_views_are_those_that_were_asked_for():
    rng, settings = np.random.default_rng(0), DetectionAugment(crop=0)
    shorter = {min(draw_placement((640, 480), settings, (800, 1333), rng).view_size) for _ in range(300)}
    assert shorter == set(range(480, 801, 32))


def test_parts_are_those_of_detrs_training():
    """Between 384 and 600 pixels a side of the image at 400, 500 or 600 px; then resized as any image."""
    rng, settings = np.random.default_rng(0), DetectionAugment(crop=1, flip=0)
    placements = [draw_placement((640, 480), settings, (800, 1333), rng) for _ in range(3000)]
    left, top, width, height = np.array([placement.crop for placement in placements]).T
    assert (left >= 0).all() and (top >= 0).all() and (left + width <= 640).all() and (top + height <= 480).all()
    # The least part is 384 of the image at 600 px, 800 x 600; at 400 px the most is all of it.
    assert width.min() == round(384 * 640 / 800) and abs(height.min() - 384 * 480 / 600) <= 1
    assert width.max() == 640 and height.max() == 480
    assert left.max() > 0.5 * (640 - 307) and top.max() > 0.5 * (480 - 307)
    for placement in placements[:200]:
        view_height, view_width = placement.view_size
        assert max(view_height, view_width) <= 1333 and min(view_height, view_width) <= 800
        assert view_width / view_height == pytest.approx(placement.crop[2] / placement.crop[3], rel=0.01)


def test_jitter_scales_evenly_and_never_beyond_the_input():
    rng, settings = np.random.default_rng(0), DetectionAugment(jitter=1)
    placements = [draw_placement((640, 480), settings, (240, 320), rng) for _ in range(2000)]
    scales = np.array([placement.view_size[1] / placement.crop[2] / (320 / 640) for placement in placements])
    assert 0.09 < scales.min() < 0.13 and 1.95 < scales.max() < 2.01 and abs(np.mean(scales < 1.05) - 0.5) < 0.04
    assert max(placement.view_size for placement in placements) == (240, 320)


def test_crowds_and_objects_below_a_pixel_are_left_out():
    boxes = [[10.0, 10, 30, 30], [50, 50, 52.5, 80], [60, 10, 90, 30], [100, 60, 140, 80]]
    objects = objects_of(boxes, [], crowd=[False, False, True, False])
    content = saved(Image.new("RGB", (120, 90)))
    _, targets = view_of(content, objects, PLAIN, (90, 120))
    assert targets.labels.tolist() == [0, 1, 3] and targets.masks is None
    assert targets.boxes[2].tolist() == [100, 60, 120, 80]  # cut at the picture's border
    _, small = view_of(content, objects, PLAIN, (30, 120))
    assert small.labels.tolist() == [0, 3]


def test_an_image_without_objects_has_no_targets():
    content = saved(Image.new("RGB", (120, 90)))
    for seed in range(5):
        pixels, targets = view_of(content, objects_of([], []), MODES["larger"], (90, 120), seed=seed)
        assert targets.boxes.shape == (0, 4) and targets.labels.shape == (0,) and pixels.ndim == 3


def bracket() -> Objects:
    """An object like an L: a crop of its upper right shows its box and nothing of it."""
    outline = [10.0, 10, 20, 10, 20, 70, 110, 70, 110, 80, 10, 80]
    return objects_of([[10, 10, 110, 80]], [[outline]])


def test_an_object_that_is_cut_gets_the_box_of_what_is_left_of_it():
    content, counts = saved(Image.new("RGB", (120, 90))), {True: 0, False: 0}
    for tighten in (True, False):
        settings = DetectionAugment(crop=1, flip=0, crop_sides=(0.3, 0.5), scales=(1.0,), tighten=tighten)
        for seed in range(60):
            _, targets = view_of(content, bracket(), settings, (90, 160), seed=seed)
            assert targets.masks is not None
            counts[tighten] += len(targets.boxes)
            for box, mask in zip(targets.boxes, targets.masks, strict=True):
                assert mask.any() or not tighten
                if tighten:
                    assert box.tolist() == box_around(mask)
    assert counts[False] == 60 > counts[True] > 10


def test_an_object_without_a_mask_keeps_its_box():
    boxes = [[10.0, 10, 60, 60], [70, 20, 110, 80]]
    objects = objects_of(boxes, [None, [[70.0, 20, 110, 20, 110, 80, 70, 80]]])
    content = saved(Image.new("RGB", (120, 90)))
    _, targets = view_of(content, objects, PLAIN, (90, 120))
    assert targets.masks is not None and targets.masks.any(axis=(1, 2)).tolist() == [False, True]
    for seed in range(10):
        _, targets = view_of(content, objects, MODES["jitter"], (90, 120), seed=seed)
        assert targets.masks is not None
        assert all(mask.any() or label == 0 for label, mask in zip(targets.labels, targets.masks, strict=True))


def test_parts_of_masks_are_parts_of_the_whole_mask():
    rng = np.random.default_rng(0)
    for _ in range(30):
        polygon = (rng.random((7, 2)) * (100, 70) + 5).round(2)
        segmentation: list[Segmentation] = [[polygon.ravel().tolist()]]
        whole = rasterize_mask(segmentation[0], 90, 120)
        runs = coco_mask.encode(np.asfortranarray(whole.astype(np.uint8)))
        lengths = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], whole.ravel(order="F"), [2]]))))
        counts = lengths.tolist() if not whole[0, 0] else [0, *lengths.tolist()]
        segmentation += [runs, {"size": [90, 120], "counts": counts}]
        left, top = int(polygon[:, 0].min()) - 1, int(polygon[:, 1].min()) - 1
        for form in segmentation:
            part = rasterize_crop(form, (left, top, 120 - left, 90 - top), (120, 90))
            assert whole.any() and np.array_equal(part, whole[top:, left:])


def test_pasted_objects_are_in_the_image_the_boxes_and_the_masks():
    settings = DetectionAugment(crop=0, scales=(0.8, 1.0), copy_paste=1)
    content, objects = scene(count=2)
    other_content, other = scene((90, 110), seed=1)
    view, pasted_counts = DetectionView(settings, (90, 120)), set()
    for seed in range(30):
        pixels, targets = view(
            content, objects, name=NAME, rng=np.random.default_rng(seed), another=lambda _: (other_content, other, NAME)
        )
        assert targets.masks is not None and targets.masks.shape == (len(targets.boxes), *pixels.shape[:2])
        assert not (targets.masks.sum(axis=0) > 1).any()  # no pixel is two objects'
        for label, box, mask in zip(targets.labels, targets.boxes, targets.masks, strict=True):
            assert np.abs(box - box_around(mask)).max() < 1.5
            assert np.mean(coloured_like(pixels, label)[mask]) > 0.8
        pasted_counts.add(len(targets.boxes))
    assert len(pasted_counts) > 2 and max(pasted_counts) >= 5


def test_what_is_covered_whole_is_no_longer_there():
    square: Segmentation = [[20.0, 20, 40, 20, 40, 40, 20, 40]]
    large: Segmentation = [[10.0, 10, 60, 10, 60, 60, 10, 60]]
    objects = objects_of([[20, 20, 40, 40], [80, 20, 100, 40]], [square, None])
    other = objects_of([[10, 10, 60, 60]], [large])
    settings = DetectionAugment(flip=0, scales=(1.0,), crop=0, copy_paste=1)
    content, white = saved(Image.new("RGB", (120, 90))), saved(Image.new("RGB", (120, 90), "white"))
    kept = set()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pixels, targets = DetectionView(settings, (90, 120))(
            content, objects, name=NAME, rng=rng, another=lambda _: (white, other, NAME)
        )
        pasted = bool(pixels.any())
        kept.add(pasted)
        wanted = [[80, 20, 100, 40], [10, 10, 60, 60]] if pasted else [[20, 20, 40, 40], [80, 20, 100, 40]]
        assert targets.boxes.tolist() == wanted
        if pasted:
            assert (pixels[10:60, 10:60] == 255).all() and pixels.sum() == 50 * 50 * 3 * 255
    assert kept == {True, False}


def test_copy_paste_needs_masks_and_another_image():
    content, objects = scene()
    boxes_alone = objects_of(objects.boxes.tolist(), [])
    view = DetectionView(DetectionAugment(copy_paste=1, crop=0), (90, 120))
    with pytest.raises(InputError, match=r"objects\.copy_paste needs masks"):
        for seed in range(5):
            rng = np.random.default_rng(seed)
            view(content, boxes_alone, name=NAME, rng=rng, another=lambda _: (content, boxes_alone, NAME))
    assert len(view(content, objects, name=NAME, rng=np.random.default_rng(0))[1].boxes) == 4
    # Objects may be pasted into an image that has none.
    counts = {
        len(
            view(
                content,
                objects_of([], []),
                name=NAME,
                rng=np.random.default_rng(seed),
                another=lambda _: (content, objects, NAME),
            )[1].boxes
        )
        for seed in range(8)
    }
    assert max(counts) > 1


def test_colours_change_as_asked_for_and_greys_stay_grey():
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 190, (12, 10, 3), dtype=np.uint8)
    for seed in range(20):
        changed = jitter_colours(pixels, 0.6, np.random.default_rng(seed))
        brightness, contrast, saturation, hue = 0.6 * (2 * np.random.default_rng(seed).random(4) - 1)
        for before, after in zip(pixels.reshape(-1, 3)[:20], changed.reshape(-1, 3)[:20], strict=True):
            luma, i, q = TO_YIQ @ before
            chroma = complex(i, q) * (1 + 0.5 * saturation) * np.exp(1j * np.radians(18 * hue))
            rgb = np.linalg.solve(TO_YIQ, [luma, chroma.real, chroma.imag])
            wanted = (rgb - 127.5) * (1 + 0.5 * contrast) + 127.5 + 32 * brightness
            assert np.abs(after - wanted.clip(0, 255)).max() <= 0.51
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert np.ptp(jitter_colours(grey, 1.0, np.random.default_rng(1)), axis=2).max() <= 1
    assert np.allclose(TO_YIQ @ (1, 1, 1), (1, 0, 0), atol=2e-3)


def test_a_view_is_a_function_of_its_generator_and_leaves_the_global_ones_alone():
    content, objects = scene()
    settings = DetectionAugment(photometric=1, jitter=0.3, copy_paste=0.5)
    view = DetectionView(settings, (90, 120))
    np.random.seed(3)
    before = np.random.get_state()[1]

    def views() -> list[bytes]:
        seen = []
        for seed in range(12):
            pixels, targets = view(
                content, objects, name=NAME, rng=np.random.default_rng(seed), another=lambda _: (content, objects, NAME)
            )
            assert targets.masks is not None
            seen.append(pixels.tobytes() + targets.boxes.tobytes() + targets.masks.tobytes())
        return seen

    first = views()
    assert views() == first and len(set(first)) == 12
    assert np.array_equal(np.random.get_state()[1], before)


def test_what_cannot_be_read_is_refused_by_name():
    content, objects = scene((1200, 900), form="JPEG")
    for damaged, message in ((b"no image", "picture: not an image"), (content[:2000], "picture: damaged")):
        with pytest.raises(DecodeError, match=message):
            view_of(damaged, objects, PLAIN, (90, 120))
    runs: Segmentation = {"size": [90, 120], "counts": [100, 50, 90 * 120 - 150]}
    with pytest.raises(
        InputError, match=r"picture: its run lengths are of size \[90, 120\], the image is \[900, 1200\]"
    ):
        view_of(content, objects_of([[10, 10, 90, 90]], [runs]), PLAIN, (90, 120))


def test_boxes_and_masks_of_a_real_dataset_agree(real_data: Callable[[str], Path]):
    root = real_data("nuclei")
    annotated = json.loads((root / "annotations" / "instances_val.json").read_text())
    view = DetectionView(DetectionAugment(), (320, 480))
    for number, entry in enumerate(annotated["images"][:12]):
        own = [one for one in annotated["annotations"] if one["image_id"] == entry["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in own)]
        content = (root / "images" / "val" / entry["file_name"]).read_bytes()
        objects = objects_of(boxes, [one["segmentation"] for one in own])
        _, targets = view(content, objects, name=NAME, rng=np.random.default_rng(number))
        assert targets.masks is not None and len(targets.masks)
        found = [mask.any() for mask in targets.masks]
        assert np.mean(found) > 0.95
        for box, mask in zip(targets.boxes[found], targets.masks[found], strict=True):
            assert np.abs(box - box_around(mask)).max() < 2
