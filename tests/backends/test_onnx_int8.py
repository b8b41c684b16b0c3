"""int8 for ONNX Runtime: what is quantised, how, and that it is proven, left in float, or refused."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from nextvit.backends import onnx as to_onnx
from nextvit.backends.layers import layer_groups
from nextvit.backends.onnx_int8 import export
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.program import Source
from nextvit.backends.raw_pixels import fold_normalisation
from nextvit.bundle.golden import read_golden
from nextvit.bundle.manifest import Manifest, read_bundle
from nextvit.errors import InputError, NotProven
from nextvit.export import attempt as attempts
from nextvit.export import export as exporting
from nextvit.export.calibration import calibration_images
from nextvit.export.sensitivity import GroupCost, float_layer_candidates, sensitivity
from nextvit.export.targets import TARGETS
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.session import open_session
from tests.export.nano import build_card, calibrated_model, export_nano


@pytest.fixture(scope="module")
def source(shared_colours: Path) -> Source:
    card = build_card(64, 64)
    calibration = calibration_images(shared_colours, card)
    return Source(model=calibrated_model(), card=card, precision="int8", calibration=calibration)


def quantised_groups(file: Path) -> set[str]:
    """The groups that have a convolution or matrix whose weights are int8."""
    model = onnx.load(file)
    made_by = {output: node for node in model.graph.node for output in node.output}
    group = groups_of_nodes(model)
    found = set()
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm"):
            inputs = [made_by[name].op_type if name in made_by else None for name in node.input[:2]]
            if inputs == ["DequantizeLinear"] * 2:
                found.add(group[node.name])
    return found


def test_weights_are_signed_for_each_channel_and_activations_unsigned(source: Source, tmp_path: Path):
    model = onnx.load(tmp_path / export(source, tmp_path))
    constants = {each.name: each for each in model.graph.initializer}
    kinds: Counter[int] = Counter()
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            kinds[constants[node.input[2]].data_type] += 1
    assert kinds.keys() == {TensorProto.UINT8}
    weights = [each for each in model.graph.initializer if each.data_type == TensorProto.INT8 and len(each.dims) == 4]
    scales = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    users = {node.input[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert len(weights) == sum(node.op_type == "Conv" for node in model.graph.node)
    for weight in weights:
        assert scales[users[weight.name].input[1]].shape == (weight.dims[0],)
    assert {entry.key for entry in model.metadata_props} >= {"nextvit_card"}


def test_a_convolution_on_raw_pixels_is_that_on_normalised_ones(source: Source, tmp_path: Path):
    """Also along the border, where zeros stand for the mean pixel and not for black ones."""
    plain = tmp_path / to_onnx.export(replace(source, precision="fp32"), tmp_path)
    model = onnx.load(plain)
    assert fold_normalisation(model)
    assert [node.op_type for node in model.graph.node[:4]] == ["Pad", "Transpose", "Cast", "Conv"]
    onnx.checker.check_model(model)
    used = {name for node in model.graph.node for name in node.input}
    assert {each.name for each in model.graph.initializer} <= used  # ONNX Runtime warns of others
    images_NHWC = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    ways = [onnxruntime.InferenceSession(each) for each in (plain, model.SerializeToString())]
    expected, got = (each.run(None, {INPUT_NAME: images_NHWC})[0] for each in ways)
    assert np.abs(got - expected).max() < 1e-5 * expected.std()


def test_pixels_are_quantised_without_rounding(source: Source, tmp_path: Path):
    model = onnx.load(tmp_path / export(source, tmp_path))
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    first = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    assert (constants[first.input[1]], constants[first.input[2]]) == (1.0, 0)
    [dequantised] = [node for node in model.graph.node if first.output[0] in node.input]
    [conv] = [node for node in model.graph.node if dequantised.output[0] in node.input]
    assert conv.name.startswith("model.backbone.stem.0.conv:")


def test_a_normalised_image_that_is_an_output_stays(source: Source, tmp_path: Path):
    model = onnx.load(tmp_path / to_onnx.export(replace(source, precision="fp32"), tmp_path))
    [shifted] = [node.output[0] for node in model.graph.node if node.name.startswith("normalise:node_add")]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(shifted))
    before = model.SerializeToString()
    assert not fold_normalisation(model)
    assert model.SerializeToString() == before


def test_a_first_convolution_that_computes_its_weights_stays(source: Source, tmp_path: Path):
    model = onnx.load(tmp_path / to_onnx.export(replace(source, precision="fp32"), tmp_path))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.append(onnx.helper.make_node("Identity", [conv.input[1]], ["computed"]))
    conv.input[1] = "computed"
    before = model.SerializeToString()
    assert not fold_normalisation(model)
    assert model.SerializeToString() == before


def test_only_what_is_not_left_in_float_is_quantised(source: Source, tmp_path: Path):
    names = layer_groups(source.model)
    assert quantised_groups(tmp_path / export(source, tmp_path)) == set(names)
    for kept in ("stages.2.blocks.3", "head"):
        alone = replace(source, float_layers=tuple(name for name in names if name != kept))
        assert quantised_groups(tmp_path / export(alone, tmp_path)) == {kept}


def export_int8(out: Path, images: list[Path], source: Source, **changes) -> Manifest:
    return export_nano(out, images, precision="int8", calibration=source.calibration, **changes)


@pytest.mark.backend
def test_an_int8_bundle_is_proven_small_and_meets_its_golden_examples(
    source: Source,
    images: list[Path],
    tmp_path: Path,
):
    manifest = export_int8(tmp_path / "int8.nextvit", images, source)
    fp32 = export_nano(tmp_path / "fp32.nextvit", images)
    assert manifest.verification["agreement"] == 1.0
    assert 1e-4 < manifest.verification["max_error"] < 1  # it is int8, and it is close
    assert read_bundle(tmp_path / "int8.nextvit") == manifest
    assert manifest.verification["calibration"] == {"images": 24, "source": None}
    assert manifest.verification["max_drop"] == 0.5
    sizes = [
        (tmp_path / name / each.model_file).stat().st_size
        for name, each in (("int8.nextvit", manifest), ("fp32.nextvit", fp32))
    ]
    assert sizes[0] < 0.35 * sizes[1]


def test_int8_without_calibration_images_is_refused(images: list[Path], tmp_path: Path):
    with pytest.raises(InputError, match="int8 is calibrated on real images"):
        export_nano(tmp_path / "int8.nextvit", images, precision="int8")


@pytest.mark.backend
def test_the_most_costly_layers_are_left_in_float_until_the_predictions_hold(
    source: Source,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """A proof that only a file with stage 1's first block in float passes."""
    tried: list[bool] = []
    try_once = exporting.attempt

    def attempt(source, *rest):
        tried.append("stages.0.blocks.0" in source.float_layers)
        done = try_once(source, *rest)
        return done if tried[-1] else replace(done, failures=["too far"])

    monkeypatch.setattr(exporting, "attempt", attempt)
    costs = [GroupCost(group=name, mean_error=0.1, agreement=1.0) for name in layer_groups(source.model)]
    costs[2] = replace(costs[2], mean_error=0.3)
    costs[1] = replace(costs[1], mean_error=0.2)
    monkeypatch.setattr(exporting, "sensitivity", lambda *arguments: costs)
    manifest = export_int8(tmp_path / "int8.nextvit", images, source)
    assert manifest.float_layers == ("stages.0.blocks.1", "stages.0.blocks.0")
    assert tried == [False, False, True]
    assert len(manifest.verification["sensitivity"]) == len(costs)
    assert "stages.0.blocks.1" not in quantised_groups(tmp_path / "int8.nextvit" / "model.onnx")


