"""Files inside tar archives, under paths such as `shards/train-000000.tar/00000017-cat.jpg`.

The files are read from the archive; nothing is unpacked.
"""

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """A file inside an archive: the position of its bytes, and their SHA-256."""

    archive: Path
    offset: int
    """In bytes, of the file's content in the archive."""
    size: int
    """In bytes."""
    sha256: bytes

    def read(self) -> bytes:
        """The bytes, compared with their checksum.

        Raises:
            OSError: the archive is missing, cut off or changed; the message is for a reader who knows the file's name.
        """
        # The archive is opened for each read: that takes microseconds, keeps no file open (their number is limited),
        # and leaves nothing for threads and processes to share.
        with self.archive.open("rb") as file:
            if self.offset + self.size > file.seek(0, 2):  # before so many bytes are asked for
                raise OSError(f"{self.archive.name} is cut off")
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"{self.archive.name} is cut off")
        if hashlib.sha256(content).digest() != self.sha256:
            raise OSError("its checksum is not the recorded one")
        return content


def find_archive(path: Path) -> Path | None:
    """The tar file that a path leads into; None for a file in a folder."""
    return next((parent for parent in path.parents if parent.suffix == ".tar" and parent.is_file()), None)


def read_member(path: Path, *, archive: Path, max_bytes: int) -> bytes:
    """The bytes of a file whose path leads into a tar file; the archive is searched for it.

    A sparse member is refused: a few bytes may stand for terabytes of zeros. So are links, which may lead in a circle.

    Raises:
        OSError: no such member, it is not a plain file or has more bytes than `max_bytes`, or the archive cannot be
            read.
    """
    name = path.relative_to(archive).as_posix()
    try:
        with tarfile.open(archive, "r:") as members:
            for member in members:
                if member.name != name:
                    continue
                content = members.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    raise OSError(f"is no plain file in {archive.name}")
                if member.size > max_bytes:
                    raise OSError(f"has {member.size:,} bytes, more than the {max_bytes:,} that are read")
                return content.read()
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise OSError(str(error)) from None
    raise FileNotFoundError(name)
