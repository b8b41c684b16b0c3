"""Reading COCO's annotations: layouts, ids, masks, and what is refused."""

import json
import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.data import class_masks, coco
from nextvit.data.class_masks import BadMask
from nextvit.data.dataset import Dataset
from nextvit.data.object_masks import clip_polygon, rasterize_mask, run_lengths
from nextvit.data.reading import is_dataset
from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset, read_with_findings
from tests.data.coco_by_hand import HEIGHT, WIDTH, Content, add, draw_objects, save, spoil

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw_objects(tmp_path / "shapes")


def facts(dataset: Dataset) -> list[object]:
    """All that is known of the objects of a dataset."""
    return [
        (split, sample.path.name, sample.labels, objects.boxes.tolist(), objects.labels.tolist(), objects.segmentations)
        for split, samples in dataset.splits.items()
        for sample, objects in zip(samples, dataset.annotations[split], strict=True)
    ]


def test_ids_with_gaps_become_classes_in_their_order(shapes: Path):
    spoil(shapes, lambda content: content["categories"].reverse())
    dataset = read_dataset(shapes)
    assert (dataset.task, dataset.classes, dataset.category_ids) == ("detection", ("square", "disc"), (3, 7))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 12, "val": 4}
    content = json.loads((shapes / "annotations" / "instances_train.json").read_text())
    for record in content["annotations"]:
        objects = dataset.annotations["train"][record["image_id"]]
        k = 0 if record["category_id"] == 3 else 1
        x, y, width, height = record["bbox"]
        assert objects.boxes[k].tolist() == [x, y, x + width, y + height]
        assert (objects.labels[k], objects.crowd[k], objects.areas[k]) == (k, False, record["area"])
        assert objects.segmentations[k] == record["segmentation"]
    assert dataset.annotations["train"].image_ids.tolist() == list(range(12))  # from 0


def test_category_ids_from_0_are_classes_like_others(shapes: Path):
    def from_0(content):
        for record in content["annotations"]:
            record["category_id"] = {3: 0, 7: 1}[record["category_id"]]
        for id, record in enumerate(content["categories"]):
            record["id"] = id

    expected = facts(read_dataset(shapes))
    for split in ("train", "val"):
        spoil(shapes, from_0, split=split)
    dataset = read_dataset(shapes)
    assert dataset.category_ids == (0, 1)
    assert facts(dataset) == expected


def test_the_three_layouts_are_one_dataset(shapes: Path, tmp_path: Path):
    expected = facts(read_dataset(shapes))
    official, beside = tmp_path / "official", tmp_path / "beside"
    for split in ("train", "val"):
        shutil.copytree(shapes / "images" / split, official / f"{split}2017")
        (official / "annotations").mkdir(exist_ok=True)
        annotations = shapes / "annotations" / f"instances_{split}.json"
        shutil.copy(annotations, official / "annotations" / f"instances_{split}2017.json")
        folder = beside / ("valid" if split == "val" else split)
        shutil.copytree(shapes / "images" / split, folder)
        shutil.copy(annotations, folder / "_annotations.coco.json")
    (official / "annotations" / "captions_train2017.json").write_text("[]")
    for root in (official, beside):
        assert is_dataset(root)
        assert facts(read_dataset(root)) == expected


@pytest.mark.parametrize("part", ["images", "images/val", "annotations"])
def test_a_part_instead_of_the_dataset_is_told(shapes: Path, part: str):
    with pytest.raises(InputError, match=f"is one part of a dataset; pass the folder above it, {shapes}"):
        read_dataset(shapes / part)


