"""Core ML bundle -> a session on macOS; on iPhones and iPads the package runs without Python."""

import platform
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nextvit.bundle.manifest import Manifest
from nextvit.errors import InputError, MissingDependency, NoRuntimeHere, did_you_mean
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.quiet import suppress_output
from nextvit.runtime.session import Arrays, check_images, side_ranges_of

COMPUTE_UNITS = {"all": "ALL", "ane": "CPU_AND_NE", "gpu": "CPU_AND_GPU", "cpu": "CPU_ONLY"}


class CoremlSession:
    """A session for one Core ML package, which computes one image at a time.

    The device, "all" (the default), "ane", "gpu" or "cpu", limits the compute units that Core ML may choose among.
    """

    def __init__(
        self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str | None = None
    ) -> None:
        if platform.system() != "Darwin":
            raise NoRuntimeHere(
                f"{path}: Core ML runs on macOS, iOS and iPadOS; here `nextvit verify` can re-execute the bundle, and "
                "another backend, such as onnx, can run the model"
            )
        self.device = device or "all"
        if self.device not in COMPUTE_UNITS:
            raise InputError(f"Core ML has no device {device!r}; {did_you_mean(self.device, COMPUTE_UNITS)}")
        try:
            with (
                suppress_output()
            ):  # imported only here: it takes seconds, and is of no use where Core ML does not exist
                import coremltools  # pyright: ignore[reportMissingTypeStubs]
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "coremltools", extra="coreml") from None
        ct: Any = coremltools
        package = path / manifest.model_file
        try:
            self.model: Any = ct.models.MLModel(str(package), compute_units=ct.ComputeUnit[COMPUTE_UNITS[self.device]])
        except Exception as error:  # noqa: BLE001 (coremltools passes on whatever Core ML raises)
            reason = str(error).partition("\n")[0]
            raise InputError(f"{package}: Core ML cannot load it ({reason})") from None
        self.version = str(ct.__version__)
        self.precision, self.output_names = manifest.precision, list(manifest.outputs)
        self.height, self.width = side_ranges_of(manifest)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        pixels_NHWC = check_images(inputs, height=self.height, width=self.width)
        images = [{INPUT_NAME: Image.fromarray(pixels_HWC)} for pixels_HWC in pixels_NHWC]
        rows: list[dict[str, NDArray[Any]]] = [self.model.predict(each) for each in images]
        return {
            name: np.concatenate([np.asarray(row[feature_name(name)]) for row in rows]) for name in self.output_names
        }

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "coreml",
            "runtime": f"Core ML of macOS {platform.mac_ver()[0]}, coremltools {self.version}",
            "device": self.device,
            "precision": self.precision,
            "threads": "Core ML's choice",
        }


def feature_name(output: str) -> str:
    """Core ML's name of an output: names must be valid Swift identifiers, so that dots become underscores."""
    return re.sub(r"\W", "_", output, flags=re.ASCII)
