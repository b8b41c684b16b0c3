"""TensorRT and CUDA for Python: imported when needed, since they come from their vendor and not with an extra."""

from importlib import import_module
from typing import Any

from nextvit.errors import MissingDependency

INSTALL = "tensorrt cuda-python"


def load_tensorrt() -> Any:
    """The module `tensorrt`, version 10 or newer.

    Raises:
        MissingDependency: it is not installed.
    """
    return load("tensorrt")


def load_cuda() -> Any:
    """CUDA's runtime functions; each returns a tuple that begins with an error code.

    Raises:
        MissingDependency: the package cuda-python is not installed.
    """
    return load("cuda.bindings.runtime")


def load(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not name.startswith(error.name or name):
            raise
        raise MissingDependency(name.partition(".")[0], install=INSTALL) from None


def collecting_logger(trt: Any) -> Any:
    """A logger for TensorRT that prints nothing and keeps errors in its list `messages`."""

    class CollectingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding's own rule: its base class must be set up by name
            self.messages: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.messages.append(msg)

    return CollectingLogger()


def reasons(logger: Any) -> str:
    """What TensorRT complained of, in one line."""
    return "; ".join(logger.messages) or "it gives no reason"
