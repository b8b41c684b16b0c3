"""ONNX file -> the data types of its tensors, after a check that it makes no runtime read other files.

The check needs no onnx package and comes before any runtime opens the file. ONNX Runtime before 1.24 reads any file
that a tensor names as its external data; newer versions read only from the folder of the model. A bundle's model is a
single file, so tensors with external data are refused. So are EPContext nodes, which name a compiled engine.
"""

from collections.abc import Iterator
from pathlib import Path

from nextvit.errors import InputError

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
OPERATOR, DATA_TYPE, EXTERNAL_DATA, DATA_LOCATION = 4, 2, 13, 14
"""Field numbers of a node and of a tensor."""
INT8, FLOAT16 = 3, 10
"""Data types of a tensor that make a file an int8 or an fp16 one."""


def check_self_contained(model_file: Path) -> set[int]:
    """Refuse an ONNX file that would make a runtime open other files.

    Returns:
        The data types (`TensorProto.DataType`) of its tensors.

    Raises:
        InputError: it names other files, is damaged, or does not end in .onnx (ONNX Runtime's own format is not
            checked).
    """
    if model_file.suffix != ".onnx":
        raise InputError(f"{model_file}: a bundle's model for ONNX Runtime is a .onnx file")
    types: set[int] = set()
    pending = [("model", memoryview(model_file.read_bytes()))]
    try:
        while pending:
            kind, message = pending.pop()
            for number, value in read_fields(message):
                if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
                    raise InputError(
                        f"{model_file}: a tensor is stored outside of the file, which no bundle needs; refused"
                    )
                if isinstance(value, int):
                    if (kind, number) == ("tensor", DATA_TYPE):
                        types.add(value)
                    continue
                if kind == "node" and number == OPERATOR and value.tobytes() == b"EPContext":
                    raise InputError(f"{model_file}: names a compiled engine, which no bundle needs")
                if part := NESTED_MESSAGES[kind].get(number):
                    pending.append((part, value))
    except IndexError:
        raise InputError(f"{model_file}: damaged, no ONNX file") from None
    return types


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
