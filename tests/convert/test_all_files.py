"""Every file below the root is used, or named as left out; no image is written over another."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from nextvit.convert.convert import Conversion, convert_to_coco
from nextvit.convert.source_files import list_source_files
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from tests.convert.small_sets import convert, voc_xml, write_images, write_texts, write_yolo


def assert_complete(root: Path, found: Conversion) -> None:
    """Used and left out together are all files, and none is both."""
    files = list_source_files(root)
    used = [image.path for images in found.splits.values() for image in images]
    used += found.dataset.annotation_files
    left_out = [path for each in found.left_out for path in each.paths]
    assert sorted([*used, *left_out]) == sorted([*files.paths, *files.repeated, *files.unreadable])


@pytest.mark.parametrize(
    ("images", "splits"),
    [
        (["images/cam1/a.jpg", "images/cam2/a.jpg"], {"train": ["cam1/a.jpg", "cam2/a.jpg"]}),
        (["cam1/images/a.jpg", "cam2/images/a.jpg"], {"train": ["cam1/images/a.jpg", "cam2/images/a.jpg"]}),
        (["cam1/a.jpg", "cam2/a.jpg"], {"train": ["cam1/a.jpg", "cam2/a.jpg"]}),
        (["images/train2014/a.jpg", "images/train2017/a.jpg"], {"train": ["train2014/a.jpg", "train2017/a.jpg"]}),
        (["images/valid/a.jpg", "images/val/a.jpg"], {"val": ["val/a.jpg", "valid/a.jpg"]}),
        (["images/Train/a.jpg", "images/VALIDATION/b.jpg"], {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (["train/images/a.jpg", "valid/images/b.jpg"], {"train": ["a.jpg"], "val": ["b.jpg"]}),
        (["images/train/a.jpg", "images/more.jpg"], {"train": ["a.jpg"], "rest": ["more.jpg"]}),
        (["train/images/a.jpg", "images/train/b.jpg"], {"train": ["images/train/b.jpg", "train/images/a.jpg"]}),
        (["images/train/day1/a.jpg", "images/train/day2/a.jpg"], {"train": ["day1/a.jpg", "day2/a.jpg"]}),
        (["a.jpg", "sub/a.jpg"], {"train": ["a.jpg", "sub/a.jpg"]}),
        (["Cam/a.jpg", "cam1/A.jpg", "cam1/b.jpg"], {"train": ["Cam/a.jpg", "cam1/A.jpg", "cam1/b.jpg"]}),
    ],
)
def test_images_of_all_folders_are_written(tmp_path: Path, images: list[str], splits: dict[str, list[str]]):
    root = write_yolo(tmp_path / "set", *images)
    found, written = convert(root)
    assert {split: sorted(names) for split, names in written.items()} == splits
    assert all(len(objects) == 1 for names in written.values() for objects in names.values())
    assert_complete(root, found)


def test_folders_that_became_one_split_are_named(tmp_path: Path):
    found, _ = convert(write_yolo(tmp_path / "set", "images/train2014/a.jpg", "images/train2017/b.jpg"))
    assert "train: from 2 folders (images/train2014 1, images/train2017 1)" in found.remarks


def test_an_image_folder_without_labels_has_images_without_objects(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/train/a.jpg", "images/val/b.jpg")
    write_images(root, "images/background/c.jpg", "images/train/d.png")
    found, written = convert(root)
    assert written["rest"] == {"c.jpg": []}
    assert written["train"]["d.png"] == []
    assert "rest: 1 image is in no split (images/background 1); training does not use them" in found.remarks
    assert any(line.startswith("without a text file, so without objects: 2 (") for line in found.remarks)
    assert_complete(root, found)


def test_voc_folders_that_are_no_splits_keep_their_names(tmp_path: Path):
    root = write_images(tmp_path / "set", "day1/a.jpg", "day2/a.jpg")
    write_texts(root, {"day1/a.xml": voc_xml((2, 2, 9, 9)), "day2/a.xml": voc_xml((3, 3, 9, 9))})
    found, written = convert(root)
    assert {name: objects[0]["bbox"][0] for name, objects in written["train"].items()} == {
        "day1/a.jpg": 1,
        "day2/a.jpg": 2,
    }
    assert_complete(root, found)


def test_two_sets_of_voc_become_one(tmp_path: Path):
    root = write_images(
        tmp_path / "set", "VOC2007/JPEGImages/1.jpg", "VOC2012/JPEGImages/1.jpg", "VOC2012/JPEGImages/2.jpg"
    )
    texts = {f"VOC{year}/Annotations/1.xml": voc_xml((2, 2, 9, 9), filename="1.jpg") for year in (2007, 2012)}
    texts["VOC2012/Annotations/2.xml"] = voc_xml()
    texts |= {"VOC2007/ImageSets/Main/train.txt": "1\n", "VOC2012/ImageSets/Main/train.txt": "1\n"}
    texts |= {"VOC2012/ImageSets/Main/val.txt": "2\n", "VOC2012/ImageSets/Main/cat_val.txt": "2 1\n"}
    write_texts(root, texts)
    found, written = convert(root)
    assert {split: sorted(names) for split, names in written.items()} == {
        "train": ["VOC2007/JPEGImages/1.jpg", "VOC2012/JPEGImages/1.jpg"],
        "val": ["2.jpg"],
    }
    assert_complete(root, found)
    assert any("VOC2012/ImageSets/Main/cat_val.txt): lists in ImageSets" in line for line in found.remarks)


def test_what_is_left_out_is_named_with_its_reason(tmp_path: Path, call):
    root = write_images(
        tmp_path / "set", "JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/a.png", ".hidden/c.jpg"
    )
    write_texts(root, {"Annotations/a.xml": voc_xml((2, 2, 9, 9)), "notes/read.md": "", "JPEGImages/c.heic": "x"})
    (root / "JPEGImages" / "d").write_bytes((root / "JPEGImages" / "a.jpg").read_bytes())
    write_images(root, "@eaDir/a.jpg", "__MACOSX/JPEGImages/a.jpg")
    os.mkfifo(root / "JPEGImages" / "pipe.jpg")
    (root / "JPEGImages" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "again").symlink_to("JPEGImages")
    (root / "itself").symlink_to("itself")
    (root / "JPEGImages" / "up").symlink_to("..")
    done = call("convert", root, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert {each["reason"]: each["files"] for each in done.document["left_out"]} == {
        "masks of classes, not of objects": ["SegmentationClass/a.png"],
        "no XML file of this image": ["JPEGImages/b.jpg"],
        "HEIC is not read": ["JPEGImages/c.heic"],
        "JPEG without a suffix is not read": ["JPEGImages/d"],
        "no part of VOC's format": ["notes/read.md"],
        "a link to a folder that is read under another name": ["JPEGImages/up", "again"],
        "a pipe, a device or a broken link": ["JPEGImages/gone.jpg", "JPEGImages/pipe.jpg", "itself"],
    }
    assert "left out: 1 file (JPEGImages/b.jpg): no XML file of this image" in done.document["remarks"]


def test_links_are_followed_and_copied_as_files(tmp_path: Path):
    elsewhere = write_images(tmp_path / "elsewhere", "a.jpg")
    root = write_texts(tmp_path / "set", {"labels/a.txt": "0 0.5 0.5 0.1 0.1", "classes.txt": "bolt"})
    (root / "images").symlink_to(elsewhere)
    _, written = convert(root)
    assert list(written["train"]) == ["a.jpg"]
    assert not (tmp_path / "set-coco" / "images" / "train" / "a.jpg").is_symlink()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: write_yolo(root, "images/A.jpg", "images/a.jpg"), "A.jpg and images/a.jpg would be one file"),
        (lambda root: write_yolo(root, "images/a.jpg", "images/a.png"), "a.txt: of images/a.jpg or of images/a.png?"),
        (
            lambda root: write_texts(write_yolo(root, "images/a.jpg"), {"images/a.txt": "0 .1 .1 .1 .1"}),
            "labels/a.txt and images/a.txt are both of images/a.jpg",
        ),
        (
            lambda root: write_texts(write_yolo(root, "images/a.jpg"), {"labels/a.TXT": "0 .1 .1 .1 .1"}),
            "labels/a.TXT and labels/a.txt are both of images/a.jpg",
        ),
        (lambda root: write_yolo(root, "train/images/val/a.jpg"), "its folders are of two splits, train and val"),
        (
            lambda root: write_texts(write_yolo(root, "a.jpg"), {"a.xml": voc_xml()}),
            "has annotations in VOC's format (a.xml) and in YOLO's (a.txt)",
        ),
        (
            lambda root: write_texts(write_yolo(root, "images/a.jpg"), {"images/b.heic": "", "labels/b.txt": ""}),
            "images (images/b.heic is in a format that is not read)",
        ),
    ],
)
def test_what_is_in_doubt_is_refused(tmp_path: Path, make: Callable[[Path], Path], words: str):
    with pytest.raises(InputError) as caught:
        convert(make(tmp_path / "set"))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "set-coco").exists()


def test_the_output_is_not_written_into_the_dataset(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/a.jpg")
    with pytest.raises(InputError, match="choose a folder outside"):
        convert_to_coco(root, root / "images" / "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xml", voc_xml((1, 1, 9, 1e6))),
        ("a.xml", voc_xml((-1e300, 1, 9, 9))),
        ("a.json", '{"shapes": [{"label": "a", "points": [[0, 0], [1e300, 0], [1e300, 1e300]]}]}'),
        (
            "annotations.xml",
            '<annotations><image name="a.jpg"><polygon label="a" points="0,0;1,1;0,-2e5"/></image></annotations>',
        ),
    ],
)
def test_objects_far_away_are_refused_in_every_format(tmp_path: Path, name: str, text: str):
    with pytest.raises(InputError, match=r"a.jpg: an object reaches more than 100,000 px away"):
        convert(write_texts(write_images(tmp_path / "set", "a.jpg"), {name: text}))


@pytest.mark.parametrize("text", ["<annotations/>", "<annotations><version>1.1</version></annotations>"])
def test_annotations_of_no_image_are_refused(tmp_path: Path, text: str):
    with pytest.raises(InputError, match="has no image that is annotated in CVAT's format"):
        convert(write_texts(write_images(tmp_path / "set", "a.jpg"), {"annotations.xml": text}))


@pytest.mark.parametrize(
    ("images", "texts", "words"),
    [
        (["img_dir/train/a.jpg", "ann_dir/train/a.png"], {}, "is in MMSegmentation's layout (ann_dir), which is not"),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png"], {}, "is in VOC's layout of masks"),
        (["data/a.jpg"], {"labels.json": '{"images": [], "annotations": []}'}, "is already in COCO's format"),
        (["a.jpg"], {"a.json": '{"regions": {}}'}, "is in VGG Image Annotator's format (a.json)"),
        (["a.jpg"], {"a.xml": "<other/>", "a.json": "{}", "a.txt": "a caption"}, "nor CVAT's for images"),
        ([], {"labels/a.txt": "see the page\n"}, "nor CVAT's for images"),
        (["a.jpg"], {"labels/map.txt": "1 bolt\n2 nut\n"}, "nor CVAT's for images"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, images: list[str], texts: dict[str, str], words: str):
    write_texts(write_images(tmp_path / "set", *images), texts)
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "set")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_was_converted_is_read(tmp_path: Path):
    convert(write_yolo(tmp_path / "set", "images/train2014/a.jpg", "images/train2017/a.jpg", "images/Valid/b.jpg"))
    dataset = read_dataset(tmp_path / "set-coco")
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 2, "val": 1}
    assert dataset.classes == ("bolt", "nut")


FOLDERS = ["train", "Val", "valid", "test", "cam1", "cam2", "train2017", "images", "labels"]
TREES = st.dictionaries(
    st.tuples(
        st.lists(st.sampled_from(FOLDERS), max_size=2),
        st.sampled_from(["a", "b", "B", "c", "d", "a.b"]),
        st.sampled_from([".jpg", ".PNG"]),
    ).map(lambda parts: "/".join([*parts[0], parts[1] + parts[2]])),
    st.sampled_from(["none", "beside", "labels", "capitals"]),
    min_size=1,
    max_size=6,
)
"""Image files by path, and where the annotations of each are."""


def write_tree(root: Path, tree: dict[str, str], *, suffix: str, text: str) -> None:
    swap = {".txt": ("images", "labels"), ".xml": ("images", "Annotations")}[suffix]
    for image, place in tree.items():
        write_images(root, image)
        path = Path(image).with_suffix(suffix.upper() if place == "capitals" else suffix)
        if place == "labels":
            path = Path(str(path).replace(*swap))
        if place != "none":
            write_texts(root, {str(path): text})


@pytest.mark.parametrize(
    ("suffix", "text"), [(".txt", "0 0.5 0.5 0.1 0.1\n"), (".xml", voc_xml((2, 2, 9, 9)))], ids=["yolo", "voc"]
)
@given(tree=TREES)
@settings(max_examples=30, deadline=None)
def test_in_any_tree_every_file_is_used_or_named_or_all_is_refused(suffix: str, text: str, tree: dict[str, str]):
    with TemporaryDirectory() as folder:
        root, out = Path(folder, "set"), Path(folder, "out")
        write_texts(root, {"classes.txt": "bolt\n"})
        write_tree(root, tree, suffix=suffix, text=text)
        try:
            found = convert_to_coco(root, out)
        except InputError as error:
            assert "\n" not in str(error) and not out.exists()
            event("refused")
            return
        assert_complete(root, found)
        copies = [path for path in (out / "images").rglob("*") if path.is_file()]
        assert len(copies) == sum(map(len, found.splits.values()))
        labelled = sum(bool(image.objects) for images in found.splits.values() for image in images)
        assert labelled == sum(place != "none" for place in tree.values())
        if suffix == ".txt":
            assert len(copies) == len(tree)
        shutil.rmtree(out)
