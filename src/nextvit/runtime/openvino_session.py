"""OpenVINO."""

import threading
from functools import cache
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, Manifest, Precision
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.runtime.session import Arrays, Sides, check_inputs
from nextvit.runtime.telemetry import without_telemetry

with without_telemetry():
    import openvino  # pyright: ignore[reportMissingTypeStubs]

ov = cast(Any, openvino)

CPU = "CPU"
HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""What a file's floats are computed in. Left alone, OpenVINO takes bf16 wherever a CPU has it."""
CPU_HINTS: dict[Precision, str] = {**HINTS, "fp16": "f32"}
"""A CPU that is asked for f16 and has only bf16 takes that, which is coarser: fp16 weights are computed in f32 there."""


class OpenVinoSession:
    """One model in OpenVINO's own format, on the device of that name: "cpu", "gpu", "gpu.1", "npu".

    It answers one call at a time; others wait. Where the sides are fixed, single images, which most calls are, have a
    compiled model of their own: OpenVINO computes 2 to 5 % faster when it knows all sizes. The one for any batch is
    compiled when the first is asked for.

    Raises:
        InputError: OpenVINO cannot load the file, has no such device, or computes less exactly than the file's precision
            states, or in another precision where that is what the file is for.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
    ) -> None:
        self.core = shared_core()
        self.model_file, self.device = path / manifest.model_file, device_named(device, self.core)
        self.wanted = (CPU_HINTS if self.device == CPU else HINTS)[manifest.precision]
        self.threads, self.file_precision, self.output_names = threads, manifest.precision, list(manifest.outputs)
        self.framed = SIZES_NAME in manifest.card.inputs
        any_size = manifest.dynamic_size or self.framed
        self.compiled: Any = self.compile(one_image=not any_size)
        check_fit(self.model_file, self.compiled, manifest)
        self.precision = self.property("INFERENCE_PRECISION_HINT").to_string()
        if self.precision != self.wanted:
            raise InputError(
                f"{self.model_file}: {manifest.precision} needs {self.wanted}, and {version()} computes in "
                f"{self.precision} on this {self.device}; export another precision for it"
            )
        try:
            _, height, width, _ = self.compiled.input(INPUT_NAME).partial_shape
        except (RuntimeError, ValueError):
            raise InputError(f"{self.model_file}: its input is not one of images") from None
        self.height, self.width = sides(height), sides(width)
        self.requests: dict[bool, Any] = {not any_size: self.compiled.create_infer_request()}
        self.busy = threading.Lock()

    def compile(self, *, one_image: bool) -> Any:
        """The file as a compiled model, for single images or for any number."""
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.wanted,
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
        except Exception as error:  # noqa: BLE001 (OpenVINO's are RuntimeErrors, and those of its bindings anything)
            reason = last_line(error)
            raise InputError(f"{self.model_file}: {version()} cannot load it on {self.device} ({reason})") from None

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        # OpenVINO would turn floats into pixels without a word, and shapes that do not fit into a page about descriptors.
        checked = check_inputs(inputs, height=self.height, width=self.width, framed=self.framed)
        one_image = len(checked[INPUT_NAME]) == 1 and True in self.requests
        with self.busy:
            if one_image not in self.requests:
                self.requests[one_image] = self.compile(one_image=False).create_infer_request()
            request = self.requests[one_image]
            request.infer(checked)
            return {name: request.get_tensor(name).data.copy() for name in self.output_names}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "openvino",
            "runtime": version(),
            "device": ", ".join(self.property("EXECUTION_DEVICES")).lower(),
            "precision": self.file_precision,
            "computes_in": self.precision,
            "threads": self.property("INFERENCE_NUM_THREADS") if self.device == CPU else "default",
        }

    def property(self, name: str) -> Any:
        """What the compiled model says of itself."""
        return self.compiled.get_property(name)


@cache
def shared_core() -> Any:
    """The process's one Core, which is never destroyed.

    Each Core gives the thread that makes it a stack for signal handlers, and takes it away when it goes (2026.4.1). Where
    two of them go in another order than the reverse of how they came, the thread is left with one that is gone, and the
    next signal ends the process.
    """
    return ov.Core()


def read_model(model_file: Path) -> Any:
    """A model in OpenVINO's own format, and in no other: the weights are the .bin file beside it.

    OpenVINO's general reader goes by content, whatever a file is called, and an ONNX file can name weights anywhere.
    """
    reader = ov.frontend.FrontEndManager().load_by_framework("ir")
    return reader.convert(reader.load(str(model_file)))


def check_fit(model_file: Path, compiled: Any, manifest: Manifest) -> None:
    """Refuse a model that takes or gives something else than its manifest says, by the names."""
    expected = ([{name} for name in manifest.card.inputs], [{name} for name in manifest.outputs])
    found = tuple([each.get_names() for each in ports] for ports in (compiled.inputs, compiled.outputs))
    if any(
        len(names) != len(wanted) or not all(one <= other for one, other in zip(wanted, names, strict=True))
        for wanted, names in zip(expected, found, strict=True)
    ):
        raise InputError(f"{model_file}: does not fit its manifest: takes and gives {found}, expected {expected}")


def device_named(name: str | None, core: Any) -> str:
    """OpenVINO's own name of a device; None: the CPU. Of several it is never left to choose one.

    Raises:
        InputError: there is none here.
    """
    wanted = (name or CPU).upper()
    if wanted == CPU:
        return CPU
    available: list[str] = core.available_devices
    if wanted not in available and f"{wanted}.0" not in available:
        raise InputError(f"device {name!r}: {version()} finds only {', '.join(available).lower()} here")
    return wanted


def sides(dimension: Any) -> Sides:
    """The sizes that an axis of the model takes."""
    low, high = dimension.get_min_length(), dimension.get_max_length()
    return low, high if 0 < high <= MAX_SIDE_PX else MAX_SIDE_PX  # -1 or a very large number: any


def version() -> str:
    return f"openvino {ov.__version__.partition('-')[0]}"


def last_line(error: Exception) -> str:
    """The last line of a message: the ones before it say where in OpenVINO's source."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
