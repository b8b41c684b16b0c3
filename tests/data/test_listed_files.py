"""Files are found under the names that other systems give them in lists and in annotations."""

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from nextvit.data.listed_files import ListedFiles
from nextvit.tasks.reading import read_dataset, read_split
from tests.data.coco_by_hand import draw_objects

COMPOSED = unicodedata.normalize("NFC", "caf\u00e9.png")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/b.png", "a/b.png"),
        ("a/b.png", "./a//b.png"),
        ("a/b.png", "a\\b.png"),
        ("a/b.png", ".\\a\\b.png"),
        ("a b.png", "a%20b.png"),
        ("a/b c.png", "a%5Cb%20c.png"),
        ("b.JPG", "b.jpg"),
        (f"a/{COMPOSED}", f"a/{DECOMPOSED}"),
        (f"a/{DECOMPOSED}", f"a/{COMPOSED}"),
        ("a%20b.png", "a%20b.png"),
        ("a\\b.png", "a\\b.png"),
    ],
)
def test_a_file_is_found_as_other_systems_write_its_name(tmp_path: Path, file: str, name: str):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    assert ListedFiles(str(tmp_path)).find(name) == str(tmp_path / file)
    assert ListedFiles("/").find(str(tmp_path / file)) == str(tmp_path / file)


@pytest.mark.parametrize("name", ["", ".", "c.png", "a", "\0", "b%00.png", "C:\\data\\b.png", "x" * 5000, "%", "%zz"])
def test_what_is_not_there_is_not_found(tmp_path: Path, name: str):
    (tmp_path / "a").mkdir()
    (tmp_path / "b.png").write_bytes(b"")
    assert ListedFiles(str(tmp_path)).find(name) is None


def test_two_files_that_differ_in_capitals_are_not_confused(tmp_path: Path):
    for name in ("a.png", "A.png"):
        (tmp_path / name).write_bytes(b"")
    files = ListedFiles(str(tmp_path))
    assert [files.find(name) for name in ("a.png", "A.png", "a.PNG")] == [
        str(tmp_path / "a.png"),
        str(tmp_path / "A.png"),
        None,
    ]


def test_lists_and_annotations_of_windows_are_read(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    (tmp_path / "list.csv").write_bytes(
        b"\xef\xbb\xbfpath,label,split\r\na\\0.png,a,val\r\n.\\b\\0.png,b\xc2\xa0,val\r\n"
    )
    dataset = read_split(tmp_path / "list.csv", "val")
    assert dataset.classes == ("a", "b")
    assert list(dataset.split("val").names()) == [str(tmp_path / name / "0.png") for name in ("a", "b")]
    root = draw_objects(tmp_path / "coco", train=3, val=1)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["file_name"] = f"train\\{image['file_name']}"
    path.write_text(json.dumps(content))
    assert len(read_dataset(root).split("train")) == 3
