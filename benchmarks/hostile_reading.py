"""How benchmarks/hostile.py reads damaged files: as users do, and what is no refusal gets through."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

CONTROL = {*range(0x20), 0x7F, *range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - set(b"\n\r\t")
"""Code points that change what a terminal does or shows."""


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    weight: int
    """Of 100 inputs."""
    prepare: Callable[[Path], None]
    """Write the valid files into an empty folder."""
    attempt: Callable[[Path, Random], None]
    """Damage one, read it, put it back. A refusal is no exception; everything else that escapes is a fault."""


class Leak(Exception):
    """A terminal would be told what a file says."""


def verb(*arguments: object) -> None:
    """`nextvit ARGUMENTS`, in this process; what leaves it but an exit code, or reaches the terminal, is a fault."""
    from nextvit.cli.main import main

    out, error, given = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["nextvit", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            main()
    except SystemExit:
        pass
    finally:
        sys.argv = given
    printed = out.getvalue() + error.getvalue()
    if bad := sorted({ord(character) for character in printed} & (CONTROL | set(range(0xD800, 0xE000)))):
        raise Leak(f"printed {', '.join(f'U+{code:04X}' for code in bad)}")


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with other content, until the block ends."""
    valid = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(valid)


def refused(read: Callable[[], object]) -> None:
    """Call a function that may refuse what it reads, in its own words alone."""
    from nextvit.errors import InputError, NotProven

    with contextlib.suppress(InputError, NotProven):
        read()
