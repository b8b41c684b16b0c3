"""Every point is a network that builds, trains, fuses, is exported and loads; the same seed gives the same points."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nextvit.errors import InputError
from nextvit.models.config import NANO, SMALL, TINY, NextViTConfig
from nextvit.tune.space import Point, Space, hybrid_patterns, point_from_plain, width_steps
from tests.conftest import needs

SMALL_SPACE = Space(
    blocks=(("C", "T", "CT"), ("C", "TC"), ("CT", "CTCT", "TT"), ("C", "CT", "TTC")),
    conv_widths=((32, 64), (32, 96), (64,), (32,)),
    transformer_widths=((128,), (160,), (128, 192), (128,)),
    image_sizes=((32, 32), (47, 64)),
)


def test_the_next_hybrid_strategy_as_data():
    assert hybrid_patterns(range(1, 2)) == ("C", "T")
    assert set(hybrid_patterns(range(4, 5))) == {"CCCC", "CCCT", "CTCT", "TTTT"}
    for variant in (SMALL, TINY, NANO):
        assert all(blocks in hybrid_patterns(range(len(blocks), len(blocks) + 1)) for blocks in variant.blocks)


@pytest.mark.parametrize("variant", [SMALL, TINY, NANO])
def test_the_named_variants_are_points(variant: NextViTConfig):
    space = Space()
    only = Space(
        stem_widths=(variant.stem_widths,),
        blocks=tuple((each,) for each in variant.blocks),  # pyright: ignore[reportArgumentType]
        conv_widths=tuple((each,) for each in variant.conv_widths),  # pyright: ignore[reportArgumentType]
        transformer_widths=tuple((each,) for each in variant.transformer_widths),  # pyright: ignore[reportArgumentType]
    )
    assert {replace(point.config, drop_path=variant.drop_path) for point in only} == {variant}
    assert variant.stem_widths in space.stem_widths
    for own, stages in zip(only.stages, space.stages, strict=True):
        assert set(own) <= set(stages)


def test_enumeration_has_every_point_once_and_sampling_finds_all_of_them():
    space = replace(SMALL_SPACE, image_sizes=((32, 32),), targets=(("onnx", "fp32"),), stem_widths=((32, 16, 32),))
    points = list(space)
    assert len(points) == len(set(points)) == space.size
    assert set(space.sample(space.size, seed=0)) == set(points)
    with pytest.raises(InputError, match=f"the space has {space.size} points, and {space.size + 1}"):
        space.sample(space.size + 1, seed=0)


def test_equal_networks_are_equal_points():
    space = Space(
        blocks=(("C",), ("T",), ("C",), ("C",)),
        conv_widths=((32,), (32, 64, 96), (32,), (32,)),
        transformer_widths=((128, 160), (128, 160), (128,), (128,)),
        image_sizes=((32, 32),),
        targets=(("onnx", "fp32"),),
    )
    assert space.size == len(list(space)) == 2 * 2  # two stems, two widths of the only transformer block


def test_a_seed_gives_the_same_points_and_more_of_them_begin_alike():
    first = Space().sample(20, seed=1)
    assert first == Space().sample(30, seed=1)[:20]
    assert first != Space().sample(20, seed=2)
    assert len(set(first)) == 20
    assert {point.runtime for point in first} == {"onnx", "openvino"}


def test_a_point_survives_json():
    for point in Space().sample(5, seed=0):
        assert point_from_plain(json.loads(json.dumps(point.to_plain())), what="a journal") == point


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (3, "expected named values"),
        ({}, "lacks 'config'"),
        ({"config": {"blocks": ["C", "C", "C"]}}, "lacks 'conv_widths'|blocks cannot be"),
        ({"config": None, "image_size": [32, 32], "runtime": "onnx", "precision": "fp32"}, "expected named values"),
    ],
)
def test_a_damaged_point_is_one_line(values: object, says: str):
    with pytest.raises(InputError, match=says) as error:
        point_from_plain(values, what="journal.jsonl, line 3")
    assert "journal.jsonl, line 3" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": (("onnx", "bf16"),)}, "onnx has no precision 'bf16'"),
        ({"targets": (("onyx", "fp32"),)}, "did you mean 'onnx'"),
        ({"targets": (("onnx", "int8"),), "task": "detection"}, "onnx int8 is not for detection"),
        ({"targets": ()}, "at least one choice"),
        ({"blocks": (("C",), (), ("C",), ("C",))}, "at least one choice"),
        ({"blocks": (("C",), ("CX",), ("C",), ("C",))}, "'C' and 'T', got 'CX'"),
        ({"image_sizes": ((16, 64),)}, "32 to 4096 px a side, got 64x16 px"),
        ({"conv_widths": ((48,), (32,), (32,), (32,))}, "multiples of 32, got 48"),
        ({"transformer_widths": ((128,), (96,), (128,), (128,))}, "at least 128, got 96"),
    ],
)
def test_a_space_of_points_that_could_not_be_built_is_refused(changes: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        replace(SMALL_SPACE, **changes)  # pyright: ignore[reportArgumentType]


def test_all_widths_of_the_default_space_can_be_built():
    for width in width_steps(128, 1024):
        replace(SMALL, transformer_widths=(width,) * 4)


SAMPLE = SMALL_SPACE.sample(5, seed=0)
EXPORTED = [
    replace(SMALL_SPACE, targets=(target,)).sample(1, seed=seed)[0] for seed, target in enumerate(SMALL_SPACE.targets)
]


@pytest.mark.parametrize("point", SAMPLE, ids=lambda point: "-".join(point.config.blocks))
def test_a_point_builds_trains_a_step_and_fuses(point: Point):
    needs("torch")
    import torch

    from nextvit.models.classification import Classifier
    from nextvit.models.fuse import fuse

    torch.manual_seed(0)
    model = Classifier(point.config, num_classes=3).train()
    images_NCHW = torch.randn(4, 3, *point.image_size)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(images_NCHW), torch.tensor([0, 1, 2, 0])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(fuse(model)(images_NCHW), model(images_NCHW), atol=1e-4, rtol=1e-3)


@pytest.mark.backend
@pytest.mark.parametrize("point", EXPORTED, ids=lambda point: f"{point.runtime}-{point.precision}")
def test_a_point_is_exported_and_loads(point: Point, tmp_path: Path):
    needs("torch", "onnx", "onnxruntime", "openvino", "nncf")
    import torch

    from nextvit.benchmark.suite import timed_inputs
    from nextvit.benchmark.unproven import write_unproven
    from nextvit.runtime.predictor import load_bundle
    from nextvit.tune.measure import random_source

    source = random_source(point, num_classes=3)
    inputs = timed_inputs(source.card, 1)
    predictor = load_bundle(write_unproven(source, point.runtime, tmp_path / "a.nextvit"), threads=1)
    logits = predictor.session.run(inputs)["logits"]
    with torch.no_grad():
        expected = source.build_deployed()(torch.from_numpy(inputs["images"]))
    assert logits.shape == expected.shape
    if point.precision == "fp32":
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=1e-2)
