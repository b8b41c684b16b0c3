"""VOC's and YOLO's annotations in COCO's form: nothing is lost, and what is wrong is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.convert.convert import convert_to_coco
from nextvit.data.object_masks import rasterize_mask
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from tests.data.coco_by_hand import HEIGHT, WIDTH, draw_objects

OBJECT = """<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>{more}</object>"""
XML = """<annotation verified="yes"><folder>VOC</folder><filename>{stem}.png</filename>
<source><database>ours</database><image>flickr</image></source>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size><segmented>0</segmented>{objects}</annotation>"""


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """What both formats are written from."""
    return draw_objects(tmp_path / "shapes")


def records_of(root: Path, split: str) -> dict[str, list[dict]]:
    """The annotations of each image by its name."""
    content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    records: dict[str, list[dict]] = {name: [] for name in names.values()}
    for each in content["annotations"]:
        records[names[each["image_id"]]].append(each)
    return records


def boxes_of(root: Path) -> dict[tuple[str, str], list[tuple[str, list[float]]]]:
    """Class and box of every object by split and image."""
    dataset = read_dataset(root)
    return {
        (split, sample.path.name): [
            (dataset.classes[label], box.tolist()) for label, box in zip(objects.labels, objects.boxes, strict=True)
        ]
        for split, samples in dataset.splits.items()
        for sample, objects in zip(samples, dataset.annotations[split], strict=True)
    }


def write_voc(shapes: Path, root: Path, *, first: int = 1) -> Path:
    """The shapes in VOC's format: pixels counted from `first`, 0 for edges."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split in ("train", "val"):
        stems: list[str] = []
        for name, records in records_of(shapes, split).items():
            stem = f"{split}_{Path(name).stem}"
            stems.append(stem)
            shutil.copy(shapes / "images" / split / name, root / "JPEGImages" / f"{stem}.png")
            objects = ""
            for each in records:
                x, y, width, height = each["bbox"]
                objects += OBJECT.format(
                    name={3: "square", 7: "disc"}[each["category_id"]],
                    difficult=int(each["id"] == 1),
                    x1=x + first,
                    y1=y + first,
                    x2=x + width,
                    y2=y + height,
                    more="<part><name>corner</name></part>" * 2 if each["id"] == 2 else "",
                )
            (root / "Annotations" / f"{stem}.xml").write_text(
                XML.format(stem=stem, width=WIDTH, height=HEIGHT, objects=objects)
            )
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return root


def write_yolo(shapes: Path, root: Path, *, outlines: bool = False) -> Path:
    """The shapes in YOLO's format."""
    for split in ("train", "val"):
        shutil.copytree(shapes / "images" / split, root / "images" / split)
        (root / "labels" / split).mkdir(parents=True)
        for name, records in records_of(shapes, split).items():
            rows = ""
            for each in records:
                x, y, width, height = each["bbox"]
                values = [(x + width / 2) / WIDTH, (y + height / 2) / HEIGHT, width / WIDTH, height / HEIGHT]
                if outlines:
                    values = (np.array(each["segmentation"][0]).reshape(-1, 2) / (WIDTH, HEIGHT)).ravel().tolist()
                rows += " ".join(map(repr, [0 if each["category_id"] == 3 else 2, *values])) + "\n"
            (root / "labels" / split / f"{Path(name).stem}.txt").write_text(rows)
    (root / "data.yaml").write_text("train: images/train\nnames: {0: square, 1: star, 2: disc}\nlicence: MIT\n")
    return root


@pytest.mark.parametrize("first", [1, 0])
def test_voc_has_the_same_boxes_whether_it_counts_from_1_or_from_0(shapes: Path, tmp_path: Path, first: int):
    voc = write_voc(shapes, tmp_path / "voc", first=first)
    if first == 0:  # one box at the edge tells
        path = voc / "Annotations" / "train_0.xml"
        more = OBJECT.format(name="disc", difficult=0, x1=0, y1=5, x2=9, y2=15, more="")
        path.write_text(path.read_text().replace("</annotation>", f"{more}</annotation>"))
    found = convert_to_coco(voc, tmp_path / "out")
    expected = {(split, f"{split}_{name}"): boxes for (split, name), boxes in boxes_of(shapes).items()}
    if first == 0:
        expected["train", "train_0.png"].append(("disc", [0, 5, 9, 15]))
    assert boxes_of(tmp_path / "out") == expected
    assert found.remarks[0].startswith("boxes: pixels counted from 1" if first else "boxes: edges counted from 0")


