"""A `.pt2` archive of torch.export, read as data.

`torch.export.load` must not see a stranger's file. Seen with torch 2.15: it unpickles the sample inputs, and whatever weight
says that it is a pickle, without `weights_only`; and it evaluates sizes, which are written as expressions, with sympy, so
that Python in their place is run. So the archive is read here instead: a zip of JSON and of raw numbers. Only the
operators and kinds of values named below are known, the graph is a list of calls to them, and nothing is unpickled,
evaluated or looked up by name.
"""

import json
import operator
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from nextvit.errors import InputError

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
            aten.scaled_dot_product_attention.default,  # in files from before attention was written on the map
            aten.softmax.int,
            aten.sym_size.int,
            aten.to.dtype,
            aten.transpose.int,
            aten.unflatten.int,
        )
    },
    "_operator.add": operator.add,
    "_operator.floordiv": operator.floordiv,  # pyright: ignore[reportUnknownMemberType]
    "_operator.mul": operator.mul,
    "_operator.sub": operator.sub,
}
CHECK = "torch.ops.aten._assert_tensor_metadata.default"
"""Left out: it repeats what the exporter saw, its device too, which need not be the one that runs."""
DTYPES = {1: torch.uint8, 5: torch.int64, 6: torch.float16, 7: torch.float32, 13: torch.bfloat16}
"""Of the archive's numbers for types, those that a network here has."""
LITERALS = ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_none")
POSITIONAL, KEYWORD = 1, 2
ENTRIES = re.compile(
    r"[^/]+/(models/model\.json|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder|\.data/(version|serialization_id))"
)
SYMBOL = re.compile(r"Symbol\('(\w+)'[\w=, ]*\)")


@dataclass(frozen=True)
class Value:
    """Stands for the result of an earlier step, by name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    output: str
    last_used: tuple[str, ...]
    """Results that no later step needs."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A graph from one tensor to a tuple of them."""

    input: str
    input_sizes: tuple[tuple[int, int], ...]
    """The smallest and largest size of each axis of the input."""
    constants: dict[str, Tensor]
    steps: list[Step]
    outputs: list[str]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        values: dict[str, Any] = {**self.constants, self.input: images}
        for step in self.steps:
            options = {name: resolve(each, values) for name, each in step.options.items()}
            values[step.output] = step.function(*(resolve(each, values) for each in step.args), **options)
            for name in step.last_used:
                del values[name]
        return tuple(values[name] for name in self.outputs)


def resolve(argument: Any, values: dict[str, Any]) -> Any:
    """An argument of a step with results in place of their names."""
    if isinstance(argument, Value):
        return values[argument.name]
    if isinstance(argument, list):
        return [resolve(each, values) for each in cast(list[Any], argument)]
    return argument


