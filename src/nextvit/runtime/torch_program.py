"""A `.pt2` archive of torch.export -> Program, read as data without executing anything in the file.

`torch.export.load` is unsafe for untrusted files. With torch 2.15 it unpickles the sample inputs, and any weight that
is declared a pickle, without `weights_only`; and it evaluates sizes, which are stored as expressions, with sympy, which
executes Python code in their place. This module reads the archive instead: a zip file of JSON and raw numbers. It
accepts only the operators and kinds of values named below. The graph becomes a list of calls to these operators, and
nothing is unpickled, evaluated or looked up by name.
"""

import math
import operator
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from nextvit.errors import InputError, first_line, shorten
from nextvit.files.limits import MAX_INTEGER
from nextvit.files.regular import require_regular
from nextvit.files.structured_text import parse_json

MAX_FILE_BYTES = 2**32
MAX_GRAPH_BYTES = 2**26
"""Of model.json. The largest of our graphs has some 5 MB."""


def size_arithmetic(function: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """Arithmetic of sizes: of whole numbers of 64 bits, which a graph cannot let grow without end, and of nothing else:
    a text times a number is a longer text."""

    def compute(left: int, right: int) -> int:
        if type(left) is not int or type(right) is not int:
            raise TypeError("arithmetic is for sizes, which are whole numbers")
        result = function(left, right)
        if abs(result) > MAX_INTEGER:
            raise OverflowError("a size of more than 64 bits")
        return result

    return compute


aten = torch.ops.aten
OPERATORS: dict[str, Callable[..., Any]] = {
    **{
        f"torch.ops.{each}": each
        for each in (
            aten.add.Tensor,
            aten.avg_pool1d.default,
            aten.avg_pool2d.default,
            aten.cat.default,
            aten.conv2d.default,
            aten.flatten.using_ints,
            aten.linear.default,
            aten.matmul.default,
            aten.mean.dim,
            aten.mul.Tensor,
            aten.pad.default,
            aten.permute.default,
            aten.relu.default,
            aten.reshape.default,
            aten.scaled_dot_product_attention.default,  # in files of older versions of nextvit
            aten.softmax.int,
            aten.sym_size.int,
            aten.to.dtype,
            aten.transpose.int,
            aten.unflatten.int,
        )
    },
    "_operator.add": size_arithmetic(operator.add),
    "_operator.floordiv": size_arithmetic(lambda left, right: left // right),
    "_operator.mul": size_arithmetic(operator.mul),
    "_operator.sub": size_arithmetic(operator.sub),
}
METADATA_CHECK = "torch.ops.aten._assert_tensor_metadata.default"
"""Skipped: it asserts what the exporter saw, and the device there may differ from the one here."""
DTYPES = {1: torch.uint8, 5: torch.int64, 6: torch.float16, 7: torch.float32, 13: torch.bfloat16}
"""Type numbers of the archive, for the types that our networks have."""
LITERALS: dict[str, type | None] = {
    "as_int": int,
    "as_ints": int,
    "as_float": float,
    "as_floats": float,
    "as_bool": bool,
    "as_bools": bool,
    "as_string": str,
    "as_none": None,
}
"""Kinds of literal arguments; those in the plural are lists."""
POSITIONAL, KEYWORD = 1, 2
ALLOWED_ENTRIES = re.compile(
    r"[^/]+/(models/model\.json|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|\.data/(version|serialization_id))"
)
SYMBOL = re.compile(r"Symbol\('(\w+)'[\w=, ]*\)")


@dataclass(frozen=True)
class Reference:
    """A reference, by name, to an input, a constant or the result of an earlier step."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of an operator."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    output: str
    last_used: tuple[str, ...]
    """Values that no later step needs."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A graph with one input tensor and a tuple of output tensors."""

    input: str
    input_sizes: tuple[tuple[int, int], ...]
    """The smallest and largest size of each axis of the input."""
    constants: dict[str, Tensor]
    steps: list[Step]
    outputs: list[str]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Any] = {**self.constants, self.input: images}
        for step in self.steps:
            options = {name: resolve_references(each, values) for name, each in step.options.items()}
            values[step.output] = step.function(*(resolve_references(each, values) for each in step.args), **options)
            for name in step.last_used:
                del values[name]
        return tuple(values[name] for name in self.outputs)


def resolve_references(argument: Any, values: dict[str, Any]) -> Any:
    """Replace the references in an argument of a step by their values."""
    if isinstance(argument, Reference):
        return values[argument.name]
    if isinstance(argument, list):
        return [resolve_references(each, values) for each in cast(list[Any], argument)]
    return argument


def read_program(path: Path, *, device: torch.device) -> Program:
    """Read an archive, with its weights on a device.

    Raises:
        InputError: there is no such archive, or it is not a network as data alone. Nothing in it is executed.
    """
    try:
        size = require_regular(path, max_bytes=MAX_FILE_BYTES)
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("its entries overlap")
            return parse_program(archive, device)
    except InputError as error:
        raise InputError(f"{path}: not a program that can be read as data alone ({error})") from None
    except KeyError as error:
        raise InputError(f"{path}: not a program that can be read as data alone (it lacks {error})") from None
    except Exception as error:  # noqa: BLE001 (from torch and zipfile, whatever a damaged file makes them raise)
        raise InputError(
            f"{path}: not a program that can be read as data alone ({shorten(first_line(error))})"
        ) from None


def parse_program(archive: zipfile.ZipFile, device: torch.device) -> Program:
    """Parse the program of an open archive; a malformed file raises the errors that `read_program` handles."""
    # 1. Check the entries of the archive
    for entry in archive.infolist():
        if not ALLOWED_ENTRIES.fullmatch(entry.filename) or entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename!r} is not expected in it")
        if entry.filename.endswith(".pt") and entry.file_size:
            raise ValueError(f"{entry.filename!r} is a pickle")

    # 2. Match the graph's inputs with stored tensors
    root = archive.namelist()[0].partition("/")[0]
    model = read_entry(archive, f"{root}/models/model.json")
    graph, signature = model["graph_module"]["graph"], model["graph_module"]["signature"]
    stored = read_tensors(archive, f"{root}/data/weights", device)
    constants: dict[str, Tensor] = {}
    images: list[str] = []
    for spec in signature["input_specs"]:
        [(kind, value)] = spec.items()
        if kind == "user_input":
            images.append(value["arg"]["as_tensor"]["name"])
        else:
            stored_name = {"parameter": "parameter_name", "buffer": "buffer_name"}[kind]
            constants[value["arg"]["name"]] = stored[value[stored_name]]
    [image] = images

    # 3. Build the program
    outputs = [spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"]]
    nodes = [node for node in graph["nodes"] if node["target"] != METADATA_CHECK]
    sizes = graph["tensor_values"][image]["sizes"]
    return Program(
        input=image,
        input_sizes=tuple(size_range(size, model["range_constraints"]) for size in sizes),
        constants=constants,
        steps=parse_steps(nodes, {image, *constants}, outputs),
        outputs=outputs,
    )


def read_tensors(archive: zipfile.ZipFile, folder: str, device: torch.device) -> dict[str, Tensor]:
    """Read the tensors that the archive stores as raw numbers, by name."""
    tensors: dict[str, Tensor] = {}
    contents: dict[str, bytearray] = {}
    for name, entry in read_entry(archive, f"{folder}/model_weights_config.json")["config"].items():
        if entry["use_pickle"]:
            raise ValueError(f"{name} is a pickle")
        file = entry["path_name"]
        if file not in contents:  # tensors may share a file, which is read once
            contents[file] = bytearray(archive.read(f"{folder}/{file}"))
        meta = entry["tensor_meta"]
        sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
        numbers = torch.frombuffer(contents[file], dtype=DTYPES[meta["dtype"]])
        if math.prod(sizes) > len(numbers):
            raise ValueError(f"{name} has more values than are stored")
        # Torch checks that the view is within the storage.
        tensors[name] = numbers.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).to(device)
    return tensors


