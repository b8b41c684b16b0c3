"""ONNX Runtime."""

from collections import Counter
from pathlib import Path
from typing import Any, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, Manifest, Precision
from nextvit.errors import InputError, did_you_mean
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.runtime.onnx_contents import FLOAT16, INT8, check_self_contained
from nextvit.runtime.session import Arrays, check_inputs, first_line, sides_of

ort = cast(Any, onnxruntime)

Provider = tuple[str, dict[str, str]]
CPU: Provider = ("CPUExecutionProvider", {})
# TF32 is no fp32: its products have ten bits.
CUDA: Provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
DEVICES: dict[str, list[Provider]] = {
    # device: providers, the one that is meant first; the others take the operators that it lacks
    "cpu": [CPU],
    "cuda": [CUDA, CPU],
    "tensorrt": [("TensorrtExecutionProvider", {}), CUDA, CPU],
    # The older model format computes in fp16 whatever the file states.
    "coreml": [("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}), CPU],
}


class OnnxSession:
    """One ONNX model. It computes in the types that the file states."""

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
    ) -> None:
        model_file = path / manifest.model_file
        types = check_self_contained(model_file)
        if manifest.precision == "fp16" and FLOAT16 not in types:
            raise InputError(f"{model_file}: its manifest says fp16, and none of its weights are")
        self.device, self.precision = device or "cpu", precision_of(types)
        providers = providers_of(self.device)
        options: Any = ort.SessionOptions()
        options.log_severity_level = 3  # errors; they also come as exceptions
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        # Left alone, its threads spin for 40 ms after each run, on cores that readers or other models could use. Within
        # a run they still do: without, single images took 8 to 18 % longer, and this way not.
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
        if self.provider != providers[0][0]:  # it goes on without one that does not start, and only prints that
            raise InputError(
                f"device {self.device!r}: ONNX Runtime {ort.__version__} could not start {providers[0][0]} and took "
                f"{self.provider} instead; its libraries or its driver may be missing"
            )
        self.output_names = list(manifest.outputs)
        check_fit(model_file, self.session, manifest)
        self.height, self.width = sides_of(manifest)
        self.framed = SIZES_NAME in manifest.card.inputs
        if manifest.dynamic_size:  # the file itself takes smaller ones, too
            self.height = self.width = (1, MAX_SIDE_PX)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        checked = check_inputs(inputs, height=self.height, width=self.width, framed=self.framed)
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
        """How many of the graph's operators each provider got: {} where this version does not tell."""
        if not hasattr(self.session, "get_provider_graph_assignment_info"):
            return {}
        parts = self.session.get_provider_graph_assignment_info()
        return dict(sum((Counter({part.ep_name: len(part.get_nodes())}) for part in parts), Counter[str]()))


def precision_of(types: set[int]) -> Precision:
    """What a file computes in, by the data types of its tensors: the fewest bits. Files in fp16 and int8 keep some of
    their tensors in fp32."""
    return "int8" if INT8 in types else "fp16" if FLOAT16 in types else "fp32"


def check_fit(model_file: Path, session: Any, manifest: Manifest) -> None:
    """Refuse a model that takes or gives something else than its manifest says."""
    spec = manifest.card.input
    sides = (None, None) if manifest.dynamic_size or spec.resize == "fit" else spec.image_size
    takes = [(INPUT_NAME, "tensor(uint8)", [None, *sides, 3])]
    takes += [(SIZES_NAME, "tensor(int64)", [None, 2])] if spec.resize == "fit" else []
    expected = (takes, list(manifest.outputs))
    inputs = [
        (each.name, each.type, [size if isinstance(size, int) else None for size in each.shape])
        for each in session.get_inputs()
    ]
    found = (inputs, [output.name for output in session.get_outputs()])
    if found != expected:
        raise InputError(f"{model_file}: does not fit its manifest: takes and gives {found}, expected {expected}")


def providers_of(device: str) -> list[Provider]:
    """The execution providers for a device.

    Raises:
        InputError: no such device, or this build of ONNX Runtime lacks it.
    """
    if device not in DEVICES:
        raise InputError(f"ONNX Runtime has no device {device!r}; {did_you_mean(device, DEVICES)}")
    wanted, available = DEVICES[device], ort.get_available_providers()
    if wanted[0][0] not in available:
        here = ", ".join(name for name, providers in DEVICES.items() if providers[0][0] in available)
        raise InputError(
            f"device {device!r}: this ONNX Runtime {ort.__version__} was built without {wanted[0][0]}; it has: {here}"
        )
    return [provider for provider in wanted if provider[0] in available]
