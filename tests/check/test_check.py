"""What `nextvit check` finds."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from nextvit.check.survey import survey_images
from nextvit.data.dataset import Dataset
from nextvit.data.findings import KINDS, Finding, refuse_errors
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError, read_image
from nextvit.tasks.reading import read_dataset, read_with_findings
from nextvit.tasks.task import get_task
from tests.conftest import draw_dataset


def draw_scene(seed: int, *, size: tuple[int, int] = (96, 128)) -> Image.Image:
    """An image with large shapes, as photographs have them."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two classes of different images, with nothing to find."""
    seed = 0
    for split, count in (("train", 12), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "scenes" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                draw_scene(seed).save(folder / f"{index}.png")
                seed += 1
    return tmp_path / "scenes"


def findings(root: Path) -> dict[str, list[str]]:
    """The messages by kind."""
    dataset, faults = read_with_findings(root)
    found: dict[str, list[str]] = {}
    for finding in [*faults, *get_task(dataset.task).check(dataset).findings]:
        found.setdefault(finding.kind, []).append(finding.message)
    return found


def test_good_datasets_have_no_findings(scenes: Path, tmp_path: Path):
    assert findings(scenes) == {}
    assert findings(draw_dataset(tmp_path / "colours", train=10)) == {}


def resave(change: Callable[[Image.Image], Image.Image], source: str, target: str) -> Callable[[Path], object]:
    """A change to a dataset: one image read, changed, and saved under another name."""
    return lambda root: change(Image.open(root / source)).save(root / target)


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def copy(source: str, target: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / source, root / target)


def turned(image: Image.Image) -> Image.Image:
    image.getexif()[0x0112] = 6
    return image


def plain(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (10, 200, 30))


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (
            "unreadable",
            lambda root: (root / "train/cat/new.png").write_bytes(b"no image"),
            "train/cat/new.png: not an image in a known format",
        ),
        ("unreadable", lambda root: (root / "train/cat/new.png").write_bytes(b""), "train/cat/new.png"),
        ("duplicate_across_classes", copy("train/cat/1.png", "val/dog/new.png"), "train/cat/1.png, val/dog/new.png"),
        ("duplicate_across_splits", copy("train/cat/1.png", "val/cat/new.png"), "train/cat/1.png, val/cat/new.png"),
        ("duplicate", copy("train/cat/1.png", "train/cat/new.png"), "train/cat/1.png, train/cat/new.png"),
        (
            "near_duplicate_across_splits",
            resave(half, "train/cat/1.png", "val/cat/new.jpg"),
            "train/cat/1.png, val/cat/new.jpg",
        ),
        (
            "near_duplicate_across_classes",
            resave(lambda image: ImageEnhance.Brightness(image).enhance(1.1), "train/cat/1.png", "train/dog/new.jpg"),
            "train/cat/1.png, train/dog/new.jpg",
        ),
        (
            "near_duplicate",
            resave(half, "train/cat/1.png", "train/cat/new.png"),
            "2 images with nearly the same one in class and split, first: train/cat/1.png, train/cat/new.png",
        ),
        (
            "wrong_suffix",
            lambda root: draw_scene(99).save(root / "train/cat/new.jpg", "PNG"),
            "1 image in PNG, named as JPEG, first: train/cat/new.jpg",
        ),
        ("class_only_in_train", lambda root: shutil.rmtree(root / "val/dog"), "'dog' has no validation images"),
        (
            "tiny_class",
            lambda root: [path.unlink() for path in (root / "train/dog").glob("1*.png")],
            "class 'dog' has only 9 training images",
        ),
        (
            "tiny",
            lambda root: draw_scene(99, size=(31, 64)).save(root / "train/cat/new.png"),
            "1 image with a side below 32 px, first: train/cat/new.png (31x64)",
        ),
        ("elongated", lambda root: draw_scene(99, size=(400, 90)).save(root / "train/cat/new.png"), "(400x90)"),
        (
            "too_elongated",
            lambda root: draw_scene(99, size=(32, 90_000)).save(root / "train/cat/new.png"),
            "train/cat/new.png (32x90000)",
        ),
        ("one_colour", lambda root: plain(64, 64).save(root / "train/cat/new.jpg"), "first: train/cat/new.jpg"),
        ("cmyk", lambda root: draw_scene(99).convert("CMYK").save(root / "train/cat/new.jpg"), "1 image in CMYK"),
        (
            "deep",
            lambda root: Image.fromarray(np.asarray(draw_scene(99).convert("L")).astype(np.uint16) * 257).save(
                root / "train/cat/new.png"
            ),
            "1 image of more than 8 bits",
        ),
        (
            "animated",
            lambda root: draw_scene(99).save(root / "train/cat/new.gif", save_all=True, append_images=[draw_scene(98)]),
            "1 image of several frames",
        ),
        (
            "turned",
            lambda root: turned(draw_scene(99)).save(root / "train/cat/new.jpg", exif=turned(plain(8, 8)).getexif()),
            "1 image turned by EXIF",
        ),
        ("empty_class", lambda root: (root / "train/cow").mkdir(), "cow: class without images"),
        (
            "class_only_in_val",
            lambda root: (root / "val/dog").rename(root / "val/cow"),
            "'cow' is in val but not in train",
        ),
        ("empty_split", lambda root: [shutil.rmtree(root / "val"), (root / "val").mkdir()], "val: no images"),
        (
            "single_class",
            lambda root: [shutil.rmtree(root / split / "dog") for split in ("train", "val")],
            "train has the single class 'cat'",
        ),
        (
            "bad_name",
            lambda root: Path(os.fsdecode(os.fsencode(root / "train/cat") + b"/\xe9.png")).write_bytes(b""),
            "is not UTF-8; rename it",
        ),
    ],
)
def test_each_fault_is_found_and_its_files_are_named(scenes: Path, kind: str, change, words: str):
    change(scenes)
    found = findings(scenes)
    assert words in found[kind][0]
    assert found.keys() <= {kind, "class_only_in_train"}  # the second follows from a class that val names otherwise


