"""Checkpoints of every layout, and files that must be refused."""

import argparse
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.create import create_model
from nextvit.models.published import PUBLISHED
from nextvit.models.weights import load_weights, map_key, read_state, save_model
from nextvit.tasks.network import load_model
from tests.models.calibrated import calibrate, image

SMALL_DEPTHS = VARIANTS["nextvit_small"].depths
NANO_CARD = ModelCard(
    task="classification",
    classes=("a", "b", "c"),
    input=Preprocess(image_size=(64, 64)),
    variant="nextvit_nano",
    architecture=to_plain(VARIANTS["nextvit_nano"]),
)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model("nextvit_small", drop_path=0.0))


def official_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights under the official names, written from the rules in the official code's structure."""
    starts = [0, 3, 7, 17]
    state = {}
    for name, tensor in model.state_dict().items():
        key = name.removeprefix("backbone.")
        if key.startswith("stages."):
            _, stage, _, position, rest = key.split(".", 4)
            key = f"features.{starts[int(stage)] + int(position)}.{rest}"
        key = key.replace("mlp.fc1", "mlp.conv1").replace("mlp.fc2", "mlp.conv2").replace("head.", "proj_head.0.")
        if not key.endswith("_extra_state"):
            state[key] = tensor
    return state


def fresh_small(**settings: object) -> nn.Module:
    torch.manual_seed(1)
    return create_model("nextvit_small", **settings).double().eval()


def same_outputs(one: nn.Module, other: nn.Module) -> bool:
    with torch.no_grad():
        return torch.equal(one(image(64, 64)), other(image(64, 64)))


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_official_checkpoint_loads_to_equal_outputs(small: nn.Module, tmp_path: Path, wrapper: str | None):
    state = official_state(small)
    assert len(state) == 472
    args = argparse.Namespace(model="nextvit_small", lr=5e-4)
    torch.save({wrapper: state, "args": args, "epoch": 293} if wrapper else state, tmp_path / "official.pth")
    model = fresh_small()
    report = load_weights(model, tmp_path / "official.pth")
    assert (report.layout, report.loaded, report.fresh, report.left_over) == ("official", 472, [], {})
    assert same_outputs(model, small)


def test_timm_checkpoint_made_by_timm_loads_to_equal_outputs(tmp_path: Path):
    torch.manual_seed(2)
    theirs = calibrate(timm.create_model("nextvit_small"))
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    model = fresh_small()
    report = load_weights(model, tmp_path / "timm.pth")
    assert (report.layout, report.loaded, report.fresh, report.left_over) == ("timm", 472, [], {})
    with torch.no_grad():
        assert (model(image(64, 64)) - theirs(image(64, 64))).abs().max() <= 1e-10


def test_own_file_carries_the_model_and_its_card(tmp_path: Path):
    model = calibrate(create_model("nextvit_nano", num_classes=3)).float()
    save_model(tmp_path / "model.safetensors", model, NANO_CARD)
    loaded, card = load_model(tmp_path / "model.safetensors")
    assert card == NANO_CARD
    assert torch.equal(loaded(image(64, 64).float()), model(image(64, 64).float()))


@pytest.mark.parametrize("with_norm_and_head", [True, False])
def test_detection_checkpoint_gives_its_backbone(small: nn.Module, tmp_path: Path, with_norm_and_head: bool):
    state = official_state(small)
    if not with_norm_and_head:
        state = {key: tensor for key, tensor in state.items() if not key.startswith(("norm.", "proj_head."))}
    wrapped = {f"backbone.{key}": tensor for key, tensor in state.items()}
    wrapped |= {"neck.lateral_convs.0.conv.weight": torch.zeros(1), "roi_head.bbox_head.fc_cls.bias": torch.zeros(81)}
    wrapped |= {"backbone.extra_norm_list.3.weight": torch.ones(1024)}
    torch.save({"state_dict": wrapped, "meta": {"CLASSES": ["person"]}}, tmp_path / "det.pth")

    backbone = fresh_small(features_only=True)
    report = load_weights(backbone, tmp_path / "det.pth")
    assert report.loaded == 465
    assert report.fresh == []
    assert set(report.left_over) == wrapped.keys() - {f"backbone.{our}" for our in state if our[0] in "sf"}
    for ours, expected in zip(backbone(image(64, 64)), small.get_submodule("backbone")(image(64, 64)), strict=True):
        assert torch.equal(ours, expected)

    classifier = fresh_small(num_classes=1000)
    report = load_weights(classifier, tmp_path / "det.pth")
    assert bool(report.fresh) is not with_norm_and_head
    assert all(name.startswith(("norm.", "head.")) for name in report.fresh)


