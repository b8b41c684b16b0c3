"""Images without labels: a folder, a list or shards; what has labels is refused."""

import shutil
from pathlib import Path

import pytest

from nextvit.data.hold_out import is_held_out
from nextvit.data.shards import write_shards
from nextvit.errors import InputError
from nextvit.tasks.reading import find_task, read_dataset, read_with_findings
from tests.conftest import draw_dataset

TASK = "distillation"


@pytest.fixture
def photos(tmp_path: Path, images: list[Path]) -> Path:
    """Forty images in a folder and one below it."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for number in range(40):
        folder = tmp_path / "photos" / ("more" if number % 4 == 0 else "")
        shutil.copy(images[number % len(images)], folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_folder_gives_all_its_images_and_holds_out_a_tenth_by_name(photos: Path):
    dataset = read_dataset(photos, task=TASK)
    assert (dataset.task, dataset.classes) == (TASK, ())
    names = {split: {Path(name).name for name in samples.names()} for split, samples in dataset.splits.items()}
    assert names["train"] | names["val"] == {f"{number}.png" for number in range(40)}
    assert names["val"] == {name for name in names["train"] | names["val"] if is_held_out(name)} != set()
    assert all(sample.labels == () for sample in dataset.split("train"))


def test_folders_of_splits_are_splits(photos: Path, tmp_path: Path):
    for split in ("train", "val"):
        shutil.copytree(photos / "more", tmp_path / "splits" / split)
    dataset = read_dataset(tmp_path / "splits", task=TASK)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 10, "val": 10}


def test_a_list_gives_its_paths_in_its_splits(photos: Path):
    rows = [f"{number}.png,{'val' if number > 30 else 'train'}" for number in range(40) if number % 4]
    (photos / "list.csv").write_text("\n".join(["path,split", *rows, "gone.png,train", ",train", "1.png,other"]))
    dataset, findings = read_with_findings(photos / "list.csv", task=TASK)
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"train": 23, "val": 7}
    messages = [finding.message for finding in findings if finding.kind == "bad_row"]
    assert len(messages) == 3
    for message, words in zip(messages, ("no such file", "path is empty", "split must be"), strict=True):
        assert words in message


def test_shards_keep_the_images_and_say_that_there_are_no_labels(photos: Path, tmp_path: Path):
    dataset = read_dataset(photos, task=TASK)
    write_shards(
        dataset.splits, (), tmp_path / "shards", task=TASK, shard_bytes=10_000, written=lambda name, count: None
    )
    assert find_task(tmp_path / "shards").name == TASK
    packed = read_dataset(tmp_path / "shards")
    for split in ("train", "val"):
        assert [each.read() for each in packed.split(split)] == [each.read() for each in dataset.split(split)]


def test_a_plain_folder_is_unlabelled_only_where_that_is_asked_for(photos: Path):
    with pytest.raises(InputError, match="has no folder 'train'"):
        read_dataset(photos)


def test_images_with_labels_are_refused_with_the_way_to_use_them(tmp_path: Path):
    root = draw_dataset(tmp_path / "colours", train=2, val=2)
    (tmp_path / "labels.csv").write_text("path,label\na.png,red\n")
    (tmp_path / "several.csv").write_text("path,labels\na.png,red|blue\n")
    labelled = read_dataset(root)
    write_shards(
        labelled.splits,
        labelled.classes,
        tmp_path / "shards",
        task="classification",
        shard_bytes=10_000,
        written=lambda name, count: None,
    )
    for path in (root, tmp_path / "labels.csv", tmp_path / "several.csv", tmp_path / "shards"):
        with pytest.raises(InputError, match=r"has labels, .* --recipe finetune and --teacher"):
            read_dataset(path, task=TASK)
    assert len(read_with_findings(root / "train", task=TASK)[0].split("train")) > 0


def test_what_holds_no_image_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such folder; expected a folder of images"):
        read_dataset(tmp_path / "nowhere", task=TASK)
    with pytest.raises(InputError, match="holds no image"):
        read_dataset(tmp_path, task=TASK)
    (tmp_path / "list.csv").write_text("file\na.png\n")
    with pytest.raises(InputError, match="the column path"):
        read_dataset(tmp_path / "list.csv", task=TASK)
