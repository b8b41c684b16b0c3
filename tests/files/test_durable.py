"""Files that are whole or not there."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextvit.errors import InputError
from nextvit.files.durable import check_checksums, durable_folder, locate_folder, write_checksums, write_durably

pytestmark = pytest.mark.serial


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_folder_appears_whole(tmp_path: Path):
    with durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("new")
        assert not (tmp_path / "result").exists()
    assert (tmp_path / "result" / "a").read_text() == "new"
    assert names(tmp_path) == {"result"}


def test_folder_is_replaced_whole(tmp_path: Path):
    for content in ("old", "new"):
        with durable_folder(tmp_path / "result") as folder:
            (folder / content).write_text(content)
    assert names(tmp_path / "result") == {"new"}
    assert names(tmp_path) == {"result"}


def test_an_error_leaves_what_was_there(tmp_path: Path):
    with durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyError), durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("half")
        raise KeyError
    assert (tmp_path / "result" / "a").read_text() == "old"
    assert names(tmp_path) == {"result"}


def test_what_a_kill_between_the_two_renames_left_is_found(tmp_path: Path):
    (tmp_path / "result.old").mkdir()
    (tmp_path / "result.old" / "a").write_text("old")
    assert (locate_folder(tmp_path / "result") / "a").read_text() == "old"
    assert names(tmp_path) == {"result.old"}  # reading moves nothing
    with durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("new")
    assert (locate_folder(tmp_path / "result") / "a").read_text() == "new"
    assert names(tmp_path) == {"result"}


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path):
    with durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("old")
    # A limit on the size of files makes real writes fail, as a full disk does.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        message = r"could not write .*File too large; what was there before is untouched"
        with pytest.raises(InputError, match=message), durable_folder(tmp_path / "result") as folder:
            (folder / "a").write_bytes(bytes(100_000))
        with pytest.raises(InputError, match="could not write"):
            write_durably(tmp_path / "text", "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "result" / "a").read_text() == "old"
    assert names(tmp_path) == {"result"}


def test_killed_at_any_moment_the_folder_is_whole(tmp_path: Path):
    """Kill a process that replaces a folder over and over; one of its versions must be there, complete."""
    code = f"""
from pathlib import Path
from nextvit.files.durable import durable_folder, write_checksums
for version in range(100000):
    with durable_folder(Path({str(tmp_path / "result")!r})) as folder:
        for name in "abc":
            (folder / name).write_text(str(version))
        write_checksums(folder)
"""
    for attempt in range(8):
        process = subprocess.Popen([sys.executable, "-c", code])
        while not (tmp_path / "result").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.05 + 0.013 * attempt)
        process.kill()
        process.wait()
        folder = locate_folder(tmp_path / "result")
        check_checksums(folder)
        assert len({(folder / name).read_text() for name in "abc"}) == 1


def test_checksums_name_the_file_that_changed(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    write_checksums(tmp_path)
    check_checksums(tmp_path)
    (tmp_path / "b").write_text("3")
    with pytest.raises(InputError, match="b: damaged or changed"):
        check_checksums(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.raises(InputError, match="b is missing"):
        check_checksums(tmp_path)
    (tmp_path / "sha256.json").write_text("{")
    with pytest.raises(InputError, match=r"sha256.json: damaged"):
        check_checksums(tmp_path)
