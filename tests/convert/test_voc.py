"""VOC: boxes are put on the image that both names lead to, splits are those of the lists, and fractions are refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.errors import InputError
from tests.convert.small_sets import class_names, convert, voc_xml, write_images, write_texts

BOX = (11, 9, 30, 24)


def write_voc(root: Path, names: dict[str, str], *, suffix: str = ".jpg") -> Path:
    """Images and XML files of the same stems; each file states the name that is given for its stem."""
    write_images(root, *(f"JPEGImages/{stem}{suffix}" for stem in names))
    return write_texts(root, {f"Annotations/{stem}.xml": voc_xml(BOX, filename=name) for stem, name in names.items()})


def refuse(root: Path, words: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(root)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not root.with_name(f"{root.name}-coco").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            {"a0": "a1.jpg", "a1": "a2.jpg", "a2": "a0.jpg"},
            "a0.xml: of JPEGImages/a0.jpg by its own name, of JPEGImages/a1.jpg",
        ),
        (
            {"a0": "a0.jpg", "a1": "a0.jpg"},
            "a1.xml: of JPEGImages/a1.jpg by its own name, of JPEGImages/a0.jpg by the name",
        ),
        ({"a0": "a1", "a1": "a1"}, "a0.xml: of JPEGImages/a0.jpg by its own name, of JPEGImages/a1.jpg"),
        ({"a0": "A1.JPEG", "a1": ""}, "a0.xml: of JPEGImages/a0.jpg by its own name, of JPEGImages/a1.jpg"),
        (
            {"a0": "C:\\old\\a1.jpg", "a1": "a1.jpg"},
            "a0.xml: of JPEGImages/a0.jpg by its own name, of JPEGImages/a1.jpg",
        ),
    ],
)
def test_two_names_that_lead_to_different_images_are_refused(tmp_path: Path, names: dict[str, str], words: str):
    refuse(write_voc(tmp_path / "set", names), words)


@pytest.mark.parametrize(
    "stated", ["a0.jpg", "A0.JPG", "a0", "a0.png", "sub/a0.jpg", "D:\\x\\a0.jpg", "gone.jpg", "", "..", "a0.jpg\n"]
)
def test_the_image_is_found_by_its_own_name_where_the_stated_one_agrees_or_leads_nowhere(tmp_path: Path, stated: str):
    _, written = convert(write_voc(tmp_path / "set", {"a0": stated}))
    assert written["train"]["a0.jpg"][0]["bbox"] == [10, 8, 20, 16]


def test_the_stated_name_counts_where_there_is_no_image_of_the_own_name(tmp_path: Path):
    root = write_images(tmp_path / "set", "JPEGImages/a.jpg", "JPEGImages/b.jpg")
    texts = {f"Annotations/{number}.xml": voc_xml(BOX, filename=f"{stem}.jpg") for number, stem in enumerate("ab")}
    _, written = convert(write_texts(root, texts))
    assert sorted(written["train"]) == ["a.jpg", "b.jpg"]
    (root / "Annotations" / "2.xml").write_text(voc_xml(BOX, filename="b.jpg"))
    (tmp_path / "set").rename(tmp_path / "more")
    refuse(tmp_path / "more", "Annotations/1.xml and Annotations/2.xml are both of JPEGImages/b.jpg")


def test_of_two_images_of_one_stem_the_stated_one_is_meant(tmp_path: Path):
    root = write_voc(tmp_path / "set", {"a": "a.png"})
    found, written = convert(write_images(root, "JPEGImages/a.png"))
    assert list(written["train"]) == ["a.png"]
    assert [each.paths for each in found.left_out] == [["JPEGImages/a.jpg"]]
    (root / "Annotations" / "a.xml").write_text(voc_xml(BOX))
    root.rename(tmp_path / "more")
    refuse(tmp_path / "more", "Annotations/a.xml: of JPEGImages/a.jpg or of JPEGImages/a.png?")


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({"Train": "a b", "Validation": "c", "TEST": "d"}, {"train": "ab", "val": "c", "test": "d"}),
        ({"trainval": "a b c", "test": "d"}, {"train": "abc", "test": "d"}),
        ({"trainval": "a b c", "val": "c", "test": "d"}, {"train": "ab", "val": "c", "test": "d"}),
        ({"trainval": "a b c", "train": "a b", "test": "d"}, {"train": "ab", "val": "c", "test": "d"}),
        ({"trainval": "a b c", "train": "a b", "val": "c"}, {"train": "ab", "val": "c", "rest": "d"}),
        ({"train2012": "a b", "val2012": "c d"}, {"train": "ab", "val": "cd"}),
        ({"default": "a b c d"}, {"train": "abcd"}),
        ({"train": "a.jpg b.jpg", "val": "c.jpg d"}, {"train": "ab", "val": "cd"}),
    ],
)
def test_the_lists_are_the_splits(tmp_path: Path, lists: dict[str, str], splits: dict[str, str]):
    root = write_voc(tmp_path / "set", dict.fromkeys("abcd", ""))
    write_texts(root, {f"ImageSets/Main/{name}.txt": text.replace(" ", "\n") for name, text in lists.items()})
    _, written = convert(root)
    assert {split: "".join(sorted(name[0] for name in names)) for split, names in written.items()} == splits


def test_lists_may_name_folders_and_names_with_spaces(tmp_path: Path):
    root = write_images(tmp_path / "set", "JPEGImages/x/a 1.jpg", "JPEGImages/y/a 1.jpg", "JPEGImages/y/b.jpg")
    texts = {f"Annotations/{name}.xml": voc_xml(BOX) for name in ("x/a 1", "y/a 1", "y/b")}
    texts |= {"ImageSets/Main/train.txt": "x/a 1\nb  1\n", "ImageSets/Main/val.txt": "y/a 1\n"}
    _, written = convert(write_texts(root, texts))
    assert {split: sorted(names) for split, names in written.items()} == {
        "train": ["x/a 1.jpg", "y/b.jpg"],
        "val": ["a 1.jpg"],
    }
    (root / "ImageSets" / "Main" / "val.txt").write_text("a 1")
    root.rename(tmp_path / "more")
    refuse(tmp_path / "more", "val.txt: 'a 1' may be x/a 1.xml or y/a 1.xml; write the folder, too")


@pytest.mark.parametrize("folder", ["", "Main/", "Layout/", "Segmentation/"])
def test_lists_of_another_folder_count_where_main_has_none(tmp_path: Path, folder: str):
    lists = {"Main/b_train.txt": "a 1\n", f"{folder}train.txt": "a\n", f"{folder}Validation.txt": "b\n"}
    root = write_texts(
        write_voc(tmp_path / "set", dict.fromkeys("abc", "")),
        {f"ImageSets/{name}": text for name, text in lists.items()},
    )
    _, written = convert(root)
    assert {split: [*names] for split, names in written.items()} == {
        "train": ["a.jpg"],
        "val": ["b.jpg"],
        "rest": ["c.jpg"],
    }


def test_lists_of_two_other_folders_are_in_doubt(tmp_path: Path):
    root = write_voc(tmp_path / "set", dict.fromkeys("ab", ""))
    lists = {f"ImageSets/{folder}/train.txt": "a\n" for folder in ("Layout", "Segmentation")}
    refuse(
        write_texts(root, lists), "Layout/train.txt and ImageSets/Segmentation/train.txt: which lists are the splits?"
    )


def test_an_image_in_two_lists_is_refused(tmp_path: Path):
    root = write_voc(tmp_path / "set", dict.fromkeys("ab", ""))
    lists = {"ImageSets/Main/train.txt": "a\n", "ImageSets/Main/val.txt": "b\n", "ImageSets/Main/valid.txt": "a\n"}
    refuse(write_texts(root, lists), "val.txt and ImageSets/Main/valid.txt are both lists of val")


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images/{}/x.JPG", "annotations/{}/x.XML"),
        ("{}/JPEGImages/x.jpeg", "{}/Annotations/x.xml"),
        ("JPEGImages/{0}_x.png", "Annotations/{0}/{0}_x.xml"),
        ("{}/x.jpg", "{}/x.Xml"),
    ],
)
def test_splits_by_folders_with_suffixes_in_any_case(tmp_path: Path, images: str, annotations: str):
    root = write_images(tmp_path / "set", images.format("Train"), images.format("valid"))
    _, written = convert(write_texts(root, {annotations.format(split): voc_xml(BOX) for split in ("Train", "valid")}))
    assert {split: len(names) for split, names in written.items()} == {"train": 1, "val": 1}
    assert all(len(objects) == 1 for names in written.values() for objects in names.values())


@pytest.mark.parametrize("boxes", [[(0.1, 0.2, 0.5, 0.9)], [(0, 0, 1, 1)], [(0.1, 0.2, 0.5, 0.9), (0, 0.5, 1, 1)]])
def test_boxes_in_fractions_are_refused(tmp_path: Path, boxes: list[tuple[float, float, float, float]]):
    root = write_images(tmp_path / "set", "a.jpg")
    refuse(write_texts(root, {"a.xml": voc_xml(*boxes)}), "a.xml: its boxes end within one pixel of the corner")


@pytest.mark.parametrize("text", ["\n", "a\nb", "1" * 3000 + "x", "", "inf", "ten"])
def test_a_corner_that_is_no_number_is_refused_in_one_short_line(tmp_path: Path, text: str):
    root = write_images(tmp_path / "set", "a.jpg")
    write_texts(root, {"a.xml": voc_xml(BOX).replace("<ymin>9<", f"<ymin>{text}<")})
    refuse(root, "a.xml: an object needs bndbox with xmin, ymin, xmax, ymax, got 11, ")


def test_more_fields_of_a_box_need_be_no_numbers(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg")
    _, written = convert(write_texts(root, {"a.xml": voc_xml(BOX).replace("</bndbox>", "<angle>no</angle></bndbox>")}))
    assert written["train"]["a.jpg"][0]["bbox"] == [10, 8, 20, 16]


def test_a_small_box_among_others_is_none_in_fractions(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg")
    _, written = convert(write_texts(root, {"a.xml": voc_xml((0, 0, 1, 1), (0, 0, 40, 30))}))
    assert len(written["train"]["a.jpg"]) == 2


@pytest.mark.parametrize(
    "polygon",
    [
        "<polygon><x1>11</x1><y1>9</y1><x2>30</x2><y2>9</y2><x3>30</x3><y3>24</y3></polygon>",
        "<polygon><pt><x>11</x><y>9</y></pt><pt><x>30</x><y>9</y></pt><pt><x>30</x><y>24</y></pt></polygon>",
    ],
)
def test_polygons_become_outlines(tmp_path: Path, polygon: str):
    root = write_images(tmp_path / "set", "a.jpg")
    found, written = convert(write_texts(root, {"a.xml": voc_xml(BOX, more=polygon)}))
    [record] = written["train"]["a.jpg"]
    assert record["segmentation"] == [[10, 8, 29, 8, 29, 23]] and record["area"] == 19 * 15 / 2
    assert "polygon" not in record and "masks: 1 of 1 objects, from SegmentationObject or polygons" in found.remarks


def test_a_polygon_of_another_kind_is_kept_as_it_stands(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg")
    _, written = convert(write_texts(root, {"a.xml": voc_xml(BOX, more="<polygon><x1>3</x1><y1>a</y1></polygon>")}))
    assert written["train"]["a.jpg"][0]["polygon"] == {"x1": 3, "y1": "a"}


def test_namespaces_are_dropped(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg", "b.jpg")
    content = voc_xml(BOX)
    prefixed = (
        content.replace("<", "<v:").replace("<v:/", "</v:").replace("<v:annotation>", '<v:annotation xmlns:v="u">')
    )
    texts = {"a.xml": content.replace("<annotation>", '<annotation xmlns="urn:x">'), "b.xml": prefixed}
    _, written = convert(write_texts(root, texts))
    assert [objects[0]["bbox"] for objects in written["train"].values()] == [[10, 8, 20, 16]] * 2


def test_names_are_compared_without_white_space_and_in_one_form(tmp_path: Path):
    root = write_images(tmp_path / "set", "a.jpg", "b.jpg", "c.jpg")
    names = {"a": "caf\u00e9", "b": " cafe\u0301 ", "c": "\ufeffcaf\u00e9"}
    convert(write_texts(root, {f"{stem}.xml": voc_xml(BOX, name=name) for stem, name in names.items()}))
    assert class_names(root) == ["caf\u00e9"]


def set_mask(values: np.ndarray) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "SegmentationObject").mkdir()
        Image.fromarray(values).save(root / "SegmentationObject" / "a.png")

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_mask(np.zeros((9, 9), np.uint8)), "a.png: masks of 9x9 pixels, the image has 64x48"),
        (set_mask(np.full((48, 64), 2, np.uint8)), "a.png: has the value 2, the image has 1 objects"),
        (set_mask(np.zeros((48, 64, 3), np.uint8)), "a.png: has colours"),
    ],
)
def test_object_masks_must_be_of_the_image(tmp_path: Path, change: Callable[[Path], None], words: str):
    root = write_voc(tmp_path / "set", {"a": ""})
    change(root)
    refuse(root, words)
