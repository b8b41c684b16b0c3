"""Files are found by name and by what is written of them, and never another one of the same name."""

import pytest

from nextvit.convert.file_index import FileIndex, split_path, swap_folder

INDEX = FileIndex(
    ["images/a.jpg", "images/A.jpg", "Images/b.JPG", "images/b.jpg", "x/images/c.png", "y/images/c.png", "d.v1.jpg"]
)


@pytest.mark.parametrize(
    ("folder", "stem", "expected"),
    [
        ("images", "a", ["images/a.jpg"]),
        ("images", "A", ["images/A.jpg"]),
        ("IMAGES", "a", ["images/a.jpg"]),
        ("Images", "b", ["Images/b.JPG"]),
        ("images", "b", ["images/b.jpg"]),
        ("IMAGES", "B", ["Images/b.JPG", "images/b.jpg"]),
        (".", "d.v1", ["d.v1.jpg"]),
        (".", "d", []),
        ("images", "", []),
    ],
)
def test_the_exact_spelling_comes_first(folder: str, stem: str, expected: list[str]):
    assert INDEX.with_stem(folder, stem) == expected


@pytest.mark.parametrize(
    ("written", "below", "expected"),
    [
        ("images/a.jpg", "", ["images/a.jpg"]),
        ("./images/../images/a.jpg", "", ["images/a.jpg"]),
        ("../images/a.jpg", "", ["images/a.jpg"]),
        ("IMAGES/B.jpg", "", ["Images/b.JPG", "images/b.jpg"]),
        ("/home/someone/set/images/a.jpg", "", ["images/a.jpg"]),
        ("C:\\sets\\images\\a.jpg", "", ["images/a.jpg"]),
        ("a.jpg", "images", ["images/a.jpg"]),
        ("images/c.png", "x", ["x/images/c.png"]),
        ("images/c.png", "", ["x/images/c.png", "y/images/c.png"]),
        ("/old/y/images/c.png", "", ["y/images/c.png"]),
        ("c.png", "", ["x/images/c.png", "y/images/c.png"]),
        ("val/a.jpg", "", []),
        ("gone.jpg", "", []),
        ("", "", []),
        ("..", "", []),
        ("/", "", []),
    ],
)
def test_a_written_path_is_found_by_its_end_or_as_the_end_of_another(written: str, below: str, expected: list[str]):
    assert INDEX.find(written, below=below) == expected


@pytest.mark.parametrize(
    ("written", "parts"),
    [("a/b", ("a", "b")), ("D:\\a\\b", ("a", "b")), ("/a//./b/../c/", ("a", "c")), ("../../a", ("a",)), ("", ())],
)
def test_paths_of_any_system_are_split(written: str, parts: tuple[str, ...]):
    assert split_path(written) == parts


def test_the_last_folder_of_a_name_is_swapped():
    assert swap_folder("images/x/Images/train", ["images"], ["labels", "txt"]) == [
        "images/x/labels/train",
        "images/x/txt/train",
    ]
    assert swap_folder("train", ["images"], ["labels"]) == []
