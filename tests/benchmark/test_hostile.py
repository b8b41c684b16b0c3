"""The campaign of damaged files counts what it should, and damages the same way each time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from hostile_damage import DEEP, damage_bytes, damage_json, damage_npz, damage_text, damage_value, write_json
from hostile_reading import Leak, refused, replaced, verb

FAULTY = """
import ctypes, json, sys, time
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import hostile
from hostile_reading import Target

def attempt(folder, random):
    number = next(numbers)
    if number == 3: ctypes.string_at(0)
    if number == 5: raise KeyError("k")
    if number == 7: bytearray(200 * 2**20)
    if number == 9:
        while True: time.process_time()
    if number == 11: time.sleep(60)

hostile.CPU_SECONDS, hostile.WALL_SECONDS, hostile.MEMORY, hostile.PER_CHILD = 0.2, 1.0, 100 * 2**20, 4
class Numbers:
    def __next__(self): return self.number
numbers = Numbers()
def generator(seed, kind, number):
    numbers.number = number
hostile.generator = generator
hostile.TARGETS["faulty"] = Target(1, lambda folder: None, attempt)
print(json.dumps(hostile.try_kind("faulty", Path(sys.argv[1]), range(13), seed=0)), file=sys.stderr)
"""
"""A target with one fault of each kind, with limits that are quickly reached."""


def test_each_fault_is_counted_once_and_the_campaign_goes_on(tmp_path: Path):
    script = FAULTY.format(benchmarks=str(BENCHMARKS))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    tried, faults = json.loads(done.stderr.splitlines()[-1])
    assert tried == 13
    assert [(what, number) for what, number, _ in faults] == [
        ("crash", 3),
        ("exception", 5),
        ("over_memory", 7),
        ("over_time", 9),
        ("over_time", 11),
    ]
    assert "exit code -11" in faults[0][2] and "KeyError" in faults[1][2] and "MiB" in faults[2][2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda random: damage_bytes(b"some bytes of a file", random),
        lambda random: damage_text("names: [a, b]\nvalue: 12.5\n", random),
        lambda random: damage_json(b'{"a": [1, {"b": "c"}], "d": 2.5}', random),
    ],
    ids=["bytes", "text", "json"],
)
def test_damage_is_a_function_of_the_seed_and_differs_between_seeds(damage: Callable[[Random], bytes]):
    first = [damage(Random(seed)) for seed in range(50)]
    assert first == [damage(Random(seed)) for seed in range(50)]
    assert len(set(first)) > 25


def test_damage_of_values_leaves_the_valid_ones_and_can_nest_them_deeply():
    value = {"a": [1, 2], "b": {"c": None}}
    changed = [damage_value(value, Random(seed)) for seed in range(50)]
    assert value == {"a": [1, 2], "b": {"c": None}}
    assert sum(each != value for each in changed) > 40
    assert b"[[[[" in write_json([DEEP], Random(0))


def test_damage_of_arrays_gives_an_archive_that_numpy_opens(tmp_path: Path):
    np.savez(tmp_path / "valid.npz", a=np.arange(6.0).reshape(2, 3), b=np.array(3))
    for seed in range(20):
        (tmp_path / "damaged.npz").write_bytes(damage_npz((tmp_path / "valid.npz").read_bytes(), Random(seed)))
        with np.load(tmp_path / "damaged.npz") as damaged:
            assert set(damaged.files) <= {"a", "b"}


def test_a_refusal_is_no_fault_and_control_characters_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    verb("info", tmp_path / "nowhere")
    monkeypatch.setattr("nextvit.cli.main.run", lambda arguments: print("\x1b[2J"))
    with pytest.raises(Leak, match=r"U\+001B"):
        verb("info", tmp_path)
    with pytest.raises(KeyError):
        refused(lambda: os.environ["NO_SUCH_VARIABLE"])
    assert capsys.readouterr() == ("", "")


def test_a_file_is_put_back_whatever_happens(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"valid")
    with pytest.raises(RuntimeError), replaced(path, b"damaged"):
        assert path.read_bytes() == b"damaged"
        raise RuntimeError
    assert path.read_bytes() == b"valid"
