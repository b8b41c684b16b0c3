"""ONNX file -> the data types of its tensors, after a check that it makes no runtime read other files.

The check needs no onnx package and comes before any runtime opens the file. ONNX Runtime before 1.24 reads any file
that a tensor names as its external data; newer versions read only from the folder of the model. A bundle's model is a
single file, so tensors with external data are refused. So are EPContext nodes, which name a compiled engine.

A runtime makes hundreds of bytes in memory of each node, which takes four in the file: the number of parts is bounded,
too.
"""

from collections.abc import Iterator
from pathlib import Path

from nextvit.errors import InputError
from nextvit.files.regular import read_regular

MAX_FILE_BYTES = 2**31
"""protobuf's own limit of a message."""
MAX_PARTS = 100_000
"""Graphs, nodes, attributes and tensors. The largest of our files has some 20,000."""
MAX_FIELDS = 1_000_000
"""Fields of all parts together. Our files keep a tensor's numbers in one field."""
MAX_STRUCTURE_BYTES = 2**24
"""Of all that is not a tensor's numbers: names, attributes, shapes, metadata."""
NESTED_MESSAGES: dict[str, dict[int, str]] = {
    # message: its fields whose messages may contain tensors or nodes (onnx.proto)
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
OPERATOR, DATA_TYPE, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 4, 2, 9, 13, 14
"""Field numbers of a node and of a tensor."""
OUTSIDE = "a tensor is stored outside of the file, which no bundle needs; refused"
INT8, FLOAT16 = 3, 10
"""Data types of a tensor that make a file an int8 or an fp16 one."""


def check_self_contained(model_file: Path) -> set[int]:
    """Refuse an ONNX file that would make a runtime open other files.

    Returns:
        The data types (`TensorProto.DataType`) of its tensors.

    Raises:
        InputError: it names other files, is damaged, exceeds a limit, or does not end in .onnx (ONNX Runtime's own
            format is not checked).
    """
    if model_file.suffix != ".onnx":
        raise InputError(f"{model_file}: a bundle's model for ONNX Runtime is a .onnx file")
    content = read_regular(model_file, max_bytes=MAX_FILE_BYTES)
    types: set[int] = set()
    pending = [("model", memoryview(content))]
    num_parts, num_fields, structure_bytes = 1, 0, len(content)
    try:
        while pending:
            kind, message = pending.pop()
            for number, value in read_fields(message):
                num_fields += 1
                if num_fields > MAX_FIELDS or num_parts > MAX_PARTS:
                    raise InputError(
                        f"{model_file}: has more than {MAX_PARTS:,} parts or {MAX_FIELDS:,} fields; refused"
                    )
                if isinstance(value, int):
                    check_number(kind, number, value, types, model_file)
                    continue
                check_bytes(kind, number, value, model_file)
                if (kind, number) == ("tensor", RAW_DATA):
                    structure_bytes -= len(value)
                if part := NESTED_MESSAGES[kind].get(number):
                    num_parts += 1
                    pending.append((part, value))
    except IndexError:
        raise InputError(f"{model_file}: damaged, no ONNX file") from None
    if structure_bytes > MAX_STRUCTURE_BYTES:
        raise InputError(
            f"{model_file}: has {structure_bytes:,} bytes beside weights, more than {MAX_STRUCTURE_BYTES:,}; refused"
        )
    return types


def check_number(kind: str, number: int, value: int, types: set[int], model_file: Path) -> None:
    """Note the type of a tensor in `types`; InputError where a tensor is in another file."""
    if (kind, number) == ("tensor", DATA_LOCATION) and value != 0:
        raise InputError(f"{model_file}: {OUTSIDE}")
    if (kind, number) == ("tensor", EXTERNAL_DATA):
        raise InputError(f"{model_file}: {OUTSIDE}")
    if (kind, number) == ("tensor", DATA_TYPE):
        types.add(value)


def check_bytes(kind: str, number: int, value: memoryview, model_file: Path) -> None:
    """Raise InputError where a part names another file."""
    if kind == "tensor" and number in (EXTERNAL_DATA, DATA_LOCATION):
        raise InputError(f"{model_file}: {OUTSIDE}")
    if (kind, number) == ("node", OPERATOR) and value[:10].tobytes() == b"EPContext":
        raise InputError(f"{model_file}: names a compiled engine, which no bundle needs")


def read_fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Read the fields of a protobuf message.

    Yields:
        The field number, and an integer (wire type 0) or the bytes of the value.

    Raises:
        IndexError: the message is truncated or has an invalid field.
    """
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        if tag >> 32 or not tag >> 3:  # protobuf refuses field 0, and some parsers read only the lower 32 bits of a tag
            raise IndexError
        wire_type = tag & 7
        if wire_type == 0:
            value, position = read_varint(message, position)
        elif wire_type in (1, 2, 5):
            length = {1: 8, 5: 4}.get(wire_type, 0)
            if wire_type == 2:
                length, position = read_varint(message, position)
            value, position = message[position : position + length], position + length
        else:
            raise IndexError
        if position > len(message):
            raise IndexError
        yield tag >> 3, value


def read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Read an integer stored in seven bits a byte; returns it and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
    raise IndexError
