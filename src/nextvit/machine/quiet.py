"""Suppresses what third-party code prints, warns and logs."""

import contextlib
import io
import logging
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def suppress_output() -> Generator[None]:
    """Drop what the block prints, warns of, or logs below the level of an error. Exceptions pass.

    Handlers that the block adds to the root logger are removed, too. This is for libraries that report their internals,
    such as progress bars, while they produce something that is verified afterwards. It affects the whole process, so it
    must not run beside other threads' output.
    """
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(max(disabled, logging.WARNING))
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.handlers[:] = handlers
