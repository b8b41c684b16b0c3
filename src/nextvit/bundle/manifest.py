"""A bundle: the folder NAME.nextvit with the exported model, its description `manifest.json`, and golden examples in
`golden.npz`, which prove that it runs correctly."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard, card_from_plain
from nextvit.errors import InputError, shorten, suggest_path
from nextvit.files.durable import compare_checksums
from nextvit.files.records import check_types, from_plain, to_plain
from nextvit.files.regular import read_regular
from nextvit.files.run_folder import is_run
from nextvit.files.structured_text import parse_json

Precision = Literal["fp32", "fp16", "bf16", "int8", "w8", "w6"]
"""The number format of an exported file. "w8" and "w6" quantise weights alone, to 8 bits or to a palette of 6 bits;
"int8" quantises activations, too."""
Arrays = dict[str, NDArray[Any]]
Predict = Callable[[Arrays], Arrays]
"""Named arrays to named arrays: a `Session.run`, whatever runs inside."""

MANIFEST, GOLDEN, CARD_PAGE, SIGNATURE, SUFFIX = "manifest.json", "golden.npz", "card.html", "manifest.sig", ".nextvit"
FORMAT = 2
"""Of the bundles that are written. In format 1 the manifest's checksum was of its values, in 2 it is of its bytes."""
OWN_CHECKSUM, NO_CHECKSUM = "manifest_sha256", "0" * 64
SEAL = re.compile(rb'"manifest_sha256": "([0-9a-f]{64})"')
MAX_MANIFEST_BYTES = 2**24
"""A manifest of a thousand classes has 100 kB."""
MAX_SIDE_PX = 4096
MIN_DYNAMIC_SIDE_PX = 33
"""Capturing treats a side that shrinks to one position as special: 32 px need a fixed size."""
READ_BACK: dict[str, Any] = {
    "images": int,
    "objects": int,
    "max_error": float,
    "max_drop": float | None,
    "drop": float,
    "before": dict[str, Any],
    "after": dict[str, Any],
    "golden_max_errors": tuple[float, ...],
    "runtime": dict[str, Any],
    "environment": dict[str, Any],
}
"""Fields of a manifest's verification that are read back, where present, and their types; the rest is for people."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of `manifest.json`."""

    card: ModelCard
    backend: str
    """The runtime of the model: a name of `nextvit.runtime.session.BACKENDS`."""
    precision: Precision
    model_file: str
    """Path of the model inside the bundle: a file, or a folder for formats that are folders."""
    outputs: dict[str, str]
    """What each output of the graph means, by name, in the graph's order."""
    made_with: dict[str, str]
    """Versions of what wrote the file, and when."""
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    """What each input means, by name. The names are those of `Preprocess.names`, even if a file does not list them."""
    dynamic_size: bool = False
    """Whether the model also takes images of other sizes than the card's."""
    float_layers: tuple[str, ...] = ()
    """Layers that an int8 file computes in fp32, because the score needs it."""
    verification: dict[str, Any] = field(default_factory=dict[str, Any])
    """Result of the comparison with PyTorch on real images."""
    sha256: dict[str, str] = field(default_factory=dict[str, str])
    """Checksum of every other file of the bundle, by its path inside it."""
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, in today's format, with a checksum of its own bytes."""
    (folder / MANIFEST).write_bytes(seal({**to_plain(manifest), "format": FORMAT}))


