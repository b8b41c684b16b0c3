"""TensorRT without TensorRT: the plan, the graph, the table of operators, int8 as ONNX Runtime computes it, and the
calls that a stand-in records. What needs the library and a GPU is marked."""

import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from nextvit import loading
from nextvit.backends import onnx as to_onnx
from nextvit.backends import tensorrt_int8 as quantize
from nextvit.backends.layers import layer_groups
from nextvit.backends.program import Source
from nextvit.backends.rebuild_tensorrt import rebuild
from nextvit.backends.tensorrt import check_supported, export
from nextvit.backends.tensorrt_engine import BuildPlan, build_engine, build_plan
from nextvit.backends.tensorrt_graph import adapt_graph
from nextvit.backends.tensorrt_support import RULES, SUPPORTED, find_unsupported
from nextvit.bundle.golden import Golden, write_golden
from nextvit.bundle.manifest import Manifest, read_bundle, write_manifest
from nextvit.cli import main as cli
from nextvit.errors import InputError, MissingDependency, NotProven
from nextvit.export.export import export_bundle
from nextvit.files.durable import compute_sha256
from nextvit.runtime.session import open_session
from tests.backends.tensorrt_stand_in import STREAM, Library
from tests.conftest import MadeOnce
from tests.export.nano import build_card, calibrated_model, unlabelled
from tests.models.reference import reference_logits

FORMS = {"fixed": ("fp32", False), "dynamic": ("fp32", True), "dynamic fp16": ("fp16", True)}
ODD = (75, 45)
"""The size of the fixed form: one that is rounded up on the way."""


def source_for(precision: Any = "fp32", **changes: Any) -> Source:
    return Source(**{"model": calibrated_model().eval(), "card": build_card(64, 64), "precision": precision, **changes})


@pytest.fixture(scope="module")
def pixels(shared_colours: Path) -> NDArray[np.uint8]:
    spec = build_card(64, 64).input
    return np.stack([spec(path) for path in sorted((shared_colours / "val").rglob("*.png"))])


@pytest.fixture(scope="module")
def exported(made_once: MadeOnce) -> dict[str, onnx.ModelProto]:
    """The ONNX files as the ONNX writer leaves them."""
    files: dict[str, onnx.ModelProto] = {}
    for form, (precision, dynamic) in FORMS.items():
        card = build_card(64, 64) if dynamic else build_card(*ODD)
        source = source_for(precision, card=card, dynamic_size=dynamic)
        folder = made_once(f"onnx-{form.replace(' ', '-')}", partial(to_onnx.export, source))
        files[form] = onnx.load(folder / "model.onnx")
    return files


def int8_from(model: onnx.ModelProto, pixels: NDArray[np.uint8], folder: Path) -> onnx.ModelProto:
    onnx.save(fitted(model), folder / "float.onnx")
    quantize.quantise(folder / "float.onnx", source_for("int8", calibration=pixels), folder / "model.onnx")
    return onnx.load(folder / "model.onnx")


