"""OpenVINO and NNCF without their telemetry."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

PACKAGE = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Generator[None]:
    """While the block runs, the package that reports usage over the network cannot be imported.

    OpenVINO and NNCF report as soon as they are imported, and again when they convert or quantise, unless the user has
    objected in a file. Both do without the package for good where they do not find it when they are imported; parts of
    them are imported late, so that calls into them belong into the block, too. A program that has imported them before
    nextvit did keeps what it has.
    """
    modules = cast(dict[str, ModuleType | None], sys.modules)
    before = {PACKAGE: modules[PACKAGE]} if PACKAGE in modules else {}
    modules[PACKAGE] = None  # the import system's own sign for "there is none"
    try:
        yield
    finally:
        del modules[PACKAGE]
        modules.update(before)
