"""ONNX bundle -> a session in ONNX Runtime."""

from collections import Counter
from pathlib import Path
from typing import Any, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, Manifest, Precision
from nextvit.errors import InputError, did_you_mean, first_line
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.runtime.onnx_contents import FLOAT16, INT8, check_self_contained
from nextvit.runtime.session import Arrays, check_inputs, side_ranges_of

ort = cast(Any, onnxruntime)

Provider = tuple[str, dict[str, str]]
CPU: Provider = ("CPUExecutionProvider", {})
# TF32 is not fp32: its multiplications have a mantissa of ten bits.
CUDA: Provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
DEVICES: dict[str, list[Provider]] = {
    # device: its execution provider first; the others take the operators that it does not support
    "cpu": [CPU],
    "cuda": [CUDA, CPU],
    "tensorrt": [("TensorrtExecutionProvider", {}), CUDA, CPU],
    # The older model format computes in fp16 whatever the file states.
    "coreml": [("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}), CPU],
}


class OnnxSession:
    """A session for one ONNX model, which computes in the types that the file states."""

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
    ) -> None:
        model_file = path / manifest.model_file
        types = check_self_contained(model_file)
        if manifest.precision == "fp16" and FLOAT16 not in types:
            raise InputError(f"{model_file}: its manifest says fp16, and none of its weights are")
        self.device, self.precision = device or "cpu", file_precision(types)
        providers = find_providers(self.device)
        options: Any = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they also come as exceptions
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # By default its threads spin for 40 ms after each run, on cores that readers or other models could use. This
        # option stops that, but lets them spin within a run: without spinning, single images took 8 to 18 % longer.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
        try:
            self.session: Any = ort.InferenceSession(model_file, options, providers=providers)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime's exceptions share no base class of their own)
            reason = str(error).partition("\n")[0]
            raise InputError(f"{model_file}: ONNX Runtime {ort.__version__} cannot load it ({reason})") from None
        self.provider: str = self.session.get_providers()[0]
        if self.provider != providers[0][0]:  # where one does not start, it prints a warning and continues
            raise InputError(
                f"device {self.device!r}: ONNX Runtime {ort.__version__} could not start {providers[0][0]} and took "
                f"{self.provider} instead; its libraries or its driver may be missing"
            )
        self.output_names = list(manifest.outputs)
        check_against_manifest(model_file, self.session, manifest)
        self.height, self.width = side_ranges_of(manifest)
        self.is_padded = SIZES_NAME in manifest.card.input.names
        if manifest.dynamic_size:  # the file itself takes smaller images, too
            self.height = self.width = (1, MAX_SIDE_PX)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        checked = check_inputs(inputs, height=self.height, width=self.width, is_padded=self.is_padded)
        try:
            outputs = self.session.run(self.output_names, checked)
        except Exception as error:  # noqa: BLE001 (as above)
            raise InputError(f"ONNX Runtime {ort.__version__} cannot run the model ({first_line(error)})") from None
        return dict(zip(self.output_names, outputs, strict=True))

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "onnx",
            "runtime": f"onnxruntime {ort.__version__}",
            "device": self.device,
            "provider": self.provider,
            "operators": self.operators(),
            "precision": self.precision,
            "threads": self.session.get_session_options().intra_op_num_threads or "default",
        }

    def operators(self) -> dict[str, int]:
        """Number of operators by provider; {} where this version of ONNX Runtime does not report them."""
        if not hasattr(self.session, "get_provider_graph_assignment_info"):
            return {}
        parts = self.session.get_provider_graph_assignment_info()
        return dict(sum((Counter({part.ep_name: len(part.get_nodes())}) for part in parts), Counter[str]()))


def file_precision(types: set[int]) -> Precision:
    """The precision of a file: the narrowest type of its tensors; fp16 and int8 files also have fp32 tensors."""
    return "int8" if INT8 in types else "fp16" if FLOAT16 in types else "fp32"


def check_against_manifest(model_file: Path, session: Any, manifest: Manifest) -> None:
    """Refuse a model whose inputs or outputs differ from its manifest.

    Raises:
        InputError: with both.
    """
    spec = manifest.card.input
    sides = (None, None) if manifest.dynamic_size or spec.padded else spec.image_size
    expected_inputs = [(INPUT_NAME, "tensor(uint8)", [None, *sides, 3])]
    expected_inputs += [(SIZES_NAME, "tensor(int64)", [None, 2])] if spec.padded else []
    expected = (expected_inputs, list(manifest.outputs))
    inputs = [
        (each.name, each.type, [size if isinstance(size, int) else None for size in each.shape])
        for each in session.get_inputs()
    ]
    found = (inputs, [output.name for output in session.get_outputs()])
    if found != expected:
        raise InputError(f"{model_file}: does not fit its manifest: takes and gives {found}, expected {expected}")


def find_providers(device: str) -> list[Provider]:
    """The execution providers for a device, in order of preference.

    Raises:
        InputError: the device is unknown, or this build of ONNX Runtime does not support it.
    """
    if device not in DEVICES:
        raise InputError(f"ONNX Runtime has no device {device!r}; {did_you_mean(device, DEVICES)}")
    chosen, available = DEVICES[device], ort.get_available_providers()
    if chosen[0][0] not in available:
        here = ", ".join(name for name, providers in DEVICES.items() if providers[0][0] in available)
        raise InputError(
            f"device {device!r}: this ONNX Runtime {ort.__version__} was built without {chosen[0][0]}; it has: {here}"
        )
    return [provider for provider in chosen if provider[0] in available]