@pytest.fixture(scope="module")
def quantised(exported: Any, pixels: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return int8_from(exported["dynamic"], pixels, tmp_path_factory.mktemp("int8"))


def noise(size: tuple[int, int], count: int = 2) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def fitted(model: onnx.ModelProto) -> onnx.ModelProto:
    other = copied(model)
    adapt_graph(other)
    return other


def answers(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": pixels})[0]


# The plan


def test_a_plan_is_data():
    assert build_plan((224, 192), "fp16", dynamic_size=False) == BuildPlan(
        min_shape=(1, 224, 192, 3),
        opt_shape=(8, 224, 192, 3),
        max_shape=(32, 224, 192, 3),
        network_flags=("STRONGLY_TYPED",),
        cleared_flags=(),
        workspace_bytes=2**31,
    )
    dynamic = build_plan((224, 192), "int8", dynamic_size=True)
    assert (dynamic.min_shape, dynamic.opt_shape, dynamic.max_shape) == (
        (1, 33, 33, 3),
        (8, 224, 192, 3),
        (32, 448, 384, 3),
    )
    assert build_plan((64, 64), "fp32", dynamic_size=False).cleared_flags == ("TF32",), (
        "fp32 promises more than TF32 holds"
    )


# The graph


@pytest.mark.backend
@pytest.mark.parametrize("form", FORMS)
def test_the_fitted_graph_predicts_as_before(form: str, exported: Any):
    """At odd sides, where the fixed form rounds up: it then has an edge of one instead."""
    model = fitted(exported[form])
    onnx.checker.check_model(model, full_check=True)
    assert "Pad" in {node.op_type for node in model.graph.node}
    before = answers(exported[form], noise(ODD))
    allowed = 1e-2 if form == "dynamic fp16" else 1e-5  # ONNX Runtime fuses fp16 casts differently
    assert np.abs(answers(model, noise(ODD)) - before).max() <= allowed * before.std()


@pytest.mark.backend
def test_even_sides_need_no_edge(exported: Any):
    model = copied(exported["fixed"])
    for value in model.graph.value_info:
        for dim in value.type.tensor_type.shape.dim[2:]:
            dim.dim_value += dim.dim_value % 2
    adapt_graph(model)
    assert "Pad" not in {node.op_type for node in model.graph.node}


# The table of operators


@pytest.mark.backend
@pytest.mark.parametrize("form", FORMS)
def test_every_operator_of_our_graphs_is_in_the_table(form: str, exported: Any):
    assert find_unsupported(fitted(exported[form]), FORMS[form][0]) == []


@pytest.mark.backend
def test_int8_graphs_are_in_the_table(quantised: onnx.ModelProto, exported: Any, tmp_path: Path):
    assert find_unsupported(quantised, "int8") == []
    assert find_unsupported(int8_from(exported["fixed"], noise(ODD, 4), tmp_path), "int8") == []


@pytest.mark.backend
def test_without_the_rewriting_the_table_forbids_three_things(exported: Any):
    found = "\n".join(find_unsupported(exported["fixed"], "fp32"))
    for fault in ("permute (Transpose): takes UINT8", "pools over other than 2 or 3 axes", "rounds the size up"):
        assert fault in found
    assert "node_Shape_0 (Shape): takes UINT8" in "\n".join(find_unsupported(exported["dynamic"], "fp32"))


@pytest.mark.backend
def test_a_file_of_another_precision_is_no_such_network(exported: Any):
    fp32, fp16 = fitted(exported["fixed"]), fitted(exported["dynamic fp16"])
    assert "computes in FP32, not in FP16 as fp16 requires" in find_unsupported(fp32, "fp16")[0]
    assert "computes in FP16, not in FP32 as fp32 requires" in find_unsupported(fp16, "fp32")[0]
    assert find_unsupported(fp32, "int8") == ["the precision is int8, and nothing in the graph is quantised"]


def node_model(
    node: onnx.NodeProto, kind: int = TensorProto.FLOAT, opset: int = 18, **constants: Any
) -> onnx.ModelProto:
    """A graph of one node that reads x (1, 4, 8, 8)."""
    value = helper.make_tensor_value_info("x", kind, [1, 4, 8, 8])
    graph = helper.make_graph(
        [node],
        "one",
        [value],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


ZERO, ONE, SCALE = np.int8(0), np.int8(1), np.float32(0.1)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (node_model(helper.make_node("Det", ["x"], ["y"], "n")), "not among those"),
        (node_model(helper.make_node("Softmax", ["x"], ["y"], "n"), TensorProto.DOUBLE), "takes FP64"),
        (node_model(helper.make_node("Transpose", ["x"], ["y"], "n"), TensorProto.UINT8), "takes UINT8"),
        (node_model(helper.make_node("Relu", ["x"], ["y"], "n"), opset=8), "opset 8 is outside 9 to 24"),
        (
            node_model(helper.make_node("MaxPool", ["x"], ["y", "at"], "n", kernel_shape=[2, 2])),
            "gives indices",
        ),
        (
            node_model(
                helper.make_node("AveragePool", ["x"], ["y"], "n", kernel_shape=[2, 2], dilations=[2, 1]), opset=19
            ),
            "has dilations",
        ),
        (
            node_model(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], "n"), s=SCALE, z=ONE),
            "zero point is not constant zero",
        ),
        (
            node_model(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], "n"), s=SCALE, z=np.uint8(0)),
            "quantised type is not int8",
        ),
        (node_model(helper.make_node("QuantizeLinear", ["x", "s"], ["y"], "n"), s=SCALE), "has no zero point"),
        (
            node_model(
                helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"], "n"), TensorProto.INT32, s=SCALE, z=ZERO
            ),
            "takes INT32",
        ),
        (node_model(helper.make_node("ReduceMean", ["x", "a"], ["y"], "n")), "axes are not constant"),
        (
            node_model(helper.make_node("Resize", ["x", "", "s"], ["y"], "n", mode="cubic"), s=np.ones(4, np.float32)),
            "mode is 'cubic'",
        ),
        (
            node_model(helper.make_node("Resize", ["x", "", "s"], ["y"], "n", antialias=1), s=np.ones(4, np.float32)),
            "smooths",
        ),
        (
            node_model(helper.make_node("LayerNormalization", ["x", "w"], ["y", "m"], "n"), w=np.ones(8, np.float32)),
            "more than its first output",
        ),
        (node_model(helper.make_node("TopK", ["x", "k"], ["y", "i"], "n", sorted=0), k=np.array([1])), "not sorted"),
        (
            node_model(
                helper.make_node("ScatterND", ["x", "i", "u"], ["y"], "n", reduction="add"),
                i=np.zeros((1, 4), np.int64),
                u=np.ones(1, np.float32),
            ),
            "reduces",
        ),
    ],
)
def test_planted_faults_are_found(model: onnx.ModelProto, fault: str):
    assert any(fault in each for each in find_unsupported(model, "fp32")), find_unsupported(model, "fp32")


