"""model.mlpackage -> MilProgram: the operators of the saved ML program, their declared types, its constants.

Nothing here passes through coremltools' converter: the protobuf message is parsed by its published definition and the
weights by the layout of their file. So the program is exactly what Core ML loads.
"""

import json
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import stays_inside
from nextvit.errors import InputError, MissingDependency
from nextvit.machine.quiet import suppress_output

AUTHOR, ROOT = "com.apple.CoreML", "@model_path/"
DTYPES = {  # those that our programs contain
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "INT32": np.int32,
    "UINT8": np.uint8,
    "UINT32": np.uint32,
    "BOOL": np.bool_,
    "STRING": np.str_,
}
BLOB_DTYPES = {1: "FLOAT16", 2: "FLOAT32", 3: "UINT8", 4: "INT8"}
"""Type numbers of the weight file."""
BLOB_MAGIC, BLOB_RECORD = 0xDEADBEEF, struct.Struct("<IIQQ")

Constant = NDArray[Any]


@dataclass(frozen=True)
class TensorType:
    """The declared type of a value."""

    dtype: str
    shape: tuple[int | None, ...]
    """None: known only when the program runs."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operator of a program, in the order in which they run."""

    kind: str
    name: str
    inputs: dict[str, list[str | Constant]]
    """Names of values, or inline constants. Most inputs have one; those of `concat` have several."""
    outputs: list[tuple[str, TensorType]]


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """An image that the model takes; Core ML converts pixel buffers of other formats to it."""

    name: str
    color_layout: str
    """"RGB" or "BGR": the order of the channels of the tensor that the program gets."""
    size: tuple[int, int]
    """Default height and width in pixels."""
    height_range: tuple[int, int]
    width_range: tuple[int, int]

    @property
    def side_ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return self.height_range, self.width_range

    @property
    def is_fixed_size(self) -> bool:
        return all(low == high for low, high in self.side_ranges)


@dataclass(frozen=True, kw_only=True)
class MilProgram:
    """The contents of a package."""

    specification: int
    """Version of Core ML's file format."""
    opset: str
    """Version of the operators, such as "CoreML6" of iOS 16 and macOS 13."""
    image: ImageInput
    constants: dict[str, Constant]
    operations: list[Operation]
    outputs: list[str]
    description: str
    licence: str
    metadata: dict[str, str]
    bytes_on_disk: int
    weights: list[str]
    """Stored type of every constant in the weight file."""


def read_package(package: Path) -> MilProgram:
    """Read a .mlpackage folder.

    Raises:
        InputError: it is damaged, or is not one ML program that takes one image.
        MissingDependency: coremltools, which contains the protobuf definition, is not installed.
    """
    try:
        with suppress_output():
            from coremltools.proto import Model_pb2
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "coremltools", extra="coreml") from None

    # 1. Parse the protobuf message
    model: Any = Model_pb2.Model()  # pyright: ignore[reportAttributeAccessIssue] (created when protobuf loads it)
    file = find_model_file(package)
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as error:  # noqa: BLE001 (protobuf's DecodeError has no base class to name here)
        raise InputError(f"{file}: damaged ({error})") from None
    if model.WhichOneof("Type") != "mlProgram" or list(model.mlProgram.functions) != ["main"]:
        raise InputError(f"{package}: not a Core ML package with one ML program")

    # 2. Read the operators of its one function
    function = model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    reader = ProgramReader(file.parent)
    operations: list[Operation] = []
    for op in block.operations:
        if op.type == "const":
            reader.read_constant(op)
        else:
            operations.append(reader.read_operation(op))
    metadata = model.description.metadata
    return MilProgram(
        specification=model.specificationVersion,
        opset=function.opset,
        image=read_image_input(package, model.description),
        constants=reader.constants,
        operations=operations,
        outputs=list(block.outputs),
        description=metadata.shortDescription,
        licence=metadata.license,
        metadata=dict(metadata.userDefined),
        bytes_on_disk=sum(each.stat().st_size for each in package.rglob("*") if each.is_file()),
        weights=reader.weight_dtypes,
    )


def find_model_file(package: Path) -> Path:
    """Find the file with the model's description, which the package's Manifest.json names."""
    listing = package / "Manifest.json"
    try:
        values = json.loads(listing.read_text(encoding="utf-8"))
        name = values["itemInfoEntries"][values["rootModelIdentifier"]]["path"]
    except FileNotFoundError:
        raise InputError(f"{package}: not a Core ML package, it has no Manifest.json") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{listing}: damaged") from None
    if not stays_inside(name) or not (package / "Data" / name).is_file():
        raise InputError(f"{listing}: its model {name!r} is not in the package")
    return package / "Data" / name