def test_all_that_voc_says_is_kept(shapes: Path, tmp_path: Path):
    voc = write_voc(shapes, tmp_path / "voc")
    found = convert_to_coco(voc, tmp_path / "out")
    first, second = records_of(tmp_path / "out", "train")["train_0.png"]
    assert (first["difficult"], first["truncated"], first["pose"], first["iscrowd"]) == (1, 1, "Left", 0)
    assert second["part"] == [{"name": "corner"}, {"name": "corner"}]
    assert any("2 difficult, 32 truncated; kept as fields" in line for line in found.remarks)  # one in each split
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert content["images"][0]["voc"] == {
        "verified": "yes",
        "folder": "VOC",
        "source": {"database": "ours", "image": "flickr"},
        "size": {"width": WIDTH, "height": HEIGHT, "depth": 3},
        "segmented": 0,
    }
    for name in ("train_3.png", "val_2.png"):
        split = name.partition("_")[0]
        copy, source = tmp_path / "out" / "images" / split / name, voc / "JPEGImages" / name
        assert copy.read_bytes() == source.read_bytes()


def test_masks_of_voc_become_run_lengths_and_images_in_no_list_a_split_of_their_own(shapes: Path, tmp_path: Path):
    voc = write_voc(shapes, tmp_path / "voc")
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[5:20, 7:30], values[30:50, 60:80], values[50, 60:80] = 1, 2, 255
    (voc / "SegmentationObject").mkdir()
    Image.fromarray(values).convert("P").save(voc / "SegmentationObject" / "train_1.png")
    (voc / "ImageSets" / "Main" / "val.txt").write_text("val_0\nval_1  1\nval_2\n")
    found = convert_to_coco(voc, tmp_path / "out")
    objects = records_of(tmp_path / "out", "train")["train_1.png"]
    for k, each in enumerate(objects, 1):
        assert np.array_equal(rasterize_mask(each["segmentation"], HEIGHT, WIDTH), values == k)
        assert each["area"] == (values == k).sum()
    assert {split: len(images) for split, images in found.splits.items()} == {"train": 12, "val": 3, "rest": 1}
    assert any("masks: 2 of 32 objects" in line for line in found.remarks)
    assert any(line.startswith("rest: 1 image is in no split") for line in found.remarks)


def test_voc_beside_the_images_is_read_by_folders(shapes: Path, tmp_path: Path):
    voc = write_voc(shapes, tmp_path / "voc")
    for split, folder in (("train", "train"), ("val", "valid")):
        (tmp_path / "beside" / folder).mkdir(parents=True)
        for path in [*voc.glob(f"Annotations/{split}_*"), *voc.glob(f"JPEGImages/{split}_*")]:
            shutil.copy(path, tmp_path / "beside" / folder)
    convert_to_coco(voc, tmp_path / "out")
    convert_to_coco(tmp_path / "beside", tmp_path / "again")
    assert boxes_of(tmp_path / "again") == boxes_of(tmp_path / "out")


