"""What an ONNX file may make a runtime read, seen before any runtime opens it and without the onnx package.

ONNX Runtime before 1.24 reads whatever file a tensor names as its external data; newer ones look into the folder of the
model only. A bundle's model holds everything itself, so here a tensor that names another place is refused. So are
EPContext nodes, which name a compiled engine.
"""

from collections.abc import Iterator
from pathlib import Path

from nextvit.errors import InputError

PARTS: dict[str, dict[int, str]] = {
    # message: its fields that hold further messages with tensors or nodes in them (onnx.proto)
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
"""Fields of a node and of a tensor."""
INT8, FLOAT16 = 3, 10
"""Of a tensor's data types, those that make a file an int8 or an fp16 one."""


def check_self_contained(model_file: Path) -> set[int]:
    """Refuse an ONNX file that would make its reader open others; returns the data types of its tensors.

    Raises:
        InputError: it names other places, is damaged, or is none by its name (ONNX Runtime's own format may hide more).
    """
    if model_file.suffix != ".onnx":
        raise InputError(f"{model_file}: a bundle's model for ONNX Runtime is a .onnx file")
    types: set[int] = set()
    todo = [("model", memoryview(model_file.read_bytes()))]
    try:
        while todo:
            kind, message = todo.pop()
            for number, value in fields(message):
                if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
                    raise InputError(f"{model_file}: a tensor lies outside of the file, which no bundle needs; refused")
                if isinstance(value, int):
                    if (kind, number) == ("tensor", DATA_TYPE):
                        types.add(value)
                    continue
                if kind == "node" and number == OPERATOR and value.tobytes() == b"EPContext":
                    raise InputError(f"{model_file}: names a compiled engine, which no bundle needs; refused")
                if part := PARTS[kind].get(number):
                    todo.append((part, value))
    except IndexError:
        raise InputError(f"{model_file}: damaged, no ONNX file") from None
    return types


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: their number, and an integer or the bytes of what has a length.

    Raises:
        IndexError: the message ends early or holds what is no field.
    """
    position = 0
    while position < len(message):
        tag, position = varint(message, position)
        if tag >> 32 or not tag >> 3:  # protobuf refuses field 0, and some of its readers see the lower 32 bits alone
            raise IndexError
        wire_type = tag & 7
        if wire_type == 0:
            value, position = varint(message, position)
        elif wire_type in (1, 2, 5):
            length = {1: 8, 5: 4}.get(wire_type, 0)
            if wire_type == 2:
                length, position = varint(message, position)
            value, position = message[position : position + length], position + length
        else:
            raise IndexError
        if position > len(message):
            raise IndexError
        yield tag >> 3, value


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, position
    raise IndexError
