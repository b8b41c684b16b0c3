"""What predict reads and writes: every file is named, every line is kept, every name can be written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nextvit.cli import prediction_folder
from nextvit.cli.prediction_folder import PredictionFolder, longest_name, safe_name
from nextvit.predictions.classification import ClassificationKind

LATIN_1 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """Three images, a.png to c.png."""
    (tmp_path / "photos").mkdir()
    for name in "abc":
        shutil.copy(pictures / "val" / "red" / "0.png", tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def lines(out: Path) -> list[dict[str, Any]]:
    content = (out / "predictions.jsonl").read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.decode().splitlines()]


@pytest.mark.parametrize(
    "name", ["猫" * 82 + ".jpg", "x" * 251 + ".png", "a\x1b[31mb\nc.png", LATIN_1, "a:b?.png", "\u202egnp.png", "-.png"]
)
def test_images_of_any_name_are_predicted_and_drawn_under_a_safe_one(
    bundle: Path, photos: Path, tmp_path: Path, call, name: str
):
    shutil.copy(photos / "a.png", photos / name)
    done = call("predict", bundle, photos, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    written = lines(tmp_path / "out")
    assert len(written) == 4 and all(each["top"][0]["label"] == "red" for each in written)
    assert sorted(each["drawn"] for each in written) == sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert all("\\" not in each["drawn"] and each["drawn"].isprintable() for each in written)
    assert "\x1b" not in done.out + done.err and "\udce9" not in done.out + done.err
    [odd] = [each for each in written if Path(each["path"]).name not in ("a.png", "b.png", "c.png")]
    if name == LATIN_1:
        assert odd["path"] == str(photos / r"caf\xe9.png") and odd["path_is_escaped"] and "caf_" in odd["drawn"]
    else:
        assert odd["path"] == str(photos / name) and "path_is_escaped" not in odd


def test_a_file_whose_name_is_not_utf8_may_be_given_itself(bundle: Path, photos: Path, tmp_path: Path, call):
    (photos / "a.png").rename(photos / LATIN_1)
    done = call("predict", bundle, photos / LATIN_1, photos / "b.png", "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert done.document["predictions"] == lines(tmp_path / "out")


def test_inputs_of_one_name_have_images_of_their_own(bundle: Path, photos: Path, tmp_path: Path, call):
    (photos / "sub").mkdir()
    shutil.copy(photos / "a.png", photos / "sub" / "a.png")
    shutil.copy(photos / "a.png", photos / "A.PNG")
    assert call("predict", bundle, photos, "--out", tmp_path / "out").code == 0
    names = [each["drawn"].lower() for each in lines(tmp_path / "out")]
    assert len(set(names)) == 5


@pytest.mark.parametrize(("max_bytes", "length"), [(255, 245), (143, 133), (30, 20)])
def test_names_are_as_long_as_the_file_system_allows(max_bytes: int, length: int):
    name = safe_name(Path("é" * 300), number=7, suffix=".jpg", max_bytes=max_bytes)
    assert name == "00007-" + "é" * (length // 2) + ".jpg"
    assert len(name.encode()) <= max_bytes


def test_the_length_of_names_is_asked_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ("x" * longest_name(tmp_path))).touch()
    monkeypatch.delattr(os, "pathconf", raising=False)
    assert longest_name(tmp_path) == 255


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_lines_written_before_an_interruption_stay(
    bundle: Path, photos: Path, tmp_path: Path, call, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    draw, calls = ClassificationKind.draw, []

    def draw_twice(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise error
        return draw(*arguments)

    monkeypatch.setattr(ClassificationKind, "draw", draw_twice)
    done = call("predict", bundle, photos, "--out", tmp_path / "out")
    assert done.code == (130 if error is KeyboardInterrupt else 2)
    assert [Path(each["path"]).name for each in lines(tmp_path / "out")] == ["a.png", "b.png"]


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = PredictionFolder(tmp_path / "out")
    folder.write_line({"path": "a"})
    write = os.write

    def write_half(descriptor: int, content: bytes) -> int:
        write(descriptor, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prediction_folder.os, "write", write_half)
    with pytest.raises(OSError, match="No space") as caught:
        folder.write_line({"path": "b"})
    monkeypatch.undo()
    assert caught.value.filename == str(tmp_path / "out" / "predictions.jsonl")
    folder.write_line({"path": "c"})
    folder.close()
    assert lines(tmp_path / "out") == [{"path": "a"}, {"path": "c"}]


def test_links_in_the_folder_are_replaced_and_not_followed(bundle: Path, photos: Path, tmp_path: Path, call):
    (tmp_path / "out").mkdir()
    (tmp_path / "other").write_text("mine")
    for name in ("predictions.jsonl", "00000-a.jpg"):
        (tmp_path / "out" / name).symlink_to(tmp_path / "other")
    assert call("predict", bundle, photos, "--out", tmp_path / "out").code == 0
    assert (tmp_path / "other").read_text() == "mine" and len(lines(tmp_path / "out")) == 3


def test_own_earlier_output_is_not_predicted_again(bundle: Path, photos: Path, call):
    for out in (photos / "out", photos / "deeper" / "out", photos / "out"):
        done = call("predict", bundle, photos, "--out", out)
        assert done.code == 0, done.err
        assert len(lines(out)) == 3
    assert f"left out: {photos / 'deeper' / 'out'}, which has earlier predictions" in done.err
    assert len(list((photos / "out").glob("*.jpg"))) == 3


def test_the_folder_of_the_images_is_no_place_for_predictions(bundle: Path, photos: Path, call):
    for out in (photos, photos / "sub" / ".."):
        done = call("predict", bundle, photos, "--out", out)
        assert done.code == 2 and "--out is the folder of the images; choose another" in done.err
    assert not (photos / "predictions.jsonl").exists()


def test_files_of_formats_that_are_not_read_are_named_and_end_with_1(bundle: Path, photos: Path, tmp_path: Path, call):
    for name in ("d.heic", "e.jxl", "f.nef", "notes.txt", ".DS_Store"):
        (photos / name).write_bytes(b"")
    shutil.copy(photos / "a.png", photos / "IMG_0001")
    done = call("predict", bundle, photos, "--out", tmp_path / "out", "--json")
    assert done.code == 1
    errors = {Path(each["path"]).name: each["error"] for each in done.document["predictions"] if "error" in each}
    assert errors.keys() == {"d.heic", "e.jxl", "f.nef", "IMG_0001"}
    assert errors["d.heic"] == f"{photos / 'd.heic'}: HEIC, which is not read; make it JPEG or PNG, with that suffix"
    assert "PNG without a suffix" in errors["IMG_0001"]
    assert len(lines(tmp_path / "out")) == 7
    assert "d.heic" in done.err


def test_a_folder_of_nothing_else_is_not_empty(bundle: Path, tmp_path: Path, call):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "d.heic").write_bytes(b"\0\0\0\x18ftypheic")
    assert call("predict", bundle, tmp_path / "photos").code == 1
    done = call("predict", bundle, tmp_path / "photos" / "d.heic")
    assert done.code == 1 and "is HEIC, not an image in a known format" in done.err


def test_names_in_other_letters_can_be_shown_where_the_locale_is_ascii(bundle: Path, photos: Path, tmp_path: Path):
    (photos / "a.png").rename(photos / "猫.png")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "ignore"}
    for arguments in (["--json"], ["--out", str(tmp_path / "out")]):
        done = subprocess.run(
            [sys.executable, "-m", "nextvit", "predict", str(bundle), str(photos), *arguments],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        done.stdout.decode("ascii")
        if "--json" in arguments:
            assert [Path(each["path"]).name for each in json.loads(done.stdout)["predictions"]][-1] == "猫.png"
    assert Path(lines(tmp_path / "out")[-1]["path"]).name == "猫.png"
