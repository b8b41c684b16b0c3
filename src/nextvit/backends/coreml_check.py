"""What is in a Core ML package, and what of it is known to run elsewhere than on the Neural Engine.

Core ML decides on the device, and says so only there (Xcode's performance report, `MLComputePlan`). The rules here are
those that have a published source, named in docs/coreml.md; a program that breaks none of them may still leave it.
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
"""The last axis of a tensor is padded to it."""
WHOLLY_OFF = ("gather", "gru", "lstm", "rnn")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Operators that a rule is about."""

    rule: str
    operators: dict[str, int]
    """How many of each kind."""
    first: str
    """Name of the first one."""


def check(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Operators, input, precision, size, and the Neural Engine's rules, of a bundle's package."""
    program = read_package(folder / manifest.model_file)
    return {
        "specification": program.specification,
        "operators": dict(Counter(op.kind for op in program.operations).most_common()),
        "operator_set": program.opset,
        "input": input_words(program),
        "precisions": dict(Counter(declared.dtype for op in computed(program) for _, declared in op.outputs)),
        "stored_weights": dict(Counter(program.weights)),
        "bytes": program.bytes_on_disk,
        "off_neural_engine": [asdict(each) for each in findings(program, OFF)],
        "slow_on_neural_engine": [asdict(each) for each in findings(program, SLOW)],
    }


def input_words(program: MilProgram) -> str:
    image = program.image
    (low_height, high_height), (low_width, high_width) = image.ranges
    default = f"{image.colours} image of {image.size[1]}x{image.size[0]} px"
    if image.fixed:
        return default
    return f"{default}, or any from {low_width}x{low_height} to {high_width}x{high_height} px"


def computed(program: MilProgram) -> list[Operation]:
    """What runs for each image; weights are expanded when the model is loaded."""
    return [op for op in program.operations if not op.kind.startswith("constexpr_")]


def findings(program: MilProgram, rules: "dict[str, Rule]") -> list[Finding]:
    found: list[Finding] = []
    for rule, breaks in rules.items():
        operators = [op for op in computed(program) if breaks(op, program)]
        if operators:
            counts = dict(Counter(op.kind for op in operators).most_common())
            found.append(Finding(rule=rule, operators=counts, first=operators[0].name))
    return found


Rule = Callable[[Operation, MilProgram], bool]


def results(op: Operation) -> list[TensorType]:
    return [declared for _, declared in op.outputs]


def constant(op: Operation, key: str, program: MilProgram) -> Any:
    """An operand that is known, or None."""
    if not op.inputs.get(key):
        return None
    given = op.inputs[key][0]
    return program.constants.get(given) if isinstance(given, str) else given


def is_fp32(op: Operation, program: MilProgram) -> bool:
    """A cast at the end is for the caller, and not counted."""
    return op.kind != "cast" and any(each.dtype == "FLOAT32" for each in results(op))


def is_integer(op: Operation, program: MilProgram) -> bool:
    return any(each.dtype == "INT32" for each in results(op))


def is_too_large(op: Operation, program: MilProgram) -> bool:
    for each in results(op):
        limits = [MAX_CHANNELS if axis == len(each.shape) - 3 else MAX_SIDE for axis in range(len(each.shape))]
        if any(side is not None and side > limit for side, limit in zip(each.shape, limits, strict=True)):
            return True
    return False


def has_too_many_axes(op: Operation, program: MilProgram) -> bool:
    return any(len(each.shape) > MAX_RANK for each in results(op))


def is_dilated(op: Operation, program: MilProgram) -> bool:
    dilations = constant(op, "dilations", program)
    return op.kind == "conv" and dilations is not None and bool((dilations > 1).any())


def has_wide_kernel(op: Operation, program: MilProgram) -> bool:
    weight = constant(op, "weight", program)
    return op.kind == "conv" and weight is not None and weight.shape[-1] > MAX_KERNEL


def has_open_shape(op: Operation, program: MilProgram) -> bool:
    return any(None in each.shape for each in results(op))


def is_padded_much(op: Operation, program: MilProgram) -> bool:
    """Its last axis fills less than half of a padded row."""
    bytes_each = {"FLOAT16": 2, "FLOAT32": 4}
    return any(
        each.shape and each.shape[-1] is not None and 2 * each.shape[-1] * bytes_each.get(each.dtype, 4) < ROW_BYTES
        for each in results(op)
    )


OFF: dict[str, Rule] = {
    "computes in fp32: CPU or GPU": is_fp32,
    "computes with integers": is_integer,
    "kind of operator that does not run there": lambda op, program: op.kind in WHOLLY_OFF,
    "dilated convolution": is_dilated,
    f"kernel wider than {MAX_KERNEL}": has_wide_kernel,
    f"more than {MAX_RANK} axes": has_too_many_axes,
    f"an axis longer than {MAX_SIDE} (channels: {MAX_CHANNELS})": is_too_large,
    "size open until it runs: only the default size runs there": has_open_shape,
}
SLOW: dict[str, Rule] = {
    f"last axis fills less than half of the {ROW_BYTES} bytes it is padded to": is_padded_much,
    "moves data: transposes": lambda op, program: op.kind == "transpose",
    "linear on (1, tokens, channels), where a 1x1 convolution on 4 axes is advised": lambda op, program: (
        op.kind == "linear" and len(results(op)[0].shape) == 3
    ),
}
