"""Reading images with masks: both layouts, every kind of mask file, and masks drawn from objects."""

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.data.class_masks import BadMask, MaskEncoding, read_mask_values
from nextvit.data.dataset import Dataset
from nextvit.data.hold_out import is_held_out
from nextvit.data.masks_folder import is_masks_folder
from nextvit.data.object_masks import rasterize_mask
from nextvit.data.reading import convert_objects_to_masks, is_dataset, read_segmented
from nextvit.data.split_names import SPLITS
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from tests.data.coco_by_hand import Content, add, draw_objects, spoil
from tests.data.masks_by_hand import CLASSES, draw_ade20k, draw_masked, read_mask


def read(root: Path) -> Dataset:
    faults = []
    dataset = read_segmented(root, faults, SPLITS)
    assert not faults
    return dataset


def test_each_image_comes_with_its_mask(tmp_path: Path):
    root = draw_masked(tmp_path)
    assert is_masks_folder(root)
    dataset = read(root)
    assert (dataset.task, dataset.classes) == ("segmentation", CLASSES)
    for split, count in (("train", 12), ("val", 4)):
        samples, masks = dataset.splits[split], dataset.masks[split]
        assert len(samples) == len(masks) == count
        for index, sample in enumerate(samples):
            assert sample.path.parent == root / "images" / split and sample.labels == ()
            assert np.array_equal(masks[index], read_mask(root / "masks" / split / sample.path.name))
            pixels = np.array(Image.open(sample.path))
            assert (pixels[masks[index] == 1] == (220, 30, 30)).all() and (masks[index] == 2).any()


@pytest.mark.parametrize("draw", [draw_masked, draw_ade20k])
def test_both_layouts_are_recognised(draw, tmp_path: Path):
    root = draw(tmp_path / "drawn")
    assert is_dataset(root) and not is_dataset(root / "images" / ("train" if draw is draw_masked else "training"))
    dataset = read_dataset(root)
    assert (dataset.task, len(dataset.classes), len(dataset.masks["val"])) == ("segmentation", 3, 4)


def test_what_cannot_be_used_of_a_folder_is_refused(tmp_path: Path):
    (draw_masked(tmp_path) / "masks" / "train" / "5.png").unlink()
    with pytest.raises(InputError, match=r"1 image has no mask, first: .*5\.png"):
        read_dataset(tmp_path)


def test_images_and_masks_are_paired_by_name_whatever_their_suffix_and_folder(tmp_path: Path):
    root = draw_masked(tmp_path)
    for kind, suffix in (("images", ".webp"), ("masks", ".tif")):
        (root / kind / "train" / "town").mkdir()
        path = root / kind / "train" / "3.png"
        Image.open(path).save(root / kind / "train" / "town" / f"3{suffix}")
        path.unlink()
    dataset = read(root)
    assert len(dataset.splits["train"]) == 12
    at = [sample.path.name for sample in dataset.splits["train"]].index("3.webp")
    assert dataset.masks["train"].name(at).endswith("/town/3.tif")
    assert set(np.unique(dataset.masks["train"][at])) == {0, 1, 2}


def test_without_val_a_tenth_is_held_out_with_its_masks(tmp_path: Path):
    root = draw_masked(tmp_path, train=60)
    for kind in ("images", "masks"):
        shutil.rmtree(root / kind / "val")
    dataset = read(root)
    assert sum(map(len, dataset.splits.values())) == 60 and len(dataset.splits["val"]) > 1
    for split, samples in dataset.splits.items():
        for index, sample in enumerate(samples):
            assert is_held_out(sample.path) == (split == "val")
            assert Path(dataset.masks[split].name(index)).name == sample.path.name


def test_in_ade20k_zero_is_no_label_and_classes_count_from_one(tmp_path: Path):
    dataset = read(draw_ade20k(tmp_path))
    # Two things are called screen: they keep all their names.
    assert dataset.classes == ("wall", "screen;square", "screen;disc")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 12, "val": 4}
    mask = dataset.masks["train"][0]
    assert (mask[:, 0] == 255).all() and set(np.unique(mask[:, 1:])) == {0, 1, 2}
    raw = read_mask(tmp_path / "annotations" / "training" / dataset.splits["train"][0].path.name)
    assert np.array_equal(mask[:, 1:], raw[:, 1:] - 1)


def test_values_mean_classes_as_in_mmsegmentation():
    values = np.arange(256, dtype=np.uint8)
    reduced = values.copy()  # reduce_zero_label, line by line
    reduced[reduced == 0] = 255
    reduced = reduced - 1
    reduced[reduced == 254] = 255
    encoding = MaskEncoding(150, zero_is_ignored=True)
    assert np.array_equal(encoding.table[encoding.known], reduced[[*range(151), 255]])
    assert np.flatnonzero(MaskEncoding(3).known).tolist() == [0, 1, 2, 255]
    with pytest.raises(BadMask, match=r"x: has the value 151; expected 1 to 150 \(the 150 classes\) or 255"):
        encoding.classes(np.array([[0, 151]], np.uint8), name="x")


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


INDICES = np.array([[0, 1, 2], [3, 1, 0]], np.uint8)


def palette_image(indices: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices, "L").convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    return image