def read_entry(archive: zipfile.ZipFile, name: str) -> Any:
    """The content of a JSON file in the archive."""
    if archive.getinfo(name).file_size > MAX_GRAPH_BYTES:
        raise ValueError(f"{name} has more than {MAX_GRAPH_BYTES:,} bytes")
    return parse_json(archive.read(name), what=name)


def size_range(size: dict[str, Any], ranges: dict[str, Any]) -> tuple[int, int]:
    """The smallest and largest size of an axis."""
    if "as_int" in size:
        return size["as_int"], size["as_int"]
    symbol = SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    if not symbol:
        raise ValueError("a side of its input is an expression")
    limits = ranges[symbol[1]]
    return limits["min_val"], limits["max_val"]


def parse_steps(nodes: list[dict[str, Any]], input_names: set[str], outputs: list[str]) -> list[Step]:
    """Parse the calls of a graph, each with the values that can be freed after it.

    Args:
        input_names: names of the graph's input and its constants.

    Raises:
        ValueError: a call is of an unknown operator, or uses a value before it exists.
    """
    steps: list[Step] = []
    needed = set(outputs)
    for node in reversed(nodes):
        if node["target"] not in OPERATORS:
            raise ValueError(f"it calls {node['target']!r}, which no network of ours does")
        arguments = [(each["kind"], each["name"], parse_argument(each["arg"])) for each in node["inputs"]]
        [(kind, output)] = node["outputs"][0].items()
        if len(node["outputs"]) != 1 or kind not in ("as_tensor", "as_sym_int"):
            raise ValueError(f"a call of {node['target']!r} returns something else than one value")
        used = {name for _, _, each in arguments for name in referenced_names(each)}
        needed.discard(output_name(output))  # names that remain in the end must be inputs
        steps.append(
            Step(
                function=OPERATORS[node["target"]],
                args=tuple(each for kind, _, each in arguments if kind == POSITIONAL),
                options={name: each for kind, name, each in arguments if kind == KEYWORD},
                output=output_name(output),
                last_used=tuple(sorted(used - needed)),
            )
        )
        needed |= used
    if unknown := sorted(needed - input_names):
        raise ValueError(f"it uses {unknown[0]!r} before it is computed")
    return steps[::-1]