def test_more_and_more_layers_are_tried():
    costs = [GroupCost(group=str(index), mean_error=index, agreement=1.0) for index in range(6)]
    assert float_layer_candidates(costs) == [("5",), ("5", "4"), ("5", "4", "3", "2")]


@pytest.mark.backend
def test_sensitivity_finds_the_layer_that_suffers(source: Source, tmp_path: Path):
    """One channel of a block's MLP a thousand times as large: with one scale for all of them the others vanish."""
    import copy

    import torch

    model = copy.deepcopy(source.model)
    mlp = model.backbone.stages[2].blocks[1].mlp
    with torch.no_grad():
        mlp.fc1.weight[0] *= 3000
        mlp.fc1.bias[0] *= 3000
        mlp.fc2.weight[:, 0] /= 3000
    hurt = replace(source, model=model)
    manifest = Manifest(
        card=source.card, backend="onnx", precision="int8", model_file="", outputs={"logits": ""}, made_with={}
    )
    assert source.calibration is not None
    costs = sensitivity(hurt, TARGETS["onnx"], manifest, source.calibration[:8])
    assert max(costs, key=lambda each: each.mean_error).group == "stages.2.blocks.1"
    assert [each.group for each in costs] == layer_groups(model)
    assert (
        np.median([each.mean_error for each in costs])
        < costs[layer_groups(model).index("stages.2.blocks.1")].mean_error / 3
    )


@pytest.mark.backend
def test_an_int8_file_that_predicts_wrongly_is_refused(
    source: Source,
    images: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(attempts, "failures", lambda *arguments: ["50.00 % of the answers differ"])
    monkeypatch.setattr(
        exporting, "sensitivity", lambda *arguments: [GroupCost(group="stem", mean_error=1, agreement=1)]
    )
    with pytest.raises(
        NotProven,
        match=(
            r"the onnx int8 file is not proven on 12 images: 50\.00 % of the "
            r"answers differ; most of the error, \d+%, comes"
        ),
    ):
        export_int8(tmp_path / "int8.nextvit", images, source)
    assert not (tmp_path / "int8.nextvit").exists()


@pytest.mark.backend
def test_int8_of_any_size_is_held_to_its_error_at_the_second_size(
    source: Source,
    images: list[Path],
    tmp_path: Path,
):
    manifest = export_int8(tmp_path / "any.nextvit", images, source, dynamic_size=True)
    assert len(manifest.verification["golden_max_errors"]) == 2
    golden = read_golden(tmp_path / "any.nextvit")
    wrong = [golden[0], replace(golden[1], outputs={"logits": golden[1].outputs["logits"][::-1]})]
    errors, too_far = attempts.golden_errors(open_session(tmp_path / "any.nextvit", manifest), wrong, manifest.card)
    assert len(errors) == 2
    assert len(too_far) == 1 and too_far[0].startswith("at 49x81 px the mean error is ")