def test_other_number_of_classes_replaces_the_head_and_says_so(small: nn.Module, tmp_path: Path):
    torch.save(official_state(small), tmp_path / "official.pth")
    model = fresh_small(num_classes=10)
    before = model.get_submodule("head").weight.clone()
    report = load_weights(model, tmp_path / "official.pth")
    assert report.fresh == ["head.weight", "head.bias"]
    assert report.left_over == dict.fromkeys(("proj_head.0.weight", "proj_head.0.bias"), "head for other classes")
    assert torch.equal(model.get_submodule("head").weight, before)
    assert "2 start fresh: head.weight, head.bias" in str(report)


def test_same_number_of_other_classes_replaces_the_head_too(tmp_path: Path):
    save_model(tmp_path / "m.safetensors", create_model("nextvit_nano", num_classes=3), NANO_CARD)
    model = create_model("nextvit_nano", num_classes=3)
    assert load_weights(model, tmp_path / "m.safetensors", classes=("a", "b", "c")).fresh == []
    assert load_weights(model, tmp_path / "m.safetensors", classes=("x", "y", "z")).fresh == [
        "head.weight",
        "head.bias",
    ]


def test_unknown_key_is_named(small: nn.Module, tmp_path: Path):
    torch.save(official_state(small) | {"surprise.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"no place for key 'surprise.weight'"):
        load_weights(fresh_small(), tmp_path / "odd.pth")


def test_missing_key_is_named(small: nn.Module, tmp_path: Path):
    state = official_state(small)
    del state["features.4.mlp.conv1.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InputError, match=r"lacks 'backbone.stages.1.blocks.1.mlp.fc1.weight'"):
        load_weights(fresh_small(), tmp_path / "short.pth")


def test_other_shape_is_named_with_both_shapes(small: nn.Module, tmp_path: Path):
    torch.save(official_state(small), tmp_path / "official.pth")
    with pytest.raises(InputError, match=r"'stem.0.conv.weight' has shape \(64, 3, 3, 3\), .* \(64, 4, 3, 3\)"):
        load_weights(fresh_small(in_chans=4), tmp_path / "official.pth")


def test_other_variant_is_reported_with_its_number_of_blocks(small: nn.Module, tmp_path: Path):
    torch.save(official_state(small), tmp_path / "official.pth")
    with pytest.raises(InputError, match="the checkpoint has 20 blocks, the model 30"):
        load_weights(create_model("nextvit_base").double(), tmp_path / "official.pth")


def test_names_of_blocks_follow_the_depths():
    assert (
        map_key("features.17.norm.bias", layout="official", depths=SMALL_DEPTHS)
        == "backbone.stages.3.blocks.0.norm.bias"
    )
    assert map_key("proj_head.0.bias", layout="official", depths=SMALL_DEPTHS) == "head.bias"
    assert map_key("head.fc.bias", layout="timm", depths=SMALL_DEPTHS) == "head.bias"


def test_fused_file_does_not_load_into_an_unfused_model(tmp_path: Path):
    from nextvit.models.fuse import fuse

    fused = fuse(create_model("nextvit_nano", num_classes=3))
    save_model(tmp_path / "fused.safetensors", fused, NANO_CARD)
    with pytest.raises(InputError, match=r"fused .* training needs the unfused checkpoint"):
        load_weights(create_model("nextvit_nano", num_classes=3), tmp_path / "fused.safetensors")


class Hostile:
    """Unpickles by running a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_hostile_pickle_runs_nothing(tmp_path: Path):
    marker = tmp_path / "ran"
    torch.save({"model": {"stem.0.conv.weight": Hostile(marker)}}, tmp_path / "hostile.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Hostile(marker)))
    for name in ("hostile.pth", "bare.pth"):
        with pytest.raises(InputError, match="refused"):
            read_state(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02}q\x00.", b"PK\x03\x04broken"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_state(tmp_path / "file.pth")
    assert "file.pth" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path: Path, suffix: str):
    path = tmp_path / f"model.{suffix}"
    model = create_model("nextvit_nano", num_classes=3)
    if suffix == "pth":
        torch.save(model.state_dict(), path)
    else:
        save_model(path, model, NANO_CARD)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged") as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)


def test_published_tag_without_a_network_says_which_file_to_fetch(tmp_path: Path):
    code = "import nextvit; nextvit.create_model('nextvit_small', weights='bd_in1k')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=environment, capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError" in last
    assert "fetch model.safetensors from huggingface.co/timm/nextvit_small.bd_in1k" in last


def test_tag_of_another_variant_is_refused_before_any_download():
    with pytest.raises(InputError, match="no published weights 'bd_in1k' for nextvit_nano"):
        create_model("nextvit_nano", weights="bd_in1k")
    with pytest.raises(InputError, match="no file, no run and no published tag"):
        create_model("nextvit_small", weights="imagenet")


def test_twelve_checkpoints_are_published():
    assert len({each.repository for each in PUBLISHED}) == 12