def test_foreign_domains_are_refused():
    model = node_model(helper.make_node("Gelu", ["x"], ["y"], "n", domain="com.microsoft"))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert find_unsupported(model, "fp32")[0] == "operators of 'com.microsoft' are unknown to TensorRT"


def test_every_rule_is_of_an_operator_of_the_table():
    assert RULES.keys() <= SUPPORTED.keys()


@pytest.mark.backend
def test_the_writer_refuses_what_the_table_does_not_cover(exported: Any):
    with pytest.raises(InputError, match=r"does not promise to take this network: .* and 6 more \(docs/operators.md"):
        check_supported(exported["fixed"], source_for())


# int8


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.backend
def test_int8_is_signed_and_symmetric_with_weights_per_channel(quantised: onnx.ModelProto):
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    made_by = producers(quantised)
    pairs = [node for node in quantised.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8 and not zero.any()
        assert constants[node.input[1]].dtype == np.float32
    weighted = [node for node in quantised.graph.node if node.op_type in ("Conv", "Gemm")]
    weighted += [
        node
        for node in quantised.graph.node
        if node.op_type == "MatMul" and made_by[node.input[1]].op_type == "DequantizeLinear"
    ]
    assert len(weighted) == 51 + 1 + 12, (
        "all convolutions, the head, and four linear layers of each of three attentions"
    )
    for node in weighted:
        data, weight = (made_by[name] for name in node.input[:2])
        assert data.op_type == weight.op_type == "DequantizeLinear", node.name
        assert made_by[data.input[0]].op_type == "QuantizeLinear"
        assert constants[data.input[1]].ndim == 0, "one scale for a tensor"
        channels = constants[weight.input[0]].shape[1 if node.op_type == "MatMul" else 0]
        assert constants[weight.input[1]].shape == (channels,), "one scale for each output channel"
        assert constants[weight.input[0]].dtype == np.int8
        assert len(node.input) < 3 or constants[node.input[2]].dtype == np.float32, "biases stay in float"


@pytest.mark.backend
def test_shortcuts_are_added_from_behind_their_quantisation(quantised: onnx.ModelProto):
    """A convolution's output goes to the addition as it is, and the shortcut dequantised: so both fuse."""
    made_by = producers(quantised)
    adds = [
        [made_by[name].op_type for name in node.input if name in made_by]
        for node in quantised.graph.node
        if node.op_type == "Add"
    ]
    assert adds.count(["DequantizeLinear", "Conv"]) == 19
    assert adds.count(["ReduceMean", "Conv"]) == 1, "behind the averages before the head"
    after = {node.input[0]: node.op_type for node in quantised.graph.node if node.op_type in ("Relu", "QuantizeLinear")}
    relus = [node for node in quantised.graph.node if node.op_type == "Relu"]
    assert all(made_by[node.input[0]].op_type == "Conv" for node in relus), "nothing between a layer and its activation"
    quantised_at_once = sum(after.get(node.output[0]) == "QuantizeLinear" for node in relus)
    assert quantised_at_once == len(relus) - 4, "the last layer of each stage is computed behind an average"


@pytest.mark.backend
def test_int8_predicts_almost_as_pytorch(quantised: onnx.ModelProto, pixels: NDArray[np.uint8]):
    expected = reference_logits(calibrated_model().eval(), build_card(64, 64), pixels)
    got = answers(quantised, pixels)
    error = np.abs(got - expected).mean() / expected.std()
    assert 1e-3 < error < 0.15, "int8 costs something, and not much"
    assert (got.argmax(1) == expected.argmax(1)).mean() >= 0.9


@pytest.mark.backend
def test_float_layers_hold_no_int8(exported: Any):
    model = fitted(exported["dynamic"])
    everything = set(quantize.nodes_to_quantise(model, ()))
    names = layer_groups(calibrated_model())
    alone = [set(quantize.nodes_to_quantise(model, tuple(other for other in names if other != name))) for name in names]
    assert all(alone) and sum(len(each) for each in alone) == len(everything) == 64
    assert set().union(*alone) == everything
    assert quantize.nodes_to_quantise(model, tuple(names)) == []


def test_int8_needs_images(tmp_path: Path):
    with pytest.raises(InputError, match="calibrated on real images"):
        quantize.quantise(tmp_path / "float.onnx", source_for("int8"), tmp_path / "model.onnx")


# Without the library


@pytest.fixture
def without_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)


