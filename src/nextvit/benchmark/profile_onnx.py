"""The operators that ONNX Runtime executes for a model, from its own profile and the model file."""

import json
import math
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from nextvit.benchmark.operators import (
    ATTENTION,
    CONVERSION,
    ELEMENTWISE,
    LAYOUT,
    LINEAR,
    OTHER,
    POOLING,
    PRODUCT,
    SOFTMAX,
    Operator,
    attention_macs,
    convolution_kind,
    convolution_macs,
    module_name,
    product_macs,
    repeat_for,
)
from nextvit.errors import MissingDependency
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.onnx_contents import check_self_contained

SUFFIX = "_kernel_time"
CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv", "ConvInteger")
PRODUCTS = (
    "MatMul",
    "FusedMatMul",
    "QLinearMatMul",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "Gemm",
    "FusedGemm",
    "QGemm",
)
ATTENTIONS = ("Attention", "MultiHeadAttention", "QAttention")
KINDS = {
    **dict.fromkeys(("Softmax", "QLinearSoftmax"), SOFTMAX),
    **dict.fromkeys(("Transpose", "Reshape", "ReorderInput", "ReorderOutput", "Concat", "QLinearConcat"), LAYOUT),
    **dict.fromkeys(("Split", "Slice", "Gather", "Shape", "Unsqueeze", "Squeeze", "Flatten", "Expand", "Pad"), LAYOUT),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "Cast"), CONVERSION),
    **dict.fromkeys(("Add", "Mul", "Sub", "Div", "Max", "Min", "Relu", "Exp", "Clip", "Sqrt"), ELEMENTWISE),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QuickGelu", "Sigmoid", "Erf", "Gelu"), ELEMENTWISE),
    **dict.fromkeys(("AveragePool", "QLinearAveragePool", "MaxPool", "GlobalAveragePool"), POOLING),
    **dict.fromkeys(("QLinearGlobalAveragePool", "ReduceMean", "ReduceMax", "ReduceSum"), POOLING),
}
SIZES = {"float": 4, "float16": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "bool": 1, "int32": 4, "int64": 8, "double": 8}
PRECISIONS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "uint8": "int8", "int8": "int8"}
WARM_UP = 5


class FileGraph:
    """The nodes of the model file, found by ONNX Runtime's names for the operators that it makes of them."""

    def __init__(self, model: Any) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {each.name: tuple(each.dims) for each in model.graph.initializer}
        self.producers: dict[str, Any] = {output: node for node in model.graph.node for output in node.output}
        self.nodes: dict[str, Any] = {**self.producers, **{node.name: node for node in model.graph.node}}

    def find(self, name: str) -> Any | None:
        """The node after which an operator is named: its name is the node's or its output's, with a suffix."""
        name = name.removeprefix("InsertedPrecisionFreeCast_")
        for end in (len(name), *(each.start() for each in reversed(list(re.finditer(r"[_/]", name))))):
            if name[:end] in self.nodes:
                return self.nodes[name[:end]]
        return None

    def find_before_fusion(self, node: Any | None, kinds: tuple[str, ...]) -> Any | None:
        """The node of one of these kinds from which a fused operator was made.

        It is `node` itself, or a node whose result reaches it through activations and quantisation only.
        """
        while node is not None and node.op_type not in kinds:
            passes = node.op_type in ("Relu", "QuantizeLinear", "DequantizeLinear", "Clip", "Max")
            node = self.producers.get(node.input[0]) if passes else None
        return node

    def weight_shape(self, node: Any | None) -> tuple[int, ...] | None:
        """The shape of a node's second operand if it is constant, quantised or not; else None."""
        name = node.input[1] if node is not None and len(node.input) > 1 else ""
        while name not in self.shapes and name in self.producers:
            producer = self.producers[name]
            if producer.op_type not in ("DequantizeLinear", "QuantizeLinear", "Cast", "Transpose"):
                return None
            name = producer.input[0]
        return self.shapes.get(name)


def profile_onnx(model_file: Path, pixels_NHWC: NDArray[np.uint8], *, threads: int, seconds: float) -> list[Operator]:
    """The operators in the order of execution, each with its median time, without fractions and limits."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnx", extra="train") from None
    check_self_contained(model_file)
    graph = FileGraph(onnx.load(model_file))
    return [
        make_operator(events, graph)
        for events in collect_events(model_file, pixels_NHWC, threads=threads, seconds=seconds)
    ]


def collect_events(
    model_file: Path, pixels_NHWC: NDArray[np.uint8], *, threads: int, seconds: float
) -> list[list[dict[str, Any]]]:
    """ONNX Runtime's events of each operator: one for each run after the warm-up."""
    import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

    ort = cast(Any, onnxruntime)
    with tempfile.TemporaryDirectory() as temporary:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_profiling, options.profile_file_prefix = True, str(Path(temporary) / "profile")
        session = ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_UP):
            session.run(None, {INPUT_NAME: pixels_NHWC})
        runs = repeat_for(lambda: session.run(None, {INPUT_NAME: pixels_NHWC}), seconds=seconds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    operators: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(SUFFIX):
            operators[event["args"]["node_index"]].append(event)
    assert all(len(each) == WARM_UP + runs for each in operators.values()), "every operator runs once a run"
    return [each[WARM_UP:] for each in operators.values()]


def make_operator(events: list[dict[str, Any]], graph: FileGraph) -> Operator:
    """One operator from its events of all runs, whose durations are in microseconds."""
    facts: dict[str, Any] = events[0]["args"]
    name, operation = events[0]["name"].removesuffix(SUFFIX), facts["op_name"]
    inputs, outputs = ([next(iter(each.items())) for each in facts[f"{end}_type_shape"]] for end in ("input", "output"))
    node = graph.find(name)
    kind, macs, packed_values = KINDS.get(operation, OTHER), 0, 0
    shapes = [tuple(shape) for _, shape in inputs if len(shape) > 1]
    result = outputs[0][1] if outputs else []
    if operation in CONVOLUTIONS:
        node = graph.find_before_fusion(node, ("Conv",)) or node
        groups = next((each.i for each in getattr(node, "attribute", ()) if each.name == "group"), 1)
        # The profile does not list weights that the runtime has packed.
        weight = graph.weight_shape(node) or shapes[1]
        kind, macs = convolution_kind(weight, groups), convolution_macs(result, weight, weight[0])
        packed_values = 0 if weight in shapes else math.prod(weight)
    elif operation in PRODUCTS:
        node = graph.find_before_fusion(node, ("MatMul", "Gemm")) or node
        weight = graph.weight_shape(node)
        kind = LINEAR if weight else PRODUCT
        macs = product_macs(shapes[0], weight or shapes[1], result)
        packed_values = math.prod(weight) if weight and weight not in shapes else 0
    elif operation in ATTENTIONS and len(shapes) > 1:
        kind, macs = ATTENTION, attention_macs(shapes[0], shapes[1], result, tokens=shapes[0][-2])
    dtype = inputs[0][0] if inputs else "float"
    moved = sum(SIZES.get(dtype, 4) * math.prod(shape) for dtype, shape in (*inputs, *outputs))
    return Operator(
        name=name,
        module=module_name(node.name) if node is not None else "",
        kind=kind,
        kernel=f"{operation}{' nchwc' if name.endswith('_nchwc') else ''} {dtype}",
        precision=PRECISIONS.get(dtype, "fp32"),
        ms=median(event["dur"] for event in events) / 1000,
        macs=macs,
        bytes=moved + packed_values * SIZES.get(dtype, 4),
    )
