"""ONNX Runtime."""

from pathlib import Path
from typing import Any, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from nextvit.bundle import Manifest
from nextvit.errors import InputError
from nextvit.runtime.session import Arrays

PROVIDER = "CPUExecutionProvider"


class OnnxSession:
    """One ONNX model on the CPU. It computes in the types that the file states."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        model_file = path / manifest.model_file
        options: Any = cast(Any, onnxruntime).SessionOptions()
        options.log_severity_level = 3  # errors; they also come as exceptions
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            self.session: Any = onnxruntime.InferenceSession(model_file, options, providers=[PROVIDER])
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's exceptions share no base class of their own)
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{model_file}: ONNX Runtime {onnxruntime.__version__} cannot load it ({reason})"
            ) from None
        self.threads, self.precision = threads, manifest.precision
        self.output_names: list[str] = [output.name for output in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        outputs = self.session.run(self.output_names, dict(inputs))
        return dict(zip(self.output_names, outputs, strict=True))

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "onnx",
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "device": "cpu",
            "provider": self.session.get_providers()[0],
            "precision": self.precision,
            "threads": self.threads or "default",
        }
