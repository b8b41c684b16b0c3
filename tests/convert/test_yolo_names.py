"""Class names stay as they stand in their files."""

from pathlib import Path

import pytest

from nextvit.errors import InputError
from tests.convert.small_sets import class_names, convert, write_texts, write_yolo


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("[no, yes]", ["no", "yes"]),
        ("[off, on, y, N, TRUE]", ["off", "on", "y", "N", "TRUE"]),
        ("[007, 12:30, 1e3, 0x10, 1_000]", ["007", "12:30", "1e3", "0x10", "1_000"]),
        ("[null, bolt, ~]", ["null", "bolt", "~"]),
        ("[2023-02-30, .inf]", ["2023-02-30", ".inf"]),
        ("{0: no, 1: 'yes', 2: \"007\"}", ["no", "yes", "007"]),
        ("{5: bolt, 0: nut}", ["nut", "bolt"]),
        ("\n  - ' bolt '\n  - hex nut", ["bolt", "hex nut"]),
        ('["\\ufeffbolt", "caf\\u00e9", "Stu\\u0308hle"]', ["bolt", "café", "Stühle"]),
    ],
)
def test_names_of_data_yaml_are_texts(tmp_path: Path, names: str, expected: list[str]):
    convert(write_yolo(tmp_path / "set", "images/a.jpg", data=f"names: {names}\n"))
    assert class_names(tmp_path / "set") == expected


@pytest.mark.parametrize(
    "file", ["classes.txt", "obj.names", "_darknet.labels", "Classes.TXT", "labels/classes.txt", "coco.names"]
)
def test_names_are_read_from_text_files(tmp_path: Path, file: str):
    root = write_yolo(tmp_path / "set", "images/a.jpg", data=None)
    found, _ = convert(write_texts(root, {file: "\ufeffbolt\r\nno \r\n\r\n"}))
    assert class_names(root) == ["bolt", "no"]
    assert not found.left_out


def test_obj_data_states_the_file_of_the_names(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/a.jpg", data=None)
    data = "classes = 2\ntrain = data/train.txt\nnames = cfg/my.list.txt\n"
    texts = {"obj.data": data, "my.list.txt": "bolt\nnut\n", "train.txt": "images/a.jpg\n"}
    found, _ = convert(write_texts(root, texts))
    assert class_names(root) == ["bolt", "nut"]
    assert not found.left_out


def test_gaps_keep_their_numbers(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/a.jpg", data="names: {3: bolt, 7: nut}", rows="7 .5 .5 .1 .1")
    _, written = convert(root)
    assert written["train"]["a.jpg"][0]["category_id"] == 7


def test_names_further_down_that_say_otherwise_are_named(tmp_path: Path):
    root = write_yolo(tmp_path / "set", "images/a.jpg")
    found, _ = convert(write_texts(root, {"labels/classes.txt": "dog\ncat\n"}))
    assert class_names(root) == ["bolt", "nut"]
    assert "class names: from data.yaml" in found.remarks
    assert "left out: 1 file (labels/classes.txt): class names that are not used" in found.remarks


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"data.yaml": "names: [bolt, 'bolt ']"}, "the classes 0 and 1 are both named 'bolt'"),
        ({"classes.txt": "bolt\nnut\nbolt\n"}, "the classes 0 and 2 are both named 'bolt'"),
        ({"data.yaml": "names: [bolt, '']"}, "a class name must be a text, got ''"),
        ({"data.yaml": "names: [bolt, [nut]]"}, "a class name must be a text, got ['nut']"),
        ({"data.yaml": "names: []"}, "names must be a list"),
        ({"data.yaml": "names: {a: bolt}"}, "names must be a list, or a dict with numbers as keys"),
        ({"data.yaml": "names: [bolt]\nnc: 2"}, "data.yaml: states 2 classes, data.yaml names 1"),
        (
            {"data.yaml": "names: [bolt, nut]", "classes.txt": "nut\nbolt\n"},
            "data.yaml and classes.txt name the classes diff",
        ),
        (
            {"t1/classes.txt": "nut\nbolt\n", "t2/classes.txt": "bolt\nnut\n"},
            "t1/classes.txt and t2/classes.txt name the",
        ),
        ({"data.yaml": "names: [a]\nx: !!bool zz"}, "data.yaml: "),
        ({"data.yaml": "names: [a]\nx: &x [*x]"}, "data.yaml: line 2"),
        ({"data.yaml": f"names: [a]\nx: {'[' * 3000}"}, "nested more than 100 levels deep"),
        (
            {
                "data.yaml": "a: &a [x,x,x,x,x,x,x,x,x]\n"
                + "".join(
                    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
                )
                + "names: *i"
            },
            "data.yaml: ",
        ),
        ({"classes.txt": b"caf\xe9\n"}, "classes.txt: line 1: not UTF-8"),
    ],
)
def test_names_in_doubt_and_harmful_files_are_refused(tmp_path: Path, texts: dict[str, str | bytes], words: str):
    root = write_texts(write_yolo(tmp_path / "set", "images/a.jpg", data=None), texts)
    with pytest.raises(InputError) as caught:
        convert(root)
    assert words in str(caught.value) and "\n" not in str(caught.value)
