"""Names of classes and splits: one rule for all readers."""

from pathlib import Path

import pytest

from nextvit.data.class_names import find_similar_names, normalize_class_name
from nextvit.data.flags import read_flag
from nextvit.data.split_names import find_split_folders, standard_split
from nextvit.errors import InputError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("cat ", "cat"),
        ("\ufeffbolt", "bolt"),
        ("bolt\r", "bolt"),
        ("\ufeff \u200bbolt\u200b\u00a0", "bolt"),
        ("traffic  light", "traffic  light"),
        ("cafe\u0301", "caf\u00e9"),
        ("007", "007"),
        (" ", ""),
    ],
)
def test_class_names_are_equal_when_they_look_equal(text: str, name: str):
    assert normalize_class_name(text) == name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("TRAINING", "train"),
        ("train2017", "train"),
        ("val_2014", "val"),
        ("Valid", "val"),
        ("validation", "val"),
        ("dev", "val"),
        ("Test", "test"),
        ("cam1", None),
        ("train1", None),
        ("fold2", None),
        ("trainval", None),
        ("2017", None),
        ("rest", None),
    ],
)
def test_splits_are_recognised_by_their_usual_names_and_no_others(name: str, split: str | None):
    assert standard_split(name) == split


def test_folders_of_splits_are_found_and_two_of_one_split_are_refused(tmp_path: Path):
    assert find_split_folders(tmp_path / "missing") == {}
    for name in ("Val", "training", "test", "images", ".train"):
        (tmp_path / name).mkdir()
    assert find_split_folders(tmp_path) == {
        "train": tmp_path / "training",
        "val": tmp_path / "Val",
        "test": tmp_path / "test",
    }
    (tmp_path / "valid").mkdir()
    with pytest.raises(InputError, match="Val and valid are both the split val"):
        find_split_folders(tmp_path)


def test_names_that_differ_in_capitals_alone_are_kept_with_a_warning():
    assert find_similar_names(["cat", "dog", "Cats"]) == []
    [finding] = find_similar_names(["cat", "dog", "CAT", "Cat"])
    assert (finding.severity, finding.message) == ("warning", "'cat' and 'CAT' and 'Cat' are different classes")


@pytest.mark.parametrize(
    ("value", "flag"),
    [(0, False), (1, True), (False, False), (True, True), ("0", False), ("1", True), (" TRUE ", True), ("false", False),
     (None, False), (1.0, True)],
)  # fmt: skip
def test_a_flag_is_0_or_1_in_the_usual_forms(value: object, flag: bool):
    assert read_flag(value) is flag


@pytest.mark.parametrize("value", [2, -1, 0.5, "2", "yes", "", [], {}, [1], float("nan")])
def test_anything_else_is_no_flag(value: object):
    with pytest.raises(ValueError, match="is 0 or 1, got"):
        read_flag(value)
