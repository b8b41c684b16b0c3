"""The network against timm's independent implementation, and its own contract."""

import copy
import json
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from nextvit.errors import InputError
from nextvit.files.records import from_plain, to_plain
from nextvit.models.backbone import EMHSA, NextViT
from nextvit.models.classification import Classifier
from nextvit.models.config import SMALL, VARIANTS, NextViTConfig
from nextvit.models.cost import cost
from nextvit.models.create import create_model
from nextvit.models.weights import map_key
from tests.models.calibrated import SIZES, calibrate, image


def timm_twin(model: nn.Module, name: str) -> nn.Module:
    """timm's model with the weights of ours, paired by name."""
    twin = timm.create_model(name, drop_path_rate=0.0).double()
    ours = model.state_dict()
    depths = VARIANTS[name].depths
    twin.load_state_dict({key: ours[map_key(key, layout="timm", depths=depths)] for key in twin.state_dict()})
    for module in twin.modules():  # timm sets some drop path rates itself, whatever is passed
        if isinstance(module, timm.layers.DropPath):
            module.drop_prob = 0.0
    return twin.eval()


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return calibrate(create_model("nextvit_small", drop_path=0.0))


@pytest.fixture(scope="module")
def timm_small(small: nn.Module) -> nn.Module:
    return timm_twin(small, "nextvit_small")


@pytest.mark.parametrize("size", SIZES)
def test_logits_equal_timms(small: nn.Module, timm_small: nn.Module, size: tuple[int, int]):
    with torch.no_grad():
        ours, theirs = small(image(*size)), timm_small(image(*size))
    assert theirs.abs().max() > 0.1
    assert (ours - theirs).abs().max() <= 1e-10


@pytest.mark.parametrize("size", SIZES)
def test_feature_maps_equal_timms(small: nn.Module, timm_small: nn.Module, size: tuple[int, int]):
    with torch.no_grad():
        ours = small.get_submodule("backbone")(image(*size))
        theirs = timm_small.forward_intermediates(image(*size), intermediates_only=True)
    assert len(ours) == len(theirs) == 4
    for our_map, their_map in zip(ours, theirs, strict=True):
        assert (our_map - their_map).abs().max() <= 1e-10


@pytest.mark.parametrize("size", [SIZES[-1], *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES[:-1])])
def test_training_outputs_and_gradients_equal_timms(small: nn.Module, timm_small: nn.Module, size: tuple[int, int]):
    ours, theirs = copy.deepcopy(small).train(), copy.deepcopy(timm_small).train()
    labels = torch.tensor([3, 700])
    our_logits, their_logits = ours(image(*size)), theirs(image(*size))
    assert (our_logits - their_logits).abs().max() <= 1e-10
    nn.functional.cross_entropy(our_logits, labels).backward()
    nn.functional.cross_entropy(their_logits, labels).backward()
    our_gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    for key, parameter in theirs.named_parameters():
        gradient = our_gradients[map_key(key, layout="timm", depths=SMALL.depths)]
        assert gradient is not None and parameter.grad is not None
        assert (gradient - parameter.grad).abs().max() <= 1e-10, key


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [
        ("nextvit_small", 31_763_368, 5.79),
        ("nextvit_base", 44_818_856, 8.27),
        ("nextvit_large", 57_874_344, 10.75),
    ],
)
def test_published_variants_have_the_published_size(name: str, parameters: int, gmacs: float):
    measured = cost(VARIANTS[name])
    assert measured.parameters == parameters
    assert round(measured.macs / 1e9, 2) == gmacs


@pytest.mark.parametrize(("name", "parameters", "gmacs"), [("nextvit_nano", 3e6, 0.6), ("nextvit_tiny", 12e6, 2.0)])
def test_small_device_variants_stay_in_their_budget(name: str, parameters: float, gmacs: float):
    measured = cost(VARIANTS[name])
    assert measured.parameters <= parameters
    assert measured.macs / 1e9 <= gmacs


@pytest.mark.parametrize("name", VARIANTS)
def test_backbone_returns_four_maps_at_known_strides(name: str):
    with torch.device("meta"):
        maps = NextViT(VARIANTS[name]).eval()(torch.empty(1, 3, 64, 96))
    widths = VARIANTS[name].feature_widths
    expected = [(1, width, 64 // stride, 96 // stride) for width, stride in zip(widths, (4, 8, 16, 32), strict=True)]
    assert [tuple(each.shape) for each in maps] == expected


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (225, 31 + 64), (32, 200)])
def test_any_side_from_32_px_up_gives_maps_that_round_up(size: tuple[int, int]):
    backbone = NextViT(VARIANTS["nextvit_nano"]).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, *size))
    expected = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    assert [tuple(each.shape[2:]) for each in maps] == expected