def output_name(output: dict[str, Any]) -> str:
    return output.get("name") or output["as_name"]


def parse_argument(stored: dict[str, Any]) -> Any:
    """Parse an argument: a literal, a `Reference`, or a list of them."""
    [(kind, value)] = stored.items()
    if kind in LITERALS:
        return parse_literal(kind, value)
    if kind == "as_tensor":
        return Reference(value["name"])
    if kind == "as_tensors":
        return [Reference(each["name"]) for each in value]
    if kind == "as_sym_int":
        return parse_size(value)
    if kind == "as_sym_ints":
        return [parse_size(each) for each in value]
    if kind == "as_scalar_type":
        return DTYPES[value]
    raise ValueError(f"it has an argument of the kind {kind!r}")


def parse_literal(kind: str, value: Any) -> Any:
    """A number, a text or a list of numbers, of the type that its kind says."""
    expected = LITERALS[kind]
    if expected is None:
        return None
    values = cast(list[Any], value) if kind.endswith("s") and isinstance(value, list) else [value]
    for each in values:
        if type(each) is not expected and not (expected is float and type(each) is int):
            raise ValueError(f"{shorten(repr(each))} is no {kind}")
    return cast(Any, value)


def parse_size(stored: dict[str, Any]) -> int | Reference:
    return stored["as_int"] if "as_int" in stored else Reference(stored["as_name"])


def referenced_names(argument: Any) -> list[str]:
    """Names of the values that an argument uses."""
    if isinstance(argument, list):
        return [name for each in cast(list[Any], argument) for name in referenced_names(each)]
    return [argument.name] if isinstance(argument, Reference) else []
