"""What reaches a terminal: texts from files without control characters, and one line for every error of a user."""

import json
import sys
from typing import Any

import pytest

from nextvit.cli import main as command_line
from nextvit.cli.console import make_table, printable, progress, show
from nextvit.errors import InputError, NotProven

HARMFUL = {
    "\x1b[31mred": r"\x1b[31mred",
    "a\x07b": r"a\x07b",
    "a\rb": r"a\x0db",
    "a\nb": r"a\x0ab",
    "a\x7fb": r"a\x7fb",
    "a\x9bb": r"a\x9bb",
    "gpj\u202eexe": r"gpj\u202eexe",
    "a\u2066b\u2069": r"a\u2066b\u2069",
    "a" + chr(0xDCFF): r"a\udcff",
    "a" + chr(0xD800): r"a\ud800",
    "a\u2028b": r"a\u2028b",
}


@pytest.mark.parametrize(("text", "shown"), HARMFUL.items())
class TestHarmfulTexts:
    def test_are_escaped(self, text: str, shown: str):
        assert printable(text) == shown

    def test_are_escaped_in_tables_lines_and_remarks(self, text: str, shown: str, capsys: pytest.CaptureFixture[str]):
        show(False, text, make_table([text, "b"], [[text, text]]), document={})
        progress.print(text, markup=False, soft_wrap=True)
        captured = capsys.readouterr()
        for line in (captured.out + captured.err).splitlines():
            assert line.isprintable()
        if "\n" not in text:
            assert captured.out.count(shown) == 4 and shown in captured.err

    def test_are_exact_in_json_and_escaped_on_its_way(self, text: str, shown: str, capsys: pytest.CaptureFixture[str]):
        show(True, document={text: [text]})
        out = capsys.readouterr().out
        assert json.loads(out) == {text: [text]} and out.strip().isprintable()

    def test_are_escaped_in_errors(
        self, text: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        captured = failed(InputError(f"class {text}!"), 2, capsys, monkeypatch, "--json")
        assert captured.err.strip().isprintable() and json.loads(captured.out)["exit_code"] == 2


def test_other_characters_stay():
    for text in ("Größe", "猫", "שלום", "a b", "\U0001f600", "é"):
        assert printable(text) == text


def failed(error: BaseException, code: int, capsys: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """Run the console script with a verb that raises an error."""

    def fall(_: object) -> int:
        raise error

    monkeypatch.setattr(command_line, "run", fall)
    monkeypatch.setattr(sys, "argv", ["nextvit", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == code
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    return captured


def undecodable() -> UnicodeError:
    try:
        "\ud800".encode()
    except UnicodeError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NotProven("no"), 1, "no"),
        (InputError("a\nb"), 2, "a b"),
        (InputError("x" * 10**6), 2, "xxx..."),
        (MemoryError(), 2, "memory"),
        (MemoryError("Unable to allocate 8.00 GiB"), 2, "8.00 GiB"),
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (undecodable(), 2, "Unicode"),
        (FileNotFoundError(2, "No such file", "a"), 2, "a: No such file"),
        (ModuleNotFoundError("no", name="onnxruntime.capi"), 3, "onnxruntime"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    captured = failed(error, code, capsys, monkeypatch)
    assert words in captured.err and len(captured.err) < 2100


def test_faults_of_our_own_keep_their_traceback(monkeypatch: pytest.MonkeyPatch):
    def fall(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(command_line, "run", fall)
    with pytest.raises(ZeroDivisionError):
        command_line.main()
