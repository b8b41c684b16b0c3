"""A block of code -> the same block with the telemetry of OpenVINO and NNCF disabled."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

PACKAGE = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Generator[None]:
    """Prevent the import of the package that reports usage over the network, while the block runs.

    OpenVINO and NNCF report when they are imported, and again when they convert or quantise, unless the user has opted
    out in a file. Where they do not find the package at import, they never use it. They import some of their parts
    late, so calls into them belong into the block, too. Where a program has imported them before nextvit, nothing
    changes.
    """
    modules = cast(dict[str, ModuleType | None], sys.modules)
    before = {PACKAGE: modules[PACKAGE]} if PACKAGE in modules else {}
    modules[PACKAGE] = None  # makes an import raise ModuleNotFoundError
    try:
        yield
    finally:
        del modules[PACKAGE]
        modules.update(before)
