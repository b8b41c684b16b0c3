"""Read files that somebody else may have made: regular files alone, and no more bytes than is stated."""

import os
import stat
from pathlib import Path

from nextvit.errors import InputError, suggest_path


def read_regular(path: Path, *, max_bytes: int) -> bytes:
    """The content of a regular file. A link to one counts as the file.

    A device or a pipe is never read, which could wait for ever or never end, and the size is looked at before the
    content: a sparse file takes no space on the disk and gigabytes of memory.

    Raises:
        InputError: there is no such file, it is no regular file, it is larger than `max_bytes`, or it cannot be read.
    """
    try:
        require_regular(path, max_bytes=max_bytes)
        # Between the two looks another file may have taken its place: a pipe is then opened without waiting.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (a descriptor, not a path)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path}: changed while it was read")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}{suggest_path(path)}") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r}: no name of a file ({error})") from None  # a null byte
    if len(content) > max_bytes:
        raise InputError(f"{path}: changed while it was read")
    return content


def require_regular(path: Path, *, max_bytes: int | None = None) -> int:
    """Refuse what is no regular file, before something else opens it by its name.

    Returns:
        The size in bytes.

    Raises:
        InputError: it is a folder, a device, a pipe or a socket, or larger than `max_bytes`.
        OSError: there is no such file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
        raise InputError(f"{path}: is {kind}, expected a file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise InputError(f"{path}: has {status.st_size:,} bytes, more than the {max_bytes:,} that are read")
    return status.st_size