def test_smaller_images_than_the_network_can_take_are_refused():
    with pytest.raises(InputError, match="at least 32 px a side, got \\(31, 64\\)"):
        NextViT(VARIANTS["nextvit_nano"])(torch.zeros(1, 3, 31, 64))


def test_attention_pools_runs_of_row_major_tokens_and_drops_the_last_incomplete_run():
    torch.manual_seed(0)
    attention = EMHSA(32, head_dim=32, reduction=4).double().eval()
    # 5 x 7 = 35 tokens make two runs of 16; tokens 32 to 34 are queries only.
    x_NCHW = torch.randn(1, 32, 5, 7, dtype=torch.float64)
    before = attention(x_NCHW)
    changed = x_NCHW.clone()
    changed[..., 4, 4:] += 1.0  # tokens 32, 33, 34
    after = attention(changed)
    assert torch.equal(before.flatten(2)[..., :32], after.flatten(2)[..., :32])
    assert not torch.equal(before.flatten(2)[..., 32:], after.flatten(2)[..., 32:])


def test_attention_equals_a_plain_computation():
    torch.manual_seed(0)
    attention = calibrate(EMHSA(64, head_dim=32, reduction=2), in_chans=64)
    x_NCHW = image(4, 6, count=1, in_chans=64)
    tokens = x_NCHW[0].flatten(1).T  # (24, 64)
    pooled = tokens.reshape(6, 4, 64).mean(dim=1)
    norm = attention.norm
    pooled = (pooled - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    q, k, v = (layer.weight @ x.T for layer, x in ((attention.q, tokens), (attention.k, pooled), (attention.v, pooled)))
    q, k, v = (
        (x + layer.bias[:, None]).unflatten(0, (2, 32))
        for x, layer in ((q, attention.q), (k, attention.k), (v, attention.v))
    )
    weights = (q.transpose(1, 2) @ k / 32**0.5).softmax(dim=-1)  # (heads, 24, 6)
    mixed = (weights @ v.transpose(1, 2)).permute(1, 0, 2).flatten(1)
    expected = (mixed @ attention.proj.weight.T + attention.proj.bias).T.reshape(64, 4, 6)
    assert (attention(x_NCHW)[0] - expected).abs().max() <= 1e-12


def test_input_channels_other_than_three_are_accepted():
    model = create_model("nextvit_nano", in_chans=5, num_classes=4).eval()
    assert model(torch.zeros(1, 5, 32, 32)).shape == (1, 4)


def test_drop_path_rises_linearly_and_mixes_by_the_papers_ratio():
    backbone = NextViT(replace(SMALL, drop_path=0.19))
    blocks = [block for stage in backbone.stages for block in stage.blocks]
    rates = [block.drop_path.p if hasattr(block, "drop_path") else block.mlp_drop_path.p for block in blocks]
    assert rates == pytest.approx([0.01 * index for index in range(20)])
    last = blocks[-1]
    assert (last.mhsa_drop_path.p, last.mhca_drop_path.p) == pytest.approx((0.19 * 0.75, 0.19 * 0.25))


def test_activation_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    plain = NextViT(replace(VARIANTS["nextvit_nano"], drop_path=0.0)).double().train()
    checkpointed = NextViT(replace(VARIANTS["nextvit_nano"], drop_path=0.0)).double().train()
    checkpointed.load_state_dict(plain.state_dict())
    checkpointed.set_activation_checkpointing(enabled=True)
    for backbone in (plain, checkpointed):
        sum(each.square().mean() for each in backbone(image(32, 32))).backward()
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_channels_last_gives_the_same_logits():
    model = calibrate(create_model("nextvit_nano", num_classes=10))
    x = image(64, 64)
    with torch.no_grad():
        expected = model(x)
        got = model.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    assert (got - expected).abs().max() <= 1e-10


def test_config_survives_json():
    for config in VARIANTS.values():
        assert from_plain(NextViTConfig, json.loads(json.dumps(to_plain(config))), what="config") == config


def test_an_unknown_architecture_setting_is_named():
    with pytest.raises(InputError, match="did you mean 'head_dim'"):
        from_plain(NextViTConfig, {**to_plain(SMALL), "head_dims": 16}, what="config")


def test_an_impossible_architecture_is_refused():
    with pytest.raises(InputError, match="multiple of head_dim"):
        replace(SMALL, conv_widths=(100, 192, 384, 768))
    with pytest.raises(InputError, match="cannot be split"):
        replace(SMALL, transformer_widths=(128, 64, 512, 1024))
    with pytest.raises(InputError, match="string of 'C' and 'T'"):
        replace(SMALL, blocks=("CCC", "CCCX", "CCT", "CCT"))


def test_unknown_model_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'nextvit_small'"):
        create_model("nextvit_smal")


def test_features_only_has_no_head():
    backbone = create_model("nextvit_nano", features_only=True)
    assert isinstance(backbone, NextViT)
    assert isinstance(create_model("nextvit_nano"), Classifier)
