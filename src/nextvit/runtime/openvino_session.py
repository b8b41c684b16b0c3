"""OpenVINO bundle -> a session on a CPU, GPU or NPU."""

import threading
from functools import cache
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, Manifest, Precision
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.runtime.session import Arrays, SideRange, check_inputs
from nextvit.runtime.telemetry import without_telemetry

with without_telemetry():
    import openvino  # pyright: ignore[reportMissingTypeStubs]

ov = cast(Any, openvino)

CPU = "CPU"
PRECISION_HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""Precision of float computations, by that of the file. By default OpenVINO uses bf16 wherever a CPU supports it."""
CPU_HINTS: dict[Precision, str] = {**PRECISION_HINTS, "fp16": "f32"}
"""A CPU without f16 takes bf16 where f16 is requested, which is coarser: there, fp16 weights are computed in f32."""


class OpenVinoSession:
    """A session for one model in OpenVINO's own format, on a device by OpenVINO's name: "cpu", "gpu", "gpu.1", "npu".

    Calls run one at a time; others wait. Where the image size is fixed, single images, the most frequent call, have a
    separate compiled model, because OpenVINO computes 2 to 5 % faster when all sizes are static. The model for any
    batch is compiled at the first call that needs it.

    Raises:
        InputError: OpenVINO cannot load the file, has no such device, or computes in another precision than
            `PRECISION_HINTS` and `CPU_HINTS` require for the file.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
    ) -> None:
        self.core = shared_core()
        self.model_file, self.device = path / manifest.model_file, find_device(device, self.core)
        self.expected_precision = (CPU_HINTS if self.device == CPU else PRECISION_HINTS)[manifest.precision]
        self.threads, self.file_precision, self.output_names = threads, manifest.precision, list(manifest.outputs)
        self.is_padded = SIZES_NAME in manifest.card.input.names
        any_size = manifest.dynamic_size or self.is_padded
        self.compiled: Any = self.compile(one_image=not any_size)
        check_against_manifest(self.model_file, self.compiled, manifest)
        self.precision = self.read_property("INFERENCE_PRECISION_HINT").to_string()
        if self.precision != self.expected_precision:
            raise InputError(
                f"{self.model_file}: {manifest.precision} needs {self.expected_precision}, and {version()} computes in "
                f"{self.precision} on this {self.device}; export another precision for it"
            )
        try:
            _, height, width, _ = self.compiled.input(INPUT_NAME).partial_shape
        except (RuntimeError, ValueError):
            raise InputError(f"{self.model_file}: its input is not a batch of images") from None
        self.height, self.width = to_side_range(height), to_side_range(width)
        self.requests: dict[bool, Any] = {not any_size: self.compiled.create_infer_request()}
        self.lock = threading.Lock()

    def compile(self, *, one_image: bool) -> Any:
        """Compile the file for single images or for any batch."""
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.expected_precision,
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": "",
        }
        if self.threads is not None and self.device == CPU:
            options["INFERENCE_NUM_THREADS"] = self.threads
        try:
            model = read_model(self.model_file)
            if one_image and model.inputs[0].partial_shape.rank == 4:
                model.reshape([1, *model.inputs[0].partial_shape[1:]])
            return self.core.compile_model(model, self.device, options)
        except Exception as error:  # noqa: BLE001 (OpenVINO raises RuntimeError, its bindings raise others)
            reason = last_line(error)
            raise InputError(f"{self.model_file}: {version()} cannot load it on {self.device} ({reason})") from None

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        # OpenVINO would convert floats to pixels silently, and report a wrong shape as a page about descriptors.
        checked = check_inputs(inputs, height=self.height, width=self.width, is_padded=self.is_padded)
        one_image = len(checked[INPUT_NAME]) == 1 and True in self.requests
        with self.lock:
            if one_image not in self.requests:
                self.requests[one_image] = self.compile(one_image=False).create_infer_request()
            request = self.requests[one_image]
            request.infer(checked)
            return {name: request.get_tensor(name).data.copy() for name in self.output_names}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "openvino",
            "runtime": version(),
            "device": ", ".join(self.read_property("EXECUTION_DEVICES")).lower(),
            "precision": self.file_precision,
            "computes_in": self.precision,
            "threads": self.read_property("INFERENCE_NUM_THREADS") if self.device == CPU else "default",
        }

    def read_property(self, name: str) -> Any:
        """Read a property of the compiled model."""
        return self.compiled.get_property(name)


@cache
def shared_core() -> Any:
    """Return the process's one Core, which is never destroyed.

    Each Core installs an alternate stack for signal handlers in the thread that creates it, and removes it on
    destruction (2026.4.1). If two Cores are not destroyed in the reverse order of their creation, the thread keeps a
    freed stack, and the next signal ends the process.
    """
    return ov.Core()


def read_model(model_file: Path) -> Any:
    """Read a model in OpenVINO's own format, and in no other; its weights are the .bin file beside it.

    OpenVINO's general reader decides by a file's content, not its name, and an ONNX file can name weights anywhere.
    """
    reader = ov.frontend.FrontEndManager().load_by_framework("ir")
    return reader.convert(reader.load(str(model_file)))


def check_against_manifest(model_file: Path, compiled: Any, manifest: Manifest) -> None:
    """Refuse a model whose inputs or outputs have other names than in its manifest.

    Raises:
        InputError: with both.
    """
    expected = ([{name} for name in manifest.card.input.names], [{name} for name in manifest.outputs])
    found = tuple([each.get_names() for each in ports] for ports in (compiled.inputs, compiled.outputs))
    if any(
        len(names) != len(required) or not all(one <= other for one, other in zip(required, names, strict=True))
        for required, names in zip(expected, found, strict=True)
    ):
        raise InputError(f"{model_file}: does not fit its manifest: takes and gives {found}, expected {expected}")


def find_device(name: str | None, core: Any) -> str:
    """OpenVINO's name of a device; None: the CPU. OpenVINO never chooses among several.

    Raises:
        InputError: this system has no such device.
    """
    device = (name or CPU).upper()
    if device == CPU:
        return CPU
    available: list[str] = core.available_devices
    if device not in available and f"{device}.0" not in available:
        raise InputError(f"device {name!r}: {version()} finds only {', '.join(available).lower()} here")
    return device


def to_side_range(dimension: Any) -> SideRange:
    """The smallest and largest size that an axis of the model takes."""
    low, high = dimension.get_min_length(), dimension.get_max_length()
    return low, high if 0 < high <= MAX_SIDE_PX else MAX_SIDE_PX  # -1 or a very large number: unbounded


def version() -> str:
    return f"openvino {ov.__version__.partition('-')[0]}"


def last_line(error: Exception) -> str:
    """The last line of a message; the lines before it are positions in OpenVINO's source."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
