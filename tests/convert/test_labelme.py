"""LabelMe's JSON: shapes with an area become objects, others are named, and the image is the one both names lead to."""

import base64
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.data.object_masks import rasterize_mask
from nextvit.errors import InputError
from tests.convert.small_sets import HEIGHT, WIDTH, class_names, convert, write_images, write_texts

RECTANGLE = {"label": "part", "points": [[30, 24], [10, 8]], "shape_type": "rectangle"}
TRIANGLE = {"label": "bolt", "points": [[10, 8], [30, 8], [30, 24]], "shape_type": "polygon"}


def labelme_json(*shapes: dict[str, Any], path: str = "a.jpg", **more: object) -> str:
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path, "imageData": "AAAA", **more}
    return json.dumps({"imageHeight": HEIGHT, "imageWidth": WIDTH, **content})


def encode_png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def objects_of(root: Path, *shapes: dict[str, Any]) -> list[dict[str, Any]]:
    write_texts(write_images(root, "a.jpg"), {"a.json": labelme_json(*shapes)})
    _, written = convert(root)
    return written["train"]["a.jpg"]


def test_boxes_and_outlines_are_read_by_label(tmp_path: Path):
    square = {"label": " part", "points": [[0, 0], [4, 0], [4, 4], [0, 4]], "shape_type": "rectangle"}
    box, outline, other = objects_of(tmp_path / "set", RECTANGLE, TRIANGLE, square)
    assert class_names(tmp_path / "set") == ["bolt", "part"]
    assert (box["bbox"], box["area"], box["category_id"], "segmentation" in box) == ([10, 8, 20, 16], 320, 2, False)
    assert (outline["bbox"], outline["area"], outline["category_id"]) == ([10, 8, 20, 16], 160, 1)
    assert outline["segmentation"] == [[10, 8, 30, 8, 30, 24]]
    assert (other["bbox"], other["category_id"], "segmentation" in other) == ([0, 0, 4, 4], 2, False)


def test_a_rectangle_that_was_turned_is_an_outline(tmp_path: Path):
    diamond = {"label": "part", "points": [[10, 5], [15, 10], [10, 15], [5, 10]], "shape_type": "rectangle"}
    [record] = objects_of(tmp_path / "set", diamond)
    assert (record["bbox"], record["area"]) == ([5, 5, 10, 10], 50)


def test_a_circle_is_an_outline_of_its_radius(tmp_path: Path):
    [circle] = objects_of(tmp_path / "set", {"label": "hole", "points": [[30, 20], [33, 24]], "shape_type": "circle"})
    assert circle["bbox"] == pytest.approx([25, 15, 10, 10])
    assert circle["area"] == pytest.approx(np.pi * 25, rel=0.03)


def test_a_mask_is_pasted_between_its_corners(tmp_path: Path):
    mask = np.zeros((5, 4), np.bool_)
    mask[1:4, 2] = True
    shape = {"label": "m", "points": [[10, 20], [13, 24]], "shape_type": "mask", "mask": encode_png(mask)}
    [record] = objects_of(tmp_path / "set", shape)
    whole = np.zeros((HEIGHT, WIDTH), np.bool_)
    whole[20:25, 10:14] = mask
    assert np.array_equal(rasterize_mask(record["segmentation"], HEIGHT, WIDTH), whole)
    assert (record["bbox"], record["area"]) == ([10, 20, 4, 5], 3)


def test_outlines_of_one_label_and_group_are_one_object(tmp_path: Path):
    parts = [{**TRIANGLE, "group_id": 1}, {**TRIANGLE, "points": [[40, 40], [44, 40], [44, 44]], "group_id": 1}]
    others = [{**TRIANGLE, "label": "nut", "group_id": 1}, {**TRIANGLE, "group_id": None}]
    objects = objects_of(tmp_path / "set", *parts, *others)
    assert [len(each["segmentation"]) for each in objects] == [2, 1, 1]
    assert (objects[0]["bbox"], objects[0]["area"], objects[0]["group_id"]) == ([10, 8, 34, 36], 168, 1)


def test_thousands_of_outlines_of_one_group_are_read_at_once(tmp_path: Path):
    shapes = [{**TRIANGLE, "group_id": 1}] * 5_000
    began = time.process_time()
    [record] = objects_of(tmp_path / "set", *shapes)
    assert len(record["segmentation"]) == 5_000
    assert time.process_time() - began < 5


def test_files_are_recognised_wherever_the_image_inside_stands(tmp_path: Path):
    content = json.loads(labelme_json(RECTANGLE))
    content = {"imageData": "A" * 100_000, **{key: content[key] for key in ("imagePath", "shapes")}}
    write_texts(write_images(tmp_path / "set", "a.jpg"), {"a.json": json.dumps(content)})
    _, written = convert(tmp_path / "set")
    assert len(written["train"]["a.jpg"]) == 1


