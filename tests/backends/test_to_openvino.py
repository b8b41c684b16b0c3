"""OpenVINO, with the real converter, quantiser and runtime."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nextvit.backends import openvino_int8 as to_int8
from nextvit.backends.layers import layer_groups, tap_points
from nextvit.backends.program import Source
from nextvit.bundle.manifest import Manifest, Precision, read_bundle
from nextvit.errors import InputError
from nextvit.export.explain import compare_layers
from nextvit.export.targets import TARGETS
from nextvit.image.resizing import INPUT_NAME
from nextvit.models.backbone import NTB
from nextvit.models.classification import Classifier
from nextvit.proof.golden import verify_bundle
from nextvit.runtime.session import Session, open_session
from nextvit.runtime.telemetry import without_telemetry
from tests.export.nano import CLASSES, build_card, calibrated_model, export_nano
from tests.models.reference import reference_logits

if find_spec("nncf") is None:
    pytest.skip("int8 for OpenVINO needs nncf", allow_module_level=True)
with without_telemetry():
    ov = pytest.importorskip("openvino")
TARGET = TARGETS["openvino"]
ISLAND = "stages.1.blocks.1"  # a transformer block: convolutions and matrices
TAP = "model.backbone.stages.3.blocks.0.mlp"  # ends with a convolution without bias


@pytest.fixture(scope="module")
def model() -> Classifier:
    return calibrated_model().eval()


@pytest.fixture(scope="module")
def fp32(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle."""
    out = tmp_path_factory.mktemp("bundles") / "fp32.nextvit"
    export_nano(out, images, backend="openvino", precision="fp32")
    return out


def pixels(height: int, width: int, *, count: int = 3) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def source_for(model: Classifier, precision: Precision, size: tuple[int, int] = (64, 64), **changes: Any) -> Source:
    return Source(model=model, card=build_card(*size), precision=precision, **changes)


def written(source: Source, folder: Path) -> Session:
    """The session of a file that is written now."""
    model_file = TARGET.writer(source.precision)(source, folder)
    outputs = dict.fromkeys(source.outputs, "")
    return open_session(
        folder,
        Manifest(
            card=source.card,
            backend="openvino",
            precision=source.precision,
            model_file=model_file,
            outputs=outputs,
            made_with={},
        ),
    )


def error_of(got: Any, expected: Any) -> float:
    """The largest difference, relative to the spread of what is expected."""
    return float(np.abs(got - expected).max() / expected.std())


def has_bf16() -> bool:
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize(
    ("precision", "computes_in", "allowed"),
    [
        ("fp32", "f32", 1e-4),
        pytest.param("fp16", "f32", 2e-2, marks=pytest.mark.backend),
        pytest.param(
            *("bf16", "bf16", 0.15),
            marks=[pytest.mark.backend, pytest.mark.skipif(not has_bf16(), reason="this CPU has no bf16")],
        ),
    ],
)
def test_bundle_is_proven_and_says_what_it_computes_in(
    precision: Precision, computes_in: str, allowed: float, fp32: Path, images: list[Path], tmp_path: Path
):
    out = fp32 if precision == "fp32" else tmp_path / "nano.nextvit"
    if out != fp32:
        export_nano(out, images, backend="openvino", precision=precision)
    manifest, session, _ = verify_bundle(out, threads=2)
    assert {"model.xml", "model.bin"} < manifest.sha256.keys()
    assert manifest.verification["max_error"] <= allowed
    facts = session.facts()
    assert (facts["precision"], facts["computes_in"]) == (precision, computes_in)
    assert (facts["device"], facts["threads"]) == ("cpu", 2)
    assert operators_compute_in(session) == {computes_in}
    share = {"fp32": 1, "fp16": 0.5, "bf16": 1}[precision]
    assert size_of(out) == pytest.approx(share * size_of(fp32), rel=0.01)


def size_of(bundle: Path) -> int:
    return (bundle / "model.bin").stat().st_size


def operators_compute_in(session: Any) -> set[str]:
    """What the compiled graph says of its convolutions and matrices: the names of their kernels end in a type."""
    compiled = [each.get_rt_info() for each in session.compiled.get_runtime_model().get_ops()]
    kinds = ("Convolution", "GroupConvolution", "FullyConnected")
    kernels = [str(each["primitiveType"].value) for each in compiled if str(each["layerType"].value) in kinds]
    return {name.rpartition("_")[2] for name in kernels}


@pytest.mark.backend
def test_any_size_and_batch(model: Classifier, tmp_path: Path):
    source = source_for(model, "fp32", dynamic_size=True)
    session = written(source, tmp_path)
    for size in ((64, 64), (33, 47), (225, 96)):
        reference = reference_logits(model, source.card, pixels(*size))
        for batch in (1, 3):
            got = session.run({"images": pixels(*size)[:batch]})["logits"]
            assert error_of(got, reference[:batch]) <= 1e-4, (size, batch)


