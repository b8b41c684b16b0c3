"""Bundles that are written only to be timed: with checksums, but without a comparison with PyTorch."""

from dataclasses import replace
from pathlib import Path

from nextvit.backends.program import Source
from nextvit.bundle.golden import write_golden
from nextvit.bundle.manifest import Manifest, write_manifest
from nextvit.export.targets import target_of
from nextvit.files.durable import compute_sha256
from nextvit.machine.environment import installed_versions


def write_unproven(source: Source, backend: str, folder: Path) -> Path:
    """Write a source for a backend as a bundle without golden examples; returns the folder.

    Raises:
        InputError: the backend lacks the precision, or cannot take the network.
        MissingDependency: the backend's packages are not installed.
    """
    target = target_of(backend, source.precision, dynamic_size=source.dynamic_size, task=source.card.task)
    folder.mkdir(parents=True)
    manifest = Manifest(
        card=source.card,
        backend=backend,
        precision=source.precision,
        model_file=target.writer(source.precision)(source, folder),
        outputs=dict.fromkeys(source.outputs, "not proven: written to be timed"),
        made_with=installed_versions(),
    )
    write_golden(folder, [])
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    sha256 = {file.relative_to(folder).as_posix(): compute_sha256(file) for file in files}
    write_manifest(folder, replace(manifest, sha256=sha256))
    return folder
