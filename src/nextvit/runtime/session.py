"""A session turns named arrays into named arrays and knows nothing of images."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Manifest
from nextvit.errors import InputError, MissingDependency, did_you_mean
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME, STRIDE_PX

Arrays = Mapping[str, NDArray[Any]]


class Session(Protocol):
    """One loaded model. Inputs and outputs are numpy, whatever runs inside."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name; every array has the batch as its first axis."""
        ...

    def facts(self) -> dict[str, Any]:
        """Backend, version, device, precision and CPU threads, as the runtime or the file tells them."""
        ...


class SessionFactory(Protocol):
    """A backend's class. One that can choose between devices takes `device: str | None = None`, too; None: the CPU."""

    def __call__(self, path: Path, manifest: Manifest, *, threads: int | None, **device: str) -> Session:
        """Load `manifest.model_file` of the folder `path`, to compute with `manifest.precision`; the outputs are those
        of `manifest.outputs`, in that order."""
        ...


BACKENDS = {
    # backend: (module, class, package that must be installed, extra that brings it)
    "onnx": ("nextvit.runtime.onnx_session", "OnnxSession", "onnxruntime", "onnx"),
    "openvino": ("nextvit.runtime.openvino_session", "OpenVinoSession", "openvino", "openvino"),
    "tensorrt": ("nextvit.runtime.tensorrt_session", "TensorRTSession", "tensorrt", ""),  # says itself what to install
    "coreml": ("nextvit.runtime.coreml_session", "CoremlSession", "coremltools", "coreml"),
    "executorch": ("nextvit.runtime.executorch_session", "ExecutorchSession", "executorch", "executorch"),
    "torch": ("nextvit.runtime.torch_program_session", "TorchProgramSession", "torch", "train"),
}


def open_session(path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None) -> Session:
    """Load a bundle's model in its backend.

    Args:
        threads: CPU threads; None: the backend's own choice.
        device: where it computes, by the backend's own name for it ("cpu", "cuda", ...); None: the CPU, or the one
            place that the backend knows. Another device never takes its place.

    Raises:
        InputError: no such backend or device, or the backend cannot read the file.
        NoRuntimeHere: the backend does not exist on this system.
        MissingDependency: the backend is not installed.
    """
    check_threads(threads)
    try:
        factory = factory_of(manifest.backend)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if device is None:
        return factory(path, manifest, threads=threads)
    if "device" not in signature(factory).parameters:
        raise InputError(f"the backend {manifest.backend} has no choice of devices; leave out {device!r}")
    return factory(path, manifest, threads=threads, device=device)


def factory_of(backend: str) -> SessionFactory:
    """The class of a backend, whose import brings the runtime.

    Raises:
        InputError: no such backend, as in a bundle of a newer nextvit.
        MissingDependency: the runtime is not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown backend {backend!r}; {did_you_mean(backend, BACKENDS)}")
    module, name, package, extra = BACKENDS[backend]
    try:
        return cast(SessionFactory, getattr(import_module(module), name))
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependency(package, extra=extra) from None


def check_threads(threads: int | None) -> None:
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")


Sides = tuple[int, int]
"""The smallest and largest size of an axis."""


def sides_of(manifest: Manifest) -> tuple[Sides, Sides]:
    """The heights and the widths that a bundle's model takes, for a runtime that does not tell."""
    if manifest.card.input.resize == "fit":
        return (STRIDE_PX, MAX_SIDE_PX), (STRIDE_PX, MAX_SIDE_PX)
    if manifest.dynamic_size:
        return (MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX), (MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX)
    height, width = manifest.card.input.image_size
    return (height, height), (width, width)


def check_images(inputs: Arrays, *, height: Sides, width: Sides) -> NDArray[np.uint8]:
    """The images among the inputs, for a runtime that would answer something else without a word.

    Raises:
        InputError: no uint8 array (N, H, W, 3), no images, or sides that the model does not take.
    """
    images = inputs[INPUT_NAME]
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and len(images) > 0
    if fits and height[0] <= images.shape[1] <= height[1] and width[0] <= images.shape[2] <= width[1]:
        return images
    sides = "x".join(str(low) if low == high else f"({low} to {high})" for low, high in (width, height))
    got = f"{images.shape[2]}x{images.shape[1]} px" if fits else f"{images.dtype} of shape {images.shape}"
    raise InputError(f"the model takes images of {sides} px as uint8 (N, height, width, 3), N at least 1; got {got}")


def check_inputs(inputs: Arrays, *, height: Sides, width: Sides, framed: bool) -> dict[str, NDArray[Any]]:
    """The images among the inputs, and where the model takes pictures in frames the size of each, (N, 2).

    Raises:
        InputError: as `check_images`, or frames whose sides are no multiples of 32 px, or sizes that are missing, no int64,
            or larger than the frames.
    """
    images = check_images(inputs, height=height, width=width)
    if not framed:
        return {INPUT_NAME: images}
    frame = f"{images.shape[2]}x{images.shape[1]} px"
    if images.shape[1] % STRIDE_PX or images.shape[2] % STRIDE_PX:
        raise InputError(f"the model takes pictures in frames whose sides are multiples of {STRIDE_PX} px, got {frame}")
    sizes = inputs.get(SIZES_NAME)
    if sizes is not None and sizes.dtype == np.int64 and sizes.shape == (len(images), 2):
        if (sizes >= 1).all() and (sizes <= images.shape[1:3]).all():
            return {INPUT_NAME: images, SIZES_NAME: sizes}
        raise InputError(
            f"heights and widths of pictures in a frame of {frame} must be from 1 px to its own, got {sizes.tolist()}"
        )
    got = "none" if sizes is None else f"{sizes.dtype} of shape {sizes.shape}"
    raise InputError(
        f'the model takes "{SIZES_NAME}", height and width of each picture, as int64 ({len(images)}, 2); got {got}'
    )


def first_line(error: Exception) -> str:
    """The part of a runtime's message that is for people."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def concatenate(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Join the outputs of several batches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
