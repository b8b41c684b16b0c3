"""Third-party code without its noise."""

import contextlib
import io
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def quietly() -> Generator[None]:
    """What the block prints, logs to the screen and warns of is dropped; exceptions pass.

    For code that reports its own internals, progress bars included, where what it made is proven afterwards. It works
    on the whole process, so it belongs where one thing is done at a time.
    """
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