def test_uneven_classes_are_found(scenes: Path):
    for index in range(3, 12):
        (scenes / "train" / "dog" / f"{index}.png").unlink()
    for seed in range(40):
        draw_scene(1000 + seed).save(scenes / "train" / "cat" / f"more{seed}.png")
    assert findings(scenes)["imbalance"] == ["52 training images of 'cat', 3 of 'dog'"]


def test_a_class_that_is_grey_alone_is_found(scenes: Path):
    for path in scenes.glob("*/dog/*.png"):
        Image.open(path).convert("L").convert("RGB").save(path)
    assert findings(scenes) == {"grey_share": ["100% of the images of 'dog' are grey, 0% of 'cat'"]}
    for path in scenes.glob("*/cat/*.png"):
        Image.open(path).convert("L").save(path)
    assert findings(scenes) == {}


def test_faults_of_the_structure_are_all_listed_and_still_refused_by_training(scenes: Path):
    (scenes / "train" / "cow").mkdir()
    shutil.copytree(scenes / "val" / "dog", scenes / "val" / "hen")
    (scenes / "train" / "cat" / "0.png").write_bytes(b"")
    assert findings(scenes).keys() >= {"empty_class", "class_only_in_val", "unreadable", "duplicate_across_classes"}
    with pytest.raises(InputError, match="cow: class without images"):
        read_dataset(scenes)


