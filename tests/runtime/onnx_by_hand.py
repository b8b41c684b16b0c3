"""ONNX files byte by byte, with no onnx package: whole models, and such as no exporter would write.

A protobuf message is its fields one after another, each a number and a value: `field` writes one.
"""

from pathlib import Path

import numpy as np

FLOAT, UINT8, INT64 = 1, 2, 7
NUMPY_TYPES = {"float32": FLOAT, "uint8": UINT8, "int64": INT64}


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """An integer, or what has a length: a text or another message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, NUMPY_TYPES[values.dtype.name]) + field(8, name) + field(9, values.tobytes())


def external_tensor(name: str, location: str, count: int) -> bytes:
    """Floats that are said to lie in another file."""
    entries = {"location": location, "offset": "0", "length": str(4 * count)}
    pairs = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries.items())
    return field(1, count) + field(2, FLOAT) + field(8, name) + pairs + field(14, 1)


def attribute(name: str, value: int | bytes) -> bytes:
    """An integer, or a tensor."""
    kind, number = (2, 3) if isinstance(value, int) else (4, 5)
    return field(1, name) + field(number, value) + field(20, kind)


def node(kind: str, inputs: list[str], output: str, **attributes: int | bytes) -> bytes:
    names = b"".join(field(1, each) for each in inputs) + field(2, output)
    return names + field(4, kind) + b"".join(field(5, attribute(*each)) for each in attributes.items())


def value_info(name: str, kind: int, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def colour_model(
    *, size: tuple[int | str, int | str] = (32, 48), tenth: bytes | None = None, nodes: tuple[bytes, ...] = ()
) -> bytes:
    """Logits are the channel means times 0.1, so that the brightest channel is the answer.

    `tenth` is another tensor in place of the 0.1 (a value for each channel), `nodes` stand before the others.
    """
    every = (
        *nodes,
        node("Cast", ["images"], "floats", to=FLOAT),
        node("ReduceMean", ["floats", "axes"], "means", keepdims=0),
        node("Mul", ["means", "tenth"], "logits"),
    )
    initializers = (tensor("axes", np.array([1, 2])), tenth or tensor("tenth", np.full(3, 0.1, np.float32)))
    graph = b"".join(
        (
            *(field(1, each) for each in every),
            field(2, "colours"),
            *(field(5, each) for each in initializers),
            field(11, value_info("images", UINT8, ("batch", *size, 3))),
            field(12, value_info("logits", FLOAT, ("batch", 3))),
        )
    )
    return field(1, 10) + field(7, graph) + field(8, field(2, 18))  # IR version 10, opset 18


def write_colour_model(path: Path) -> None:
    path.write_bytes(colour_model())
