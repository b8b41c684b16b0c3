"""Core ML package -> its contents, and which operators are known not to run on the Neural Engine.

Core ML assigns operators to processors on the device and reports the result only there (Xcode's performance report,
`MLComputePlan`). The rules here have a published source, named in docs/coreml.md. A program that breaks none of them
may still leave the Neural Engine.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nextvit.backends.mil_program import MilProgram, Operation, TensorType, read_package
from nextvit.bundle.manifest import Manifest

MAX_RANK = 5
MAX_SIDE = 16384
MAX_CHANNELS = 65536
MAX_KERNEL = 13
ROW_BYTES = 64
"""The last axis of a tensor is padded to a multiple of this."""
UNSUPPORTED_KINDS = ("gather", "gru", "lstm", "rnn")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """Operators that break a rule."""

    rule: str
    operators: dict[str, int]
    """Count by kind of operator."""
    first: str
    """Name of the first such operator."""


def check(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Inspect a bundle's package: operators, input, precisions, size, and violations of the Neural Engine's rules."""
    program = read_package(folder / manifest.model_file)
    return {
        "specification": program.specification,
        "operators": dict(Counter(op.kind for op in program.operations).most_common()),
        "operator_set": program.opset,
        "input": describe_input(program),
        "precisions": dict(Counter(declared.dtype for op in runtime_operations(program) for _, declared in op.outputs)),
        "stored_weights": dict(Counter(program.weights)),
        "bytes": program.bytes_on_disk,
        "off_neural_engine": [asdict(each) for each in find_violations(program, OFF_RULES)],
        "slow_on_neural_engine": [asdict(each) for each in find_violations(program, SLOW_RULES)],
    }


def describe_input(program: MilProgram) -> str:
    image = program.image
    (low_height, high_height), (low_width, high_width) = image.side_ranges
    default = f"{image.color_layout} image of {image.size[1]}x{image.size[0]} px"
    if image.is_fixed_size:
        return default
    return f"{default}, or any from {low_width}x{low_height} to {high_width}x{high_height} px"


def runtime_operations(program: MilProgram) -> list[Operation]:
    """The operators that run for each image; `constexpr_` ones expand weights when the model is loaded."""
    return [op for op in program.operations if not op.kind.startswith("constexpr_")]


def find_violations(program: MilProgram, rules: "dict[str, Rule]") -> list[Violation]:
    found: list[Violation] = []
    for rule, breaks in rules.items():
        operators = [op for op in runtime_operations(program) if breaks(op, program)]
        if operators:
            counts = dict(Counter(op.kind for op in operators).most_common())
            found.append(Violation(rule=rule, operators=counts, first=operators[0].name))
    return found


Rule = Callable[[Operation, MilProgram], bool]


def output_types(op: Operation) -> list[TensorType]:
    return [declared for _, declared in op.outputs]


def constant_operand(op: Operation, key: str, program: MilProgram) -> Any:
    """An operand whose value is in the file, or None."""
    if not op.inputs.get(key):
        return None
    operand = op.inputs[key][0]
    return program.constants.get(operand) if isinstance(operand, str) else operand


def is_fp32(op: Operation, program: MilProgram) -> bool:
    """Whether it computes in fp32. A cast at the end converts for the caller and does not count."""
    return op.kind != "cast" and any(each.dtype == "FLOAT32" for each in output_types(op))


def is_integer(op: Operation, program: MilProgram) -> bool:
    return any(each.dtype == "INT32" for each in output_types(op))


def is_too_large(op: Operation, program: MilProgram) -> bool:
    for each in output_types(op):
        limits = [MAX_CHANNELS if axis == len(each.shape) - 3 else MAX_SIDE for axis in range(len(each.shape))]
        if any(side is not None and side > limit for side, limit in zip(each.shape, limits, strict=True)):
            return True
    return False


def has_too_many_axes(op: Operation, program: MilProgram) -> bool:
    return any(len(each.shape) > MAX_RANK for each in output_types(op))


def is_dilated(op: Operation, program: MilProgram) -> bool:
    dilations = constant_operand(op, "dilations", program)
    return op.kind == "conv" and dilations is not None and bool((dilations > 1).any())


def has_wide_kernel(op: Operation, program: MilProgram) -> bool:
    weight = constant_operand(op, "weight", program)
    return op.kind == "conv" and weight is not None and weight.shape[-1] > MAX_KERNEL


def has_dynamic_shape(op: Operation, program: MilProgram) -> bool:
    return any(None in each.shape for each in output_types(op))


def is_mostly_padding(op: Operation, program: MilProgram) -> bool:
    """Whether the last axis of a result fills less than half of a padded row."""
    bytes_each = {"FLOAT16": 2, "FLOAT32": 4}
    return any(
        each.shape and each.shape[-1] is not None and 2 * each.shape[-1] * bytes_each.get(each.dtype, 4) < ROW_BYTES
        for each in output_types(op)
    )


OFF_RULES: dict[str, Rule] = {
    "computes in fp32: CPU or GPU": is_fp32,
    "computes with integers": is_integer,
    "kind of operator that does not run there": lambda op, program: op.kind in UNSUPPORTED_KINDS,
    "dilated convolution": is_dilated,
    f"kernel wider than {MAX_KERNEL}": has_wide_kernel,
    f"more than {MAX_RANK} axes": has_too_many_axes,
    f"an axis longer than {MAX_SIDE} (channels: {MAX_CHANNELS})": is_too_large,
    "size open until it runs: only the default size runs there": has_dynamic_shape,
}
SLOW_RULES: dict[str, Rule] = {
    f"last axis fills less than half of the {ROW_BYTES} bytes it is padded to": is_mostly_padding,
    "moves data: transposes": lambda op, program: op.kind == "transpose",
    "linear on (1, tokens, channels), where a 1x1 convolution on 4 axes is advised": lambda op, program: (
        op.kind == "linear" and len(output_types(op)[0].shape) == 3
    ),
}