@pytest.mark.backend
def test_every_layer_that_is_watched_has_its_own_tensor_at_odd_sides(model: Classifier, tmp_path: Path):
    source = source_for(model, "fp32", (225, 96))
    names = tap_points(model, source.card.input)
    tapped = replace(source, taps=tuple(names))
    outputs = written(tapped, tmp_path).run({"images": pixels(225, 96)})
    assert list(outputs) == ["logits", *names]
    layers = compare_layers(tapped, names, outputs, pixels(225, 96))
    assert len(layers) == len(names) + 1
    assert max(each.error for each in layers) <= 1e-4


def test_file_explains_itself(fp32: Path):
    read = ov.Core().read_model(fp32 / "model.xml")
    assert json.loads(read.get_rt_info("nextvit_card").value)["classes"] == list(CLASSES)
    [entry] = read.inputs
    assert (entry.any_name, entry.element_type.to_string(), str(entry.partial_shape)) == ("images", "u8", "[?,64,64,3]")
    assert [each.any_name for each in read.outputs] == ["logits"]
    text = (fp32 / "model.xml").read_text(encoding="utf-8")
    assert text.count("nextvit_card") == 1
    assert str(Path(__file__).parents[2]) not in text


@pytest.fixture(scope="module")
def quantised(model: Classifier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Path]:
    folder = tmp_path_factory.mktemp("int8")
    return written(source_for(model, "int8", calibration=pixels(64, 64, count=4)), folder), folder


def in_int8(folder: Path) -> Counter[bool]:
    """How many convolutions and matrices have int8 weights and quantised inputs, and how many have not."""
    found: Counter[bool] = Counter()
    for each in ov.Core().read_model(folder / "model.xml").get_ops():
        if each.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            weights = each.input_value(1).get_node()
            while weights.get_type_name() != "Constant":
                weights = weights.input_value(0).get_node()
            has_int8 = weights.get_element_type().to_string() == "i8"
            assert has_int8 == ("FakeQuantize" in kinds_before(each)), each.get_friendly_name()
            found[has_int8] += 1
    return found


def kinds_before(operator: Any) -> set[str]:
    """What computes the operator's first input, seen through what only moves values."""
    node, kinds = operator.input_value(0).get_node(), set[str]()
    while node.get_type_name() in ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "FakeQuantize"):
        kinds.add(node.get_type_name())
        node = node.input_value(0).get_node()
    return kinds


def layers_with_weights(model: Classifier, group: str | None = None) -> int:
    """Counted in the network itself."""
    names = [name for name, each in model.named_modules() if type(each).__name__ in ("Conv2d", "Linear")]
    return len([name for name in names if group is None or f".{group}." in f".{name}."])


def test_int8_is_int8_in_every_layer(quantised: tuple[Session, Path], model: Classifier):
    session, folder = quantised
    assert in_int8(folder) == {True: layers_with_weights(model)}
    assert operators_compute_in(session) == {"I8"}
    assert session.facts()["computes_in"] == "f32"  # what is not quantised
    reference = reference_logits(model, build_card(64, 64), pixels(64, 64))
    for batch in (1, 3):
        got = session.run({"images": pixels(64, 64)[:batch]})["logits"]
        assert 1e-3 < error_of(got, reference[:batch]) < 0.5


