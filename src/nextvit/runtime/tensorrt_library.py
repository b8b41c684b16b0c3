"""Name -> Python module of TensorRT or CUDA, imported when needed: they come from their vendor, not with an extra."""

from importlib import import_module
from typing import Any

from nextvit.errors import MissingDependency

INSTALL = "tensorrt cuda-python"


def load_tensorrt() -> Any:
    """Import the module `tensorrt`.

    Raises:
        MissingDependency: it is not installed.
    """
    return load("tensorrt")


def load_cuda() -> Any:
    """Import CUDA's runtime functions; each returns a tuple that begins with an error code.

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


def make_error_logger(trt: Any) -> Any:
    """Make a TensorRT logger that prints nothing and collects errors in its list `messages`."""

    class CollectingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding requires this call instead of super()
            self.messages: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.messages.append(msg)

    return CollectingLogger()


def logged_errors(logger: Any) -> str:
    """The errors that TensorRT logged, in one line."""
    return "; ".join(logger.messages) or "it gives no reason"
