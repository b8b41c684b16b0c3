"""Files inside tar archives that somebody else may have made."""

import io
import tarfile
from pathlib import Path

import pytest

from nextvit.files.tar_members import Member, read_member
from nextvit.image.reading import DecodeError, read_image


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


def entry(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE, target: str = "", **pax: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname, member.pax_headers = size, kind, target, pax
    return member


def test_a_plain_member_is_read(tmp_path: Path):
    archive = write_tar(tmp_path / "a.tar", (entry("x/a.png", size=3), b"abc"))
    assert read_member(archive / "x" / "a.png", archive=archive, max_bytes=3) == b"abc"
    with pytest.raises(OSError, match="has 3 bytes, more than the 2 that are read"):
        read_member(archive / "x" / "a.png", archive=archive, max_bytes=2)


def test_a_sparse_member_is_refused(tmp_path: Path):
    """It would be four gigabytes of zeros."""
    sparse = entry(
        "a.png",
        size=512,
        **{"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**32)},
    )
    archive = write_tar(tmp_path / "a.tar", (sparse, bytes(512)))
    with pytest.raises(DecodeError, match=r"a\.png: damaged \(is no plain file in a\.tar\)"):
        read_image(archive / "a.png")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes):
    archive = write_tar(tmp_path / "a.tar", (entry("a.png", kind=kind, target="a.png"), b""))
    with pytest.raises(DecodeError, match=r"a\.png: "):
        read_image(archive / "a.png")


def test_a_member_whose_header_claims_more_than_the_archive_has_is_refused(tmp_path: Path):
    archive = write_tar(tmp_path / "a.tar", (entry("a.png", size=3), b"abc"))
    content = bytearray(archive.read_bytes())
    content[124:136] = b"77777777777\0"  # 8 GiB
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    archive.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.png: .*has 8,589,934,591 bytes, more than"):
        read_image(archive / "a.png")


def test_an_index_that_claims_more_than_the_archive_has_is_refused(tmp_path: Path):
    archive = write_tar(tmp_path / "a.tar", (entry("a.png", size=3), b"abc"))
    with pytest.raises(OSError, match=r"a\.tar is cut off"):
        Member(archive, 512, 2**40, bytes(32)).read()


def test_an_archive_of_endlessly_nested_headers_is_refused(tmp_path: Path):
    header = entry("././@LongLink", size=0, kind=tarfile.GNUTYPE_LONGNAME).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(header * 5000 + bytes(1024))
    with pytest.raises(DecodeError, match=r"a\.png"):
        read_image(tmp_path / "a.tar" / "a.png")
