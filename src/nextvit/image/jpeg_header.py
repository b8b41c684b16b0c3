"""What the header of a JPEG says, and how many scans the file has."""

import io
import re
from dataclasses import dataclass
from typing import BinaryIO

START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""Between coded bytes: neither the stuffed byte FF 00 nor a restart marker."""


@dataclass(frozen=True)
class JpegHeader:
    """The frame header of a JPEG."""

    width: int
    height: int
    components: int
    precision_bits: int
    coefficients_per_pixel: float = 0.0
    """Of all components, with their subsampling: 3 for 4:4:4, 1.5 for 4:2:0. They stay in memory, 2 bytes each, where
    there are several scans; 0 where there is one."""


def read_jpeg_header(file: BinaryIO) -> JpegHeader | None:
    """The frame header of a JPEG; None if the file is not a JPEG or has no frame header."""
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    while file.read(1) == b"\xff":
        while (marker := file.read(1)) == b"\xff":
            pass  # fill bytes
        if not marker:
            return None
        if marker[0] in WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2), "big")
        if length < 2:  # truncated or damaged; going on would read the same bytes forever
            return None
        if marker[0] in START_OF_FRAME:
            return read_frame(marker[0], file.read(length - 2), file)
        file.seek(length - 2, io.SEEK_CUR)
    return None


def read_frame(marker: int, frame: bytes, file: BinaryIO) -> JpegHeader | None:
    """The header from the segment of a frame; `file` stands behind it."""
    if len(frame) < 6:
        return None
    height, width, components = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5]
    is_sequential = marker in (0xC0, 0xC1)
    one_scan = is_sequential and components in (1, count_scan_components(file))
    return JpegHeader(
        width=width,
        height=height,
        components=components,
        precision_bits=frame[0],
        coefficients_per_pixel=0.0 if one_scan else coefficients_per_pixel(frame[6:]),
    )


def coefficients_per_pixel(components: bytes) -> float:
    """The sum of the components' sampling factors, in relation to the largest; three bytes describe a component."""
    factors = [(each >> 4, each & 15) for each in components[1::3]]
    most = max((across for across, _ in factors), default=0) * max((down for _, down in factors), default=0)
    return sum(across * down for across, down in factors) / most if most else float(len(factors))


def count_scan_components(file: BinaryIO) -> int:
    """How many components the first scan behind the current position has; 0 where there is none."""
    while file.read(1) == b"\xff":
        while (marker := file.read(1)) == b"\xff":
            pass
        length = int.from_bytes(file.read(2), "big")
        if not marker or length < 2:
            return 0
        if marker[0] == START_OF_SCAN:
            return int.from_bytes(file.read(1), "big")
        file.seek(length - 2, io.SEEK_CUR)
    return 0


def count_scans(content: bytes, *, most: int) -> int:
    """The number of scans of a JPEG file, of which no more than `most` + 1 are counted."""
    scans, position = 0, 2
    while scans <= most and (found := MARKER.search(content, position)):
        marker, position = found[1][0], found.end()
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if marker not in WITHOUT_LENGTH:
            position += int.from_bytes(content[position : position + 2], "big")
    return scans
