"""The parts of TensorRT and CUDA that we call, as their documents describe them. An engine that is "built" is the ONNX
file, run by ONNX Runtime on memory that stands for the device's."""

from ctypes import memmove
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

STREAM = 7


class Library(SimpleNamespace):
    """The module `tensorrt`; `cuda` gives `cuda.bindings.runtime`. Calls are recorded."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, NDArray[np.uint8]] = {}
        self.parsed, self.errors = b"", ()
        self.refuses_engine = False
        super().__init__(
            __version__="10.15.1",
            ILogger=Logger,
            Builder=lambda logger: Builder(self, logger),
            OnnxParser=lambda network, logger: Parser(self),
            Runtime=lambda logger: Runtime(self, logger),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
            BuilderFlag=SimpleNamespace(TF32="tf32"),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
            nptype=lambda kind: kind,
        )

    def cuda(self) -> Any:
        return SimpleNamespace(
            cudaError_t=SimpleNamespace(cudaSuccess=0),
            cudaMemcpyKind=SimpleNamespace(cudaMemcpyHostToDevice="in", cudaMemcpyDeviceToHost="out"),
            cudaStreamCreate=lambda: (0, STREAM),
            cudaStreamSynchronize=lambda stream: (0,),
            cudaStreamDestroy=lambda stream: self.calls.append(("destroyed", stream)),
            cudaMalloc=self.allocate,
            cudaFree=self.free,
            cudaMemcpyAsync=self.copy,
            cudaGetDevice=lambda: (0, 0),
            cudaGetDeviceProperties=lambda device: (0, SimpleNamespace(name=b"Stand-in GPU")),
            cudaGetErrorString=lambda error: (0, b"out of memory"),
        )

    def allocate(self, size: int) -> tuple[int, int]:
        block = np.zeros(size, np.uint8)
        self.memory[block.ctypes.data] = block
        return 0, block.ctypes.data

    def free(self, pointer: int) -> tuple[int]:
        del self.memory[pointer]
        return (0,)

    def copy(self, to: int, start: int, size: int, kind: str, stream: int) -> tuple[int]:
        assert size <= self.memory[to if kind == "in" else start].nbytes and stream == STREAM
        memmove(to, start, size)
        return (0,)


class Logger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"


class Builder:
    def __init__(self, library: Library, logger: Any) -> None:
        logger.log(Logger.WARNING, "never shown")
        self.library, self.logger = library, logger

    def create_network(self, flags: int) -> str:
        self.library.calls.append(("create_network", flags))
        return "network"

    def create_builder_config(self) -> Any:
        return SimpleNamespace(
            set_memory_pool_limit=lambda *given: self.library.calls.append(("memory", *given)),
            clear_flag=lambda flag: self.library.calls.append(("clear_flag", flag)),
            add_optimization_profile=lambda profile: 0,
        )

    def create_optimization_profile(self) -> Any:
        return SimpleNamespace(set_shape=lambda *given: self.library.calls.append(("set_shape", *given)))

    def build_serialized_network(self, network: str, config: Any) -> bytes | None:
        if not self.library.parsed:
            self.logger.log(Logger.ERROR, "no kernel for node_conv2d")
            return None
        largest = next(call[4] for call in reversed(self.library.calls) if call[0] == "set_shape")
        return bytes(largest[:3]) + self.library.parsed


class Parser:
    def __init__(self, library: Library) -> None:
        self.library, self.num_errors = library, len(library.errors)

    def parse(self, data: bytes) -> bool:
        self.library.parsed = data
        return not self.library.errors

    def get_error(self, number: int) -> Any:
        return SimpleNamespace(
            node_name=lambda: f"node_{number}",
            node_operator=lambda: "Det",
            desc=lambda: self.library.errors[number],
        )


class Runtime:
    def __init__(self, library: Library, logger: Any) -> None:
        self.library, self.logger = library, logger

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        if self.library.refuses_engine:
            self.logger.log(Logger.ERROR, "built for compute 9.0")
            return None
        return Engine(self.library, data)


class Engine:
    """Engine and context in one."""

    def __init__(self, library: Library, data: bytes) -> None:
        self.library, self.largest = library, (*data[:3], 3)
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(data[3:], options, providers=["CPUExecutionProvider"])
        self.addresses: dict[str, int] = {}

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        smallest = (1, *self.largest[1:])
        return [smallest, smallest, self.largest]

    def get_tensor_dtype(self, name: str) -> Any:
        return np.float32

    def create_execution_context(self) -> Any:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        self.library.calls.append(("batch", shape[0]))
        return all(side <= most for side, most in zip(shape, self.largest, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shape[0], 3)

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.addresses[name] = pointer
        return True

    def execute_async_v3(self, *, stream_handle: int) -> bool:
        assert stream_handle == STREAM
        images = self.library.memory[self.addresses["images"]][: int(np.prod(self.shape))].reshape(self.shape)
        logits = self.session.run(["logits"], {"images": images})[0]
        self.library.memory[self.addresses["logits"]][: logits.nbytes] = np.frombuffer(logits.tobytes(), np.uint8)
        return True
