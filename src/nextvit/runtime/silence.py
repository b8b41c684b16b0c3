"""Packages that speak about their own internals when they are imported or used."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def silence(*loggers: str) -> Generator[None]:
    """While the block runs, no warnings, and nothing below an error from the loggers named.

    A handler that an import adds to the root of logging does not stay: what is logged where is for the program to say.
    """
    root, noisy = logging.getLogger(), [logging.getLogger(name) for name in loggers]
    handlers, levels = list(root.handlers), [each.level for each in noisy]
    for each in noisy:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        for each, level in zip(noisy, levels, strict=True):
            each.setLevel(level)
