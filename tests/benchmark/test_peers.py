"""Networks of timm by way of our own exporters and sessions."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from nextvit.backends import onnx as to_onnx
from nextvit.backends import onnx_int8 as to_int8_onnx
from nextvit.backends import openvino as to_openvino
from nextvit.backends import openvino_int8 as to_int8_openvino
from nextvit.backends.program import Source
from nextvit.benchmark.peers import FEATURES, PeerSource, backbone_source, source_cost, timm_source
from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, MissingDependency
from nextvit.image.resizing import INPUT_NAME
from nextvit.models.deployed import normalise
from nextvit.runtime.session import Session, open_session
from tests.conftest import needs

pytest.importorskip("timm", reason="needs nextvit[timm]")
SIZE = (64, 64)


@pytest.fixture(scope="module")
def source() -> PeerSource:
    """A convolution network with batch norms, squeeze-and-excitation and a mean of its own."""
    return timm_source("lcnet_050", image_size=SIZE, precision="fp32")


@pytest.fixture(scope="module")
def attention() -> PeerSource:
    """A network with attention, layer norms and positions that are made for a size."""
    return timm_source("vit_tiny_patch16_224", image_size=SIZE, precision="fp32")


def opened(source: Source, folder: Path, model_file: str, *, backend: str, precision: Precision) -> Session:
    manifest = Manifest(
        card=source.card,
        backend=backend,
        precision=precision,
        model_file=model_file,
        outputs=dict.fromkeys(source.outputs, ""),
        made_with={},
    )
    return open_session(folder, manifest, threads=1)


def expected(source: Source, images_NHWC: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return source.build_deployed()(torch.from_numpy(images_NHWC)).numpy()


@pytest.mark.backend
@pytest.mark.parametrize("fixture", ["source", "attention"])
def test_onnx_runtime_agrees_with_pytorch_at_any_batch(fixture: str, request: pytest.FixtureRequest, tmp_path: Path):
    source: PeerSource = request.getfixturevalue(fixture)
    session = opened(source, tmp_path, to_onnx.export(source, tmp_path), backend="onnx", precision="fp32")
    assert source.calibration is not None
    for batch in (1, 3):
        images = source.calibration[:batch]
        reference = expected(source, images)
        output = session.run({INPUT_NAME: images})["logits"]
        assert output.shape == (batch, 1000)
        assert np.abs(output - reference).max() < 1e-3 * reference.std()


def test_openvino_agrees_with_pytorch(attention: PeerSource, tmp_path: Path):
    needs("openvino")
    model_file = to_openvino.export(attention, tmp_path)
    session = opened(attention, tmp_path, model_file, backend="openvino", precision="fp32")
    assert attention.calibration is not None
    reference = expected(attention, attention.calibration)
    assert np.abs(session.run({INPUT_NAME: attention.calibration})["logits"] - reference).max() < 1e-3 * reference.std()


@pytest.mark.backend
@pytest.mark.parametrize(
    ("backend", "writer", "package"),
    [("onnx", to_int8_onnx, "onnxruntime"), ("openvino", to_int8_openvino, "nncf")],
)
def test_int8_needs_no_layer_names_of_ours(
    attention: PeerSource, backend: str, writer: ModuleType, package: str, tmp_path: Path
):
    needs(package)
    quantised = replace(attention, precision="int8")
    session = opened(quantised, tmp_path, writer.export(quantised, tmp_path), backend=backend, precision="int8")
    assert attention.calibration is not None
    output = session.run({INPUT_NAME: attention.calibration})["logits"]
    reference = expected(attention, attention.calibration)
    assert np.corrcoef(output.ravel(), reference.ravel())[0, 1] > 0.98
    assert np.abs(output - reference).max() > 1e-3 * reference.std(), "not quantised at all"


def test_pixels_are_normalised_as_timm_does(attention: PeerSource):
    assert attention.card.input.mean == attention.card.input.std == (0.5, 0.5, 0.5)
    assert attention.calibration is not None
    pixels_NCHW = torch.from_numpy(attention.calibration).permute(0, 3, 1, 2)
    with torch.no_grad():
        by_hand = attention.model(pixels_NCHW.float() / 127.5 - 1)
    torch.testing.assert_close(by_hand, torch.from_numpy(expected(attention, attention.calibration)))
    torch.testing.assert_close(normalise(pixels_NCHW, attention.card.input), pixels_NCHW.float() / 127.5 - 1)


def test_a_network_of_timm_is_the_same_every_time(source: PeerSource):
    again = timm_source("lcnet_050", image_size=SIZE, precision="fp32")
    assert again.calibration is not None
    np.testing.assert_array_equal(expected(again, again.calibration), expected(source, again.calibration))


def test_timm_reparameterizes_what_it_can():
    fused = timm_source("repvgg_a0", image_size=SIZE, precision="fp32").model
    assert not [each for each in fused.modules() if isinstance(each, torch.nn.BatchNorm2d)]


def test_size_is_timms_own_by_default():
    assert timm_source("fastvit_t8", precision="fp32").card.input.image_size == (256, 256)


def test_cost_is_timms(source: PeerSource):
    import timm

    cost = source_cost(source)
    assert cost.parameters == sum(each.numel() for each in timm.create_model("lcnet_050").parameters())
    # The stem's convolution alone: 32 x 32 positions, 8 filters of 3x3x3.
    assert 32 * 32 * 8 * 27 < cost.macs < 10e6


def test_backbone_gives_its_last_features(tmp_path: Path):
    source = backbone_source("nextvit_nano", image_size=SIZE, precision="fp32")
    session = opened(source, tmp_path, to_onnx.export(source, tmp_path), backend="onnx", precision="fp32")
    assert source.calibration is not None
    output = session.run({INPUT_NAME: source.calibration})[FEATURES]
    reference = expected(source, source.calibration)
    assert output.shape == (5, 320, 2, 2)
    assert np.abs(output - reference).max() < 1e-3 * reference.std()


def test_backbone_of_timm_has_no_head():
    source = backbone_source("timm:lcnet_050", image_size=SIZE, precision="fp32")
    assert source.calibration is not None
    assert expected(source, source.calibration).shape == (5, 256, 2, 2)


def test_our_backbone_is_fused():
    deployed = backbone_source("nextvit_nano", image_size=SIZE, precision="fp32").build_deployed()
    assert not [each for each in deployed.modules() if isinstance(each, torch.nn.BatchNorm2d)]


def test_unknown_network_gets_the_nearest_name():
    with pytest.raises(InputError, match="no network 'resnet51x'; did you mean 'resnet51q'"):
        timm_source("resnet51x", precision="fp32")


def test_unsupported_size_is_an_error():
    with pytest.raises(InputError, match="efficientformer_l1 takes only images of 224x224 px"):
        timm_source("efficientformer_l1", image_size=(256, 256), precision="fp32")


def test_without_timm_the_install_line_comes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"pip install '\.\[timm\]'"):
        timm_source("resnet18", precision="fp32")
