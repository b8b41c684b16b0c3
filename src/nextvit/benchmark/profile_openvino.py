"""The operators that OpenVINO executes on the CPU for a model, from its own counters and its compiled graph."""

import math
from pathlib import Path
from statistics import median
from typing import Any

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
from nextvit.bundle.manifest import Precision
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.openvino_session import CPU, CPU_HINTS, read_model, shared_core

KINDS = {
    **dict.fromkeys(("Transpose", "Reshape", "Reorder", "Concat", "Concatenation", "Split", "StridedSlice"), LAYOUT),
    **dict.fromkeys(("Crop", "Pad", "Gather", "ShapeOf", "Broadcast", "Tile", "Squeeze", "Unsqueeze"), LAYOUT),
    **dict.fromkeys(("Convert", "FakeQuantize", "Quantize"), CONVERSION),
    **dict.fromkeys(("Eltwise", "Math", "Subgraph", "Clamp", "ReLU"), ELEMENTWISE),
    **dict.fromkeys(("Pooling", "Reduce"), POOLING),
    **dict.fromkeys(("SoftMax", "Softmax"), SOFTMAX),
}
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8"}
SIZES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1}
WARM_UP = 5
ROUNDS = 5


def profile_openvino(
    model_file: Path, precision: Precision, pixels_NHWC: NDArray[np.uint8], *, threads: int, seconds: float
) -> list[Operator]:
    """The operators in the order of execution, without fractions and limits.

    OpenVINO's counters are means over all runs since the model was loaded, in whole microseconds: here the warm-up is
    subtracted, and the median over several loads is taken. Operators below one microsecond are left out, unless they
    multiply: the counters do not show whether they ran.
    """
    model = read_model(model_file)
    options = {
        "INFERENCE_PRECISION_HINT": CPU_HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": "",
        "INFERENCE_NUM_THREADS": threads,
        "PERF_COUNT": True,
    }
    rounds = [run_round(model, options, {INPUT_NAME: pixels_NHWC}, seconds=seconds / ROUNDS) for _ in range(ROUNDS)]
    graph, in_attention = rounds[-1][1], attention_macs_by_name(model, pixels_NHWC.shape)
    operators: list[Operator] = []
    for node in graph.get_ordered_ops():
        ms = median(times.get(node.get_friendly_name(), 0.0) for times, _ in rounds)
        operator = make_operator(node, ms, in_attention)
        if operator.ms > 0 or operator.macs > 0:
            operators.append(operator)
    return operators


def run_round(
    model: Any, options: dict[str, Any], inputs: dict[str, Any], *, seconds: float
) -> tuple[dict[str, float], Any]:
    """Milliseconds of each operator of a freshly loaded model, and OpenVINO's compiled graph of it."""
    compiled: Any = shared_core().compile_model(model, CPU, options)
    times = measure_times_ms(compiled.create_infer_request(), inputs, seconds=seconds)
    return times, compiled.get_runtime_model()


def measure_times_ms(request: Any, inputs: dict[str, Any], *, seconds: float) -> dict[str, float]:
    """Mean milliseconds of each operator over the runs after the warm-up."""
    for _ in range(WARM_UP):
        request.infer(inputs)
    before = counters_ms(request)
    runs = repeat_for(lambda: request.infer(inputs), seconds=seconds)
    after, total = counters_ms(request), WARM_UP + runs
    return {name: max(0.0, total * ms - WARM_UP * before.get(name, 0.0)) / runs for name, ms in after.items()}


def counters_ms(request: Any) -> dict[str, float]:
    """OpenVINO's mean milliseconds of each operator since the model was loaded."""
    return {each.node_name: each.real_time.total_seconds() * 1000 for each in request.profiling_info}


def runtime_info(node: Any, name: str) -> str:
    """An entry of the runtime information of an operator; "" if there is none."""
    info = node.get_rt_info()
    value = info[name] if name in info else ""  # noqa: SIM401 (it is not a dict)
    return str(getattr(value, "value", value))


