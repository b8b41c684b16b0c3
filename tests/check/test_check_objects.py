"""What `nextvit check` finds in data with objects: small broken datasets, each with a message of its own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.check import same_boxes
from nextvit.check.same_boxes import box_iou, find_same_boxes
from nextvit.data.findings import KINDS, Finding, refuse_errors
from nextvit.errors import InputError
from nextvit.report.check_report import write_check_report
from nextvit.tasks.reading import read_dataset, read_with_findings
from nextvit.tasks.task import get_task
from tests.data.coco_by_hand import HEIGHT, WIDTH, Content, add, draw_objects, save, spoil

TRAIN, VAL = "annotations/instances_train.json", "annotations/instances_val.json"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw_objects(tmp_path / "shapes")


def findings(root: Path) -> list[Finding]:
    dataset, faults = read_with_findings(root)
    return [*faults, *get_task(dataset.task).check(dataset).findings]


def changed(**values: object) -> Callable[[Content], object]:
    """A change of the first annotation."""
    return lambda content: content["annotations"][0].update(values)


def without(image: int) -> Callable[[Content], object]:
    return lambda content: content.update(
        annotations=[each for each in content["annotations"] if each["image_id"] != image]
    )


def of_class_only(category: int) -> Callable[[Content], object]:
    return lambda content: content.update(
        annotations=[each for each in content["annotations"] if each["category_id"] == category]
    )


def run_lengths(*counts: int) -> dict[str, object]:
    return {"size": [HEIGHT, WIDTH], "counts": [*counts, HEIGHT * WIDTH - sum(counts)]}


NO_DATASET: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda root: shutil.rmtree(root / "annotations"),
        "no annotations file; expected annotations/instances_train.json",
    ),
    (lambda root: (root / TRAIN).unlink(), "no annotations of the split train"),
    (lambda root: (root / TRAIN).write_text('{"images": ['), "instances_train.json: line 1: not valid JSON"),
    (lambda root: (root / TRAIN).write_bytes(b"\xff\xd8\xff\xe0"), "instances_train.json: line 1: not UTF-8"),
    (lambda root: save(root, "train", []), "not in COCO's format: expected an object with images, annotations and"),
    (lambda root: save(root, "train", {"shapes": [], "version": "5"}), "it has no list 'images', but shapes, version"),
    (lambda root: spoil(root, lambda content: content.update(annotations=None)), "it has no list 'annotations'"),
    (lambda root: spoil(root, lambda content: content.pop("categories")), "it has no list 'categories'"),
    (lambda root: spoil(root, lambda content: content.update(categories=[])), "its list of categories is empty"),
    (
        lambda root: [shutil.rmtree(root / "images" / "train"), shutil.rmtree(root / "train2017")],
        "no folder with its images; expected",
    ),
    (
        lambda root: shutil.copy(root / TRAIN, root / "annotations" / "instances_train2017.json"),
        "are both the split train; keep one",
    ),
]


@pytest.mark.parametrize(("change", "words"), NO_DATASET)
def test_what_is_no_dataset_is_refused_in_one_line(shapes: Path, change, words: str):
    shutil.copytree(shapes / "images" / "train", shapes / "train2017")
    change(shapes)
    with pytest.raises(InputError) as caught:
        read_with_findings(shapes)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(shapes))


FAULTS: list[tuple[str, Callable[[Content], object], str]] = [
    (
        "missing_image",
        lambda content: content["images"][3].update(file_name="gone.png"),
        "lists gone.png, but there is no file",
    ),
    ("unknown_image", changed(image_id=77), "annotation 1 is of image 77, which is not listed"),
    ("unknown_category", changed(category_id=4), "annotation 1 of {train}/0.png: category 4 is not in the list"),
    ("unknown_category", changed(category_id=None), "category None is not in the list"),
    ("bad_category", lambda content: content["categories"].append({"id": 9}), "a category needs a whole number as id"),
    (
        "bad_category",
        lambda content: content["categories"].append(content["categories"][0]),
        "category id 3 is given twice",
    ),
    (
        "bad_category",
        lambda content: content["categories"][0].update(name="Square"),
        "category id 3 is 'square' here and 'Square' elsewhere",
    ),
    (
        "bad_category",
        lambda content: content["categories"].append({"id": 9, "name": "disc"}),
        "the name 'disc' belongs to the category ids 7 and 9",
    ),
    (
        "bad_annotation",
        lambda content: content["annotations"].append("box"),
        "needs a whole number as image_id, got 'box'",
    ),
    ("bad_annotation", changed(image_id="0"), "needs a whole number as image_id"),
    ("bad_annotation", changed(bbox=None), "bbox must be x, y, width, height, got None"),
    ("bad_annotation", changed(bbox=[1, 2, 3]), "got [1, 2, 3]"),
    ("bad_annotation", changed(bbox=[1, 2, 3, float("nan")]), "got [1, 2, 3, nan]"),
    ("bad_annotation", changed(bbox=[30, 40, -10, 10]), "bbox has a negative side, -10x10"),
    ("bad_annotation", changed(bbox=[1, 2, 3, 1e30]), "more than 100,000 px away"),
    ("bad_annotation", changed(area="large"), "area must be a number of pixels, got 'large'"),
    ("bad_annotation", changed(segmentation="outline"), "segmentation must be polygons or run lengths, got 'outline'"),
    ("bad_annotation", changed(segmentation=[[1, 2, 3, 4]]), "a polygon is x, y of at least three points"),
    ("bad_annotation", changed(segmentation=[[1, 2, 3, 4, 5, None]]), "a point that is NaN"),
    ("bad_annotation", changed(segmentation={"size": [9, 9], "counts": [81]}), "run lengths are of size [9, 9]"),
    ("bad_annotation", changed(segmentation={"size": [HEIGHT, WIDTH], "counts": "~"}), "neither whole numbers nor"),
    ("bad_annotation", changed(segmentation={"size": [HEIGHT, WIDTH], "counts": [7]}), "do not cover the 6912 pixels"),
    ("bad_image", lambda content: content["images"][3].pop("width"), "image 3.png needs width and height"),
    ("bad_image", lambda content: content["images"][3].update(id="x"), "an image needs a whole number as id"),
    ("bad_image", lambda content: content["images"][3].update(id=2), "image id 2 is given twice"),
    (
        "bad_image",
        lambda content: content["images"][3].update(file_name="2.png"),
        "2.png is listed under two image ids",
    ),
    ("empty_split", lambda content: content.update(annotations=[]), "no object is annotated in the split train"),
    ("empty_split", lambda content: content.update(images=[], annotations=[]), "no images in the split train"),
]


@pytest.mark.parametrize(("kind", "change", "words"), FAULTS)
def test_what_cannot_be_used_is_listed_and_refused_by_training(shapes: Path, kind: str, change, words: str):
    spoil(shapes, change)
    words = words.format(train=shapes / "images" / "train")
    messages = [finding.message for finding in findings(shapes) if finding.kind == kind]
    assert any(words in message for message in messages), messages
    with pytest.raises(InputError) as caught:
        read_dataset(shapes)
    assert "\n" not in str(caught.value)


FINDINGS: list[tuple[str, Callable[[Content], object], str]] = [
    (
        "box_outside",
        changed(bbox=[200, 10, 10, 10], segmentation=[]),
        "1 object wholly outside, first: images/train/0.png, annotation 1 'square' (x 200 to 210, y 10 to 20 in 96x72)",
    ),
    (
        "box_beyond",
        changed(bbox=[90, 10, 20, 10], segmentation=[]),
        "more than 1 px beyond the edge, first: images/train/0.png",
    ),
    ("empty_box", changed(bbox=[10, 10, 0, 10], segmentation=[]), "1 object of zero area"),
    ("tiny_object", changed(bbox=[10, 10, 3, 10], segmentation=[]), "1 object with a side below 4 px"),
    ("mask_differs", changed(segmentation=[[60, 60, 70, 60, 70, 70]]), "1 object whose mask and box disagree"),
    ("mask_differs", changed(segmentation=run_lengths(20 * HEIGHT + 10, 5)), "whose mask and box disagree"),
    ("empty_mask", changed(segmentation=run_lengths(5, 0)), "1 object whose mask has no pixel"),
    ("empty_mask", changed(segmentation=[[5, 5, 9, 9, 7, 7]]), "1 object whose mask has no pixel"),
    ("mask_missing", changed(segmentation=[]), "1 object without a mask, first: images/train/0.png, annotation 1"),
    (
        "duplicate_object",
        lambda content: content["annotations"].append({**content["annotations"][0], "id": 99}),
        "1 object in the place of another of its class, first: images/train/0.png, annotation 99 'square'",
    ),
    (
        "object_of_two_classes",
        lambda content: content["annotations"].append({**content["annotations"][0], "id": 99, "category_id": 7}),
        "1 object in the place of one of another class, first: images/train/0.png, annotation 99 'disc'",
    ),
    ("class_only_in_val", of_class_only(3), "class 'disc' has 4 objects in val and none in train"),
    (
        "tiny_class",
        lambda content: [content["annotations"].pop() for _ in range(6)],
        "'disc' has only 9 training objects",
    ),
    (
        "size_differs",
        lambda content: content["images"][0].update(width=WIDTH * 2),
        "images/train/0.png: is 96x72, annotated as 192x72",
    ),
    (
        "size_differs",
        lambda content: content["images"][0].update(width=HEIGHT, height=WIDTH),
        "is 96x72, annotated as 72x96; rotated after it was annotated, perhaps by its EXIF",
    ),
    (
        "unlisted_image",
        lambda content: content["images"].pop(),
        f"1 image is not listed in {TRAIN}, first: images/train/",
    ),
    ("without_objects", without(2), "1 image in train without any object, first: images/train/2.png"),
]


@pytest.mark.parametrize(("kind", "change", "words"), FINDINGS)
def test_each_fault_of_objects_is_found_and_named(shapes: Path, kind: str, change, words: str):
    spoil(shapes, change)
    found = findings(shapes)
    messages = [finding.message for finding in found if finding.kind == kind]
    assert any(words in message for message in messages), found
    follow = {"mask_missing", "tiny_class", "without_objects", "tiny_object", "unknown_image", "unlisted_image"}
    assert {finding.kind for finding in found} <= {kind} | follow, found


def test_files_of_formats_that_are_not_read_are_one_finding(shapes: Path):
    for name in ("train/a.heic", "val/b.heic", "val/c.svg"):
        (shapes / "images" / name).write_bytes(b"")
    [finding] = [each for each in findings(shapes) if each.kind == "unread_format"]
    assert finding.message.startswith("3 files of formats that are not read (2 HEIC, 1 SVG), first: ")


def test_a_class_without_any_object_is_refused_in_one_line(shapes: Path):
    for split in ("train", "val"):
        spoil(shapes, lambda content: content["categories"].append({"id": 9, "name": "star"}), split=split)
    [finding] = findings(shapes)
    assert (finding.kind, finding.message) == ("class_without_objects", "class 'star' (category id 9) has no object")
    with pytest.raises(InputError, match=r"'star' .* has no object\); see nextvit check .* --data.allow-errors"):
        refuse_errors([finding], dataset=shapes)


def test_classes_and_objects_that_val_lacks_are_found(shapes: Path):
    spoil(shapes, of_class_only(7), split="val")
    assert [(each.kind, each.message) for each in findings(shapes)] == [
        ("class_only_in_train", "class 'square' has no validation objects")
    ]
    spoil(shapes, lambda content: content.update(annotations=[]), split="val")
    assert findings(shapes)[0].message.endswith("no object is annotated in the split val")


def test_there_are_thirty_broken_datasets_with_distinct_messages():
    messages = {words for _, words in NO_DATASET} | {words for *_, words in [*FAULTS, *FINDINGS]}
    assert len(messages) >= 50
    kinds = {kind for kind, *_ in [*FAULTS, *FINDINGS]}
    assert kinds <= KINDS.keys() and len(kinds) >= 18


def test_a_good_dataset_has_no_findings(shapes: Path):
    assert findings(shapes) == []


def test_the_same_image_annotated_differently_is_an_error_and_a_similar_one_is_not(shapes: Path):
    first = Image.open(shapes / "images" / "train" / "0.png")
    first.resize((WIDTH // 2, HEIGHT // 2)).resize((WIDTH, HEIGHT)).save(shapes / "images" / "train" / "1.png")
    spoil(
        shapes,
        lambda content: content.update(
            annotations=[each for each in content["annotations"] if (each["image_id"], each["category_id"]) != (1, 3)]
        ),
    )
    assert [each.kind for each in findings(shapes)] == ["near_duplicate"]
    shutil.copy(shapes / "images" / "train" / "0.png", shapes / "images" / "train" / "1.png")
    assert [each.kind for each in findings(shapes)] == ["duplicate_across_classes"]


def test_images_are_listed_however_their_path_is_written(shapes: Path):
    spoil(shapes, lambda content: [image.update(file_name=f"./{image['file_name']}") for image in content["images"]])
    assert findings(shapes) == []


def test_the_verb_counts_objects_and_exits_with_1_for_errors_and_2_for_no_dataset(shapes: Path, call):
    good = call("check", shapes, "--json")
    assert (good.code, good.document["classes"]) == (0, {name: {"train": 12, "val": 4} for name in ("square", "disc")})
    spoil(shapes, changed(category_id=4))
    spoil(shapes, lambda content: content["annotations"].extend([{**content["annotations"][2]}] * 2))
    bad = call("check", shapes, "--json")
    assert (bad.code, bad.document["errors"], bad.document["warnings"]) == (1, 1, 1)
    assert bad.document["findings"][1]["files"] == [str(shapes / "images" / "train" / "1.png")]
    save(shapes, "train", {"shapes": []})
    none = call("check", shapes)
    assert none.code == 2 and len(none.err.splitlines()) == 1 and "not in COCO's format" in none.err


def test_crowds_are_not_judged_as_objects(shapes: Path):
    def crowd(content: Content) -> None:
        x, y, *_ = content["annotations"][0]["bbox"]
        add(content, 0, 3, [x, y, 3, 20], iscrowd=1, segmentation=run_lengths(4000, 0))
        add(content, 0, 3, content["annotations"][0]["bbox"], iscrowd=1)

    spoil(shapes, crowd)
    assert findings(shapes) == []


def plain_iou(one: list[float], other: list[float]) -> float:
    sides = [min(one[at + 2], other[at + 2]) - max(one[at], other[at]) for at in (0, 1)]
    shared = max(0, sides[0]) * max(0, sides[1])
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


@pytest.mark.parametrize("scale", [0.01, 1, 1000])
def test_the_same_boxes_are_those_of_a_plain_computation(scale: float):
    generator = np.random.default_rng(0)
    corners = generator.integers(-3, 6, (600, 2))
    boxes = (np.concatenate([corners, corners + generator.integers(20, 24, (600, 2))], axis=1) * scale).astype("f4")
    labels, crowd = generator.integers(0, 3, 600).astype(np.int32), generator.random(600) < 0.1
    firsts: dict[int, set[int]] = {}
    expected: list[tuple[bool, bool]] = []
    for k, box in enumerate(boxes.tolist()):
        near = {i for i in firsts if plain_iou(boxes[i].tolist(), box) > 0.95} if not crowd[k] else set()
        if not near and not crowd[k]:
            firsts[k] = {int(labels[k])}
        classes = [firsts[i] for i in near]
        expected.append((any(labels[k] in each for each in classes), bool(near)))
        for each in classes:
            each.add(int(labels[k]))
    same, other = find_same_boxes(boxes, labels, crowd)
    assert (same | other).tolist() == [near for _, near in expected] and 100 < (same | other).sum() < 550
    assert not (same & other).any() and (same <= [is_same for is_same, _ in expected]).all()


@pytest.mark.parametrize(
    "spread", [0, 1e-3, 10, 1e5], ids=["equal", "nearly equal", "near each other", "far from each other"]
)
def test_each_of_many_boxes_is_compared_with_few(spread: float, monkeypatch: pytest.MonkeyPatch):
    generator, count = np.random.default_rng(0), 3000
    corners = generator.random((count, 2)) * spread
    boxes = np.concatenate([corners, corners + 50 + generator.random((count, 2)) * spread], axis=1).astype(np.float32)
    comparisons = 0

    def counted(one, other):
        nonlocal comparisons
        comparisons += 1
        return box_iou(one, other)

    monkeypatch.setattr(same_boxes, "box_iou", counted)
    find_same_boxes(boxes, np.zeros(count, np.int32), np.zeros(count, np.bool_))
    assert comparisons <= 40 * count


def test_the_page_shows_the_objects_of_a_finding_in_their_image(shapes: Path, tmp_path: Path):
    spoil(shapes, changed(bbox=[10, 10, 0, 10]))
    spoil(shapes, lambda content: add(content, 0, 7, [0, 0, 0, 0], segmentation=[]))
    dataset = read_dataset(shapes)
    checked = get_task(dataset.task).check(dataset)
    found = checked.findings
    assert {each.kind: (each.positions, each.objects) for each in found}["empty_box"] == ((0, 0), (0, 2))
    write_check_report(tmp_path / "check.html", checked.survey, found)
    page = (tmp_path / "check.html").read_text()
    assert "Boxes of zero area" in page and "median side" in page
    # Six training images, and the one of the findings once for each, with both objects.
    assert "Images with their objects" in page and page.count("data:image/jpeg;base64") == 6 + len(found)


@pytest.mark.parametrize("name", ["bccd", "nuclei", "fruits_nuts", "coco128seg"])
def test_real_sets_have_no_false_errors(real_data, name: str):
    errors = [each for each in findings(real_data(name)) if each.severity == "error"]
    assert {each.kind for each in errors} <= (
        {"class_without_objects", "class_only_in_val"} if "coco" in name else set()
    )
