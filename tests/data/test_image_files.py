"""Which files of a folder are images, and which are left out with a word."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image, features

from nextvit.data.findings import KINDS, Finding
from nextvit.data.image_files import find_image_files, list_images
from nextvit.errors import InputError
from nextvit.image.reading import SUFFIXES, DecodeError, read_image
from nextvit.tasks.reading import read_with_findings

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def find(folder: Path) -> tuple[list[str], list[Finding]]:
    findings: list[Finding] = []
    found = find_image_files(folder, findings)
    return [os.path.relpath(path, folder) for path in found], findings


def unread(folder: Path) -> str:
    _, findings = find(folder)
    assert [finding.kind for finding in findings] == ["unread_format"]
    assert findings[0].severity == "warning"
    return findings[0].message


@pytest.mark.parametrize(
    "suffix", ["heic", "HEIF", "jxl", "nef", "cr2", "dng", "psd", "svg", "exr", "dcm", "npy", "xyz"]
)
def test_files_of_formats_that_are_not_read_are_counted_and_named(tmp_path: Path, suffix: str):
    for number in range(3):
        (tmp_path / f"a{number}.{suffix}").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.jpg")
    assert find(tmp_path)[0] == ["b.jpg"]
    first = tmp_path / f"a0.{suffix}"
    assert unread(tmp_path) == f"3 files of formats that are not read, first: {first} ({suffix.upper()})"


def test_a_single_file_and_several_formats_have_their_own_words(tmp_path: Path):
    (tmp_path / "b.heic").write_bytes(HEIC)
    assert unread(tmp_path) == f"1 file of a format that is not read, first: {tmp_path / 'b.heic'} (HEIC)"
    for name in ("a.svg", "c.heic"):
        (tmp_path / name).write_bytes(b"")
    first = tmp_path / "a.svg"
    assert unread(tmp_path) == f"3 files of formats that are not read (2 HEIC, 1 SVG), first: {first} (SVG)"


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a.JSON", "a.xml", "a.csv", "README.md", "data.yaml", ".DS_Store", "Thumbs.db", "desktop.ini", "LICENSE",
     "COPYING", "a.pt", "a.mp4", "a.zip", "a.ipynb", ".hidden.heic", "._a.heic", "labels.cache", "Makefile"],
)  # fmt: skip
def test_other_files_are_not_missed(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"all rights reserved")
    assert find(tmp_path) == ([], [])


def test_a_file_without_suffix_is_named_where_it_begins_as_an_image(tmp_path: Path):
    Image.new("RGB", (4, 4)).save(tmp_path / "IMG_0001", "JPEG")
    assert unread(tmp_path).endswith(f"first: {tmp_path / 'IMG_0001'} (JPEG without a suffix)")
    (tmp_path / "IMG_0001").write_bytes(HEIC)
    assert "(HEIC without a suffix)" in unread(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_what_is_no_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    assert find(tmp_path) == ([], [])


@pytest.mark.parametrize(
    "folder", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "$RECYCLE.BIN", "lost+found", ".Trash-1000"]
)
def test_hidden_folders_and_those_of_systems_are_no_data(tmp_path: Path, folder: str):
    for name in (".", folder, f"sub/{folder}", f"{folder}/deeper"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name / "a.png")
    (tmp_path / folder / "a.heic").write_bytes(HEIC)
    assert find(tmp_path) == (["a.png"], [])
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    assert find(tmp_path / folder)[0] == ["a.png", "deeper/a.png"]  # a folder that is named itself is read


@pytest.mark.parametrize("folder", ["__MACOSX", "@eaDir", ".ipynb_checkpoints"])
def test_folders_of_systems_are_no_classes(colours: Path, folder: str):
    (colours / "train" / folder).mkdir()
    Image.new("RGB", (4, 4)).save(colours / "train" / folder / "a.png")
    dataset, findings = read_with_findings(colours)
    assert dataset.classes == ("blue", "green", "red") and not findings


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes names in UTF-8 alone")
@pytest.mark.parametrize("folder", [b"caf\xe9", b"a/caf\xe9/b"])
def test_names_of_folders_that_are_not_utf8_are_refused_with_all_their_files(tmp_path: Path, folder: bytes):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + folder))
    path.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (4, 4)).save(path / name)
    images, [finding] = find(tmp_path)
    assert (images, finding.kind, finding.count) == ([], "bad_name", 2)
    assert finding.message.endswith(r"the folder name b'caf\xe9' is not UTF-8; rename it")


def test_names_that_are_not_utf8_are_refused_and_those_left_out_are_shown(tmp_path: Path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.heic"))).write_bytes(HEIC)
    assert r"caf\xe9.heic' (HEIC)" in unread(tmp_path)
    assert list_images(tmp_path) == []
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))).write_bytes(b"")
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        list_images(tmp_path)


def test_a_dataset_has_one_finding_on_all_that_is_left_out(colours: Path):
    for folder in ("train/red", "train/blue", "val/red"):
        for name in ("a.heic", "b.heic"):
            (colours / folder / name).write_bytes(HEIC)
    (colours / "val" / "blue" / "c.nef").write_bytes(b"")
    dataset, findings = read_with_findings(colours)
    assert len(dataset.split("train")) == 24
    [finding] = findings
    assert finding.kind == "unread_format" and finding.kind in KINDS
    first = colours / "train" / "blue" / "a.heic"
    assert finding.message == f"7 files of formats that are not read (6 HEIC, 1 NEF), first: {first} (HEIC)"


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_an_image_of_such_a_format_is_refused_by_its_name(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(HEIC)
    with pytest.raises(
        DecodeError, match=r"is HEIC, not an image in a known format \(JPEG, .*; convert it to JPEG or PNG"
    ):
        read_image(tmp_path / name)


@pytest.mark.skipif(
    "avif" not in features.modules or not features.check_module("avif"), reason="this Pillow does not read AVIF"
)
def test_avif_is_read_where_pillow_reads_it(tmp_path: Path):
    Image.new("RGB", (40, 30), (200, 20, 20)).save(tmp_path / "a.avif")
    assert ".avif" in SUFFIXES and find(tmp_path) == (["a.avif"], [])
    pixels = read_image(tmp_path / "a.avif")
    assert pixels.size == (40, 30) and abs(pixels.getpixel((20, 15))[0] - 200) < 8  # pyright: ignore