def shapes_of(ends: list[Any]) -> list[tuple[int, ...]]:
    """Shapes of inputs or outputs in the last run."""
    return [tuple(int(size.get_length()) for size in each.get_partial_shape()) for each in ends]


def make_operator(node: Any, ms: float, in_attention: dict[str, int]) -> Operator:
    """One operator of OpenVINO's compiled graph.

    Args:
        in_attention: multiply-accumulates by the name of an operator of the file, see `attention_macs_by_name`.
    """
    layer, made_of = runtime_info(node, "layerType"), runtime_info(node, "originalLayersNames").split(",")
    inputs, outputs = shapes_of(node.inputs()), shapes_of(node.outputs())
    kind, macs = KINDS.get(layer, OTHER), 0
    if layer in ("Convolution", "GroupConvolution"):
        groups = inputs[1][0] if len(inputs[1]) == 5 else 1
        kind = convolution_kind(inputs[1], groups)
        macs = convolution_macs(outputs[0], inputs[1], outputs[0][1])
    elif layer == "FullyConnected":
        kind, macs = LINEAR, product_macs(inputs[0], inputs[1], outputs[0])
    elif layer == "MatMul":
        kind, macs = PRODUCT, product_macs(inputs[0], inputs[1], outputs[0])
    elif found := sum(in_attention.get(name, 0) for name in made_of):
        kind, macs = ATTENTION, found
    kernel = runtime_info(node, "primitiveType")
    # For a file with fp16 weights OpenVINO reports f16 as the precision; only the kernel shows that it is f32.
    suffix = kernel.rpartition("_")[2].lower()
    precision = PRECISIONS.get(suffix if suffix in PRECISIONS else runtime_info(node, "runtimePrecision"), "fp32")
    is_heavy = layer in ("Convolution", "GroupConvolution", "FullyConnected")
    moved = 0
    for position, (end, shape) in enumerate(zip([*node.inputs(), *node.outputs()], [*inputs, *outputs], strict=True)):
        # The graph reports the type of a weight in the file, but the kernel has packed it in its own type.
        size = SIZES[precision] if is_heavy and position == 1 else end.get_element_type().size
        moved += size * math.prod(shape)
    return Operator(
        name=node.get_friendly_name(),
        module=module_name(node.get_friendly_name()),
        kind=kind,
        kernel=kernel,
        precision=precision,
        ms=ms,
        macs=macs,
        bytes=moved,
    )


def attention_macs_by_name(model: Any, input_shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of both products of each attention, by the name of the operator that outputs its result.

    OpenVINO fuses them into one operator, whose shapes do not show which input is which.
    """
    fixed = model.clone()
    fixed.reshape({INPUT_NAME: list(input_shape)})
    found: dict[str, int] = {}
    for operator in fixed.get_ops():
        name, kind = operator.get_friendly_name(), operator.get_type_name()
        if kind == "ScaledDotProductAttention":
            query, key, *_ = shapes_of(operator.inputs())
            [output] = shapes_of(operator.outputs())
            found[name] = attention_macs(query, key, output, tokens=query[-2])
        elif kind == "MatMul" and (scores := find_score_product(operator)):
            found[name] = sum(
                product_macs(*shapes_of(each.inputs()), *shapes_of(each.outputs())) for each in (scores, operator)
            )
    return found


def find_score_product(product: Any) -> Any | None:
    """The product of queries and keys whose softmax is the first operand of this product; None if there is none."""
    seen_softmax, node = False, product.input_value(0).get_node()
    while node.get_type_name() in ("Softmax", "Multiply", "Add", "Subtract", "Convert", "Reshape", "FakeQuantize"):
        seen_softmax |= node.get_type_name() == "Softmax"
        node = node.input_value(0).get_node()
    return node if seen_softmax and node.get_type_name() == "MatMul" else None
