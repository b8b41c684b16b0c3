"""The page of `nextvit check`."""

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from nextvit.data.findings import in_order
from nextvit.image.drawing import class_colours, class_style
from nextvit.report.check_report import FINDINGS_SHOWN, SAMPLES_SHOWN, write_check_report
from nextvit.report.mask_differences import COLOUR, mark
from nextvit.tasks.reading import read_with_findings
from nextvit.tasks.task import get_task
from tests.conftest import draw_dataset
from tests.data.coco_by_hand import draw_objects
from tests.data.masks_by_hand import CLASSES, draw_masked, repaint


def page_of(root: Path) -> str:
    dataset, faults = read_with_findings(root)
    path = root.parent / "check.html"
    checked = get_task(dataset.task).check(dataset)
    write_check_report(path, checked.survey, in_order([*faults, *checked.findings]), checked.masks)
    return path.read_text().replace("<wbr>", "")


def test_a_good_dataset_is_called_fit_for_training(colours: Path, tmp_path: Path):
    page = page_of(draw_dataset(tmp_path / "good", train=10))
    assert "this dataset is ready for training" in page
    assert "10 PNG" not in page and "42 PNG" in page
    assert "<img" not in page


def test_each_kind_has_a_section_with_its_images(colours: Path):
    shutil.copy(colours / "train" / "red" / "0.png", colours / "val" / "red" / "leak.png")
    (colours / "train" / "red" / "<b>.png").write_bytes(b"no image")
    (colours / "train" / "yellow").mkdir()
    page = page_of(colours)
    linked, anchors = (set(re.findall(pattern, page)) for pattern in (r'href="#(\w+)"', r'<a id="(\w+)"'))
    assert linked == anchors == {"unreadable", "duplicate_across_splits", "empty_class", "tiny_class"}
    assert page.count("data:image/jpeg;base64") == 2
    assert "&lt;b&gt;.png: not an image" in page and "<b>.png" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page


def test_of_many_findings_some_are_shown_and_the_rest_counted(colours: Path):
    for index in range(8):
        for copy in range(2):
            shutil.copy(
                colours / "train" / "red" / f"{index}.png", colours / "val" / "red" / f"again{index}-{copy}.png"
            )
            shutil.copy(colours / "train" / "blue" / f"{index}.png", colours / "val" / "blue" / f"b{index}-{copy}.png")
    page = page_of(colours)
    assert f"... and {16 - FINDINGS_SHOWN} more of this kind" in page
    assert page.count("data:image/jpeg;base64") == 3 * FINDINGS_SHOWN


def test_a_dataset_of_nothing_readable_has_a_page(colours: Path):
    for path in colours.rglob("*.png"):
        path.write_bytes(b"")
    assert "No image could be read." in page_of(colours)


def test_images_with_masks_stand_beside_their_classes_whether_or_not_something_was_found(tmp_path: Path):
    root = draw_masked(tmp_path / "masked")
    page = page_of(root)
    names = dict(re.findall(r'background:(#\w+)"></i>([^<]+)<', page))
    assert names == dict(zip(class_colours(3), CLASSES, strict=True))
    few = page.split("<h2>Images with their masks</h2>")[1].split("<h2>")[0]
    assert few.count("<img") == SAMPLES_SHOWN
    first = Image.open(io.BytesIO(base64.b64decode(re.findall(r'base64,([^"]*)', few)[0])))
    assert first.size == (2 * 144 + 4, 108)
    assert first.getpixel((10, 100)) != first.getpixel((158, 100))  # the second one is tinted
    assert "train<br>" in few and "train: <br>" not in few


def test_a_mask_that_cannot_be_used_leaves_its_image_without_colours(tmp_path: Path):
    root = draw_masked(tmp_path / "masked")
    repaint(root, lambda mask: mask + 5, only=0)
    (root / "masks" / "train" / "1.png").write_bytes(b"no image")
    page = page_of(root)
    for anchor in ("value_out_of_range", "bad_mask"):
        part = page.split(f'<a id="{anchor}">')[1].split("<a id=")[0]
        shown = Image.open(io.BytesIO(base64.b64decode(re.findall(r'base64,([^"]*)', part)[0])))
        left, right = shown.crop((0, 0, 140, 108)), shown.crop((148, 0, 288, 108))
        assert np.abs(np.asarray(left, float) - np.asarray(right, float)).mean() < 4, anchor


def test_where_the_masks_of_one_image_differ_is_marked(tmp_path: Path):
    root = draw_masked(tmp_path / "shapes")
    for kind in ("images", "masks"):
        shutil.copy(root / kind / "train" / "0.png", root / kind / "train" / "1.png")
    before = page_of(root)

    def with_corner(mask: np.ndarray) -> np.ndarray:
        mask[:2, :3] = 1
        return mask

    repaint(root, with_corner, only=1)
    page = page_of(root)
    assert "The same image with slightly different masks" in page
    assert f"orange: {100 * 6 / (48 * 36):.2g} % of the pixels have another class in images/train/1.png" in page
    assert page.count("data:image/jpeg;base64") == before.count("data:image/jpeg;base64") + 2 + 1
    image = Image.open(root / "images" / "train" / "0.png").convert("RGB")
    differs = np.zeros((36, 48), np.bool_)
    differs[:2, :3] = True
    pixels = mark(image, differs)
    assert (pixels[differs] == COLOUR).all() and np.array_equal(pixels[~differs], np.asarray(image)[~differs])


def test_a_clean_detection_set_shows_images_with_their_objects(tmp_path: Path):
    page = page_of(draw_objects(tmp_path / "drawn", train=8, val=2))
    shown = page.split("<h2>Images with their objects</h2>")[1].split("<h2>")[0]
    assert 1 <= shown.count("<img") <= SAMPLES_SHOWN
    legend = shown.split("</p>")[0]
    assert legend.count("<span>") >= 2 and class_style(0).colour in legend