def grey_png(indices: np.ndarray, bits: int) -> bytes:
    """A grey PNG of few bits a pixel, which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = indices.shape
    rows = b""
    for row in indices:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        saved(Image.fromarray(INDICES)),
        saved(palette_image(INDICES)),
        saved(palette_image(INDICES), bits=2),
        saved(palette_image(INDICES), transparency=0),
        saved(Image.fromarray(INDICES.astype(np.uint16))),
        saved(Image.fromarray(INDICES), "BMP"),
        saved(Image.fromarray(INDICES), "TIFF"),
        grey_png(INDICES, 2),
        grey_png(INDICES, 4),
    ],
    ids=["grey", "palette", "palette of 2 bits", "transparent", "16 bits", "BMP", "TIFF", "2 bits", "4 bits"],
)
def test_values_are_read_as_they_were_saved(content: bytes):
    values = read_mask_values(content, name="mask")
    assert values.dtype == np.uint8 and np.array_equal(values, INDICES)


def test_black_and_white_are_0_and_1():
    assert np.array_equal(read_mask_values(saved(Image.fromarray(INDICES > 0)), name="mask"), INDICES > 0)


@pytest.mark.parametrize(
    ("image", "form", "kind", "words"),
    [
        (Image.new("RGB", (4, 3), (128, 0, 0)), "PNG", "mask_in_colours", r"in colours (RGB), such as (128, 0, 0)"),
        (Image.new("RGBA", (4, 3)), "PNG", "mask_in_colours", "in colours (RGBA)"),
        (Image.new("LA", (4, 3)), "PNG", "mask_in_colours", "in colours (LA)"),
        (Image.new("L", (4, 3)), "JPEG", "bad_mask", "in JPEG does not keep its values; save it as PNG"),
        (Image.fromarray(np.array([[1000]], np.uint16)), "PNG", "value_out_of_range", "has the value 1000"),
    ],
)
def test_what_is_no_mask_is_refused_by_name(image: Image.Image, form: str, kind: str, words: str):
    with pytest.raises(BadMask) as caught:
        read_mask_values(saved(image, form), name="masks/a.png")
    assert caught.value.kind == kind
    assert str(caught.value).startswith("masks/a.png: ") and words in str(caught.value)


def test_objects_become_masks_of_their_classes(tmp_path: Path):
    objects = read_dataset(draw_objects(tmp_path))
    dataset = convert_objects_to_masks(objects)
    assert (dataset.task, dataset.classes) == ("segmentation", ("background", "square", "disc"))
    for split, annotations in objects.annotations.items():
        assert len(dataset.splits[split]) == len(dataset.masks[split]) == len(annotations)
        for index, sample in enumerate(dataset.splits[split]):
            mask, pixels = dataset.masks[split][index], np.array(Image.open(sample.path))
            assert mask.shape == pixels.shape[:2] and set(np.unique(mask)) == {0, 1, 2}
            assert (
                np.mean(pixels[mask == 1] == (220, 30, 30)) > 0.99 and np.mean(pixels[mask == 2] == (30, 30, 220)) > 0.9
            )


def test_smaller_objects_lie_above_and_what_is_not_known_is_ignored(tmp_path: Path):
    large, small = [[10, 10, 60, 10, 60, 60, 10, 60]], [[20, 20, 30, 20, 30, 30, 20, 30]]

    def overlapping(content: Content) -> None:
        content["annotations"] = [each for each in content["annotations"] if each["image_id"]]
        add(content, 0, 7, [20, 20, 10, 10], segmentation=small)
        add(content, 0, 3, [10, 10, 50, 50], segmentation=large)
        add(content, 0, 7, [80.5, 5, 9, 5], segmentation=[])  # a box alone
        add(content, 0, 7, [50, 50, 20, 20], segmentation=[[50, 50, 70, 50, 70, 70, 50, 70]], iscrowd=1)

    spoil(draw_objects(tmp_path), overlapping)
    mask = convert_objects_to_masks(read_dataset(tmp_path)).masks["train"][0]
    expected = np.zeros_like(mask)
    expected[5:10, 80:90] = expected[50:70, 50:70] = 255
    expected[rasterize_mask(large, *mask.shape)] = 1
    expected[rasterize_mask(small, *mask.shape)] = 2
    assert np.array_equal(mask, expected)


def test_objects_without_masks_are_refused(tmp_path: Path):
    root = draw_objects(tmp_path)
    for split in ("train", "val"):
        spoil(root, lambda content: [each.update(segmentation=[]) for each in content["annotations"]], split=split)
    with pytest.raises(InputError, match="its objects have boxes alone, and segmentation is learnt from masks"):
        convert_objects_to_masks(read_dataset(root))


def test_a_category_called_background_is_refused(tmp_path: Path):
    root = draw_objects(tmp_path)
    for split in ("train", "val"):
        spoil(root, lambda content: content["categories"][0].update(name="background"), split=split)
    with pytest.raises(InputError, match="what has no object is called 'background'"):
        convert_objects_to_masks(read_dataset(root))


@pytest.mark.parametrize(("name", "classes", "sizes"), [("camvid", 11, (367, 101)), ("magnetic_tile", 6, (411, 120))])
def test_real_datasets_are_read(real_data, name: str, classes: int, sizes: tuple[int, int]):
    dataset = read(real_data(name))
    assert len(dataset.classes) == classes
    assert (len(dataset.splits["train"]), len(dataset.splits["val"])) == sizes
    for index in range(0, sizes[1], 10):
        mask = dataset.masks["val"][index]
        assert mask.shape == np.asarray(Image.open(dataset.splits["val"][index].path)).shape[:2]
        assert mask[mask < 255].max() < classes
