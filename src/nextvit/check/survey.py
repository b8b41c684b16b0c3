"""Read every image of a dataset once and keep what the checks need, in about 200 bytes per image."""

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

from nextvit.check.similar import SIDE, compute_difference_hash, compute_thumbnail
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Sample
from nextvit.image.reading import FORMATS, SUFFIXES_OF, UNREADABLE, DecodeError, Encoded, read_image

FORMAT_OF = {suffix: name for name, suffixes in SUFFIXES_OF.items() for suffix in suffixes}

CHUNK = 2048
"""Images that are queued for the threads at a time; a million queued tasks would take a gigabyte."""

JPEG_NOISE = 8
"""Differences of 8-bit values up to this are compression noise: such an image counts as grey, or as of one colour."""


class Trait(IntFlag):
    """Properties of an image besides its pixels."""

    GREY = 1
    ONE_COLOUR = 2
    WRONG_SUFFIX = 4
    TURNED = 8
    CMYK = 16
    DEEP = 32
    ANIMATED = 64


ROW = np.dtype(  # of one image
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
    """What was read of every image. Positions count the images of all splits, in the order of the dataset."""

    dataset: Dataset
    rows: NDArray[np.void]
    """One `ROW` per image; zeros for unreadable images."""
    unreadable: dict[int, str]
    """The reason, by position."""

    def readable(self) -> NDArray[np.int64]:
        """The positions of the images that could be read."""
        return np.flatnonzero(self.rows["size_wh"][:, 0])

    def positions_with(self, trait: Trait) -> NDArray[np.int64]:
        """The positions of the images with a trait."""
        return np.flatnonzero(self.rows["traits"] & trait)

    def locate(self, position: int) -> tuple[str, Sample]:
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
        """The sample at a position."""
        return self.locate(position)[1]

    def name(self, position: int) -> str:
        """The file's path relative to the dataset."""
        path, root = self.sample(position).path, self.dataset.root
        root = root.parent if root.is_file() else root  # a CSV list: paths are relative to its folder
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def list_names(survey: Survey, positions: list[int]) -> str:
    """The names of the first three images, and how many more there are."""
    more = f" and {len(positions) - 3} more" if len(positions) > 3 else ""
    return ", ".join(survey.name(position) for position in positions[:3]) + more


def count_images(positions: list[int]) -> str:
    """ "1 image" or "3 images"."""
    return "1 image" if len(positions) == 1 else f"{len(positions)} images"


def name_first(survey: Survey, positions: Iterable[int]) -> str:
    """The name of the first of several images."""
    return survey.name(next(iter(positions)))


def survey_images(dataset: Dataset, *, watch: Callable[[int], None] | None = None) -> Survey:
    """Read every image, in threads: Pillow releases Python's global lock.

    Args:
        dataset: what to read.
        watch: called with the number of images read so far.
    """
    rows = np.zeros(sum(map(len, dataset.splits.values())), ROW)
    unreadable: dict[int, str] = {}
    samples = (sample for split in dataset.splits.values() for sample in split)
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(samples, CHUNK)):
            for row_or_reason in pool.map(survey_image, chunk):
                if isinstance(row_or_reason, str):
                    unreadable[done] = row_or_reason
                else:
                    rows[done] = row_or_reason
                done += 1
            if watch:
                watch(done)
    return Survey(dataset=dataset, rows=rows, unreadable=unreadable)


def survey_image(sample: Sample) -> tuple[Any, ...] | str:
    """The `ROW` of one image, or the reason why it cannot be read."""
    try:
        content = sample.read()
        image = read_image(Encoded(content, sample.path))
    except DecodeError as error:
        return str(error).removeprefix(f"{sample.path}: ")
    file_format, traits = read_header_traits(content)
    if FORMAT_OF.get(sample.path.suffix.lower(), file_format) != file_format:
        traits |= Trait.WRONG_SUFFIX
    # 72 is a multiple of 8, 9 and 12, the sides of the hashes and the thumbnail. The box filter is the fastest.
    small = image.resize((72, 72), Image.Resampling.BOX, reducing_gap=2.0)
    red, green, blue = small.split()
    if max(np.asarray(ImageChops.difference(green, other)).max() for other in (red, blue)) <= JPEG_NOISE:
        traits |= Trait.GREY
    if max(np.ptp(np.asarray(band)) for band in (red, green, blue)) <= JPEG_NOISE:
        traits |= Trait.ONE_COLOUR
    grey = small.convert("L").convert("F")
    digest = np.frombuffer(hashlib.sha256(content).digest()[:16], np.uint64)
    format_index = FORMATS.index(file_format)
    return digest, compute_difference_hash(grey), compute_thumbnail(grey), image.size, format_index, traits


def read_header_traits(content: bytes) -> tuple[str, Trait]:
    """The format of a readable image, and the traits that its header shows."""
    traits = Trait(0)
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        file_format = "JPEG" if opened.format == "MPO" else opened.format or ""
        if opened.mode == "CMYK":
            traits |= Trait.CMYK
        if opened.mode == "F" or opened.mode.startswith("I"):
            traits |= Trait.DEEP
        try:
            # Further frames of an MPO are previews. Reading the EXIF of a PNG that has none would decode the image
            # again.
            if opened.format != "MPO" and getattr(opened, "is_animated", False):
                traits |= Trait.ANIMATED
            if opened.format != "PNG" or "exif" in opened.info:
                turned = opened.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
                traits |= Trait.TURNED if turned else Trait(0)
        except UNREADABLE:  # broken metadata is ignored
            pass
    return file_format, traits
