"""Whatever stands in an annotation file: it is read, or refused in one line, and then nothing is written."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextvit.convert.convert import convert_to_coco
from nextvit.errors import InputError
from tests.convert.small_sets import voc_xml, write_images, write_texts

POLYGON = "<polygon><x1>1</x1><y1>2</y1><x2>4</x2><y2>2</y2><x3>1</x3><y3>5</y3></polygon>"
SHAPES = [
    {"label": "a", "points": [[1, 2], [9, 8]], "shape_type": "rectangle", "group_id": None, "flags": {}},
    {"label": "b", "points": [[1, 2], [9, 8], [3, 7]], "shape_type": "polygon", "group_id": 1},
    {"label": "b", "points": [[20, 9], [25, 9]], "shape_type": "circle", "group_id": 1},
]
SETS: dict[str, dict[str, str]] = {
    "yolo": {
        "data.yaml": "path: .\ntrain: train.txt\nval: images/val\nnc: 2\nkpt_shape: [1, 2]\nnames: {0: a, 1: b}\n",
        "train.txt": "./images/train/a.jpg\n",
        "labels/train/a.txt": "0 0.5 0.5 0.2 0.2 0.5 0.5\n1 0.1 0.1 0.2 0.2 0 0\n",
    },
    "yolo 1.1": {
        "obj.data": "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
        "obj.names": "a\nb\n",
        "train.txt": "data/images/train/a.jpg\n",
        "labels/train/a.txt": "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.2 0.3 0.5\n",
    },
    "voc": {
        "Annotations/train/a.xml": voc_xml((11, 9, 30, 24), filename="a.jpg", more=POLYGON),
        "Annotations/val/b.xml": voc_xml((0, 9, 30, 24)),
        "ImageSets/Main/train.txt": "train/a\n",
        "ImageSets/Main/trainval.txt": "train/a\nb 1\n",
    },
    "labelme": {"images/train/a.json": json.dumps({"flags": {}, "shapes": SHAPES, "imagePath": "a.jpg"})},
    "cvat": {
        "annotations.xml": '<annotations><image name="a.jpg" subset="Train" width="64" height="48">'
        '<box label="a" xtl="1" ytl="2" xbr="9" ybr="8" rotation="3"/><polygon label="b" points="1,2;3,4;5,9"/>'
        '<ellipse label="b" cx="9" cy="9" rx="4" ry="3"/>'
        '<mask label="a" rle="1, 2, 3" left="10" top="20" width="2" height="3"/></image></annotations>'
    },
}
TOKENS = [
    *(
        "nan",
        "inf",
        "-1",
        "1e308",
        "1e999",
        "99999999999999999999",
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "null",
        "true",
        "0",
        "2",
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "<",
        ">",
        "&",
        "&#10;",
        "\n",
        " ",
        ",",
        ";",
        ":",
        "=",
        "*a",
        "&a ",
        "!!bool ",
        "- ",
    ),
    *("~", "\ufeff", "\u0661", "\x1b[2J", "<!DOCTYPE a>", "a.jpg", "b.jpg", ""),
]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(TOKENS) | st.text(max_size=4)),
    min_size=1,
    max_size=4,
)
"""Where something is replaced, as a fraction of the length, how many characters, and by what."""


FILES = [(name, path) for name, texts in SETS.items() for path in texts]


def write_set(root: Path, name: str, changed: dict[str, bytes]) -> Path:
    """One of the sets, with some of its files changed."""
    folder = "JPEGImages" if name == "voc" else "images"
    write_images(root, f"{folder}/train/a.jpg", f"{folder}/val/b.jpg")
    return write_texts(root, {**SETS[name], **changed})


@given(file=st.sampled_from(FILES), edits=EDITS, encoding=st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16"]))
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_is_read_or_refused_in_one_line(
    file: tuple[str, str], edits: list[tuple[float, int, str]], encoding: str
):
    name, path = file
    text = SETS[name][path]
    for place, count, new in edits:
        start = round(place * len(text))
        text = text[:start] + new + text[start + count :]
    content = text.encode(encoding, errors="replace")
    with TemporaryDirectory() as folder:
        root, out = Path(folder, "set"), Path(folder, "out")
        write_set(root, name, {path: content})
        try:
            found = convert_to_coco(root, out)
        except InputError as error:
            assert "\n" not in str(error) and not out.exists()
            return
        for split, images in found.splits.items():
            content = json.loads((out / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8"))
            assert len(content["images"]) == len(images)


@pytest.mark.parametrize("name", SETS)
def test_undamaged_files_are_read(tmp_path: Path, name: str):
    found = convert_to_coco(write_set(tmp_path / "set", name, {}), tmp_path / "out")
    expected = {"yolo": 2, "yolo 1.1": 2, "voc": 1, "labelme": 2, "cvat": 4}[name]
    assert [len(image.objects) for image in found.splits["train"]] == [expected]
