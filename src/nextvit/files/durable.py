"""Files that are whole or not there: written under a temporary name, flushed to the disk, renamed, checksummed."""

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
    """Give a temporary folder to fill; when the block ends well it becomes `path`, else it vanishes.

    A folder that stood at `path` is replaced, and with `keep` lives on there. Between the two renames a kill leaves it
    under `keep`, or else under `path` + ".old", where `present` finds it.

    Raises:
        InputError: the disk is full or not writable. What stood at `path` is untouched.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed process left
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            flush(file)
        flush(temporary)
        old = keep or path.with_name(f"{path.name}.old")
        if path.exists():
            discard(old)
            path.rename(old)
        temporary.rename(path)
        flush(path.parent)
        if not keep:
            discard(old)
    except OSError as error:
        kept = "; what was there before is untouched" if path.exists() else ""
        raise InputError(f"could not write {path}: {error.strerror or error}{kept}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def discard(folder: Path) -> None:
    """Remove a folder so that a kill on the way leaves it whole, or under a name that `sweep` knows."""
    if folder.exists():
        leaving = folder.with_name(f"{folder.name}.leaving.tmp")
        shutil.rmtree(leaving, ignore_errors=True)
        folder.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder, but for what `present` would still find."""
    for leftover in folder.glob("*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    for old in folder.glob("*.old"):
        if old.with_suffix("").exists():
            shutil.rmtree(old, ignore_errors=True)


def present(path: Path) -> Path:
    """Where the folder that belongs at `path` is now: there, or where a kill inside `durable_folder` left it.

    Nothing is moved, so that reading never disturbs a process that is writing.
    """
    old = path.with_name(f"{path.name}.old")
    return old if old.exists() and not path.exists() else path


def write_durably(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part; text becomes UTF-8."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force a file or folder to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Record the SHA-256 of every file of a folder in it."""
    sums = {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.name != CHECKSUMS}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def check_checksums(folder: Path) -> None:
    """Raise InputError naming the first file of a folder that is missing or differs from its recorded SHA-256."""
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
    """Raise InputError naming the first file that is missing or differs."""
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder}: incomplete, {name} is missing")
        if sha256_of(folder / name) != expected:
            raise InputError(f"{folder / name}: damaged or changed, its SHA-256 is not the recorded one")