def read_image_input(package: Path, description: Any) -> ImageInput:
    """Read the description of the one image that a model takes.

    Raises:
        InputError: its input is something else.
    """
    if len(description.input) != 1 or description.input[0].type.WhichOneof("Type") != "imageType":
        raise InputError(f"{package}: its input is not one image")
    feature = description.input[0]
    image = feature.type.imageType
    color_layout = type(image).ColorSpace.Name(image.colorSpace)
    if color_layout not in ("RGB", "BGR"):
        raise InputError(f"{package}: its image input is {color_layout}, not RGB")
    sizes, flexibility = image.imageSizeRange, image.WhichOneof("SizeFlexibility")
    if flexibility not in (None, "imageSizeRange"):
        raise InputError(f"{package}: its image input has sizes that are neither fixed nor a range ({flexibility})")

    def bounds(size: Any, default: int) -> tuple[int, int]:
        return (size.lowerBound, size.upperBound) if flexibility else (default, default)

    return ImageInput(
        name=feature.name,
        color_layout=color_layout,
        size=(image.height, image.width),
        height_range=bounds(sizes.heightRange, image.height),
        width_range=bounds(sizes.widthRange, image.width),
    )


class ProgramReader:
    """Parses protobuf messages into operations, and collects the constants that they name."""

    def __init__(self, model_folder: Path) -> None:
        self.model_folder = model_folder
        self.constants: dict[str, Constant] = {}
        self.weight_dtypes: list[str] = []
        self.files: dict[str, bytes] = {}

    def read_constant(self, op: Any) -> None:
        """Read a `const` operator: a value and its name."""
        name = op.outputs[0].name
        self.constants[name] = self.read_value(op.attributes["val"], name)

    def read_operation(self, op: Any) -> Operation:
        inputs: dict[str, list[str | Constant]] = {}
        for key, argument in op.inputs.items():
            inputs[key] = [
                each.name if each.WhichOneof("binding") == "name" else self.read_value(each.value, op.outputs[0].name)
                for each in argument.arguments
            ]
        name = op.outputs[0].name
        # Operators that expand weights when a model is loaded have their operands as attributes.
        inputs |= {key: [self.read_value(value, name)] for key, value in op.attributes.items() if key != "name"}
        return Operation(
            kind=op.type,
            name=str(self.read_value(op.attributes["name"], name)) if "name" in op.attributes else name,
            inputs=inputs,
            outputs=[(output.name, tensor_type(output.type)) for output in op.outputs],
        )

    def read_value(self, message: Any, owner: str) -> Constant:
        """Read a constant, which is inline or in the weight file.

        Args:
            owner: name of the operator, for messages.

        Raises:
            InputError: a type that our programs do not contain, or a damaged weight file.
        """
        declared = tensor_type(message.type)
        if declared.dtype not in DTYPES or None in declared.shape:
            raise InputError(f"{owner}: a constant of type {declared.dtype} {declared.shape} is not supported")
        shape = tuple(side for side in declared.shape if side is not None)
        if message.WhichOneof("value") == "blobFileValue":
            self.weight_dtypes.append(declared.dtype)
            return self.read_blob(message.blobFileValue, declared.dtype, shape)
        tensor = message.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        values = getattr(tensor, kind).values
        dtype = DTYPES[declared.dtype]
        flat = np.frombuffer(values, dtype) if kind == "bytes" else np.array(list(values), dtype)
        return flat.reshape(shape)

    def read_blob(self, reference: Any, dtype: str, shape: tuple[int, ...]) -> Constant:
        """Read a constant of the weight file, where a record states its type and the position of its bytes."""
        name = reference.fileName.removeprefix(ROOT)
        if not reference.fileName.startswith(ROOT) or not stays_inside(name):
            raise InputError(f"{self.model_folder}: weights must lie in the package, not in {reference.fileName!r}")
        if name not in self.files:
            self.files[name] = (self.model_folder / name).read_bytes()
        content = self.files[name]
        try:
            magic, kind, size, start = BLOB_RECORD.unpack_from(content, reference.offset)
        except struct.error:
            magic, kind, size, start = 0, 0, 0, 0
        expected = prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if magic != BLOB_MAGIC or BLOB_DTYPES.get(kind) != dtype or size != expected or start + size > len(content):
            raise InputError(f"{self.model_folder / name}: damaged, no {dtype} of {shape} at {reference.offset}")
        return np.frombuffer(content, DTYPES[dtype], count=prod(shape), offset=start).reshape(shape)


def tensor_type(message: Any) -> TensorType:
    """The declared type of a value."""
    tensor = message.tensorType
    shape = tuple(
        each.constant.size if each.WhichOneof("dimension") == "constant" else None for each in tensor.dimensions
    )
    return TensorType(dtype_names(tensor)[tensor.dataType], shape)


def dtype_names(tensor: Any) -> dict[int, str]:
    """Names of a message's type numbers."""
    types = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type
    return {number: value.name for number, value in types.values_by_number.items()}