def seal(values: dict[str, Any]) -> bytes:
    """The bytes of a manifest: its values, and last the SHA-256 of these bytes with zeros in its own place."""
    unsealed = json.dumps({**values, OWN_CHECKSUM: NO_CHECKSUM}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    content = unsealed.encode()
    return b"".join(around_checksum(content, hashlib.sha256(content).hexdigest().encode()))


def around_checksum(content: bytes, checksum: bytes) -> tuple[bytes, bytes, bytes]:
    """The bytes of a manifest with another checksum in place of its own.

    Raises:
        ValueError: it has no checksum of itself, or more than one.
    """
    [match] = SEAL.finditer(content)
    return content[: match.start(1)], checksum, content[match.end(1) :]


def is_sealed(content: bytes, checksum: Any) -> bool:
    """Whether the bytes of a manifest have this checksum."""
    try:
        unsealed = b"".join(around_checksum(content, NO_CHECKSUM.encode()))
    except ValueError:
        return False
    return hashlib.sha256(unsealed).hexdigest() == checksum


def checksum_of_values(values: dict[str, Any]) -> str:
    """The checksum of a manifest of format 1: of its values in a canonical form, whatever their bytes."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_bundle(path: Path) -> Manifest:
    """Check all files of a bundle against their checksums, and read its manifest.

    A link to a file counts as the file: only its content is checked.

    Raises:
        InputError: it is not a bundle, has a newer format, or a file is missing, differs from its checksum or has none;
            the message names the file.
    """
    manifest = read_manifest(path)
    compare_checksums(path, manifest.sha256)
    if unlisted := unlisted_files(path, manifest):
        raise InputError(f"{path}: {unlisted[0]} does not belong to the bundle, its manifest has no checksum for it")
    return manifest


def unlisted_files(path: Path, manifest: Manifest) -> list[str]:
    """Files in a bundle's folder that its manifest does not list, without hidden files, which desktops and version
    control leave behind."""
    known = {MANIFEST, SIGNATURE, *manifest.sha256}
    entries = [each for each in path.rglob("*") if each.is_symlink() or not each.is_dir()]
    names = [each.relative_to(path) for each in entries]
    return sorted(
        name.as_posix()
        for name in names
        if name.as_posix() not in known and not any(part.startswith(".") for part in name.parts)
    )


def read_manifest(path: Path) -> Manifest:
    """Read the manifest without checking the other files.

    Raises:
        InputError: it is missing, damaged, changed by a byte or of another format, or names a file outside of the
            bundle.
    """
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: not a bundle, it has no {MANIFEST}")
    what = str(path / MANIFEST)
    content = read_regular(path / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    values = parse_json(content, what=what)
    if isinstance(values, dict):
        given = cast(dict[str, Any], values)
        version = given.get("format")
        if version not in (1, FORMAT):
            raise InputError(
                f"{path}: bundle format {shorten(str(version))}, this version reads 1 to {FORMAT}; update nextvit"
            )
        expected = given.pop(OWN_CHECKSUM, None)
        if not (is_sealed(content, expected) if version == FORMAT else expected == checksum_of_values(given)):
            raise InputError(f"{what}: damaged or changed, its SHA-256 is not the recorded one")
        values = {**given, "card": card_from_plain(given.get("card"), what=what)}
    manifest = from_plain(Manifest, values, what=what)
    check_types(manifest.verification, READ_BACK, what=f"{what}: verification")
    for name in (manifest.model_file, *manifest.sha256):
        if not stays_inside(name):
            raise InputError(f"{what}: file names must stay inside the bundle, got {name!r}")
    listed = {str(parent) for name in manifest.sha256 for parent in (PurePosixPath(name), *PurePosixPath(name).parents)}
    if not {manifest.model_file, GOLDEN} <= listed:
        raise InputError(f"{what}: has no checksum for {manifest.model_file} or {GOLDEN}")
    return manifest


def stays_inside(name: str) -> bool:
    """Whether a path of a manifest, written with slashes on every system, names something inside the bundle.

    Each file has one such path: "./model.onnx" is none.
    """
    path = PurePosixPath(name)
    plain = "\\" not in name and ":" not in name and not path.is_absolute()
    return plain and name == str(path) and path.name != "" and ".." not in path.parts and "\0" not in name


def require_model(path: Path) -> None:
    """Raise InputError for a path that is neither a run, nor a file, nor a bundle. No torch is loaded for that."""
    if not path.exists():
        raise InputError(f"{path}: no such run, checkpoint or bundle{suggest_path(path)}")
    if path.is_dir() and not is_run(path) and not is_bundle(path):
        raise InputError(f"{path}: neither a run (no recipe.yaml) nor a bundle (no manifest.json)")


def is_bundle(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def file_stem(name: str) -> str:
    """A safe file name from any text."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "model"
