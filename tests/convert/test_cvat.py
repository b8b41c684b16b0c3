"""CVAT for images 1.1: shapes with an area become objects, subsets are splits, and images are found in any export."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.data.object_masks import rasterize_mask
from nextvit.errors import InputError
from tests.convert.small_sets import HEIGHT, WIDTH, class_names, convert, write_images, write_texts

BOX = '<box label="part" occluded="0" xtl="10" ytl="8" xbr="30" ybr="24" z_order="0"/>'


def image_xml(name: str, *shapes: str, more: str = "") -> str:
    return f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}" {more}>{"".join(shapes)}</image>'


def cvat_xml(*images: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{"".join(images)}</annotations>'


def objects_of(root: Path, *shapes: str) -> list[dict[str, Any]]:
    write_texts(write_images(root, "images/a.jpg"), {"annotations.xml": cvat_xml(image_xml("a.jpg", *shapes))})
    _, written = convert(root)
    return written["train"]["a.jpg"]


def test_shapes_are_read(tmp_path: Path):
    box, rotated, polygon, ellipse, mask = objects_of(
        tmp_path / "set",
        BOX,
        BOX.replace("<box ", '<box rotation="90" '),
        '<polygon label="bolt" points="10.00,8.00;30,8;30,24" source="manual"/>',
        '<ellipse label="bolt" cx="30" cy="20" rx="10" ry="5" rotation="90.0"/>',
        '<mask label="part" rle="1, 2, 3" left="10" top="20" width="2" height="3"/>',
    )
    assert class_names(tmp_path / "set") == ["bolt", "part"]
    assert (box["bbox"], box["area"], box["category_id"], box["occluded"]) == ([10, 8, 20, 16], 320, 2, 0)
    assert "segmentation" not in box
    assert rotated["bbox"] == pytest.approx([12, 6, 16, 20]) and rotated["area"] == pytest.approx(320)
    assert rotated["rotation"] == 90 and len(rotated["segmentation"][0]) == 8
    assert (polygon["segmentation"], polygon["area"], polygon["source"]) == ([[10, 8, 30, 8, 30, 24]], 160, "manual")
    assert ellipse["bbox"] == pytest.approx([25, 10, 10, 20])
    assert ellipse["area"] == pytest.approx(np.pi * 50, rel=0.03)
    whole = np.zeros((HEIGHT, WIDTH), np.bool_)
    whole[20, 11] = whole[21, 10] = True
    assert np.array_equal(rasterize_mask(mask["segmentation"], HEIGHT, WIDTH), whole)
    assert (mask["bbox"], mask["area"]) == ([10, 20, 2, 3], 2)


def test_a_box_turns_clockwise(tmp_path: Path):
    [record] = objects_of(tmp_path / "set", '<box label="a" xtl="10" ytl="10" xbr="30" ybr="20" rotation="30"/>')
    first_xy = record["segmentation"][0][:2]  # the corner above left goes up and to the right
    assert first_xy == pytest.approx([20 - 10 * np.cos(np.pi / 6) + 5 / 2, 15 - 5 * np.cos(np.pi / 6) - 5])


def test_attributes_are_kept(tmp_path: Path):
    [record] = objects_of(tmp_path / "set", BOX.replace("/>", '><attribute name="id">007</attribute></box>'))
    assert record["attributes"] == {"id": "007"}


def test_other_shapes_and_images_are_named(tmp_path: Path):
    root = write_images(tmp_path / "set", "images/a.jpg", "images/b.jpg", "images/c.jpg")
    shapes = ['<points label="a" points="1,2"/>', '<polyline label="a" points="1,2;3,4"/>', '<tag label="b"/>',
              '<skeleton label="c"><points label="1" points="1,2"/></skeleton>']  # fmt: skip
    content = cvat_xml(image_xml("a.jpg", BOX, *shapes, shapes[0]), image_xml("b.jpg"))
    found, written = convert(write_texts(root, {"annotations.xml": content}))
    assert {name: len(objects) for name, objects in written["train"].items()} == {"a.jpg": 1, "b.jpg": 0}
    assert class_names(root) == ["part"]
    assert "left out: shapes without an area, 2 points, 1 polyline, 1 skeleton, 1 tag" in found.remarks
    assert "left out: 1 file (images/c.jpg): no XML file of CVAT's lists this image" in found.remarks


@pytest.mark.parametrize(
    ("images", "names", "splits"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"], {"train": ["a.jpg", "b.jpg"]}),
        (["images/a.jpg", "images/b.jpg"], ["a.jpg:Train", "b.jpg:Validation"], {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (
            ["images/Train/a.jpg", "images/Test/a.jpg"],
            ["a.jpg:Train", "a.jpg:Test"],
            {"train": ["a.jpg"], "test": ["a.jpg"]},
        ),
        (["images/x/a.jpg", "images/y/a.jpg"], ["x/a.jpg", "y/a.jpg"], {"train": ["x/a.jpg", "y/a.jpg"]}),
        (["images/a.jpg", "images/b.jpg"], ["a.jpg:default", "b.jpg:val"], {"rest": ["a.jpg"], "val": ["b.jpg"]}),
        (["images/frame_1.PNG"], ["frame_1"], {"train": ["frame_1.PNG"]}),
        (["elsewhere/x/a.jpg"], ["x/a.jpg"], {"train": ["a.jpg"]}),
        (["x/a.jpg"], ["data/x/a.jpg"], {"train": ["a.jpg"]}),
    ],
)
def test_images_and_subsets_are_found(
    tmp_path: Path, images: list[str], names: list[str], splits: dict[str, list[str]]
):
    elements = []
    for each in names:
        name, _, subset = each.partition(":")
        elements.append(image_xml(name, BOX, more=f'subset="{subset}"' if subset else ""))
    root = write_texts(write_images(tmp_path / "set", *images), {"annotations.xml": cvat_xml(*elements)})
    _, written = convert(root)
    assert {split: sorted(found) for split, found in written.items()} == splits


def test_several_tasks_in_folders_of_their_own(tmp_path: Path):
    root = write_images(tmp_path / "set", "task1/images/a.jpg", "task2/images/a.jpg")
    texts = {f"task{number}/annotations.xml": cvat_xml(image_xml("a.jpg", *[BOX] * number)) for number in (1, 2)}
    found, written = convert(write_texts(root, texts))
    assert {name: len(objects) for name, objects in written["train"].items()} == {
        "task1/images/a.jpg": 1,
        "task2/images/a.jpg": 2,
    }
    assert not found.left_out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (cvat_xml("<track/>"), "has tracks of a video, which are not read; export the task as 'CVAT for images 1.1'"),
        (cvat_xml(image_xml("gone.jpg", BOX)), "no image 'gone.jpg'; export the task with its images"),
        (cvat_xml(image_xml("a.jpg"), image_xml("a.jpg")), "are both of images/a.jpg"),
        (cvat_xml(image_xml("a.jpg", BOX.replace("part", " "))), "annotations.xml: a box without label"),
        (cvat_xml(image_xml("a.jpg", BOX.replace('"10"', '"a"'))), "a box of 'a.jpg': needs the numbers xtl, ytl"),
        (cvat_xml(image_xml("a.jpg", BOX.replace('"10"', '"nan"'))), "a box of 'a.jpg': needs the numbers xtl, ytl"),
        (cvat_xml(image_xml("a.jpg", BOX.replace('"10"', '"40"'))), "a box of 'a.jpg': ends before it begins"),
        (cvat_xml(image_xml("a.jpg", '<polygon label="a" points="1,2;3,4"/>')), "at least three, got '1,2;3,4'"),
        (cvat_xml(image_xml("a.jpg", '<polygon label="a" points="1,2;3;5,6"/>')), "needs points x,y;x,y;x,y"),
        (cvat_xml(image_xml("a.jpg", '<ellipse label="a" cx="1" cy="1" rx="0" ry="2"/>')), "has the radii 0 and 2"),
        (cvat_xml(image_xml("a.jpg", '<blob label="a"/>')), "image 'a.jpg' has the unknown shape 'blob'"),
        *(
            (cvat_xml(image_xml("a.jpg", f'<mask label="a" left="0" top="0" {mask}/>')), words)
            for mask, words in (
                ('rle="1, 2" width="2" height="2"', "its run lengths do not cover 2x2 pixels"),
                ('rle="5, -1" width="2" height="2"', "its run lengths do not cover 2x2 pixels"),
                ('rle="9223372036854775807, 9223372036854775807, 6" width="2" height="2"', "do not cover 2x2 pixels"),
                ('rle="99999999999999999999" width="2" height="2"', "needs whole numbers"),
                ('rle="4" width="65" height="2"', "is not inside of 64x48"),
                ('rle="" width="2" height="2"', "needs whole numbers as left, top"),
            )
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: str, words: str):
    write_texts(write_images(tmp_path / "set", "images/a.jpg"), {"annotations.xml": content})
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "set")
    assert words in str(caught.value) and "\n" not in str(caught.value)
