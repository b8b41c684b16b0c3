"""The one reader of YAML and the one of JSON, for files that anybody may have written.

What they return is made of dicts, lists, texts, numbers, booleans and None alone. Size, depth and number of values are
bounded, and every fault is one line with the path, and the line in the file where that is known.
"""

import json
import re
from pathlib import Path
from typing import Any, cast

from nextvit.errors import InputError, first_line, shorten
from nextvit.files.limits import MAX_DEPTH, MAX_INTEGER
from nextvit.files.regular import read_regular

MAX_YAML_BYTES = 2**20
MAX_JSON_BYTES = 2**25
BYTES_OF_NAMES = "surrogateescape"
"""In names of files Python holds bytes that are not UTF-8 as U+DC80 to U+DCFF; other halves of pairs are refused."""
LONG_INTEGER = re.compile(rb"[0-9]{19}")
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_yaml(path: Path, *, max_bytes: int = MAX_YAML_BYTES, as_text: bool = False) -> Any:
    """The content of a YAML file in UTF-8; None where it is empty.

    Dates stay text. Keys that occur twice in a mapping are refused, as are all tags beyond those of YAML's own texts,
    numbers, booleans, null, lists and mappings.

    Args:
        max_bytes: the largest file that is read. PyYAML takes some seconds for the default.
        as_text: every scalar stays the text that stands in the file ("no", "null", "007", "12:30"), keys, too; an empty
            one is "". For names, some of which YAML 1.1 takes for booleans and numbers.

    Raises:
        InputError: the file cannot be read, is no YAML, or exceeds a limit.
    """
    return parse_yaml(read_regular(path, max_bytes=max_bytes), what=str(path), as_text=as_text)


def parse_yaml(content: bytes | str, *, what: str, as_text: bool = False) -> Any:
    """As `read_yaml`, for text that is in memory; `what` names its source in messages."""
    import yaml
    from yaml.reader import ReaderError

    from nextvit.files.bounded_yaml import BoundedLoader, TextLoader

    text = decode(content, what=what)
    try:
        # Both are safe loaders: they know YAML's own tags alone.
        return yaml.load(text, Loader=TextLoader if as_text else BoundedLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{what}: {line}not valid YAML ({shorten(error.problem or error.context or '')})") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{what}: line {line}: not valid YAML ({error.reason})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{what}: not valid YAML ({shorten(first_line(error))})") from None


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The content of a JSON file in UTF-8.

    NaN and Infinity are read as Python's JSON does. A name that occurs twice in an object is refused.

    Args:
        max_bytes: the largest file that is read. In memory the values may take twenty times as much.

    Raises:
        InputError: the file cannot be read, is no JSON, or exceeds a limit.
    """
    return parse_json(read_regular(path, max_bytes=max_bytes), what=str(path))


def parse_json(content: bytes | str, *, what: str) -> Any:
    """As `read_json`, for text that is in memory; `what` names its source in messages."""
    content = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    # A function for each integer is slow, so that is asked for only where there are long ones.
    parse_int = short_integer if LONG_INTEGER.search(content) else None
    text = decode(content, what=what)
    try:
        value = json.loads(text, object_pairs_hook=unique_names, parse_int=parse_int)
        check_depth(value)
        if SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode(errors=BYTES_OF_NAMES)
    except json.JSONDecodeError as error:
        raise InputError(f"{what}: line {error.lineno}: not valid JSON ({error.msg})") from None
    except RecursionError:
        raise InputError(f"{what}: nested more than {MAX_DEPTH} levels deep") from None
    except UnicodeEncodeError:
        raise InputError(f"{what}: not valid JSON (half of a surrogate pair, which is no character)") from None
    except ValueError as error:
        raise InputError(f"{what}: not valid JSON ({shorten(first_line(error))})") from None
    return value


def decode(content: bytes | str, *, what: str) -> str:
    """UTF-8 with or without a byte order mark, as text.

    Raises:
        InputError: it is in another encoding; the message names the line.
    """
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{what}: line {line}: not UTF-8; save it in that encoding") from None


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a name occurs twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{shorten(twice)!r} occurs twice in an object")
    return values


def short_integer(digits: str) -> int:
    """An integer of at most 64 bits: no other can be stored, and Python's time for long ones is quadratic."""
    value = int(digits) if len(digits) <= 20 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise ValueError(f"an integer of {len(digits):,} digits does not fit into 64 bits")
    return value


def check_depth(value: Any) -> None:
    """Raise RecursionError where lists and dicts are nested more than `MAX_DEPTH` levels deep."""
    pending = [(value, 1)]
    while pending:
        container, depth = pending.pop()
        if isinstance(container, dict):
            children = list(cast(dict[str, Any], container).values())
        elif isinstance(container, list):
            children = cast(list[Any], container)
        else:
            continue
        if depth > MAX_DEPTH:
            raise RecursionError
        pending += [(each, depth + 1) for each in children if isinstance(each, dict | list)]