@pytest.mark.parametrize("layout", ["images/train", "train/images", "train"])
def test_yolo_has_the_same_boxes_in_every_layout(shapes: Path, tmp_path: Path, layout: str):
    yolo = write_yolo(shapes, tmp_path / "yolo")
    root = tmp_path / "set"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            folder = {"images/train": f"{kind}/{split}", "train/images": f"{split}/{kind}", "train": split}[layout]
            shutil.copytree(yolo / kind / split, root / folder.replace("val", "valid"), dirs_exist_ok=True)
    (root / "classes.txt").write_text("square\nstar\ndisc\n")
    (root / ("labels" if (root / "labels").is_dir() else "train") / "classes.txt").write_text("none\n")
    convert_to_coco(root, tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.classes, dataset.category_ids) == (("square", "star", "disc"), (0, 1, 2))
    converted, expected = boxes_of(tmp_path / "out"), boxes_of(shapes)
    assert converted.keys() == expected.keys()
    for image, objects in expected.items():
        assert [name for name, _ in converted[image]] == [name for name, _ in objects]
        boxes = [[box for _, box in each[image]] for each in (converted, expected)]
        assert np.allclose(*boxes, atol=1e-4)


def test_outlines_of_yolo_become_polygons_and_its_settings_are_kept(shapes: Path, tmp_path: Path):
    yolo = write_yolo(shapes, tmp_path / "yolo", outlines=True)
    (yolo / "labels" / "train" / "5.txt").unlink()
    found = convert_to_coco(yolo, tmp_path / "out")
    converted, expected = (records_of(root, "train") for root in (tmp_path / "out", shapes))
    assert converted["5.png"] == []
    for name in converted.keys() - {"5.png"}:
        for mine, theirs in zip(converted[name], expected[name], strict=True):
            assert np.allclose(mine["segmentation"], theirs["segmentation"])
            assert np.allclose(mine["bbox"], theirs["bbox"], atol=0.3)  # the drawn disc is a polygon
        assert np.isclose(converted[name][0]["area"], expected[name][0]["area"])
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert content["info"]["yolo"] == {"train": "images/train", "licence": "MIT"}
    assert any("masks: 30 of 30 objects" in line for line in found.remarks)


def test_fractions_are_of_the_image_as_it_is_shown(tmp_path: Path):
    (tmp_path / "yolo" / "labels").mkdir(parents=True)
    (tmp_path / "yolo" / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40)).save(tmp_path / "yolo" / "images" / "a.jpg", exif=exif)
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.25\n\n")
    (tmp_path / "yolo" / "classes.txt").write_text("thing\n")
    convert_to_coco(tmp_path / "yolo", tmp_path / "out")
    [[record]] = records_of(tmp_path / "out", "train").values()
    assert record["bbox"] == [10, 30, 20, 20]  # in 40x80


def rewrite(path: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / path).write_text((root / path).read_text().replace(old, new, 1))


def nest(depth: int) -> Callable[[Path], object]:
    """Put elements inside each other into an object."""
    return rewrite("Annotations/train_0.xml", "<pose>", "<a>" * depth + "</a>" * depth + "<pose>")


def mask_in_another_format(root: Path) -> None:
    (root / "SegmentationObject").mkdir(exist_ok=True)
    Image.new("L", (96, 72)).save(root / "SegmentationObject" / "train_0.png", format="TGA")


