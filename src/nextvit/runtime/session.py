"""Bundle -> session, which maps named input arrays to named output arrays and knows nothing of image files."""

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Manifest
from nextvit.errors import InputError, MissingDependency, did_you_mean
from nextvit.image.canvas import STRIDE_PX
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME

Arrays = Mapping[str, NDArray[Any]]


class Session(Protocol):
    """One loaded model. Inputs and outputs are numpy arrays, whatever the runtime."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name; every array has the batch as its first axis."""
        ...

    def facts(self) -> dict[str, Any]:
        """Backend, version, device, precision and CPU threads, as the runtime or the file reports them."""
        ...


class SessionFactory(Protocol):
    """A backend's session class. One with a choice of devices also takes `device: str | None = None`; None: the CPU."""

    def __call__(self, path: Path, manifest: Manifest, *, threads: int | None, **device: str) -> Session:
        """Load `manifest.model_file` of the folder `path`, to compute in `manifest.precision`.

        `run` returns the outputs of `manifest.outputs`, in that order.
        """
        ...


BACKENDS = {
    # backend: (module, class, package that must be installed, extra that brings it)
    "onnx": ("nextvit.runtime.onnx_session", "OnnxSession", "onnxruntime", "onnx"),
    "openvino": ("nextvit.runtime.openvino_session", "OpenVinoSession", "openvino", "openvino"),
    # No extra brings TensorRT; the session's own error says what to install.
    "tensorrt": ("nextvit.runtime.tensorrt_session", "TensorRTSession", "tensorrt", ""),
    "coreml": ("nextvit.runtime.coreml_session", "CoremlSession", "coremltools", "coreml"),
    "executorch": ("nextvit.runtime.executorch_session", "ExecutorchSession", "executorch", "executorch"),
    "torch": ("nextvit.runtime.torch_program_session", "TorchProgramSession", "torch", "train"),
}


def open_session(path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None) -> Session:
    """Load the model of a bundle in its backend.

    Args:
        threads: CPU threads; None: the backend's own choice.
        device: the device by the backend's own name ("cpu", "cuda", ...); None: the CPU, or the backend's only device.
            There is no fallback to another device.

    Raises:
        InputError: there is no such backend or device, or the backend cannot read the file.
        NoRuntimeHere: the backend does not exist on this system.
        MissingDependency: the backend is not installed.
    """
    check_threads(threads)
    try:
        session_class = import_session_class(manifest.backend)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if device is None:
        return session_class(path, manifest, threads=threads)
    if "device" not in signature(session_class).parameters:
        raise InputError(f"the backend {manifest.backend} has no choice of devices; leave out {device!r}")
    return session_class(path, manifest, threads=threads, device=device)


def import_session_class(backend: str) -> SessionFactory:
    """Import the session class of a backend, and with it the runtime.

    Raises:
        InputError: there is no such backend, as for a bundle of a newer nextvit.
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


SideRange = tuple[int, int]
"""Smallest and largest size of an axis, in pixels."""


def side_ranges_of(manifest: Manifest) -> tuple[SideRange, SideRange]:
    """The ranges of height and width that a bundle's model takes, for runtimes that do not report them."""
    if manifest.card.input.padded:
        return (STRIDE_PX, MAX_SIDE_PX), (STRIDE_PX, MAX_SIDE_PX)
    if manifest.dynamic_size:
        return (MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX), (MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX)
    height, width = manifest.card.input.image_size
    return (height, height), (width, width)


def check_images(inputs: Arrays, *, height: SideRange, width: SideRange) -> NDArray[np.uint8]:
    """Check the images among the inputs, for runtimes that compute wrong outputs from wrong inputs silently.

    Returns:
        The images, uint8 (N, H, W, 3).

    Raises:
        InputError: they are not uint8 (N, H, W, 3) with N at least 1, or have a size that the model does not take.
    """
    images = inputs[INPUT_NAME]
    is_image_batch = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and len(images) > 0
    if is_image_batch and height[0] <= images.shape[1] <= height[1] and width[0] <= images.shape[2] <= width[1]:
        return images
    sides = "x".join(str(low) if low == high else f"({low} to {high})" for low, high in (width, height))
    got = f"{images.shape[2]}x{images.shape[1]} px" if is_image_batch else f"{images.dtype} of shape {images.shape}"
    raise InputError(f"the model takes images of {sides} px as uint8 (N, height, width, 3), N at least 1; got {got}")


def check_inputs(inputs: Arrays, *, height: SideRange, width: SideRange, is_padded: bool) -> dict[str, NDArray[Any]]:
    """Check the images among the inputs, and for a padded batch the size of each image.

    Args:
        is_padded: whether the model takes padded batches: images at the top left of a common canvas.

    Returns:
        The images, uint8 (N, H, W, 3), and for a padded batch the heights and widths, int64 (N, 2).

    Raises:
        InputError: as `check_images`, or H and W are not multiples of 32 px, or the sizes are missing, not int64, or
            larger than H and W.
    """
    images = check_images(inputs, height=height, width=width)
    if not is_padded:
        return {INPUT_NAME: images}
    canvas = f"{images.shape[2]}x{images.shape[1]} px"
    if images.shape[1] % STRIDE_PX or images.shape[2] % STRIDE_PX:
        raise InputError(f"the model takes images padded to multiples of {STRIDE_PX} px, got {canvas}")
    sizes = inputs.get(SIZES_NAME)
    if sizes is not None and sizes.dtype == np.int64 and sizes.shape == (len(images), 2):
        if (sizes >= 1).all() and (sizes <= images.shape[1:3]).all():
            return {INPUT_NAME: images, SIZES_NAME: sizes}
        raise InputError(
            f"heights and widths of images padded to {canvas} must be from 1 px to that size, got {sizes.tolist()}"
        )
    got = "none" if sizes is None else f"{sizes.dtype} of shape {sizes.shape}"
    raise InputError(
        f'the model takes "{SIZES_NAME}", height and width of each image, as int64 ({len(images)}, 2); got {got}'
    )


def concatenate(parts: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Join the outputs of several batches."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
