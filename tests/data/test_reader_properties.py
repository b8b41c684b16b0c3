"""Whatever is in a text file of a dataset, its reader gives a dataset, findings or one line, and no other exception."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextvit.data.split_names import SPLITS
from nextvit.errors import InputError
from nextvit.tasks.reading import read_split, read_with_findings
from tests.data.coco_by_hand import CATEGORIES, draw_objects
from tests.data.masks_by_hand import draw_masked

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = st.integers(-3, 100) | st.floats() | st.integers() | st.sampled_from([2**31, 2**62, 1e308])
VALUES = st.none() | st.booleans() | NUMBERS | st.text(max_size=6) | st.sampled_from(["0.png", "train", "1", "cat "])
ANY_JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
SEGMENTATIONS = (
    st.lists(st.lists(NUMBERS, max_size=8), max_size=3)
    | st.fixed_dictionaries({"size": st.just([72, 96]) | ANY_JSON, "counts": st.lists(NUMBERS, max_size=5) | st.text()})
    | ANY_JSON
)


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A record that may lack fields, hold anything in one, or be no record at all."""
    return st.fixed_dictionaries({}, optional={name: each | VALUES for name, each in fields.items()}) | ANY_JSON


COCO = record(
    images=st.lists(
        record(
            id=st.integers(0, 3), file_name=st.sampled_from(["0.png", "1.png"]), width=st.just(96), height=st.just(72)
        ),
        max_size=4,
    ),
    annotations=st.lists(
        record(
            id=st.integers(0, 9),
            image_id=st.integers(0, 3),
            category_id=st.sampled_from([3, 7]),
            bbox=st.lists(NUMBERS, min_size=4, max_size=4),
            segmentation=SEGMENTATIONS,
            iscrowd=st.sampled_from([0, 1, "1"]),
        ),
        max_size=6,
    ),
    categories=st.just(CATEGORIES) | st.lists(record(id=st.integers(0, 3), name=st.text(max_size=3)), max_size=3),
)

LINES = st.sampled_from(
    ["path", "label", "labels", "split", ",", "\n", "\r", '"', "|", "a.png", "train", "val", " ", "\0"]
)
CSV_BYTES = st.binary(max_size=60) | st.lists(LINES, max_size=30).map(lambda parts: "".join(parts).encode())
ROWS = st.lists(st.lists(LINES | st.text(max_size=4), max_size=4).map("".join), max_size=6).map(
    lambda rows: "\n".join(["path,labels,split", *rows]).encode(errors="surrogatepass")
)
NAMES = st.binary(max_size=60) | st.lists(
    st.sampled_from(["cat", "dog", " ", "\n", "\r\n", "\ufeff", "\0"]), max_size=20
).map(lambda parts: "".join(parts).encode())


def read_all(root: Path) -> None:
    """Read a dataset in each way; each gives findings in one line, or an `InputError` of one line."""
    for read in (
        lambda: read_with_findings(root)[1],
        *(lambda split=split: read_split(root, split) and [] for split in SPLITS),
    ):
        try:
            messages = [finding.message for finding in read()]
        except InputError as error:
            messages = [str(error)]
        for message in messages:
            assert message and "\n" not in message


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_objects(tmp_path_factory.mktemp("objects"), train=2, val=1)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_masked(tmp_path_factory.mktemp("masked"), train=2, val=1)


@BOUNDED
@given(content=COCO)
def test_any_json_in_cocos_place_is_a_dataset_or_named(objects: Path, content: Any):
    (objects / "annotations" / "instances_train.json").write_text(json.dumps(content))
    read_all(objects)


@BOUNDED
@given(content=st.binary(max_size=80))
def test_any_bytes_in_cocos_place_are_refused_in_one_line(objects: Path, content: bytes):
    (objects / "annotations" / "instances_train.json").write_bytes(content)
    read_all(objects)


@BOUNDED
@given(content=CSV_BYTES | ROWS)
def test_any_bytes_as_a_list_are_a_dataset_or_named(tmp_path: Path, content: bytes):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "list.csv").write_bytes(content)
    read_all(tmp_path / "list.csv")


@BOUNDED
@given(content=NAMES)
def test_any_bytes_as_a_list_of_classes_are_names_or_refused(masked: Path, content: bytes):
    (masked / "classes.txt").write_bytes(content)
    read_all(masked)
