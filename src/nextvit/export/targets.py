"""What `nextvit export --to` knows: a row for each backend."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nextvit.backends.program import Source
from nextvit.bundle.card import TaskName
from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, did_you_mean
from nextvit.proof.golden import open_or_stand_in
from nextvit.runtime.session import Session

Writer = Callable[[Source, Path], str]
"""Writes its file or files into a folder; returns the `Manifest.model_file`."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One backend."""

    writers: dict[Precision, str]
    """The module whose `export(source, folder)` writes the file, for each precision."""
    dynamic_size: bool = True
    """Whether it can take images of any size."""
    stand_in: str | None = None
    """Module whose `open_session` proves the file where its own runtime does not exist; None: that runtime is needed."""
    detectors: tuple[Precision, ...] = ()
    """The precisions in which it takes a detector."""
    segmenters: tuple[Precision, ...] = ()
    """The precisions in which it takes a segmentation model."""
    one_size_segmenters: bool = False
    """Whether these must be of one fixed size."""
    classes_type: str = "uint8"
    """Type of their map of classes."""
    check: str | None = None
    """Module whose `check(folder, manifest)` says what is in the file: `verification["program"]`; None: nothing does."""

    def writer(self, precision: Precision) -> Writer:
        return import_module(self.writers[precision]).export

    def session(self, folder: Path, manifest: Manifest) -> Session:
        """What runs the file for the proof: its own runtime, or where that does not exist what stands in for it."""
        return open_or_stand_in(folder, manifest)

    def checked(self, folder: Path, manifest: Manifest) -> dict[str, Any]:
        """What a look at the written file found, for the record."""
        return {"program": import_module(self.check).check(folder, manifest)} if self.check else {}


TARGETS: dict[str, Target] = {
    "onnx": Target(
        writers={
            "fp32": "nextvit.backends.onnx",
            "fp16": "nextvit.backends.onnx",
            "int8": "nextvit.backends.onnx_int8",
        },
        detectors=("fp32",),
        segmenters=("fp32", "fp16"),
    ),
    "openvino": Target(
        writers={
            "fp32": "nextvit.backends.openvino",
            "fp16": "nextvit.backends.openvino",
            "bf16": "nextvit.backends.openvino",
            "int8": "nextvit.backends.openvino_int8",
        },
        detectors=("fp32",),
        segmenters=("fp32", "fp16", "bf16"),
    ),
    "tensorrt": Target(
        writers={
            "fp16": "nextvit.backends.tensorrt",
            "fp32": "nextvit.backends.tensorrt",
            "int8": "nextvit.backends.tensorrt_int8",
        }
    ),
    "coreml": Target(
        writers=dict.fromkeys(("fp32", "fp16", "w8", "w6"), "nextvit.backends.coreml"),
        segmenters=("fp32", "fp16"),
        one_size_segmenters=True,
        classes_type="int32",  # Core ML has no output of unsigned 8 bits
        stand_in="nextvit.backends.coreml_stand_in",
        check="nextvit.backends.coreml_check",
    ),
    "executorch": Target(
        writers={"fp32": "nextvit.backends.executorch", "int8": "nextvit.backends.executorch_int8"}, dynamic_size=False
    ),
    "torch": Target(writers={"fp32": "nextvit.backends.torch", "bf16": "nextvit.backends.torch"}),
}


def target_of(backend: str, precision: str, *, dynamic_size: bool, task: TaskName = "classification") -> Target:
    """The row of a request.

    Raises:
        InputError: no such backend, or it lacks the precision or dynamic sizes, or does not take a network for the task.
    """
    if backend not in TARGETS:
        raise InputError(f"no backend {backend!r}; {did_you_mean(backend, TARGETS)}")
    target = TARGETS[backend]
    if precision not in target.writers:
        raise InputError(f"{backend} has no precision {precision!r}; accepted: {', '.join(target.writers)}")
    if dynamic_size and not target.dynamic_size:
        able = ", ".join(name for name, each in TARGETS.items() if each.dynamic_size)
        raise InputError(f"{backend} takes one fixed image size; --dynamic-size is known to {able}")
    if task in ("detection", "segmentation"):
        check_takes(task, backend, precision)
    if task == "detection" and dynamic_size:
        raise InputError("a detector takes pictures of any size without --dynamic-size; leave it out")
    return target


def check_takes(task: TaskName, backend: str, precision: str) -> None:
    """Raise InputError where a backend does not take a detector or a segmentation model so."""
    what = "a detector" if task == "detection" else "a segmentation model"
    taken = {name: each.detectors if task == "detection" else each.segmenters for name, each in TARGETS.items()}
    if precision not in taken[backend]:
        able = " and ".join(f"{name} in {', '.join(precisions)}" for name, precisions in taken.items() if precisions)
        raise InputError(f"{backend} {precision} is for classifiers; {what} is exported to {able}")
