"""Core ML package -> a session that interprets its program in PyTorch, for systems without Core ML.

Running the operators one by one proves that the file describes the network: the operators, their order and settings,
the weights as stored, the types as declared. It does not prove what Core ML computes from the file on a device.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvit.backends.mil_operators import OPERATORS
from nextvit.backends.mil_program import Constant, MilProgram, Operation, TensorType, read_package
from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.coreml_session import feature_name
from nextvit.runtime.session import Arrays, check_images
from nextvit.runtime.torch_session import torch_threads

FLOATS = ("FLOAT16", "FLOAT32")
Value = Tensor | str


def open_session(path: Path, manifest: Manifest, *, threads: int | None = None) -> "MilInterpreter":
    """Open the saved package of a bundle.

    Args:
        threads: CPU threads of torch while the session runs; None: as many as the process has.

    Raises:
        InputError: the package is damaged, or has operators that `mil_operators` does not implement.
    """
    package = path / manifest.model_file
    program = read_package(package)
    try:
        return MilInterpreter(program, list(manifest.outputs), manifest.precision, threads=threads)
    except InputError as error:
        raise InputError(f"{package}: {error}") from None


class MilInterpreter:
    """A session that runs one ML program (MIL) operator by operator."""

    def __init__(
        self, program: MilProgram, outputs: list[str], precision: Precision, *, threads: int | None = None
    ) -> None:
        unknown = sorted({op.kind for op in program.operations} - OPERATORS.keys())
        if unknown:
            raise InputError(f"operators that cannot be re-executed here: {', '.join(unknown)}")
        names = [feature_name(name) for name in outputs]
        if program.outputs != names:
            raise InputError(f"the program's outputs are {', '.join(program.outputs)}, not {', '.join(names)}")
        if program.image.name != INPUT_NAME:
            raise InputError(f"the program's input is {program.image.name!r}, not {INPUT_NAME!r}")
        self.program, self.outputs, self.precision, self.threads = program, outputs, precision, threads
        self.values: dict[str, Value] = {name: to_value(each) for name, each in program.constants.items()}
        self.steps: list[Operation] = []
        for op in program.operations:  # weights are expanded once, as Core ML does when it loads a model
            if op.kind.startswith("constexpr_"):
                self.compute(op, self.values)
            else:
                self.steps.append(op)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs for uint8 images (N, H, W, 3), computed one image at a time, because a program has a batch of one.

        Raises:
            InputError: the images have another type, or a size that the program does not take.
        """
        height, width = self.program.image.side_ranges
        with torch_threads(self.threads):
            rows = [self.run_image(each) for each in check_images(inputs, height=height, width=width)]
        return {name: np.concatenate([row[feature_name(name)] for row in rows]) for name in self.outputs}

    def run_image(self, image_HWC: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Pass the pixels, 0 to 255, as a float tensor (1, 3, H, W), as Core ML does."""
        ordered = image_HWC[..., ::-1] if self.program.image.color_layout == "BGR" else image_HWC
        values = dict(self.values)
        values[INPUT_NAME] = torch.from_numpy(ordered.astype(np.float32)).permute(2, 0, 1)[None].contiguous()
        with torch.inference_mode():
            for op in self.steps:
                self.compute(op, values)
        outputs = {name: values[name] for name in self.program.outputs}
        return {name: each.numpy() for name, each in outputs.items() if isinstance(each, Tensor)}

    def compute(self, op: Operation, values: dict[str, Value]) -> None:
        """Run one operator and store its result in `values`, in the type that the program declares.

        Raises:
            InputError: the operands do not fit the operator, or the result does not fit its declared shape.
        """
        try:
            result = OPERATORS[op.kind](**{key: resolve_operand(key, each, values) for key, each in op.inputs.items()})
        except (TypeError, RuntimeError, ValueError, KeyError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{op.kind} {op.name!r} cannot be computed ({reason})") from None
        [(name, declared)] = op.outputs
        values[name] = cast_to_declared(result, declared, op)

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "coreml",
            "runtime": f"re-executed in torch {torch.__version__}, not Core ML",
            "device": "cpu",
            "precision": self.precision,
            "computes_in": ", ".join(sorted({declared.dtype for declared in self.float_types()})),
            "specification": self.program.specification,
            "opset": self.program.opset,
            "threads": self.threads or torch.get_num_threads(),
        }

    def float_types(self) -> list[TensorType]:
        return [declared for op in self.steps for _, declared in op.outputs if declared.dtype in FLOATS]


def resolve_operand(key: str, references: list[str | Constant], values: dict[str, Value]) -> Value | list[Value]:
    """The value of an operand: one value, or for `values` (of `concat`) a list of them."""
    found = [values[each] if isinstance(each, str) else to_value(each) for each in references]
    return found if key == "values" else found[0]


def to_value(constant: Constant) -> Value:
    """A constant as operators take it: floats in fp32, which represents every fp16 number exactly."""
    if constant.dtype.kind == "U":
        return str(constant)
    wider = {"float16": np.float32, "uint32": np.int64}  # PyTorch has few operators for unsigned integers
    return torch.from_numpy(np.array(constant, dtype=wider.get(constant.dtype.name, constant.dtype)))


def cast_to_declared(result: Tensor, declared: TensorType, op: Operation) -> Tensor:
    """Round a result to its declared type.

    Raises:
        InputError: its shape is not the declared one, or the type is not supported.
    """
    known = [(side, size) for side, size in zip(declared.shape, result.shape, strict=False) if side is not None]
    if len(declared.shape) != result.ndim or any(side != size for side, size in known):
        raise InputError(f"{op.kind} {op.name!r} gives {tuple(result.shape)}, declared {declared.shape}")
    match declared.dtype:
        case "FLOAT16":
            return result.half().float()
        case "FLOAT32":
            return result.float()
        case "INT32":
            return result.int()
        case _:
            raise InputError(f"{op.kind} {op.name!r} has the type {declared.dtype}, which is not supported")
