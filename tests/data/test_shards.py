"""Tar shards: the same samples as the source, readable by others, and nothing damaged goes unnoticed."""

import json
import multiprocessing
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample, Samples
from nextvit.data.shards import write_shards
from nextvit.errors import InputError
from nextvit.files.durable import compute_sha256
from nextvit.image.reading import DecodeError, Encoded, read_image
from nextvit.image.resizing import Preprocess
from nextvit.tasks.reading import read_dataset
from nextvit.views.evaluation_batches import evaluation_batches
from nextvit.views.training_batches import Batch, EpochSampler, TrainingSet, training_batches
from tests.views.sources import labelled_source


def shard(source: Dataset, out: Path, *, shard_bytes: int = 30_000) -> Path:
    write_shards(
        source.splits, source.classes, out, task=source.task, shard_bytes=shard_bytes, written=lambda name, images: None
    )
    return out


@pytest.fixture
def shards(colours: Path, tmp_path: Path) -> Path:
    """The dataset `colours` in several shards."""
    return shard(read_dataset(colours), tmp_path / "shards")


def members(path: Path) -> dict[str, bytes]:
    """What a tar file holds, as Python's own reader sees it."""
    with tarfile.open(path, "r:") as archive:
        contents = {member.name: archive.extractfile(member) for member in archive}
        return {name: content.read() for name, content in contents.items() if content}


def test_a_shard_folder_is_the_dataset_that_it_was_made_from(colours: Path, shards: Path):
    source, copy = read_dataset(colours), read_dataset(shards)
    assert copy.classes == source.classes
    for split in ("train", "val"):
        assert [sample.labels for sample in copy.split(split)] == [sample.labels for sample in source.split(split)]
        assert [sample.read() for sample in copy.split(split)] == [sample.read() for sample in source.split(split)]
        assert copy.split(split).counts(3).tolist() == source.split(split).counts(3).tolist()
    assert len(list(shards.glob("train-*.tar"))) > 2


def test_other_readers_find_each_image_followed_by_its_class(colours: Path, shards: Path):
    found = []
    for path in sorted(shards.glob("train-*.tar")):
        listed = list(members(path).items())
        for (image, content), (label, text) in zip(listed[::2], listed[1::2], strict=True):
            assert (image.count("."), label) == (1, image.replace(".png", ".cls"))
            found.append((content, int(text)))
    expected = [(sample.read(), sample.label) for sample in read_dataset(colours).split("train")]
    assert sorted(found) == sorted(expected)
    assert len({label for _, label in found[:8]}) > 1  # mixed, for those who read in order


def test_the_same_data_gives_the_same_shards(colours: Path, shards: Path, tmp_path: Path):
    again = shard(read_dataset(colours), tmp_path / "again")
    for path in shards.glob("*.tar"):
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_names_with_dots_and_unknown_suffixes_keep_to_the_layout(tmp_path: Path):
    (tmp_path / "a.b.JPEG").write_bytes(b"one")
    (tmp_path / "caf\u00e9.cls").write_bytes(b"two")
    samples = Samples.pack([(tmp_path / "a.b.JPEG", (0,)), (tmp_path / "caf\u00e9.cls", (1,))])
    out = shard(Dataset(root=tmp_path, classes=("a", "b"), splits={"val": samples, "train": samples}), tmp_path / "out")
    assert members(out / "val-000000.tar") == {
        "00000000-a_b.jpeg": b"one",
        "00000000-a_b.cls": b"0",
        "00000001-caf\u00e9.img": b"two",
        "00000001-caf\u00e9.cls": b"1",
    }
    assert [sample.read() for sample in read_dataset(out).split("train")] == [b"one", b"two"]


def test_several_labels_are_written_as_json(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"picture")
    samples = Samples.pack([(tmp_path / "x.png", (0, 2)), (tmp_path / "x.png", ()), (tmp_path / "x.png", (1,))])
    splits = {"train": samples, "val": samples}
    out = shard(Dataset(root=tmp_path, classes=("a", "b", "c"), splits=splits, task="multilabel"), tmp_path / "o")
    assert read_dataset(out).task == "multilabel"
    assert [sample.labels for sample in read_dataset(out).split("train")] == [(0, 2), (), (1,)]
    written = members(out / "val-000000.tar")
    assert [json.loads(written[f"0000000{row}-x.json"]) for row in range(3)] == [[0, 2], [], [1]]


