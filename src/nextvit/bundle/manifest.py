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
from nextvit.errors import InputError
from nextvit.files.durable import compare_checksums
from nextvit.files.records import from_plain, matches_type, to_plain

Precision = Literal["fp32", "fp16", "bf16", "int8", "w8", "w6"]
"""The number format of an exported file. "w8" and "w6" quantise weights alone, to 8 bits or to a palette of 6 bits;
"int8" quantises activations, too."""
Arrays = dict[str, NDArray[Any]]
Predict = Callable[[Arrays], Arrays]
"""Named arrays to named arrays: a `Session.run`, whatever runs inside."""

MANIFEST, GOLDEN, CARD_PAGE, SIGNATURE, SUFFIX = "manifest.json", "golden.npz", "card.html", "manifest.sig", ".nextvit"
FORMAT = 1
OWN_CHECKSUM = "manifest_sha256"
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
    """Write the manifest with a checksum of itself, so that a change of it is noticed, too."""
    values = to_plain(manifest)
    text = json.dumps({**values, OWN_CHECKSUM: checksum_of(values)}, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def checksum_of(values: dict[str, Any]) -> str:
    """SHA-256 of the manifest's values in a canonical form."""
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
        InputError: it is missing, damaged or of another format, or names a file outside of the bundle.
    """
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: not a bundle, it has no {MANIFEST}")
    what = str(path / MANIFEST)
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: damaged ({error})") from None
    if isinstance(values, dict):
        given = cast(dict[str, Any], values)
        if given.get("format") != FORMAT:
            raise InputError(
                f"{path}: bundle format {given.get('format')}, this version reads {FORMAT}; update nextvit"
            )
        expected = given.pop(OWN_CHECKSUM, None)
        if expected != checksum_of(given):
            raise InputError(f"{what}: damaged or changed, its SHA-256 is not the recorded one")
        values = {**given, "card": card_from_plain(given.get("card"), what=what)}
    manifest = from_plain(Manifest, values, what=what)
    check_verification(manifest.verification, what)
    for name in (manifest.model_file, *manifest.sha256):
        if not stays_inside(name):
            raise InputError(f"{what}: file names must stay inside the bundle, got {name!r}")
    listed = {str(parent) for name in manifest.sha256 for parent in (PurePosixPath(name), *PurePosixPath(name).parents)}
    if not {manifest.model_file, GOLDEN} <= listed:
        raise InputError(f"{what}: has no checksum for {manifest.model_file} or {GOLDEN}")
    return manifest


def check_verification(verification: dict[str, Any], what: str) -> None:
    """Raise InputError where a field of `READ_BACK` has another type. `what` names the manifest in the message."""
    for name in READ_BACK.keys() & verification.keys():
        value = plain = verification[name]
        if isinstance(plain, list):
            value = tuple(cast("list[Any]", plain))
        if not matches_type(value, READ_BACK[name]):
            raise InputError(f"{what}: damaged (verification: {name} cannot be {str(value)[:40]!r})")


def stays_inside(name: str) -> bool:
    """Whether a path of a manifest, written with slashes on every system, names something inside the bundle."""
    path = PurePosixPath(name)
    plain = "\\" not in name and ":" not in name and not path.is_absolute()
    return plain and path.name != "" and ".." not in path.parts


def is_bundle(path: Path) -> bool:
    return (path / MANIFEST).is_file()


def file_stem(name: str) -> str:
    """A safe file name from any text."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "model"
