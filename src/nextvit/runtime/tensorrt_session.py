"""TensorRT bundle -> a session on the current NVIDIA GPU.

An engine is native code. `engine_host_code_allowed` stays off, but NVIDIA advises against loading an untrusted engine
even so; docs/tensorrt.md says what to do instead.
"""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import Manifest
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.runtime.session import Arrays, check_images, concatenate
from nextvit.runtime.tensorrt_library import load_cuda, load_tensorrt, logged_errors, make_error_logger


class Cuda:
    """The CUDA calls that a session needs, with errors as exceptions. Owns a stream and named device buffers."""

    def __init__(self) -> None:
        self.runtime = load_cuda()
        self.stream = self.call(self.runtime.cudaStreamCreate())
        self.buffers: dict[str, tuple[int, int]] = {}  # name -> pointer, bytes
        self.release = weakref.finalize(self, release, self.runtime, self.stream, self.buffers)

    def call(self, result: tuple[Any, ...]) -> Any:
        """Return the value of a CUDA call.

        Raises:
            RuntimeError: the call failed.
        """
        error, *values = result
        if error != self.runtime.cudaError_t.cudaSuccess:
            raise RuntimeError(f"CUDA: {self.runtime.cudaGetErrorString(error)[1].decode()}")
        return values[0] if values else None

    def buffer(self, name: str, size: int) -> int:
        """Return the pointer of a device buffer of at least `size` bytes, which is kept for the next call."""
        pointer, available = self.buffers.get(name, (0, 0))
        if available < size:
            if available:
                del self.buffers[name]
                self.call(self.runtime.cudaFree(pointer))
            pointer = int(self.call(self.runtime.cudaMalloc(size)))
            self.buffers[name] = (pointer, size)
        return pointer

    def to_device(self, name: str, array: NDArray[Any]) -> int:
        """Enqueue a copy of the array into a device buffer; the array must stay alive until `wait`."""
        pointer = self.buffer(name, array.nbytes)
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.call(self.runtime.cudaMemcpyAsync(pointer, array.ctypes.data, array.nbytes, kind, self.stream))
        return pointer

    def to_host(self, array: NDArray[Any], pointer: int) -> None:
        """Enqueue a copy of a device buffer into the array, which is complete after `wait`."""
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.call(self.runtime.cudaMemcpyAsync(array.ctypes.data, pointer, array.nbytes, kind, self.stream))

    def wait(self) -> None:
        self.call(self.runtime.cudaStreamSynchronize(self.stream))

    def device_name(self) -> str:
        properties = self.call(self.runtime.cudaGetDeviceProperties(self.call(self.runtime.cudaGetDevice())))
        return properties.name.decode()


def release(runtime: Any, stream: Any, buffers: dict[str, tuple[int, int]]) -> None:
    for pointer, _ in buffers.values():
        runtime.cudaFree(pointer)
    runtime.cudaStreamDestroy(stream)


class TensorRTSession:
    """A session for one engine, which computes in the types that its network states (see `backends.tensorrt`)."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        self.trt = load_tensorrt()
        self.logger = make_error_logger(self.trt)
        try:
            self.cuda = Cuda()
            self.runtime: Any = self.trt.Runtime(self.logger)
        except (RuntimeError, TypeError, OSError) as error:  # no driver or no GPU; TensorRT raises TypeError
            reason = "; ".join(self.logger.messages) or str(error).partition("\n")[0]
            raise InputError(f"TensorRT {self.trt.__version__} cannot start here ({reason})") from None
        self.threads, self.precision = threads, manifest.precision
        engine_file = path / manifest.model_file
        self.engine: Any = self.runtime.deserialize_cuda_engine(engine_file.read_bytes())
        if self.engine is None:
            raise InputError(
                f"{engine_file}: TensorRT {self.trt.__version__} on {self.cuda.device_name()} cannot load it "
                f"({logged_errors(self.logger)}); an engine fits the GPU and the version it was built with; "
                "rebuild it from the bundle's ONNX file: "
                f"python -m nextvit.backends.rebuild_tensorrt {path} NEW.nextvit"
            )
        self.context: Any = self.engine.create_execution_context()
        if self.context is None:
            raise InputError(f"{engine_file}: TensorRT cannot run it ({logged_errors(self.logger)})")
        self.min_shape, _, self.max_shape = (
            tuple(shape) for shape in self.engine.get_tensor_profile_shape(INPUT_NAME, 0)
        )
        self.output_names = list(manifest.outputs)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name; batches larger than the engine's largest are split.

        Raises:
            InputError: the images are not uint8 (N, H, W, 3) of a size that the engine was built for.
        """
        (_, *low, _), (_, *high, _) = self.min_shape, self.max_shape
        height, width = zip(low, high, strict=True)
        images = np.ascontiguousarray(check_images(inputs, height=height, width=width))
        max_batch = self.max_shape[0]
        starts = range(0, len(images), max_batch)
        return concatenate([self.run_batch(images[start : start + max_batch]) for start in starts])

    def run_batch(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the engine once, on a batch of at most its largest size."""
        if not self.context.set_input_shape(INPUT_NAME, images.shape):
            raise RuntimeError(f"TensorRT refuses the shape {images.shape} ({logged_errors(self.logger)})")
        self.context.set_tensor_address(INPUT_NAME, self.cuda.to_device(INPUT_NAME, images))
        outputs: dict[str, NDArray[Any]] = {}
        for name in self.output_names:
            kind = self.trt.nptype(self.engine.get_tensor_dtype(name))
            outputs[name] = np.empty(tuple(self.context.get_tensor_shape(name)), kind)
            self.context.set_tensor_address(name, self.cuda.buffer(name, outputs[name].nbytes))
        if not self.context.execute_async_v3(stream_handle=int(self.cuda.stream)):
            raise RuntimeError(f"TensorRT could not run ({logged_errors(self.logger)})")
        for name, array in outputs.items():
            self.cuda.to_host(array, self.cuda.buffer(name, array.nbytes))
        self.cuda.wait()
        return outputs

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "tensorrt",
            "runtime": f"tensorrt {self.trt.__version__}",
            "device": "cuda",
            "gpu": self.cuda.device_name(),
            "precision": self.precision,
            "largest_input": list(self.max_shape),
            "threads": self.threads or "default",
        }