def batches_of(root: Path, *, epoch: int, workers: int) -> list[Batch]:
    samples = read_dataset(root).split("train")
    sampler = EpochSampler(len(samples), batch_size=5, seed=0)
    sampler.epoch = epoch
    return list(
        training_batches(
            TrainingSet(labelled_source(samples), seed=0),
            sampler,
            workers=workers,
        )
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_are_those_of_the_source_to_the_bit(colours: Path, shards: Path, workers: int):
    for epoch in range(2):
        source, copy = (batches_of(root, epoch=epoch, workers=workers) for root in (colours, shards))
        assert len(source) == len(copy) == 4
        for one, other in zip(source, copy, strict=True):
            assert torch.equal(one.images, other.images) and one.indices == other.indices


def test_evaluation_sees_the_same_pixels_in_the_same_order(colours: Path, shards: Path):
    spec = Preprocess(image_size=(32, 32))
    source, copy = (list(evaluation_batches(read_dataset(root).split("val"), spec)) for root in (colours, shards))
    assert np.array_equal(source[0].inputs["images"], copy[0].inputs["images"])
    assert [sample.label for sample in source[0].samples] == [sample.label for sample in copy[0].samples]


def test_samples_are_read_in_processes_that_share_nothing(shards: Path):
    samples = read_dataset(shards).split("val")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(Sample.read, samples) == [sample.read() for sample in samples]


def test_an_image_is_found_by_its_path_into_a_shard(shards: Path):
    sample = read_dataset(shards).split("val")[3]
    assert sample.path.parent == shards / "val-000000.tar"
    expected = read_image(Encoded(sample.read(), "image"))
    assert np.array_equal(np.asarray(read_image(sample.path)), np.asarray(expected))
    with pytest.raises(DecodeError, match=r"val-000000\.tar/nowhere\.png: no such file"):
        read_image(sample.path.with_name("nowhere.png"))
    (shards / "empty.tar").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"empty\.tar/x\.png: damaged"):
        read_image(shards / "empty.tar" / "x.png")


def test_changed_bytes_of_an_image_are_noticed(shards: Path):
    samples = read_dataset(shards).split("train")
    changed = samples[7]
    assert changed.member
    with changed.member.archive.open("r+b") as file:
        file.seek(changed.member.offset + 40)
        file.write(b"\x00\x01\x02")
    with pytest.raises(DecodeError, match="damaged") as caught:
        samples[7].read()
    assert str(changed.path) in str(caught.value) and "its checksum is not the recorded one" in str(caught.value)


def test_a_shard_that_is_cut_off_or_gone_while_training_is_named(shards: Path):
    sample = read_dataset(shards).split("val")[2]
    assert sample.member
    path = sample.member.archive
    path.write_bytes(path.read_bytes()[: sample.member.offset + 10])
    with pytest.raises(DecodeError, match=rf"{path.name} is cut off"):
        sample.read()
    path.unlink()
    with pytest.raises(DecodeError, match=rf"{path.name}/\S+: no such file"):
        sample.read()


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "train-000001.tar").unlink(), r"train-000001\.tar: missing"),
        (
            lambda root: (root / "train-000001.tar").write_bytes(b"short"),
            r"train-000001\.tar: cut off or changed, .* 5 b",
        ),
        (lambda root: (root / "val.index.npz").unlink(), r"val\.index\.npz: missing"),
        (lambda root: (root / "val.index.npz").write_bytes(b"short"), r"val\.index\.npz: damaged or changed"),
        (lambda root: (root / "shards.json").write_text("{"), r"shards\.json: line 1: not valid JSON"),
        (lambda root: edit(root / "shards.json", version=2), r"shards\.json: has version 2; this nextvit reads 1"),
        (lambda root: edit(root / "shards.json", splits={}), r"shards\.json: lacks the split 'train'"),
        (lambda root: edit(root / "shards.json", splits={"train": {"images": 1}}), r"shards\.json, train: lacks"),
        (
            lambda root: edit(root / "shards.json", classes=["red", "green"]),
            r"shards\.json: changed, it has fewer classes",
        ),
        (lambda root: (root / "shards.json").unlink(), r"tar files without shards\.json"),
    ],
)
def test_damaged_shard_folders_get_one_clear_line(shards: Path, change, message: str):
    change(shards)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(shards)
    assert str(shards) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_in_use_is_refused_and_left_alone(colours: Path):
    with pytest.raises(InputError, match="not an empty folder; choose another --out"):
        shard(read_dataset(colours), colours)
    assert len(read_dataset(colours).split("train")) == 24