@pytest.mark.backend
def test_heads_are_joined_before_they_are_quantised_to_the_same_numbers(
    quantised: tuple[Session, Path], model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    session, folder = quantised
    graph = ov.Core().read_model(folder / "model.xml")
    attentions = [each for each in graph.get_ops() if each.get_type_name() == "ScaledDotProductAttention"]
    users = [[each.get_node().get_type_name() for each in one.output(0).get_target_inputs()] for one in attentions]
    assert users == [["Transpose"]] * sum(isinstance(each, NTB) for each in model.modules())
    monkeypatch.setattr(to_int8, "quantise_joined_heads", lambda model: None)
    source = source_for(model, "int8", calibration=pixels(64, 64, count=4))
    images = {INPUT_NAME: pixels(64, 64)}
    np.testing.assert_array_equal(session.run(images)["logits"], written(source, tmp_path).run(images)["logits"])


@pytest.mark.backend
def test_islands_stay_in_float_and_nothing_is_printed(
    model: Classifier, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    others = tuple(group for group in layer_groups(model) if group != ISLAND)
    source = source_for(
        model, "int8", calibration=pixels(64, 64, count=2), float_layers=others, dynamic_size=True, taps=(TAP,)
    )
    session = written(source, tmp_path)
    assert capfd.readouterr() == ("", "")
    inside = layers_with_weights(model, ISLAND)
    assert in_int8(tmp_path) == {True: inside, False: layers_with_weights(model) - inside}
    assert session.run({"images": pixels(33, 47)})[TAP].shape == (3, 256, 2, 2)


def test_devices_that_are_not_there_are_refused(fp32: Path):
    manifest = read_bundle(fp32)
    for device in ("gpu.7", "cuda", "AUTO", "HETERO:GPU,CPU"):
        with pytest.raises(InputError, match=rf"device '{device}': openvino .* finds only .*cpu"):
            open_session(fp32, manifest, device=device)
    assert open_session(fp32, manifest, device="cpu").facts()["device"] == "cpu"


def test_a_precision_that_the_runtime_does_not_keep_is_refused(fp32: Path, monkeypatch: pytest.MonkeyPatch):
    """A CPU without fp16 takes bf16 when it is asked for fp16, and only says so when it is asked again."""
    from nextvit.runtime import openvino_session

    monkeypatch.setitem(openvino_session.CPU_HINTS, "fp16", "f16")
    try:
        session = open_session(fp32, replace(read_bundle(fp32), precision="fp16"))
    except InputError as error:
        assert "fp16 needs f16" in str(error)
        assert "export another precision" in str(error)
    else:
        assert operators_compute_in(session) == {"f16"}  # this CPU has fp16


@pytest.mark.parametrize(
    ("images_NHWC", "message"),
    [
        (pixels(64, 64).astype(np.float32), r"images of 64x64 px as uint8 .*; got float32 of shape \(3, 64, 64, 3\)"),
        (pixels(64, 65), "images of 64x64 px .*; got 65x64 px"),
        (pixels(64, 64)[0], r"got uint8 of shape \(64, 64, 3\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(fp32: Path, images_NHWC: Any, message: str):
    session = open_session(fp32, read_bundle(fp32))
    with pytest.raises(InputError, match=message):
        session.run({"images": images_NHWC})


def test_what_a_session_answered_stays(fp32: Path):
    session = open_session(fp32, read_bundle(fp32))
    first = session.run({"images": pixels(64, 64)})["logits"]
    kept = first.copy()
    session.run({"images": 255 - pixels(64, 64)})
    assert (first == kept).all()
    assert (session.run({"images": pixels(64, 64)[::-1]})["logits"] != kept).any()  # not contiguous


def test_damaged_files_are_refused_in_one_line(fp32: Path, tmp_path: Path):
    text, weights = (fp32 / "model.xml").read_text(), (fp32 / "model.bin").read_bytes()
    for name, xml, data in (
        ("cut", text[: len(text) // 2], weights),
        ("empty", "", weights),
        ("no weights", text, b""),
        ("few weights", text, weights[:-1]),
        ("far offset", text.replace('offset="32"', 'offset="9223372036854775000"', 1), weights),
        ("another's operator", text.replace('type="Transpose" version="opset1"', 'type="X" version="x"', 1), weights),
    ):
        assert (xml, data) != (text, weights), name
        (tmp_path / "model.xml").write_text(xml)
        (tmp_path / "model.bin").write_bytes(data)
        with pytest.raises(InputError, match=r"model\.xml: openvino 20.* cannot load it on CPU \(.+\)$") as caught:
            open_session(tmp_path, read_bundle(fp32))
        assert "\n" not in str(caught.value), name


def test_a_file_of_another_format_under_our_name_is_not_read(fp32: Path, tmp_path: Path):
    """An ONNX file can name weights anywhere on the machine, and OpenVINO's general reader would take it."""
    (tmp_path / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value="secret.bin")
    onnx_model(bundle / "model.xml", weights)
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    onnx_model(tmp_path / "control" / "model.xml", weights)
    assert ov.Core().read_model(tmp_path / "control" / "model.xml").outputs  # so there is something to refuse
    for folder in (bundle, tmp_path / "control"):
        with pytest.raises(InputError, match="cannot load it"):
            open_session(folder, read_bundle(fp32))


def onnx_model(path: Path, weights: TensorProto) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "weights"], ["logits"])],
        "add",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())


def test_nothing_is_reported_to_anyone(quantised: tuple[Session, Path], tmp_path: Path):
    """Both were imported by what the fixture called, and in a server's process there is no trace of it either."""
    from nncf.telemetry import wrapper
    from openvino.tools.ovc import telemetry_stub, telemetry_utils

    assert quantised
    assert telemetry_utils.tm is telemetry_stub
    assert not hasattr(wrapper, "Telemetry")
    code = "import sys, nextvit.runtime.openvino_session; assert 'openvino_telemetry' not in sys.modules"
    home = {"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=home)
    assert not list(tmp_path.iterdir())


def test_sessions_that_go_in_any_order_leave_signals_alone(fp32: Path):
    """In a process of its own, which the first signal would end: its handler's stack was gone with a Core."""
    code = f"""
import faulthandler, gc, signal
from pathlib import Path
from nextvit.bundle.manifest import read_bundle
from nextvit.runtime.session import open_session

faulthandler.enable()  # gives the thread a stack for handlers, which OpenVINO replaces
folder = Path({str(fp32)!r})
first, second = (open_session(folder, read_bundle(folder)) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
got = []
signal.signal(signal.SIGUSR1, lambda *about: got.append(about))
signal.raise_signal(signal.SIGUSR1)
print(len(got))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr[-500:]