def test_other_fields_are_kept_and_the_image_inside_is_not(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg")
    shape = {**RECTANGLE, "flags": {"blurred": True}, "description": "left", "group_id": 3, "id": 9}
    write_texts(root, {"a.json": labelme_json(shape, flags={"checked": True})})
    _, written = convert(root)
    [record] = written["train"]["a.jpg"]
    kept = {key: record[key] for key in ("flags", "description", "group_id", "labelme_id")}
    assert kept == {"flags": {"blurred": True}, "description": "left", "group_id": 3, "labelme_id": 9}
    [image] = json.loads((tmp_path / "set-coco/annotations/instances_train.json").read_text())["images"]
    assert image["labelme"] == {"version": "5.4.1", "flags": {"checked": True}}


def test_shapes_without_an_area_and_images_without_a_file_are_named(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg", "b.jpg")
    lines = [{"label": "edge", "points": [[0, 0], [5, 5]], "shape_type": kind} for kind in ("line", "line", "point")]
    found, written = convert(write_texts(root, {"a.json": labelme_json(RECTANGLE, *lines), "other.json": "[1]"}))
    assert len(written["train"]["a.jpg"]) == 1 and class_names(root) == ["part"]
    assert "left out: shapes without an area, 2 of type line, 1 of type point" in found.remarks
    assert {each.reason: list(each.paths) for each in found.left_out} == {
        "no JSON file of LabelMe's is of this image": ["b.jpg"],
        "no part of LabelMe's format": ["other.json"],
    }


@pytest.mark.parametrize(
    ("image", "file", "path"),
    [
        ("train/a.jpg", "train/a.json", "a.jpg"),
        ("train/A.JPG", "train/A.JSON", "..\\train\\A.JPG"),
        ("train/images/a.jpg", "train/labels/a.json", "../images/a.jpg"),
        ("images/train/a.jpg", "annotations/train/a.json", "C:\\old\\a.jpg"),
        ("train/a.jpg", "train/a.json", ""),
    ],
)
def test_the_image_is_found(tmp_path: Path, image: str, file: str, path: str):
    write_texts(write_images(tmp_path / "set", image), {file: labelme_json(RECTANGLE, path=path)})
    _, written = convert(tmp_path / "set")
    assert [len(objects) for objects in written["train"].values()] == [1]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"a.json": labelme_json(path="b.jpg")}, "a.json: of a.jpg by its own name, of b.jpg by the name stated in it"),
        (
            {"c.json": labelme_json(path="b.jpg"), "b.json": labelme_json()},
            "b.json: of b.jpg by its own name, of a.jpg",
        ),
        ({"c.json": labelme_json(path="b.jpg"), "b.json": labelme_json(path="b.jpg")}, "are both of b.jpg"),
        ({"c.json": labelme_json(path="d.jpg")}, "c.json: no image 'd.jpg' in"),
        ({"a.json": labelme_json(path=7)}, "a.json: imagePath must be a text"),  # type: ignore[arg-type]
        ({"a.json": labelme_json({"points": [[0, 0]]})}, "a.json: a shape needs a label"),
        ({"a.json": labelme_json({**TRIANGLE, "label": " "})}, "a.json: a shape without label"),
        ({"a.json": labelme_json({**TRIANGLE, "points": [[0, 0], [1, 1]]})}, "shape 1, 'bolt': a polygon of 2 points"),
        ({"a.json": labelme_json({**TRIANGLE, "points": [[0], [1, 1]]})}, "points must be pairs of numbers"),
        ({"a.json": labelme_json({**TRIANGLE, "points": [[0, float("nan")]] * 3})}, "points must be pairs of numbers"),
        ({"a.json": labelme_json({**TRIANGLE, "points": None})}, "points must be pairs of numbers, got None"),
        ({"a.json": labelme_json({**TRIANGLE, "shape_type": "cuboid"})}, "shapes of the type 'cuboid' are not read"),
        (
            {
                "a.json": labelme_json(
                    {**RECTANGLE, "shape_type": "mask", "mask": encode_png(np.ones((3, 3), np.bool_))}
                )
            },
            "a mask of 3x3 pixels between corners of 21x17",
        ),
        ({"a.json": labelme_json({**RECTANGLE, "shape_type": "mask", "mask": "??"})}, "a mask that cannot be read"),
        (
            {"a.json": labelme_json({**RECTANGLE, "shape_type": "mask", "points": [[0, 0], [1e9, 1e9]]})},
            "outside of the image",
        ),
        ({"a.json": '{"shapes": [], "x": ' + "[" * 3000}, "a.json: "),
    ],
)
def test_what_is_in_doubt_or_damaged_is_refused(tmp_path: Path, texts: dict[str, str], words: str):
    write_texts(write_images(tmp_path / "set", "a.jpg", "b.jpg"), texts)
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "set")
    assert words in str(caught.value) and "\n" not in str(caught.value)