def names_in_another_encoding(root: Path) -> None:
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_bytes("Stühle".encode("latin-1"))


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("voc", rewrite("Annotations/train_0.xml", "</annotation>", ""), "train_0.xml: damaged, or no XML"),
        ("voc", rewrite("Annotations/train_0.xml", "<annotation", "<!DOCTYPE a []><annotation"), "defines entities"),
        ("voc", rewrite("Annotations/train_0.xml", "xmin>", "xmim>"), "train_0.xml: damaged"),
        ("voc", nest(150), "train_0.xml: damaged, its elements are nested more than 100 deep"),
        ("voc", nest(2_000), "train_0.xml: damaged, its elements are nested more than 100 deep"),
        ("voc", nest(200_000), "train_0.xml: damaged, its elements are nested more than 100 deep"),
        ("voc", rewrite("Annotations/train_0.xml", "<xmin>", "<xmin>a"), "an object needs bndbox with xmin, ymin"),
        ("voc", rewrite("Annotations/train_0.xml", "<xmax>", "<xmax>-"), "a box ends before it begins"),
        ("voc", rewrite("Annotations/train_0.xml", "<name>square</name>", ""), "an object without name"),
        ("voc", lambda root: (root / "JPEGImages" / "train_0.png").unlink(), "no image 'train_0.png' in"),
        ("voc", mask_in_another_format, "SegmentationObject/train_0.png: not an image in a known format"),
        ("voc", rewrite("ImageSets/Main/val.txt", "val_0", "train_0"), "val.txt: 'train_0' is also in another list"),
        ("voc", rewrite("ImageSets/Main/val.txt", "val_0", "gone"), "val.txt: 'gone' has no XML file"),
        ("yolo", rewrite("labels/train/0.txt", "0 ", "0 x"), "labels/train/0.txt, line 1: expected numbers, got '0 x"),
        ("yolo", rewrite("labels/train/0.txt", "0 ", "7 "), "line 1: class 7 has no name; there are 3"),
        ("yolo", rewrite("labels/train/0.txt", "0 ", "0 0.5 "), "line 1: expected a class and 4 numbers for a box"),
        ("yolo", rewrite("labels/train/0.txt", "0 ", "0 nan "), "line 1: expected a class and 4 numbers for a box"),
        ("yolo", lambda root: (root / "data.yaml").unlink(), "no class names; expected data.yaml"),
        (
            "yolo",
            lambda root: (root / "data.yaml").write_text("names: 3"),
            "names must be a list, or a dict with numbers",
        ),
        ("yolo", lambda root: (root / "data.yaml").write_text("names: [3"), "data.yaml: line 1: not valid YAML"),
        (
            "yolo",
            rewrite("data.yaml", "MIT", "&a [*a]"),
            "data.yaml: line 3: not valid YAML (an alias inside of what it names)",
        ),
        (
            "yolo",
            rewrite("data.yaml", "MIT", "[" * 5000),
            "data.yaml: line 3: not valid YAML (nested more than 100 levels deep)",
        ),
        ("yolo", names_in_another_encoding, "classes.txt: line 1: not UTF-8"),
        ("yolo", lambda root: (root / "images" / "train" / "0.png").unlink(), "0.txt: no image of this name in"),
        ("yolo", lambda root: (root / "images" / "train" / "0.png").write_bytes(b"no"), "0.png: not an image"),
        ("yolo", lambda root: shutil.rmtree(root / "images" / "val"), "0.txt: no image of this name in"),
        ("yolo", lambda root: shutil.rmtree(root / "labels"), "neither VOC's format"),
    ],
)
def test_what_cannot_be_converted_is_named_and_nothing_is_written(
    shapes: Path, tmp_path: Path, kind: str, change, words: str
):
    root = (write_voc if kind == "voc" else write_yolo)(shapes, tmp_path / "set")
    change(root)
    with pytest.raises(InputError) as caught:
        convert_to_coco(root, tmp_path / "out")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_training_on_other_formats_names_the_command_that_converts(shapes: Path, tmp_path: Path):
    for write in (write_voc, write_yolo):
        root = write(shapes, tmp_path / write.__name__)
        with pytest.raises(InputError, match=f"nextvit convert {root} --out {root.name}-coco"):
            read_dataset(root)


def test_the_verb_says_what_it_did_and_refuses_what_is_there(shapes: Path, tmp_path: Path, call):
    voc = write_voc(shapes, tmp_path / "voc")
    done = call("convert", voc, "--out", tmp_path / "out", "--json")
    assert (done.code, done.document["from"], done.document["classes"]) == (0, "VOC", ["disc", "square"])
    assert done.document["splits"]["train"] == {"images": 12, "objects": 24}
    assert call("check", tmp_path / "out").code == 0
    for source, words in (
        (voc, "already exists"),
        (shapes, "already in COCO's format"),
        (tmp_path / "no", "no such folder"),
    ):
        again = call("convert", source, "--out", tmp_path / ("out" if source == voc else "new"))
        assert again.code == 2 and words in again.err and len(again.err.splitlines()) == 1
    shard = call("shard", shapes, "--out", tmp_path / "shards")
    assert shard.code == 2 and "shards hold images with classes" in shard.err
