"""Read XML that anybody may have written."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from nextvit.errors import InputError
from nextvit.files.regular import read_regular

MAX_DEPTH = 100
"""Levels of nested elements. Annotations need five; deeper files would exceed Python's recursion limit."""
MAX_BYTES = 2**26
"""In memory elements take up to twenty times as much."""
SEPARATOR = "}"
"""Between a namespace and a name; namespaces are dropped."""


class RootFound(Exception):
    """Ends reading at the first element."""


def read_xml(path: Path) -> Element:
    """The root element of an XML file, tags and attributes without namespaces.

    A document type is refused in any encoding: a few lines of entity definitions can expand until memory is full.

    Raises:
        InputError: the file cannot be read, is not valid XML, has a document type, or exceeds a limit.
    """
    builder = TreeBuilder()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise InputError(f"{path}: damaged, its elements are nested more than {MAX_DEPTH} deep")
        builder.start(local_name(name), {local_name(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(local_name(name))

    parse(path, start, end, builder.data)
    return builder.close()


def read_root_tag(path: Path) -> str:
    """The name of the root element, without reading further.

    Raises:
        InputError: as `read_xml`, up to there.
    """

    def start(name: str, attributes: dict[str, str]) -> None:
        raise RootFound(local_name(name))

    try:
        parse(path, start, None, None)
    except RootFound as found:
        return str(found)
    raise AssertionError("a parser that ends without error has seen an element")


def parse(
    path: Path,
    start: Callable[[str, dict[str, str]], object],
    end: Callable[[str], object] | None,
    data: Callable[[str], object] | None,
) -> None:
    """Let handlers see the parts of a file."""

    def refuse(*_: object) -> NoReturn:
        raise InputError(f"{path}: defines entities or a document type, which annotations do not need; remove that")

    content = read_regular(path, max_bytes=MAX_BYTES)
    parser = expat.ParserCreate(namespace_separator=SEPARATOR)
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    try:
        parser.Parse(content, True)
    except InputError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{path}: damaged, or no XML ({error})") from None


def local_name(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition(SEPARATOR)[2]
