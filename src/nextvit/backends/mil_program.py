"""A saved Core ML package, read back from its files: the ML program's operators, their declared types, its constants.

Nothing here passes through coremltools' converter: the protobuf message is read as published, and the weights by the
layout of their file. What Core ML would load is what is read.
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
from nextvit.machine.quiet import quietly

AUTHOR, ROOT = "com.apple.CoreML", "@model_path/"
DTYPES = {  # of those that programs of ours hold
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
"""The weight file's own numbers for types."""
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
    """Names of values, or constants given in place. Most inputs have one; those of `concat` have several."""
    outputs: list[tuple[str, TensorType]]


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """An image that the model takes; Core ML converts pixel buffers of other formats to it."""

    name: str
    colours: str
    """"RGB" or "BGR": the order of the channels of the tensor that the program gets."""
    size: tuple[int, int]
    """Default height and width in pixels."""
    height_range: tuple[int, int]
    width_range: tuple[int, int]

    @property
    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return self.height_range, self.width_range

    @property
    def fixed(self) -> bool:
        return all(low == high for low, high in self.ranges)


@dataclass(frozen=True, kw_only=True)
class MilProgram:
    """What a package holds."""

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
    """Stored type of every constant that lies in the weight file."""


def read_package(package: Path) -> MilProgram:
    """Read a .mlpackage folder.

    Raises:
        InputError: it is damaged, or holds something else than one ML program that takes one image.
        MissingDependency: coremltools, which brings the message's definition, is not installed.
    """
    try:
        with quietly():
            from coremltools.proto import Model_pb2
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "coremltools", extra="coreml") from None
    model: Any = Model_pb2.Model()  # pyright: ignore[reportAttributeAccessIssue] (made when protobuf loads it)
    file = root_model(package)
    try:
        model.ParseFromString(file.read_bytes())
    except Exception as error:  # noqa: BLE001 (protobuf's DecodeError is no subclass of anything that can be named here)
        raise InputError(f"{file}: damaged ({error})") from None
    if model.WhichOneof("Type") != "mlProgram" or list(model.mlProgram.functions) != ["main"]:
        raise InputError(f"{package}: not a Core ML package with one ML program")
    function = model.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    reader = Reader(file.parent)
    operations: list[Operation] = []
    for op in block.operations:
        if op.type == "const":
            reader.keep(op)
        else:
            operations.append(reader.operation(op))
    metadata = model.description.metadata
    return MilProgram(
        specification=model.specificationVersion,
        opset=function.opset,
        image=image_input(package, model.description),
        constants=reader.constants,
        operations=operations,
        outputs=list(block.outputs),
        description=metadata.shortDescription,
        licence=metadata.license,
        metadata=dict(metadata.userDefined),
        bytes_on_disk=sum(each.stat().st_size for each in package.rglob("*") if each.is_file()),
        weights=reader.stored,
    )


def root_model(package: Path) -> Path:
    """The file of the model's description, as the package's own list names it."""
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


def image_input(package: Path, description: Any) -> ImageInput:
    """The one image that a model takes.

    Raises:
        InputError: it takes something else.
    """
    if len(description.input) != 1 or description.input[0].type.WhichOneof("Type") != "imageType":
        raise InputError(f"{package}: its input is not one image")
    feature = description.input[0]
    image = feature.type.imageType
    colours = type(image).ColorSpace.Name(image.colorSpace)
    if colours not in ("RGB", "BGR"):
        raise InputError(f"{package}: its image input is {colours}, not RGB")
    sizes, given = image.imageSizeRange, image.WhichOneof("SizeFlexibility")
    if given not in (None, "imageSizeRange"):
        raise InputError(f"{package}: its image input has sizes that are neither fixed nor a range ({given})")

    def bounds(size: Any, default: int) -> tuple[int, int]:
        return (size.lowerBound, size.upperBound) if given else (default, default)

    return ImageInput(
        name=feature.name,
        colours=colours,
        size=(image.height, image.width),
        height_range=bounds(sizes.heightRange, image.height),
        width_range=bounds(sizes.widthRange, image.width),
    )


class Reader:
    """Turns messages into operations, and keeps the constants that they name."""

    def __init__(self, model_folder: Path) -> None:
        self.model_folder = model_folder
        self.constants: dict[str, Constant] = {}
        self.stored: list[str] = []
        self.files: dict[str, bytes] = {}

    def keep(self, op: Any) -> None:
        """Read a `const`, which is a value and a name."""
        name = op.outputs[0].name
        self.constants[name] = self.value(op.attributes["val"], name)

    def operation(self, op: Any) -> Operation:
        inputs: dict[str, list[str | Constant]] = {}
        for key, argument in op.inputs.items():
            inputs[key] = [
                each.name if each.WhichOneof("binding") == "name" else self.value(each.value, op.outputs[0].name)
                for each in argument.arguments
            ]
        name = op.outputs[0].name
        # What expands weights when a model is loaded has its operands as attributes.
        inputs |= {key: [self.value(value, name)] for key, value in op.attributes.items() if key != "name"}
        return Operation(
            kind=op.type,
            name=str(self.value(op.attributes["name"], name)) if "name" in op.attributes else name,
            inputs=inputs,
            outputs=[(output.name, tensor_type(output.type)) for output in op.outputs],
        )

    def value(self, message: Any, owner: str) -> Constant:
        """A constant: given in place, or in the weight file.

        Raises:
            InputError: a type that programs of ours do not hold, or a damaged weight file.
        """
        declared = tensor_type(message.type)
        if declared.dtype not in DTYPES or None in declared.shape:
            raise InputError(f"{owner}: a constant of type {declared.dtype} {declared.shape} is not known here")
        shape = tuple(side for side in declared.shape if side is not None)
        if message.WhichOneof("value") == "blobFileValue":
            self.stored.append(declared.dtype)
            return self.blob(message.blobFileValue, declared.dtype, shape)
        tensor = message.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        values = getattr(tensor, kind).values
        dtype = DTYPES[declared.dtype]
        flat = np.frombuffer(values, dtype) if kind == "bytes" else np.array(list(values), dtype)
        return flat.reshape(shape)

    def blob(self, place: Any, dtype: str, shape: tuple[int, ...]) -> Constant:
        """A constant of the weight file, whose record says where its bytes are, and of which type."""
        name = place.fileName.removeprefix(ROOT)
        if not place.fileName.startswith(ROOT) or not stays_inside(name):
            raise InputError(f"{self.model_folder}: weights must lie in the package, not in {place.fileName!r}")
        if name not in self.files:
            self.files[name] = (self.model_folder / name).read_bytes()
        content = self.files[name]
        try:
            magic, kind, size, start = BLOB_RECORD.unpack_from(content, place.offset)
        except struct.error:
            magic, kind, size, start = 0, 0, 0, 0
        expected = prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if magic != BLOB_MAGIC or BLOB_DTYPES.get(kind) != dtype or size != expected or start + size > len(content):
            raise InputError(f"{self.model_folder / name}: damaged, no {dtype} of {shape} at {place.offset}")
        return np.frombuffer(content, DTYPES[dtype], count=prod(shape), offset=start).reshape(shape)


def tensor_type(message: Any) -> TensorType:
    """The declared type of a value."""
    tensor = message.tensorType
    shape = tuple(
        each.constant.size if each.WhichOneof("dimension") == "constant" else None for each in tensor.dimensions
    )
    return TensorType(type_names(tensor)[tensor.dataType], shape)


def type_names(tensor: Any) -> dict[int, str]:
    """Names of the numbers that stand for types in a message."""
    types = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type
    return {number: value.name for number, value in types.values_by_number.items()}
