"""Checkpoint files that somebody else wrote: loaded, or refused in one line before they cost anything."""

import json
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.weights import CARD_KEY, load_weights, read_state
from nextvit.tasks.network import load_model

CARD = to_plain(
    ModelCard(
        task="classification",
        classes=("a", "b", "c"),
        input=Preprocess(image_size=(64, 64)),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
    )
)
KEY = "backbone.stem.0.conv.weight"


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return create_model("nextvit_nano", num_classes=3)


def one_line(error: pytest.ExceptionInfo[InputError], path: Path) -> None:
    message = str(error.value)
    assert path.name in message and len(message.splitlines()) == 1 and len(message) < 800, message


@pytest.mark.parametrize(
    "content",
    [
        3,
        [],
        {},
        {"model": 3},
        {"model": None},
        {"state_dict": []},
        {KEY: 3},
        {KEY: None},
        {1: torch.zeros(1)},
        {None: torch.zeros(1)},
        {(1, 2): torch.zeros(1)},
        {KEY: torch.zeros(()), "stages.0.blocks.0.x": torch.zeros(())},
        {KEY: torch.zeros(3).to_sparse()},
        {KEY: torch.empty(3, device="meta")},
        {KEY: torch.zeros(3, dtype=torch.complex64)},
        {"stages.0.blocks.0.x": torch.zeros(1).expand(2**40)},
        {"x" * 10**6: torch.zeros(1)},
        {"\x1b[31m": torch.zeros(1)},
        OrderedDict({"head.weight": torch.zeros(())}),
        {"backbone.stages.0.blocks.0.x": torch.zeros(1), "head.weight": torch.zeros(())},
        {"backbone.stages.0.blocks.0.x": torch.zeros(1), "backbone._extra_state": torch.zeros(5)},
        {"backbone.stages.0.blocks.0.x": torch.zeros(1), "backbone._extra_state": torch.zeros(0)},
    ],
)
def test_state_dicts_of_other_things_are_refused(content: Any, model: torch.nn.Module, tmp_path: Path):
    path = tmp_path / "model.pth"
    torch.save(content, path)
    with pytest.raises(InputError) as error:
        load_weights(model, path)
    one_line(error, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float, model: torch.nn.Module, tmp_path: Path):
    state = {**model.state_dict(), KEY: torch.full_like(model.state_dict()[KEY], value)}
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(InputError, match=rf"'{KEY}' has values that are NaN or infinite"):
        load_weights(model, tmp_path / "model.pth")


def test_packed_archives_are_not_unpacked(tmp_path: Path):
    """torch.save packs nothing, so a small file cannot become a large one."""
    torch.save({KEY: torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "model.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert (tmp_path / "model.pth").stat().st_size < 10_000
    with pytest.raises(InputError, match="unpacks to 4,00"):
        read_state(tmp_path / "model.pth")


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_is_no_regular_file_or_too_large_is_not_read(name: str, tmp_path: Path):
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"\x10" + bytes(7) + b"{")
        file.truncate(2**40)
    with pytest.raises(InputError, match="bytes") as error:
        read_state(path)
    one_line(error, path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="pipe"):
        read_state(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="device"):
        read_state(path)


def with_card(path: Path, card: str) -> Path:
    save_file({KEY: torch.zeros(16, 3, 3, 3)}, path, metadata={CARD_KEY: card})
    return path


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 3000, '{"a": 1, "a": 2}', '{"task": "\\ud800"}'])
def test_cards_of_other_things_are_refused(text: str, tmp_path: Path):
    path = with_card(tmp_path / "model.safetensors", text)
    with pytest.raises(InputError) as error:
        load_model(path)
    one_line(error, path)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "clasification"},
        {"task": []},
        {"classes": "abc"},
        {"classes": [1, 2]},
        {"input": {"image_size": [64]}},
        {"input": {"image_size": [10**12, 64]}},
        {"input": {"image_size": [64, 64], "std": [0, float("nan"), 1]}},
        {"input": {"image_size": [64, 64], "resize": ["crop"]}},
        {"facts": 3},
        {"facts": {"x": 1}},
        {"head": {"x": 1}, "task": "detection"},
        {"task": "segmentation", "head": {"neck_width": 10**12}},
        {"task": "segmentation", "head": {"pool_sides": [10**9]}},
        {"task": "segmentation", "head": {"head": "none"}},
        *({"architecture": {**CARD["architecture"], **each}} for each in (
            {"head_dim": 0},
            {"head_dim": -32},
            {"in_chans": 0},
            {"stem_widths": [0, 0, 0]},
            {"stem_widths": [2**14, 2**14, 2**14]},
            {"stem_widths": [10**9, 10**9, 10**9]},
            {"conv_widths": [32, 64, 128, 10**15]},
            {"conv_widths": [2**14, 2**14, 2**14, 2**14]},
            {"blocks": ["C" * 10**6, "C", "C", "C"]},
            {"blocks": ["C" * 900, "C", "C", "C"]},
            {"blocks": ["X", "C", "C", "C"]},
            {"blocks": ["", "C", "C", "C"]},
            {"blocks": ["C", "C", "C"]},
            {"blocks": "CCCC"},
            {"mix_ratio": float("nan")},
            {"mix_ratio": -1},
            {"mix_ratio": 1e308},
            {"conv_expansion": 10**9},
            {"spatial_reductions": [0, 0, 0, 0]},
            {"drop_path": 2},
            {"depths": [1]},
        )),
    ],
    ids=lambda change: json.dumps(change)[:60],
)  # fmt: skip
def test_damaged_cards_are_refused_before_their_network_is_built(change: dict[str, Any], tmp_path: Path):
    path = with_card(tmp_path / "model.safetensors", json.dumps({**CARD, **change}))
    with pytest.raises(InputError) as error:
        load_model(path)
    message = str(error.value)
    assert len(message.splitlines()) == 1 and len(message) < 800