def test_a_file_that_cannot_be_read_leaves_nothing_behind(colours: Path, tmp_path: Path):
    source = read_dataset(colours)
    (colours / "val" / "red" / "0.png").unlink()
    with pytest.raises(InputError, match=r"0\.png: no such file"):
        shard(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["colours"]


def test_samples_in_shards_can_be_followed_by_files(shards: Path, colours: Path):
    samples = read_dataset(shards).split("train")
    files = Samples.pack((path, ()) for path in sorted((colours / "val").rglob("*.png")))
    both = samples.concat(files)
    assert list(both) == [*samples, *files]
    assert [sample.read() for sample in both] == [sample.read() for sample in (*samples, *files)]


def index_with(**changes: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Change arrays of val's index, leave out those of which a change gives None, and write the checksum that fits."""

    def change(root: Path) -> None:
        with np.load(root / "val.index.npz") as stored:
            arrays = dict(stored)
        for name, each in changes.items():
            arrays[name] = each(arrays[name])
        np.savez(root / "val.index.npz", **{name: each for name, each in arrays.items() if each is not None})
        contents = json.loads((root / "shards.json").read_text())
        contents["splits"]["val"]["index_sha256"] = compute_sha256(root / "val.index.npz")
        (root / "shards.json").write_text(json.dumps(contents))

    return change


def first_is(value: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.concatenate([np.full_like(array[:1], value), array[1:]])


@pytest.mark.parametrize(
    "change",
    [
        index_with(**{name: lambda _: None})
        for name in ("names", "name_ends", "labels", "label_ends", "shard", "offset", "size", "sha256")
    ]
    + [
        index_with(shard=first_is(99)),
        index_with(shard=first_is(-1)),
        index_with(shard=lambda array: array[:-1]),
        index_with(shard=lambda array: array.astype(float)),
        index_with(offset=first_is(-1)),
        index_with(offset=first_is(2**62)),
        index_with(size=first_is(2**62)),
        index_with(size=first_is(-1)),
        index_with(size=lambda array: array[:, None]),
        index_with(names=lambda array: array[:-1]),
        index_with(name_ends=first_is(1)),
        index_with(name_ends=lambda array: array[::-1]),
        index_with(label_ends=lambda array: array * 2),
        index_with(labels=first_is(-5)),
        index_with(labels=first_is(99)),
        index_with(labels=lambda array: array.astype("U")),
        index_with(sha256=lambda array: array[:, :31]),
    ],
)
def test_an_index_that_does_not_belong_to_its_shards_is_refused_in_a_line(shards: Path, change: Callable[[Path], None]):
    change(shards)
    with pytest.raises(InputError) as caught:
        read_dataset(shards)
    assert str(shards) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "null", "[" * 5000, '{"classes": ["a"], "splits": []}', '{"classes": "a", "splits": {}}',
     '{"classes": [1], "splits": {}}', '{"classes": ["a"], "splits": {"train": 3, "val": 3}}',
     '{"classes": ["a"], "splits": {}, "task": "detection"}', '{"classes": ["a"], "splits": {}, "task": "x"}',
     '{"classes": ["a"], "splits": {"train": {"images": -1, "index_sha256": "", "shards": {}}}}',
     '{"classes": ["a"], "splits": {"train": {"images": 1, "index_sha256": "", "shards": {"../a.tar": 1}}}}',
     '{"classes": ["a"], "splits": {"train": {"images": 1, "index_sha256": "", "shards": {"/dev/zero": 0}}}}',
     '{"classes": ["a"], "splits": {"train": {"images": 1, "index_sha256": "", "shards": {"a": "1"}}}}'],
)  # fmt: skip
def test_contents_that_are_damaged_are_refused_in_a_line(shards: Path, text: str):
    (shards / "shards.json").write_text(text)
    with pytest.raises(InputError, match=r"shards\.json") as caught:
        read_dataset(shards)
    assert "\n" not in str(caught.value)