@pytest.mark.usefixtures("without_tensorrt")
def test_a_missing_library_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    line = "'tensorrt' is not installed; install it with: pip install tensorrt cuda-python"
    monkeypatch.setattr(to_onnx, "export", None)
    for write in (export, quantize.export):
        with pytest.raises(MissingDependency, match=line):
            write(source_for("fp16"), tmp_path)
    with pytest.raises(MissingDependency, match=line):
        open_session(tmp_path, manifest_for("fp16"))


@pytest.mark.usefixtures("without_tensorrt")
def test_the_command_line_exits_with_three(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(loading, "load_trained", lambda path: (calibrated_model(), build_card(64, 64)))
    out = tmp_path / "new.nextvit"
    arguments = ["nextvit", "export", "model.safetensors", "--to", "tensorrt", "--precision", "fp16", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 3
    assert "pip install tensorrt cuda-python" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def manifest_for(precision: Any, **changes: Any) -> Manifest:
    return Manifest(
        **{
            "card": build_card(64, 64),
            "backend": "tensorrt",
            "precision": precision,
            "model_file": "model.engine",
            "outputs": {"logits": "values"},
            "made_with": {},
            **changes,
        }
    )


# With a stand-in: which calls are made, and that the session moves the right bytes


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setitem(sys.modules, "tensorrt", library)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", library.cuda())
    return library


def test_the_plan_reaches_the_builder(stand_in: Library):
    plan = build_plan((64, 96), "fp32", dynamic_size=True)
    assert build_engine(b"the file", plan).endswith(b"the file")
    assert stand_in.calls == [
        ("create_network", 1 << 1),
        ("memory", "workspace", 2**31),
        ("clear_flag", "tf32"),
        ("set_shape", "images", (1, 33, 33, 3), (8, 64, 96, 3), (32, 128, 192, 3)),
    ]


def test_version_11_is_always_strongly_typed_and_9_is_too_old(stand_in: Library):
    stand_in.__version__ = "11.4.0"
    build_engine(b"the file", build_plan((64, 64), "fp16", dynamic_size=False))
    assert stand_in.calls[0] == ("create_network", 0)
    stand_in.__version__ = "8.6.1"
    with pytest.raises(InputError, match=r"8\.6\.1 is too old; version 10 or newer"):
        build_engine(b"", build_plan((64, 64), "fp16", dynamic_size=False))


def test_all_complaints_are_told(stand_in: Library, monkeypatch: pytest.MonkeyPatch):
    plan = build_plan((64, 64), "fp16", dynamic_size=False)
    with pytest.raises(InputError, match=r"cannot build the engine: no kernel for node_conv2d$"):
        build_engine(b"", plan)
    stand_in.errors = ("no importer", "bad axis")
    with pytest.raises(InputError, match=r"parse the network: node_0 \(Det\): no importer; node_1 \(Det\): bad axis$"):
        build_engine(b"the file", plan)

    def no_gpu(logger: Any) -> None:
        logger.log("error", "CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(stand_in, "Builder", no_gpu)
    with pytest.raises(InputError, match="cannot start: CUDA initialization failure with error: 35"):
        build_engine(b"the file", plan)


@pytest.fixture(scope="module")
def kept_bundle(shared_colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole export through a stand-in."""
    library = Library()
    images = unlabelled(sorted((shared_colours / "val").rglob("*.png")))
    out = tmp_path_factory.mktemp("bundles") / "photos.nextvit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tensorrt", library)  # pyright: ignore[reportArgumentType]
        patch.setitem(sys.modules, "cuda.bindings.runtime", library.cuda())
        export_bundle(
            calibrated_model(), build_card(64, 64), backend="tensorrt", precision="fp32", images=images, out=out
        )
    return out


@pytest.fixture
def bundle(kept_bundle: Path, stand_in: Library, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_bundle, tmp_path / "photos.nextvit"))


def test_an_export_goes_through_the_session(bundle: Path, stand_in: Library, pixels: NDArray[np.uint8]):
    manifest = read_bundle(bundle)
    assert {"model.onnx", "model.engine"} <= manifest.sha256.keys()
    assert manifest.model_file == "model.engine"
    assert manifest.verification["runtime"]["gpu"] == "Stand-in GPU"
    assert manifest.verification["max_error"] <= 1e-4

    session = open_session(bundle, manifest)
    many = np.concatenate([pixels] * 6)[:70]
    before = len(stand_in.calls)
    got = session.run({"images": many})["logits"]
    assert stand_in.calls[before:] == [("batch", 32), ("batch", 32), ("batch", 6)], (
        "as much as the engine takes at once"
    )
    expected = reference_logits(calibrated_model().eval(), build_card(64, 64), many)
    assert np.abs(got - expected).max() <= 1e-4 * expected.std()

    for wrong in (pixels.astype(np.float32), pixels[:, :32], pixels[0], pixels[:0]):
        with pytest.raises(InputError, match=r"the model takes images of 64x64 px as uint8 .* got "):
            session.run({"images": wrong})
    del session
    assert stand_in.calls[-1] == ("destroyed", STREAM)


def test_a_machine_without_gpu_or_driver_is_told(bundle: Path, stand_in: Library, monkeypatch: pytest.MonkeyPatch):
    cuda = stand_in.cuda()
    cuda.cudaStreamCreate = lambda: (35, None)
    cuda.cudaGetErrorString = lambda error: (0, b"CUDA driver version is insufficient")
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    with pytest.raises(InputError, match=r"cannot start here \(CUDA: CUDA driver version is insufficient\)$"):
        open_session(bundle, read_bundle(bundle))

    def no_driver() -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    cuda.cudaStreamCreate = no_driver
    with pytest.raises(InputError, match=r"TensorRT 10.* cannot start here \(Failed to dlopen libcuda.so.1\)$"):
        open_session(bundle, read_bundle(bundle))

    def no_gpu(logger: Any) -> None:
        logger.log("error", "CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", stand_in.cuda())
    monkeypatch.setattr(stand_in, "Runtime", no_gpu)
    with pytest.raises(InputError, match=r"cannot start here \(CUDA initialization failure with error: 35\)$"):
        open_session(bundle, read_bundle(bundle))


def test_an_engine_of_another_gpu_says_how_to_rebuild_it(bundle: Path, stand_in: Library):
    stand_in.refuses_engine = True
    with pytest.raises(
        InputError, match=r"Stand-in GPU cannot load it \(built for compute 9.0\).*rebuild_tensorrt .*photos"
    ):
        open_session(bundle, read_bundle(bundle))


def test_rebuilding_takes_the_onnx_file_alone(bundle: Path, tmp_path: Path):
    manifest = read_bundle(bundle)
    (bundle / "model.engine").write_bytes(b"native code of a stranger")
    sums = {**manifest.sha256, "model.engine": compute_sha256(bundle / "model.engine")}
    write_manifest(bundle, replace(manifest, sha256=sums))
    new = tmp_path / "here.nextvit"
    rebuilt = rebuild(bundle, new)
    assert read_bundle(new) == rebuilt, "whole, with its checksums"
    assert b"stranger" not in (new / "model.engine").read_bytes()
    assert rebuilt.verification["rebuilt"]["runtime"]["gpu"] == "Stand-in GPU"
    assert rebuilt.verification["rebuilt"]["golden_max_error"] <= 1e-4
    with pytest.raises(InputError, match="choose a new name"):
        rebuild(bundle, new)


def test_what_was_rebuilt_wrongly_is_not_kept(bundle: Path, tmp_path: Path):
    manifest = read_bundle(bundle)
    images = np.zeros((2, 64, 64, 3), np.uint8)
    write_golden(bundle, [Golden(images, {"logits": np.ones((2, 3), np.float32)})])
    write_manifest(
        bundle, replace(manifest, sha256={**manifest.sha256, "golden.npz": compute_sha256(bundle / "golden.npz")})
    )
    with pytest.raises(NotProven, match="golden examples"):
        rebuild(bundle, tmp_path / "here.nextvit")
    assert not (tmp_path / "here.nextvit").exists()


# With the library


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_real_engine_predicts_as_pytorch(
    precision: Any, shared_colours: Path, pixels: NDArray[np.uint8], tmp_path: Path
):
    pytest.importorskip("tensorrt")
    pytest.importorskip("cuda.bindings.runtime")
    images = unlabelled(sorted((shared_colours / "val").rglob("*.png")))
    request = {"backend": "tensorrt", "precision": precision, "images": images, "out": tmp_path / "real.nextvit"}
    max_drop = 10.0 if precision == "int8" else None
    manifest = export_bundle(
        calibrated_model(), build_card(64, 64), calibration=pixels, max_drop=max_drop, dynamic_size=True, **request
    )
    assert manifest.verification["images"] == 12
