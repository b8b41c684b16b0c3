"""Atomic writes: files and folders are complete or absent.

They are written under a temporary name, flushed to the disk and renamed; checksums show later damage.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from nextvit.errors import InputError

CHECKSUMS = "sha256.json"


@contextmanager
def durable_folder(path: Path, *, keep: Path | None = None) -> Generator[Path]:
    """Yield a temporary folder to fill. If the block succeeds the folder becomes `path`; if it raises it is removed.

    A folder that was at `path` is replaced. If the process is killed between the two renames, the old folder is under
    `keep`, or else under `path` + ".old", where `locate_folder` finds it.

    Args:
        keep: where the replaced folder is kept; None: it is removed.

    Raises:
        InputError: the disk is full or not writable. The folder that was at `path` is untouched.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
        temporary.mkdir(parents=True)
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
        leaving = folder.with_name(f"{folder.name}.leaving.tmp")
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, but keep a folder that `locate_folder` would
    find."""
    for leftover in folder.glob("*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    for old in folder.glob("*.old"):
        if old.with_suffix("").exists():
            shutil.rmtree(old, ignore_errors=True)


def locate_folder(path: Path) -> Path:
    """The folder at `path`, or where it is after a process was killed inside `durable_folder`.

    Nothing is moved, so that reading never disturbs a process that is writing. The returned path may not exist.
    """
    old = path.with_name(f"{path.name}.old")
    return old if old.exists() and not path.exists() else path


def write_durably(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part of it; text is encoded as UTF-8.

    Raises:
        InputError: the disk is full or not writable.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        flush(temporary)
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
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of each file of a folder into the folder's `sha256.json`."""
    sums = {file.name: compute_sha256(file) for file in sorted(folder.iterdir()) if file.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def check_checksums(folder: Path) -> None:
    """Compare the files of a folder with its `sha256.json`.

    Raises:
        InputError: the checksums are missing or damaged, or a file is missing or differs; the message names the first.
    """
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        compare_checksums(folder, sums)
    except FileNotFoundError:
        raise InputError(f"{folder}: incomplete, it has no {CHECKSUMS}") from None
    except (ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / CHECKSUMS}: damaged") from None


def compare_checksums(folder: Path, sums: dict[str, str]) -> None:
    """Compare the files of a folder with the SHA-256 of each name.

    Raises:
        InputError: a file is missing or differs; the message names the first.
    """
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: incomplete, {name} is missing")
        if compute_sha256(folder / name) != expected:
            raise InputError(f"{folder / name}: damaged or changed, its SHA-256 is not the recorded one")