def test_the_class_above_all_that_an_exporter_adds_is_left_out(shapes: Path, tmp_path: Path):
    content = json.loads((shapes / "annotations" / "instances_train.json").read_text())
    for record in content["categories"]:
        record["supercategory"] = "shapes"
    content["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
    save(shapes, "train", content)
    spoil(shapes, lambda val: val.update(categories=content["categories"]), split="val")
    assert read_dataset(shapes).classes == ("shapes", "square", "disc")  # in other layouts it says what it says
    for split in ("train", "valid"):
        shutil.copytree(shapes / "images" / split.removesuffix("id"), tmp_path / "beside" / split)
        annotations = shapes / "annotations" / f"instances_{split.removesuffix('id')}.json"
        shutil.copy(annotations, tmp_path / "beside" / split / "_annotations.coco.json")
    dataset, faults = read_with_findings(tmp_path / "beside")
    assert dataset.classes == read_dataset(tmp_path / "beside").classes == ("square", "disc")
    assert [(fault.kind, fault.severity) for fault in faults] == [("category_left_out", "note")]


def test_without_val_a_tenth_is_held_out_by_name_with_its_objects(tmp_path: Path):
    root = draw_objects(tmp_path / "shapes", train=40)
    whole = read_dataset(root)
    (root / "annotations" / "instances_val.json").unlink()
    dataset = read_dataset(root)
    assert len(dataset.splits["val"]) > 0
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 40
    by_name = {fact[1]: fact[2:] for fact in facts(whole) if fact[0] == "train"}
    assert {fact[1]: fact[2:] for fact in facts(dataset)} == by_name


def test_images_without_objects_crowds_and_boxes_alone(shapes: Path):
    def change(content):
        content["images"].append({"id": 99, "file_name": "bare.png", "width": WIDTH, "height": HEIGHT})
        for record in content["annotations"]:
            record["segmentation"] = [] if record["id"] % 2 else [[]]
        add(content, 5, 3, [0, 0, 50, 50], iscrowd=1)
        del content["annotations"][-1]["area"]

    shutil.copy(shapes / "images" / "val" / "0.png", shapes / "images" / "train" / "bare.png")
    spoil(shapes, change)
    train = read_dataset(shapes).annotations["train"]
    assert not train.has_masks and train[5].segmentations == ()
    assert train[5].crowd.tolist() == [False, False, True] and train[5].areas[2] == 2500
    assert len(train[12]) == 0 and train[12].boxes.shape == (0, 4)
    assert train.counts(2).tolist() == [12, 12]
    with pytest.raises(IndexError):
        train[13]


def test_objects_are_few_arrays_that_workers_share(shapes: Path):
    train = read_dataset(shapes).annotations["train"]
    assert all(type(value).__name__ in ("ndarray", "RaggedArray") for value in vars(train).values())
    assert len(pickle.dumps(train)) < 12 * 2000


def random_masks(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = [tuple(generator.integers(1, 40, 2)) for _ in range(count)]
    masks = [generator.random(size) < generator.choice([0, 0.02, 0.5, 0.98, 1]) for size in sizes]
    return [*masks, np.pad(np.ones((500, 300), bool), 100), np.ones((1, 1), bool), np.zeros((700, 600), bool)]


def test_run_lengths_of_both_forms_are_the_mask():
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    for mask in random_masks(200):
        compressed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        flat = mask.T.ravel().astype(np.int8)
        changes = np.flatnonzero(np.diff(flat, prepend=0))
        counts = np.diff([0, *changes, flat.size]).tolist()
        size = list(mask.shape)
        for given in (compressed["counts"], compressed["counts"].decode(), counts):
            assert np.array_equal(rasterize_mask({"size": size, "counts": given}, *mask.shape), mask)


def test_polygons_take_the_pixels_that_pycocotools_takes():
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    generator = np.random.default_rng(0)
    for _ in range(100):
        polygons = [
            (generator.random(2 * generator.integers(3, 9)) * 70 - 10).round(1).tolist()
            for _ in range(generator.integers(1, 4))
        ]
        expected = coco.decode(coco.merge(coco.frPyObjects(polygons, 40, 50))).astype(bool)
        assert np.array_equal(rasterize_mask(polygons, 40, 50), expected)
    assert not rasterize_mask(None, 3, 4).any() and rasterize_mask(None, 3, 4).shape == (3, 4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": [4, 4], "counts": [16]}, "of size [4, 4], the image is [4, 5]"),
        ({"size": [4, 5], "counts": [16, 5]}, "do not cover the 20 pixels"),
        ({"size": [4, 5], "counts": [-1, 21]}, "do not cover"),
        ({"size": [4, 5], "counts": [2**62, 2**62, 2**62, 2**62, 20]}, "do not cover"),
        ({"size": [4, 5], "counts": [2**80]}, "neither whole numbers"),
        ({"size": [4, 5], "counts": [19.5, 0.5]}, "neither whole numbers"),
        ({"size": [4, 5], "counts": None}, "neither whole numbers"),
        ({"size": [4, 5], "counts": ""}, "neither whole numbers"),
        ({"size": [4, 5], "counts": "é"}, "neither whole numbers"),
        ({"size": [4, 5], "counts": "P"}, "neither whole numbers"),
        ({"size": [4, 5], "counts": "o" * 13 + "1"}, "neither whole numbers"),
        ({}, "of size None"),
        ([[1, 2, 3, 4]], "at least three points, got 4 numbers"),
        ([[1, 2, 3, 4, 5, 6, 7]], "got 7 numbers"),
        ([[1, 2, 3, 4, 5, "x"]], "not a list of numbers"),
        ([[1, 2, 3, 4, 5, 1e9]], "more than 100,000 px away"),
        ([[1, 2, 3, 4, 5, float("nan")]], "point that is NaN"),
    ],
)  # fmt: skip
def test_damaged_masks_are_refused(given, words: str):
    with pytest.raises(InputError) as caught:
        rasterize_mask(given, 4, 5)
    assert words in str(caught.value)


def test_random_text_is_a_mask_or_refused():
    generator = np.random.default_rng(0)
    for _ in range(2000):
        text = "".join(map(chr, generator.integers(40, 120, generator.integers(1, 9))))
        with suppress(InputError):
            assert run_lengths({"size": [6, 7], "counts": text}, 6, 7).sum() == 42


def test_both_forms_of_run_lengths_are_packed_and_given_back(shapes: Path):
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[10:30, 20:40] = 1
    compressed = coco.encode(mask)["counts"].decode()
    counts = np.diff([0, *np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=0)), mask.size]).tolist()

    def change(content):
        for record, form in zip(content["annotations"], (compressed, counts), strict=False):
            record["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": form}

    spoil(shapes, change)
    first = read_dataset(shapes).annotations["train"][0]
    for segmentation in first.segmentations:
        assert isinstance(segmentation, dict)
        assert np.array_equal(coco.decode(coco.frPyObjects(segmentation, HEIGHT, WIDTH)), mask)
        assert np.array_equal(rasterize_mask(segmentation, HEIGHT, WIDTH), mask.astype(bool))


