"""Files that are whole or not there."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nextvit.errors import InputError
from nextvit.files import durable
from nextvit.files.durable import (
    check_checksums,
    durable_folder,
    locate_folder,
    remove_folder,
    remove_leftovers,
    write_checksums,
    write_durably,
)
from nextvit.files.run_folder import append_json_line, read_json_lines

pytestmark = pytest.mark.serial


@pytest.mark.parametrize("path", [".", "..", "/", ""])
def test_folders_without_a_name_are_themselves(path: str):
    assert locate_folder(Path(path)) == Path(path)


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_a_folder_without_a_name_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="choose a folder below it"), durable_folder(Path(path)):
        pass
    assert not any((tmp_path / "here").iterdir())


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


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '{"a": 1}', '{"a": null}', '{"a": {}}', '{"../a": ""}', '{"/dev/zero": ""}',
     '{"": ""}', '{"a\\u0000": ""}', '{"a": "", "a": ""}', "[" * 3000, '{"b": ""}', "{}"],
)  # fmt: skip
def test_damaged_checksums_are_one_line(content: str, tmp_path: Path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "sha256.json").write_text(content)
    with pytest.raises(InputError, match=r"sha256\.json") as error:
        check_checksums(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_without_a_checksum_is_refused(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    write_checksums(tmp_path)
    check_checksums(tmp_path, parts=("a",))
    with pytest.raises(InputError, match="no checksum for b"):
        check_checksums(tmp_path, parts=("a", "b"))
    (tmp_path / "c").write_text("1")
    with pytest.raises(InputError, match="no checksum for c"):
        check_checksums(tmp_path)


def test_files_too_large_to_be_ours_are_not_read(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    write_checksums(tmp_path)
    with (tmp_path / "a").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InputError, match="bytes"):
        check_checksums(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a file that nothing may touch."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    return folder


@pytest.mark.parametrize("name", ["precious", "."])
def test_links_under_foreseen_temporary_names_lead_nowhere(
    name: str, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(durable.secrets, "token_hex", lambda count: "0" * 2 * count)  # an attacker who can foresee
    for planted in ("a.tmp", "a-0000000000000000.tmp", "a.leaving.tmp"):
        (place / planted).symlink_to(elsewhere / name)
    with pytest.raises(InputError, match="File exists"):
        write_durably(place / "a", "new")
    for planted in ("a.tmp", "a-0000000000000000.tmp"):
        (place / planted).unlink(missing_ok=True)
        (place / planted).symlink_to(elsewhere / name)
    with durable_folder(place / "a") as folder:
        (folder / "new").write_text("new")
    assert (place / "a" / "new").read_text() == "new"
    assert names(elsewhere) == {"precious"} and (elsewhere / "precious").read_text() == "precious"


def test_links_are_removed_and_replaced_not_followed(elsewhere: Path, tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    for name in ("a.tmp", "b.tmp", "c.old"):
        (place / name).symlink_to(elsewhere)
    (place / "c").mkdir()
    (place / "d").symlink_to(elsewhere / "precious")
    remove_leftovers(place)
    write_durably(place / "d", "new")
    (place / "e").symlink_to(elsewhere)
    remove_folder(place / "e")
    assert names(place) == {"c", "d"}
    assert (elsewhere / "precious").read_text() == "precious"


def test_what_killed_processes_left_is_removed(tmp_path: Path):
    (tmp_path / "result-0123456789abcdef.tmp").mkdir()
    (tmp_path / "result-0123456789abcdef.tmp" / "half").write_text("half")
    (tmp_path / "other-0123456789abcdef.tmp").mkdir()
    with durable_folder(tmp_path / "result") as folder:
        (folder / "a").write_text("new")
    assert names(tmp_path) == {"result", "other-0123456789abcdef.tmp"}  # of a process that may still write
    remove_leftovers(tmp_path)
    assert names(tmp_path) == {"result"}


def test_the_longest_names_can_be_written(tmp_path: Path):
    for name in ("a" * 255, "\u00e4" * 127):
        write_durably(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
        (tmp_path / name).unlink()
        with durable_folder(tmp_path / name[:120]) as folder:
            (folder / "a").write_text("new")


def test_records_are_not_appended_behind_a_link(elsewhere: Path, tmp_path: Path):
    (tmp_path / "metrics.jsonl").symlink_to(elsewhere / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        append_json_line(tmp_path / "metrics.jsonl", {"epoch": 1})
    assert (elsewhere / "precious").read_text() == "precious"
    (tmp_path / "missing.jsonl").symlink_to(elsewhere / "new")
    with pytest.raises(OSError, match="symbolic link"):
        append_json_line(tmp_path / "missing.jsonl", {"epoch": 1})
    assert names(elsewhere) == {"precious"}


def test_lines_that_are_no_records_are_left_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    append_json_line(path, {"epoch": 1})
    with path.open("a") as file:
        file.write('3\nnull\n[]\n"x"\n' + "[" * 5000 + '\n{"a": 1, "a": 2}\n{"epoch": ' + "9" * 5000 + '}\n{"epoch"')
    append_json_line(path, {"epoch": 2})
    assert read_json_lines(path) == [{"epoch": 1}, {"epoch": 2}]