def read_program(path: Path, *, device: torch.device) -> Program:
    """Read an archive, with its weights on a device.

    Raises:
        InputError: no such archive, or one that holds something else than a network in numbers; nothing of it was run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return program_in(archive, device)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        raise InputError(f"{path}: not a program that can be read as data alone ({reason})") from None
    except (RuntimeError, RecursionError, NotImplementedError) as error:  # torch's and zipfile's own
        raise InputError(f"{path}: damaged ({str(error).partition(chr(10))[0]})") from None


def program_in(archive: zipfile.ZipFile, device: torch.device) -> Program:
    """The program of an open archive; raises whatever a file that is something else leads to."""
    for entry in archive.infolist():
        if not ENTRIES.fullmatch(entry.filename) or entry.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{entry.filename!r} has no place in it")
        if entry.filename.endswith(".pt") and entry.file_size:
            raise ValueError(f"{entry.filename!r} is a pickle")
    root = archive.namelist()[0].partition("/")[0]
    model = json.loads(archive.read(f"{root}/models/model.json"))
    graph, signature = model["graph_module"]["graph"], model["graph_module"]["signature"]
    stored = tensors_in(archive, f"{root}/data/weights", device)
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
    outputs = [spec["user_output"]["arg"]["as_tensor"]["name"] for spec in signature["output_specs"]]
    nodes = [node for node in graph["nodes"] if node["target"] != CHECK]
    sizes = graph["tensor_values"][image]["sizes"]
    return Program(
        input=image,
        input_sizes=tuple(bounds(size, model["range_constraints"]) for size in sizes),
        constants=constants,
        steps=steps_of(nodes, {image, *constants}, outputs),
        outputs=outputs,
    )


def tensors_in(archive: zipfile.ZipFile, folder: str, device: torch.device) -> dict[str, Tensor]:
    """The tensors that the archive keeps as raw numbers, by name."""
    tensors: dict[str, Tensor] = {}
    for name, entry in json.loads(archive.read(f"{folder}/model_weights_config.json"))["config"].items():
        if entry["use_pickle"]:
            raise ValueError(f"{name} is a pickle")
        meta = entry["tensor_meta"]
        sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
        numbers = torch.frombuffer(
            bytearray(archive.read(f"{folder}/{entry['path_name']}")), dtype=DTYPES[meta["dtype"]]
        )
        # Torch checks that the view lies within the numbers.
        tensors[name] = numbers.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).to(device)
    return tensors


def bounds(size: dict[str, Any], ranges: dict[str, Any]) -> tuple[int, int]:
    """The smallest and largest size of an axis."""
    if "as_int" in size:
        return size["as_int"], size["as_int"]
    symbol = SYMBOL.fullmatch(size["as_expr"]["expr_str"])
    if not symbol:
        raise ValueError("a side of its input is a formula")
    allowed = ranges[symbol[1]]
    return allowed["min_val"], allowed["max_val"]


def steps_of(nodes: list[dict[str, Any]], given_names: set[str], outputs: list[str]) -> list[Step]:
    """The calls of a graph, each with the results that can be let go after it.

    Raises:
        ValueError: they use something else than what they are given and what an earlier one gave, or are unknown.
    """
    steps: list[Step] = []
    needed = set(outputs)
    for node in reversed(nodes):
        if node["target"] not in OPERATORS:
            raise ValueError(f"it calls {node['target']!r}, which no network of ours does")
        given = [(each["kind"], each["name"], argument(each["arg"])) for each in node["inputs"]]
        [(kind, output)] = node["outputs"][0].items()
        if len(node["outputs"]) != 1 or kind not in ("as_tensor", "as_sym_int"):
            raise ValueError(f"a call of {node['target']!r} gives something else than one value")
        used = {name for _, _, each in given for name in names_in(each)}
        needed.discard(name_of(output))  # what is still needed in the end must have been given
        steps.append(
            Step(
                function=OPERATORS[node["target"]],
                args=tuple(each for kind, _, each in given if kind == POSITIONAL),
                options={name: each for kind, name, each in given if kind == KEYWORD},
                output=name_of(output),
                last_used=tuple(sorted(used - needed)),
            )
        )
        needed |= used
    if unknown := sorted(needed - given_names):
        raise ValueError(f"it uses {unknown[0]!r} before anything gives it")
    return steps[::-1]


def name_of(output: dict[str, Any]) -> str:
    return output.get("name") or output["as_name"]


def argument(given: dict[str, Any]) -> Any:
    """A literal, a `Value`, or a list of them."""
    [(kind, value)] = given.items()
    if kind in LITERALS:
        return None if kind == "as_none" else value
    if kind == "as_tensor":
        return Value(value["name"])
    if kind == "as_tensors":
        return [Value(each["name"]) for each in value]
    if kind == "as_sym_int":
        return size_or_value(value)
    if kind == "as_sym_ints":
        return [size_or_value(each) for each in value]
    if kind == "as_scalar_type":
        return DTYPES[value]
    raise ValueError(f"it has an argument of the kind {kind!r}")


def size_or_value(given: dict[str, Any]) -> int | Value:
    return given["as_int"] if "as_int" in given else Value(given["as_name"])


def names_in(argument: Any) -> list[str]:
    """The results that an argument needs."""
    if isinstance(argument, list):
        return [name for each in cast(list[Any], argument) for name in names_in(each)]
    return [argument.name] if isinstance(argument, Value) else []
