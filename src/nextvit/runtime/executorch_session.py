"""ExecuTorch bundle -> a session on the CPU, through XNNPACK.

The runtime for Python needs torch; the one for C++ does not.
"""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import Manifest
from nextvit.errors import InputError, first_line
from nextvit.machine.quiet import suppress_output
from nextvit.runtime.session import Arrays, check_images, concatenate

with suppress_output():
    import torch

    # These modules have no type stubs, and some are outside of the stable API.
    portable_lib: Any = import_module("executorch.extension.pybindings.portable_lib")
    runtime: Any = import_module("executorch.runtime").Runtime.get()
VERSION = version("executorch")
live_sessions: WeakSet["ExecutorchSession"] = WeakSet()
"""All sessions of the process: they share its one thread pool."""


class ExecutorchSession:
    """A session for the method "forward" of an ExecuTorch program, which computes in the types that the file states.

    The memory of a file is planned for its largest batch; larger batches are split.
    """

    def __init__(self, path: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        if threads is not None:
            set_threads(threads)
        model_file = path / manifest.model_file
        try:
            method: Any = runtime.load_program(model_file).load_method("forward")
        except (RuntimeError, KeyError, MemoryError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"{model_file}: ExecuTorch {VERSION} cannot load it ({reason})") from None
        self.method: Any = method
        self.max_batch, height, width, _ = self.method.metadata.input_tensor_meta(0).sizes()
        self.height, self.width = (height, height), (width, width)
        self.output_names, self.precision = list(manifest.outputs), manifest.precision
        live_sessions.add(self)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = check_images(inputs, height=self.height, width=self.width)
        starts = range(0, len(images), self.max_batch)
        # concatenate copies, which is necessary: the runtime may reuse the memory of its outputs.
        return concatenate([self.run_batch(images[start : start + self.max_batch]) for start in starts])

    def run_batch(self, images_NHWC: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        try:
            outputs: list[Any] = self.method.execute([torch.as_tensor(np.ascontiguousarray(images_NHWC))])
        except RuntimeError as error:
            raise InputError(f"ExecuTorch {VERSION} cannot run the model ({first_line(error)})") from None
        return {name: output.numpy() for name, output in zip(self.output_names, outputs, strict=True)}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "executorch",
            "runtime": f"executorch {VERSION}",
            "device": "cpu",
            "precision": self.precision,
            "threads": portable_lib._threadpool_get_thread_count(),
        }


def set_threads(threads: int) -> None:
    """Set the size of the process's one thread pool.

    Raises:
        InputError: a loaded model uses the pool, and would crash if it were replaced.
    """
    current = portable_lib._threadpool_get_thread_count()
    if threads == current:
        return
    if live_sessions:
        raise InputError(
            f"ExecuTorch has one pool of threads for the whole process; it has {current}, and cannot get {threads} "
            "while another ExecuTorch model is loaded"
        )
    portable_lib._unsafe_reset_threadpool(threads)
