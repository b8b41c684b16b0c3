"""Every picture of a dataset read once: what a check needs to know of it, in about 200 bytes a picture."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntFlag
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops

from nextvit.check.similar import SIDE, difference_hash, thumbnail
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.image.reading import FORMATS, JPEG_SUFFIXES, UNREADABLE, DecodeError, Encoded, read_image

SUFFIXES_OF = {
    "JPEG": JPEG_SUFFIXES,
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2",),
}
FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES_OF.items() for suffix in suffixes}

CHUNK = 2048
"""Pictures that are handed to the threads at once; a million waiting tasks would take a gigabyte."""

FAINT = 8
"""Differences of 8 bits within this are noise of JPEG: such a picture has one colour, or is grey."""


class Trait(IntFlag):
    """What a picture is besides its pixels."""

    GREY = 1
    ONE_COLOUR = 2
    WRONG_SUFFIX = 4
    TURNED = 8
    CMYK = 16
    DEEP = 32
    ANIMATED = 64


ROW = np.dtype(
    [
        ("digest", np.uint64, 2),
        ("hash", np.uint64, 2),
        ("thumbnail", np.uint8, (SIDE, SIDE)),
        ("size_wh", np.int32, 2),
        ("format", np.uint8),
        ("traits", np.uint8),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A picture's position counts through the splits of its dataset, in their order."""

    dataset: Dataset
    rows: NDArray[np.void]
    """One `ROW` a picture; zeros where it could not be read."""
    unreadable: dict[int, str]
    """Why, by position."""

    def readable(self) -> NDArray[np.int64]:
        """The positions of the pictures that could be read."""
        return np.flatnonzero(self.rows["size_wh"][:, 0])

    def having(self, trait: Trait) -> NDArray[np.int64]:
        """The positions of the pictures with a trait."""
        return np.flatnonzero(self.rows["traits"] & trait)

    def place(self, position: int) -> tuple[str, Sample]:
        """The split and the sample at a position."""
        split, index = self.split_and_index(position)
        return split, self.dataset.splits[split][index]

    def split_and_index(self, position: int) -> tuple[str, int]:
        """The split of a position, and the index in it."""
        for split, samples in self.dataset.splits.items():
            if position < len(samples):
                return split, position
            position -= len(samples)
        raise IndexError(position)

    def sample(self, position: int) -> Sample:
        return self.place(position)[1]

    def name(self, position: int) -> str:
        """The file's path as seen from the dataset."""
        path, root = self.sample(position).path, self.dataset.root
        root = root.parent if root.is_file() else root  # a list stands beside what it names
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def listed(survey: Survey, positions: list[int]) -> str:
    """The names of a few pictures."""
    more = f" and {len(positions) - 3} more" if len(positions) > 3 else ""
    return ", ".join(survey.name(position) for position in positions[:3]) + more


def counted(positions: list[int]) -> str:
    return "1 picture" if len(positions) == 1 else f"{len(positions)} pictures"


def named(survey: Survey, positions: Iterable[int]) -> str:
    """The first of several pictures."""
    return survey.name(next(iter(positions)))


def survey_pictures(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> Survey:
    """Read every picture, in threads: Pillow works without Python's lock. `watch` is told how many were read."""
    rows = np.zeros(sum(map(len, dataset.splits.values())), ROW)
    unreadable: dict[int, str] = {}
    samples = (sample for split in dataset.splits.values() for sample in split)
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(samples, CHUNK)):
            for seen in pool.map(look_at, chunk):
                if isinstance(seen, str):
                    unreadable[done] = seen
                else:
                    rows[done] = seen
                done += 1
            if watch:
                watch(done)
    return Survey(dataset=dataset, rows=rows, unreadable=unreadable)


def look_at(sample: Sample) -> tuple[Any, ...] | str:
    """The `ROW` of one picture, or why it cannot be read."""
    try:
        content = sample.read()
        picture = read_image(Encoded(content, sample.path))
    except DecodeError as error:
        return str(error).removeprefix(f"{sample.path}: ")
    file_format, traits = header_traits(content)
    if FORMAT_OF.get(sample.path.suffix.lower(), file_format) != file_format:
        traits |= Trait.WRONG_SUFFIX
    # 72 is a multiple of 8, 9 and 12, the sides of what is made of it. Boxes are the fastest way there.
    small = picture.resize((72, 72), Image.Resampling.BOX, reducing_gap=2.0)
    red, green, blue = small.split()
    if max(np.asarray(ImageChops.difference(green, other)).max() for other in (red, blue)) <= FAINT:
        traits |= Trait.GREY
    if max(np.ptp(np.asarray(band)) for band in (red, green, blue)) <= FAINT:
        traits |= Trait.ONE_COLOUR
    grey = small.convert("L").convert("F")
    digest = np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint64)
    return digest, difference_hash(grey), thumbnail(grey), picture.size, FORMATS.index(file_format), traits


def header_traits(content: bytes) -> tuple[str, Trait]:
    """The format of a readable picture, and what its header tells."""
    traits = Trait(0)
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        file_format = "JPEG" if opened.format == "MPO" else opened.format or ""
        if opened.mode == "CMYK":
            traits |= Trait.CMYK
        if opened.mode == "F" or opened.mode.startswith("I"):
            traits |= Trait.DEEP
        try:
            # The further frames of an MPO are previews. Asking a PNG for EXIF that it has not would decode it again.
            if opened.format != "MPO" and getattr(opened, "is_animated", False):
                traits |= Trait.ANIMATED
            if opened.format != "PNG" or "exif" in opened.info:
                turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
                traits |= Trait.TURNED if turned else Trait(0)
        except UNREADABLE:  # broken metadata counts as none
            pass
    return file_format, traits
