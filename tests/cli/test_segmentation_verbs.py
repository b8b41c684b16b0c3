"""The verbs of a model's life on pictures with masks, and what is refused there."""

# ruff: noqa: F811 (fixtures of other files)

import json
from pathlib import Path

import pytest

from tests.cli.test_verbs import call  # noqa: F401 (fixture)
from tests.data.masks_by_hand import CLASSES, draw_masked, repaint


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_masked(tmp_path_factory.mktemp("masks") / "drawn")


def test_check_counts_the_pictures_of_each_class(drawn: Path, call):
    done = call("check", drawn)
    assert done.code == 0, done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert all([name, "12", "4"] in lines for name in CLASSES)
    document = json.loads(call("check", drawn, "--json").out)
    assert document["classes"] == {name: {"train": 12, "val": 4} for name in CLASSES}


def test_check_finds_what_is_wrong_with_masks(tmp_path: Path, call):
    repaint(draw_masked(tmp_path / "drawn"), lambda mask: mask + 5, only=3)
    done = call("check", tmp_path / "drawn")
    assert done.code == 1 and "value_out_of_range" in done.out