def test_classes_named_as_folders_of_other_formats_stay_classes(tmp_path: Path):
    for name in ("images", "labels", "annotations"):
        for split in ("train", "val"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(tmp_path / split / name / "0.png")
    dataset = read_dataset(tmp_path)
    assert (dataset.task, dataset.classes) == ("classification", ("annotations", "images", "labels"))


def test_any_value_in_any_place_is_used_or_named(shapes: Path):
    path = shapes / "annotations" / "instances_train.json"
    plain = path.read_text()
    generator = np.random.default_rng(0)
    odd = [
        None,
        True,
        -1,
        0,
        10**400,
        2**62,
        1e308,
        "",
        "\0",
        "\ud800",
        "x",
        [],
        [[]],
        {},
        [1],
        {"size": 1},
        [[1, "a"] * 3],
    ]
    for _ in range(400):
        content = json.loads(plain)
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = keys[generator.integers(len(keys))]
            if not isinstance(place[key], dict | list) or not place[key] or generator.random() < 0.15:
                break
            place = place[key]
        place[key] = odd[generator.integers(len(odd))]
        path.write_text(json.dumps(content))
        try:
            dataset, faults = read_with_findings(shapes)
        except InputError as error:
            assert "instances_train.json" in str(error)
            continue
        "".join(fault.message for fault in faults).encode()
        for objects in dataset.annotations["train"]:
            assert np.isfinite(objects.boxes).all()
            for segmentation in objects.segmentations:
                rasterize_mask(segmentation, HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["bccd", "nuclei", "fruits_nuts", "coco128seg"])
def test_real_sets_are_read_as_pycocotools_reads_them(real_data, name: str, capsys: pytest.CaptureFixture[str]):
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    root = real_data(name)
    dataset = read_dataset(root)
    for split, annotations in dataset.annotations.items():
        reference = coco.COCO(str(root / "annotations" / f"instances_{split}.json"))
        assert [reference.cats[id]["name"] for id in sorted(reference.cats)] == list(dataset.classes)
        assert annotations.image_ids.tolist() == [image["id"] for image in reference.dataset["images"]]
        for index, image_id in enumerate(annotations.image_ids[:30].tolist()):
            records, objects = reference.imgToAnns[image_id], annotations[index]
            assert [dataset.category_ids[label] for label in objects.labels] == [
                each["category_id"] for each in records
            ]
            assert objects.areas.tolist() == [each["area"] for each in records]
            height, width = (reference.imgs[image_id][side] for side in ("height", "width"))
            for segmentation, record in zip(objects.segmentations, records, strict=False):
                assert np.array_equal(rasterize_mask(segmentation, height, width), reference.annToMask(record))
    capsys.readouterr()


@pytest.mark.parametrize(("flag", "crowds"), [("1", 1), (True, 1), ("0", 0), (None, 0)])
def test_crowds_are_marked_by_a_number_or_a_text(shapes: Path, flag: object, crowds: int):
    spoil(shapes, lambda content: content["annotations"][0].update(iscrowd=flag))
    assert read_dataset(shapes).annotations["train"].crowd.sum() == crowds


@pytest.mark.parametrize("flag", [2, "yes", [], "2"])
def test_what_is_no_flag_of_a_crowd_is_an_error(shapes: Path, flag: object):
    spoil(shapes, lambda content: content["annotations"][0].update(iscrowd=flag))
    [finding] = read_with_findings(shapes)[1]
    assert finding.kind == "bad_annotation" and "iscrowd is 0 or 1, got" in finding.message


def as_fractions(content: Content) -> None:
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        each["bbox"] = [x / WIDTH, y / HEIGHT, width / WIDTH, height / HEIGHT]


def test_boxes_in_fractions_of_the_image_are_an_error_and_one_in_the_corner_is_not(shapes: Path):
    spoil(shapes, lambda content: content["annotations"][0].update(bbox=[0, 0, 1, 1]))
    assert read_with_findings(shapes)[1] == []
    spoil(shapes, as_fractions)
    [finding] = read_with_findings(shapes)[1]
    assert (finding.kind, finding.severity) == ("box_fractions", "error")
    assert finding.message.endswith("instances_train.json: all boxes lie between 0 and 1; COCO's are in pixels, these "
                                    "look like fractions of the image")  # fmt: skip


@pytest.mark.parametrize("stray", [[], [5.0, 5.0], [1, 2, 3, 4]])
def test_a_stray_part_beside_an_outline_is_passed_over_with_a_warning(shapes: Path, stray: list[float]):
    expected = read_dataset(shapes).annotations["train"]
    spoil(shapes, lambda content: content["annotations"][0]["segmentation"].append(stray))
    dataset, [finding] = read_with_findings(shapes)
    assert (finding.kind, finding.severity) == ("stray_part", "warning")
    assert "1 part of fewer than three points" in finding.message
    assert dataset.annotations["train"][0].segmentations == expected[0].segmentations


def test_white_space_in_the_name_of_a_category_is_no_contradiction(shapes: Path):
    spoil(shapes, lambda content: content["categories"][0].update(name="square \ufeff"), split="val")
    dataset, findings = read_with_findings(shapes)
    assert (dataset.classes, findings) == (("square", "disc"), [])


def test_many_categories_and_findings_take_time_by_their_number_alone(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    class Counted(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        def __ne__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__ne__(self, other)

        __hash__ = str.__hash__

    found, ids = {}, {}
    for id in range(3000):
        coco.add_category(coco.Category(id, Counted(f"class {id}"), ""), found, ids)
    assert len(found) == 3000 and Counted.compared <= 10 * 3000
    spoil(shapes, lambda content: content["annotations"].extend([0] * 30_000))
    findings = read_with_findings(shapes)[1]
    assert len(findings) == coco.MAX_NAMED + 1
    assert sum(finding.count for finding in findings) == 30_000
    assert findings[-1].message.endswith(": 29,000 more of this kind")


def test_an_image_is_not_annotated_as_larger_than_images_may_be(shapes: Path):
    spoil(shapes, lambda content: content["images"][0].update(width=20_000, height=20_000))
    dataset, [finding] = read_with_findings(shapes)
    assert finding.kind == "bad_image" and "0.png is annotated as 20000x20000; images have" in finding.message
    assert len(dataset.split("train")) == 11, "its annotations have no findings of their own"


def test_the_size_of_the_image_is_compared_before_its_masks_are_drawn(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    spoil(shapes, lambda content: content["images"][0].update(width=11_000, height=11_000))
    masks = read_dataset(shapes, task="segmentation").masks["train"]
    monkeypatch.setattr(class_masks, "rasterize_part", lambda *_: pytest.fail("was drawn"))
    with pytest.raises(BadMask, match=r"0\.png: is 96x72, annotated as 11000x11000"):
        masks.values(0)


def test_far_corners_are_clipped_and_the_pixels_are_those_of_pycocotools():
    pycocotools = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    generator = np.random.default_rng(0)
    for _ in range(300):
        corners = generator.integers(-600, 600, (generator.integers(3, 9), 2)).astype(float)
        polygon = corners.ravel().tolist()
        expected = pycocotools.decode(pycocotools.merge(pycocotools.frPyObjects([polygon], 40, 50))).astype(bool)
        got = rasterize_mask([polygon], 40, 50)
        # Where an edge is cut its rounding changes, by less than a pixel.
        assert (got != expected).mean() <= 0.02 * len(corners)
        clipped = clip_polygon(corners, 40, 50)
        assert not len(clipped) or (abs(clipped - (25, 20)) <= (75.001, 60.001)).all()


def test_an_outline_that_is_too_long_is_refused_before_it_is_drawn(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    spoil(shapes, lambda content: content["annotations"][0].update(segmentation=[[-100_000, 0, 100_000, 1] * 10_000]))
    [finding] = read_with_findings(shapes)[1]
    assert finding.kind == "bad_annotation"
    assert "a polygon has an outline of 5,7" in finding.message and "1,048,576 are drawn at most" in finding.message


def test_masks_that_are_too_many_pixels_together_are_refused(shapes: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(class_masks, "MAX_DRAWN_PX", 100)
    masks = read_dataset(shapes, task="segmentation").masks["train"]
    with pytest.raises(BadMask, match="its objects' masks have more than 100 pixels together"):
        masks.values(0)
