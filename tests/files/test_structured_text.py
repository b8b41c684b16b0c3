"""The readers of YAML and JSON: what they give, and one line for everything else."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from nextvit.errors import InputError
from nextvit.files.limits import MAX_DEPTH
from nextvit.files.structured_text import parse_json, parse_yaml, read_json, read_yaml

LEVELS = [f"{name}: &{name} [{','.join(['x' if not before else f'*{before}'] * 9)}]" for before, name in zip(
    ("", "a", "b", "c", "d", "e", "f", "g"), "abcdefgh", strict=True)]  # fmt: skip
"""Eight lines that name 9 ** 8 values."""
CHAIN = "\n".join(
    ["a0: &a0 " + "[" * 30 + "x" + "]" * 30]
    + [f"a{each}: &a{each} " + "[" * 30 + f"*a{each - 1}" + "]" * 30 for each in range(1, 8)]
)
"""Each line is 30 levels deep, and names the line before it."""


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    """The message, which is short and printable."""
    message = str(error.value)
    assert len(message.splitlines()) == 1 and message.isprintable() and len(message) < 300, message
    return message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        ("\ufeffa: 1", {"a": 1}),
        ("names: {0: cat, 1: dog}", {"names": {0: "cat", 1: "dog"}}),
        ("day: 2024-01-31\nnone: 2024-99-99", {"day": "2024-01-31", "none": "2024-99-99"}),
        ("x: &a {lr: 1}\ny: {<<: *a, z: 2}", {"x": {"lr": 1}, "y": {"lr": 1, "z": 2}}),
        ("x: &a [1]\ny: *a", {"x": [1], "y": [1]}),
        ("x: {<<: {a: 1}, a: 2}", {"x": {"a": 2}}),  # an own value wins over a merged one: no repetition
        ("x: !!str 1", {"x": "1"}),
        ("x: =", {"x": "="}),
    ],
)
def test_yaml_is_values_of_the_kinds_of_json(text: str, expected: Any):
    assert parse_yaml(text.encode(), what="a.yaml") == expected


def test_yaml_as_text_keeps_what_stands_in_the_file():
    text = "names: [no, yes, on, off, null, ~, 007, 12:30, 1e3, 0x1F, 2024-01-31, true, =]\n1: x\nempty:\n"
    names = ["no", "yes", "on", "off", "null", "~", "007", "12:30", "1e3", "0x1F", "2024-01-31", "true", "="]
    assert parse_yaml(text, what="a", as_text=True) == {"names": names, "1": "x", "empty": ""}
    assert parse_yaml("a: &a {x: no}\nb: {<<: *a}", what="a", as_text=True)["b"] == {"x": "no"}


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nx: !!bool zz", "line 2"),
        ("x: !!timestamp zz", "timestamp"),
        ("x: !!int zz", "zz"),
        ("x: !!float zz", "zz"),
        ("x: !!null [1]", "line 1"),
        ("x: !!map zz", "line 1"),
        ("x: !!seq zz", "line 1"),
        ("x: !!set {a}", "tag"),
        ("x: !!binary zz", "tag"),
        ("x: !!python/object/apply:os.system [ls]", "tag"),
        ("x: !own zz", "tag"),
        ("\n".join(LEVELS), "line 6"),
        ("\n".join(LEVELS[:4]) + "\nx: {<<: [{a: *d}, {b: *d}]}\n" + "\n".join(LEVELS[4:]), "aliases counted"),
        (CHAIN, "nested"),
        ("x: " + "[" * 200 + "]" * 200, "nested"),
        ("x: " + "{a: " * 5000 + "}" * 5000, "nested"),
        ("- " * 3000 + "x", "nested"),
        ("a: 1\nx: &x [*x]", "line 2: .*alias"),
        ("optim: &x {lr: *x}", "alias"),
        ("x: *y", "undefined alias"),
        ("a: 1\nb: 2\na: 3", "line 3: .*'a' occurs twice"),
        ("? [1, 2]\n: 3", "line 1"),
        ("a: [1", "line"),
        ("a: 'x", "line"),
        ("a: 1\n---\na: 2", "line 2"),
        ("a: 1\nb: \x07", "line 2"),
        ('x: "\\ud800"', "ud800"),
    ],
)
def test_yaml_that_is_wrong_is_one_line(text: str, reason: str, as_text: bool):
    with pytest.raises(InputError, match=f"a.yaml: {reason if reason.startswith('line') else f'.*{reason}'}") as error:
        parse_yaml(text.encode(), what="a.yaml", as_text=as_text)
    one_line(error)


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, "1:" * 500 + "1", "9" * 30, "-9223372036854775809"])
def test_numbers_of_yaml_that_do_not_fit_are_refused(number: str):
    with pytest.raises(InputError, match="line 1") as error:
        parse_yaml(f"x: {number}", what="a.yaml")
    one_line(error)
    assert parse_yaml(f"x: {number}", what="a.yaml", as_text=True) == {"x": number}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": [1, -2, 2.5, true, null, "x"]}', {"a": [1, -2, 2.5, True, None, "x"]}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 9223372036854775807, "b": 1.00000000000000000000001}', {"a": 2**63 - 1, "b": 1.0}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
    ],
)
def test_json_is_read(content: bytes, expected: Any):
    found = parse_json(content, what="a.json")
    assert expected is None or found == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1"),
        (b'{"a": 1,\n}', "line 2"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested"),
        (b"[" * 100_000, "nested"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"a": 9223372036854775808}', "64 bits"),
        (b'\n"\xff"', "line 2: not UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    ],
)
def test_json_that_is_wrong_is_one_line(content: bytes, reason: str):
    with pytest.raises(InputError, match=rf"a.json: .*{reason}") as error:
        parse_json(content, what="a.json")
    one_line(error)


@pytest.mark.parametrize("read", [read_yaml, read_json])
class TestFiles:
    def test_regular_files_and_links_to_them_are_read(self, read: Any, tmp_path: Path):
        (tmp_path / "a").write_text(json.dumps({"a": 1}))
        (tmp_path / "b").symlink_to(tmp_path / "a")
        assert read(tmp_path / "a") == read(tmp_path / "b") == {"a": 1}

    def test_what_is_no_regular_file_is_refused_at_once(self, read: Any, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "device").symlink_to("/dev/zero")
        (tmp_path / "folder").mkdir()
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        for name in ("pipe", "device", "folder", "circle", "missing", "\0"):
            refused: list[str] = []
            thread = threading.Thread(target=self.refuse, args=(read, tmp_path / name, refused), daemon=True)
            thread.start()
            thread.join(5)
            assert len(refused) == 1, name

    @staticmethod
    def refuse(read: Any, path: Path, refused: list[str]) -> None:
        with pytest.raises(InputError) as error:
            read(path)
        refused.append(one_line(error))

    def test_sparse_files_are_refused_by_their_size(self, read: Any, tmp_path: Path):
        with (tmp_path / "sparse").open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(InputError, match="1,099,511,627,776 bytes"):
            read(tmp_path / "sparse")
