"""ExecuTorch, on the CPU, through XNNPACK. Its runtime for Python needs torch; the one for C++ does not."""

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import Manifest
from nextvit.errors import InputError
from nextvit.machine.quiet import quietly
from nextvit.runtime.session import Arrays, check_images, concatenate, first_line

with quietly():
    import torch

    # Without stubs, and partly outside of what they call stable.
    portable_lib: Any = import_module("executorch.extension.pybindings.portable_lib")
    runtime: Any = import_module("executorch.runtime").Runtime.get()
VERSION = version("executorch")
living: WeakSet["ExecutorchSession"] = WeakSet()
"""All sessions of the process: they share its one pool of threads."""


class ExecutorchSession:
    """One method of an ExecuTorch program. It computes in the types that the file states.

    The file has a largest batch, for which its memory is planned; larger ones run in parts.
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
        living.add(self)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = check_images(inputs, height=self.height, width=self.width)
        starts = range(0, len(images), self.max_batch)
        # Joining copies, as it must: the runtime may use the memory of its outputs again.
        return concatenate([self.run_part(images[start : start + self.max_batch]) for start in starts])

    def run_part(self, images_NHWC: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
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
    """Give the process's one pool of threads its size.

    Raises:
        InputError: a loaded model uses the pool, and would crash if it were replaced.
    """
    now = portable_lib._threadpool_get_thread_count()
    if threads == now:
        return
    if living:
        raise InputError(
            f"ExecuTorch has one pool of threads for the whole process; it has {now}, and cannot get {threads} "
            "while another ExecuTorch model is loaded"
        )
    portable_lib._unsafe_reset_threadpool(threads)
