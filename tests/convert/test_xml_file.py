"""XML that anybody may have written is read with limits, or refused in one line."""

import os
from pathlib import Path

import pytest

from nextvit.convert.xml_file import MAX_DEPTH, read_root_tag, read_xml
from nextvit.errors import InputError

ENTITIES = '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("doctype", [ENTITIES, '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "<!DOCTYPE  a><a/>"])
def test_a_document_type_is_refused_in_every_encoding(tmp_path: Path, encoding: str, doctype: str):
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?>\n{doctype}'
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    path = tmp_path / "a.xml"
    path.write_bytes(mark + text.encode(encoding))
    for read in (read_xml, read_root_tag):
        with pytest.raises(InputError, match="defines entities or a document type"):
            read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "cp1252"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str):
    path = tmp_path / "a.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?><a><b c="é">Stühle</b> </a>'.encode(encoding))
    tree = read_xml(path)
    assert (tree.tag, tree.findtext("b"), tree[0].attrib) == ("a", "Stühle", {"c": "é"})
    assert read_root_tag(path) == "a"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<a>" * 900 + b"</a>" * 900, "nested more than 100 deep"),
        (b"<a>" * 1100, "nested more than 100 deep"),
        (b"<a>" * 200_000 + b"</a>" * 200_000, "nested more than 100 deep"),
        (b"", "damaged, or no XML"),
        (b"<a>", "damaged, or no XML"),
        (b"<a/><b/>", "damaged, or no XML"),
        (b"<a>&b;</a>", "damaged, or no XML"),
        (b"<p:a/>", "damaged, or no XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "damaged, or no XML"),
        (b'<?xml version="1.0" encoding="shift_jis"?><a/>', "damaged, or no XML"),
        (b"<a>\xff\xfe</a>", "damaged, or no XML"),
        (b"\0" * 100, "damaged, or no XML"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_xml(path)
    assert words in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_deepest_file_that_is_read(tmp_path: Path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
    assert sum(1 for _ in read_xml(path).iter()) == MAX_DEPTH


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "device.xml").symlink_to("/dev/zero")
    with (tmp_path / "sparse.xml").open("wb") as file:
        file.truncate(2**33)
    for name, words in (("pipe", "a device, a pipe"), ("device", "a device, a pipe"), ("sparse", "more than the")):
        with pytest.raises(InputError, match=words):
            read_xml(tmp_path / f"{name}.xml")
