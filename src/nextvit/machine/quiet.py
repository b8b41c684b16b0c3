"""Third-party code without its noise."""

import contextlib
import io
import logging
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """What the block prints, warns of, or logs below an error is dropped, and so are handlers that it adds to the root of
    logging; exceptions pass.

    For code that reports its own internals, progress bars included, where what it made is proven afterwards. It works
    on the whole process, so it belongs where one thing is done at a time.
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
