"""Schedule, optimizer, averaged weights, recipes."""

import math

import pytest
import torch
from torch import nn

from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.models.create import create_model
from nextvit.recipes import RECIPES, get_recipe
from nextvit.train.device import autocast, pick_device, pick_precision
from nextvit.train.ema import Ema
from nextvit.train.optim import build_optimizer, set_lr
from nextvit.train.recipe import Compute, Data, Optim, Recipe, Schedule
from nextvit.train.schedule import compute_lr, lr_at


def test_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    rates = [lr_at(step, steps=100, warmup_steps=10, peak=1.0, final=0.01) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == rates[10] == 1.0
    assert rates[10 + 89 // 2] == pytest.approx(0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 44 / 89)))
    assert rates[-1] == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_dimensional_parameters_do_not_decay():
    model = create_model("nextvit_nano", num_classes=3)
    spared, decayed = sorted(
        build_optimizer(model, Optim(weight_decay=0.1)).param_groups, key=lambda group: group["decays"]
    )
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim <= 1 for parameter in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_rates_fall_by_a_factor_a_block_towards_the_stem():
    model = create_model("nextvit_nano", num_classes=3)
    optimizer = build_optimizer(model, Optim(layer_decay=0.5))
    scales = {id(weight): group["lr_scale"] for group in optimizer.param_groups for weight in group["params"]}
    blocks = sum(model.backbone.config.depths)
    assert scales[id(model.head.weight)] == scales[id(model.norm.weight)] == 1
    assert scales[id(model.backbone.stem[0].conv.weight)] == 0.5 ** (blocks + 1)
    firsts = [next(block.parameters()) for stage in model.backbone.stages for block in stage.blocks]
    assert [scales[id(first)] for first in firsts] == [0.5 ** (blocks - place) for place in range(blocks)]
    set_lr(optimizer, 2.0)
    assert {group["lr"] for group in optimizer.param_groups} == {2 * scale for scale in scales.values()}
    assert len(scales) == len(list(model.parameters()))


OFFICIAL_LOG = {0: 0.000001, 4: 0.000301, 9: 0.000801, 19: 0.001800, 29: 0.001958, 49: 0.001877, 99: 0.001520,
                149: 0.001026, 199: 0.000526, 249: 0.000154, 279: 0.000036, 299: 0.000010}  # fmt: skip


def test_the_published_schedule_is_that_of_the_official_log():
    """nextvit_small_in1k_224.log of the official repository: epoch -> rate, rounded to six digits."""
    recipe = get_recipe("imagenet_published")
    for epoch, rate in OFFICIAL_LOG.items():
        for step in (0, 624):
            assert compute_lr(epoch * 625 + step, steps_per_epoch=625, recipe=recipe) == pytest.approx(rate, abs=6e-7)


def test_the_384_px_recipe_learns_at_a_constant_rate():
    recipe = get_recipe("imagenet_384")
    assert {compute_lr(step, steps_per_epoch=10, recipe=recipe) for step in (0, 150, 299)} == {1e-5}


def test_average_follows_the_weights_and_the_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema(model, decay=0.5)
    expected = {name: tensor.clone().double() for name, tensor in model.state_dict().items()}
    for update in range(20):
        with torch.no_grad():
            for tensor in (*model.parameters(), model[1].running_mean):
                tensor.add_(torch.randn_like(tensor))
        ema.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        for name, tensor in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor
    for name in ("0.weight", "0.bias", "1.running_mean"):
        assert torch.allclose(ema.model.state_dict()[name].double(), expected[name], atol=1e-6), name
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


def test_without_averaging_the_copy_is_the_model():
    model = nn.Linear(2, 2)
    ema = Ema(model, decay=0.0)
    with torch.no_grad():
        model.weight.fill_(3.0)
    ema.update(model)
    assert torch.equal(ema.model.weight, model.weight)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_and_is_plain_yaml(name: str):
    import yaml

    recipe = get_recipe(name)
    assert yaml.safe_load(yaml.safe_dump(to_plain(recipe))) == to_plain(recipe)
    assert RECIPES[name].__doc__ is not None and "nextvit train" in RECIPES[name].__doc__


def test_unknown_recipe_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'finetune'"):
        get_recipe("fintune")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Recipe(data=Data(image_size=16)), "at least 32 px"),
        (lambda: Data(batch_size=1), "data.batch_size must be auto or at least 2 .* got 1"),
        (lambda: Data(max_unreadable=2), "data.max_unreadable is a fraction"),
        (lambda: Optim(lr=-1), "optim.lr must be positive, got -1"),
        (lambda: Optim(accumulate=0), "optim.accumulate"),
        (lambda: Schedule(epochs=0), "schedule.epochs must be at least 1"),
        (lambda: Schedule(epoch_steps=-1), "schedule.epoch_steps must not be negative, got -1"),
        (lambda: Schedule(power=0), "schedule.power must be above 0, got 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(build, message: str):
    with pytest.raises(InputError, match=message):
        build()


def test_devices_that_are_not_there_are_named():
    assert pick_device("cpu").type == "cpu"
    for name in ("cuda:99", "toaster"):
        with pytest.raises(InputError, match=f"device '{name}' is not available here"):
            pick_device(name)


def test_the_precision_that_is_asked_for_is_used():
    cpu = torch.device("cpu")
    for asked, expected in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        precision = pick_precision(Recipe(compute=Compute(precision=asked)), cpu)
        with autocast(cpu, precision):
            assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == expected
