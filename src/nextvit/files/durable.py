"""Atomic writes: files and folders are complete or absent.

They are written under a temporary name, flushed to the disk and renamed; checksums show later damage. The name is
random and must be new: whoever may write into the same folder cannot plant a link there that leads elsewhere.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from nextvit.errors import InputError
from nextvit.files.records import matches_type
from nextvit.files.regular import require_regular
from nextvit.files.structured_text import read_json

CHECKSUMS = "sha256.json"
MAX_FOLDER_BYTES = 2**33
"""Of the files whose checksums are computed: many times the largest checkpoint or bundle."""
TEMPORARY = ".tmp"
STEM_CHARACTERS = 40
"""How much of a name its temporary name keeps, for people; a name has at most 255 bytes."""


def temporary_name(path: Path) -> Path:
    """A name beside `path` that nobody can foresee, for what becomes `path`."""
    return path.with_name(f"{path.name[:STEM_CHARACTERS]}-{secrets.token_hex(8)}{TEMPORARY}")


def remove_leftovers_of(path: Path) -> None:
    """Remove what killed processes left under temporary names of `path`, which one process at a time writes."""
    own = re.compile(re.escape(path.name[:STEM_CHARACTERS]) + "-[0-9a-f]{16}" + re.escape(TEMPORARY))
    if path.parent.is_dir():
        for entry in path.parent.iterdir():
            if own.fullmatch(entry.name):
                remove(entry)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder as far as that is possible; a link's target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def durable_folder(path: Path, *, keep: Path | None = None) -> Generator[Path]:
    """Yield a temporary folder to fill. If the block succeeds the folder becomes `path`; if it raises it is removed.

    A folder that was at `path` is replaced. If the process is killed between the two renames, the old folder is under
    `keep`, or else under `path` + ".old", where `locate_folder` finds it.

    Args:
        keep: where the replaced folder is kept; None: it is removed.

    Raises:
        InputError: the disk is full or not writable, or the path is "." or "/", which no folder can replace. The folder
            that was at `path` is untouched.
    """
    if path.name in ("", ".."):
        raise InputError(f"{path}: a folder is made whole under a new name; choose a folder below it")
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_of(path)
        temporary.mkdir()  # an error where there is something, a link too
        yield temporary
        for file in temporary.rglob("*"):
            flush(file)
        flush(temporary)
        old = keep or path.with_name(f"{path.name}.old")
        if path.exists():
            remove_folder(old)
            path.rename(old)
        temporary.rename(path)
        flush(path.parent)
        if not keep:
            remove_folder(old)
    except OSError as error:
        kept = "; what was there before is untouched" if path.exists() else ""
        raise InputError(f"could not write {path}: {error.strerror or error}{kept}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder. A process that is killed meanwhile leaves it complete, or under a name that `remove_leftovers`
    removes.
    """
    if folder.exists():
        leaving = temporary_name(folder)
        folder.rename(leaving)
        remove(leaving)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, but keep a folder that `locate_folder` would
    find."""
    for leftover in folder.glob(f"*{TEMPORARY}"):
        remove(leftover)
    for old in folder.glob("*.old"):
        if old.with_suffix("").exists():
            remove(old)


def locate_folder(path: Path) -> Path:
    """The folder at `path`, or where it is after a process was killed inside `durable_folder`.

    Nothing is moved, so that reading never disturbs a process that is writing. The returned path may not exist.
    """
    if not path.name:  # "." or "/"
        return path
    old = path.with_name(f"{path.name}.old")
    return old if old.exists() and not path.exists() else path


def write_durably(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it; text is encoded as UTF-8.

    Bytes of a file's name that are not UTF-8 stand in the text as escapes (\\udcff), as JSON and YAML have them.

    Raises:
        InputError: the disk is full or not writable.
    """
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:  # an error where there is something, a link too
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Write a file's or folder's buffers to the disk (fsync)."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def compute_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: it is no regular file, or larger than `MAX_FOLDER_BYTES`.
    """
    require_regular(path, max_bytes=MAX_FOLDER_BYTES)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder into the folder's `sha256.json`."""
    sums = {file.name: compute_sha256(file) for file in sorted(folder.iterdir()) if file.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def check_checksums(folder: Path, *, parts: Sequence[str] = ()) -> None:
    """Compare the files of a folder with its `sha256.json`.

    Args:
        parts: names of files that must be there.

    Raises:
        InputError: the checksums are missing or damaged, or a file is missing, differs or has no checksum; the message
            names the first.
    """
    if not (folder / CHECKSUMS).is_file():
        raise InputError(f"{folder}: incomplete, it has no {CHECKSUMS}")
    sums: Any = read_json(folder / CHECKSUMS)
    if not matches_type(sums, dict[str, str]) or any(Path(name).name != name for name in sums):
        raise InputError(f"{folder / CHECKSUMS}: damaged (expected names of files with their SHA-256)")
    present = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    for name in (*parts, *sorted(present - {CHECKSUMS})):
        if name not in sums:
            raise InputError(f"{folder / CHECKSUMS}: damaged, it has no checksum for {name}")
    compare_checksums(folder, cast(dict[str, str], sums))


def compare_checksums(folder: Path, sums: dict[str, str]) -> None:
    """Compare the files of a folder with the SHA-256 of each name.

    Raises:
        InputError: a file is missing or differs, the message names the first; or all together are larger than
            `MAX_FOLDER_BYTES`.
    """
    for name in sums:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: incomplete, {name} is missing")
    if sum((folder / name).stat().st_size for name in sums) > MAX_FOLDER_BYTES:
        raise InputError(f"{folder}: its files have more than {MAX_FOLDER_BYTES:,} bytes")
    for name, expected in sums.items():
        if compute_sha256(folder / name) != expected:
            raise InputError(f"{folder / name}: damaged or changed, its SHA-256 is not the recorded one")