def test_bad_rows_of_a_list_are_all_listed(scenes: Path):
    with (scenes / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        rows.writerows([f"{split}/{name}/0.png", name, split] for split in ("train", "val") for name in ("cat", "dog"))
        rows.writerows([["gone.png", "cat", "train"], ["train/cat/1.png", "cat", "test"], ["", "cat", ""]])
    (scenes / "train" / "cat" / "0.png").write_bytes(b"")
    assert findings(scenes / "list.csv")["unreadable"][0].startswith("train/cat/0.png: ")
    lines = [message.partition("list.csv, ")[2] for message in findings(scenes / "list.csv")["bad_row"]]
    assert lines == [
        f"line 6: no such file: {scenes / 'gone.png'}",
        "line 7: split must be train or val, got 'test'",
        "line 8: path or label is empty",
    ]


def test_images_of_several_classes_are_compared_by_all_of_them(scenes: Path):
    paths = sorted((scenes / "train" / "cat").iterdir())
    again = shutil.copy(paths[0], scenes / "again.png")
    labelled = [(path, (0, 1)) for path in paths]
    same = Dataset(
        root=scenes,
        classes=("a", "b"),
        splits={"train": Samples.pack([*labelled, (again, (0, 1))]), "val": Samples.pack([])},
    )
    other = Dataset(
        root=scenes,
        classes=("a", "b"),
        splits={"train": Samples.pack([*labelled, (again, (1,))]), "val": Samples.pack([])},
    )
    assert [finding.kind for finding in get_task(same.task).check(same).findings] == ["duplicate"]
    assert [finding.kind for finding in get_task(other.task).check(other).findings] == ["duplicate_across_classes"]


def test_a_dataset_of_nothing_readable_is_checked_to_the_end(scenes: Path):
    for path in scenes.rglob("*.png"):
        path.write_bytes(b"")
    assert {kind: len(messages) for kind, messages in findings(scenes).items()} == {"unreadable": 32}


def test_positions_lead_to_the_images(scenes: Path):
    shutil.copy(scenes / "train" / "cat" / "1.png", scenes / "val" / "dog" / "new.png")
    dataset = read_dataset(scenes)
    survey = survey_images(dataset)
    [finding] = get_task(dataset.task).check(dataset).findings
    places = [survey.locate(position) for position in finding.positions]
    assert [(split, sample.path.name) for split, sample in places] == [("train", "1.png"), ("val", "new.png")]
    with pytest.raises(IndexError):
        survey.locate(len(survey.rows))


def test_a_survey_costs_few_bytes_an_image(scenes: Path):
    assert survey_images(read_dataset(scenes)).rows.itemsize <= 256


def test_errors_are_refused_in_one_line_that_says_what_to_do():
    refuse_errors([Finding("tiny", "small"), Finding("unreadable", "x.png: damaged")], dataset="photos")
    found = [Finding("duplicate_across_splits", "a.png, b.png"), Finding("too_elongated", "c.png")]
    with pytest.raises(InputError) as caught:
        refuse_errors(found, dataset="photos")
    assert str(caught.value) == (
        "photos: 2 errors in the data, first: the same file in train and in val (a.png, b.png); "
        "see nextvit check photos, or train anyway with --data.allow-errors"
    )


def test_kinds_stand_in_order_of_severity_and_in_the_docs():
    severities = [kind.severity for kind in KINDS.values()]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert listed == list(KINDS)


def test_odd_files_are_named_or_read_and_none_stops_the_check(real_data):
    root = real_data("odd_inputs")
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".md", ".csv")]
    dataset = Dataset(
        root=root,
        classes=("a", "b"),
        splits={"train": Samples.pack((path, (0,)) for path in paths), "val": Samples.pack([])},
    )
    survey = survey_images(dataset)
    for position, path in enumerate(paths):
        try:
            size = read_image(path).size
        except DecodeError as error:
            assert str(error) == f"{path}: {survey.unreadable[position]}"
        else:
            assert tuple(survey.rows["size_wh"][position]) == size
    kinds = {finding.kind for finding in get_task(dataset.task).check(dataset).findings}
    assert kinds >= {"unreadable", "wrong_suffix", "tiny", "turned", "cmyk", "deep", "animated"}


@pytest.mark.parametrize("name", ["clothing10", "signdigits10"])
def test_similar_photographs_raise_no_false_alarm(real_data, name: str):
    dataset = read_dataset(real_data(name))
    assert get_task(dataset.task).check(dataset).findings == []


def test_a_list_without_a_single_label_is_a_finding_and_no_crash(scenes: Path):
    image = next((scenes / "train").rglob("*.png"))
    (scenes / "list.csv").write_text(f"path,labels,split\n{image.relative_to(scenes)},,train\n")
    dataset, faults = read_with_findings(scenes / "list.csv")
    assert faults
    get_task(dataset.task).check(dataset)
