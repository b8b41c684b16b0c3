"""What `nextvit export --to` knows: a row for each backend. Loads no torch, so that a refusal is immediate."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, did_you_mean
from nextvit.proof.golden import open_session_or_emulator
from nextvit.runtime.session import Session

if TYPE_CHECKING:
    from nextvit.backends.program import Source

Writer = Callable[["Source", Path], str]
"""Writes its file or files into a folder; returns the `Manifest.model_file`."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One backend."""

    writers: dict[Precision, str]
    """The module whose `export(source, folder)` writes the file, for each precision."""
    dynamic_size: bool = True
    """Whether it can take images of any size."""
    limits: dict[str, tuple[Precision, ...]] = field(default_factory=dict[str, tuple[Precision, ...]])
    """For tasks by name, the only precisions in which it takes their networks; a task that is not there may have
    any."""
    one_size: tuple[str, ...] = ()
    """Tasks whose networks it takes for one fixed size alone."""
    classes_type: str = "uint8"
    """Type of their map of classes."""
    check: str | None = None
    """Module whose `check(folder, manifest)` says what is in the file: `verification["program"]`; None: nothing
    does."""

    def writer(self, precision: Precision) -> Writer:
        return import_module(self.writers[precision]).export

    def session(self, folder: Path, manifest: Manifest) -> Session:
        """What runs the file for the proof: its own runtime, or its stand-in where that does not exist."""
        return open_session_or_emulator(folder, manifest)

    def checked(self, folder: Path, manifest: Manifest) -> dict[str, Any]:
        """What a look at the written file found, for the record."""
        return {"program": import_module(self.check).check(folder, manifest)} if self.check else {}


CLASSIFIERS_ALONE: dict[str, tuple[Precision, ...]] = {"detection": (), "segmentation": ()}

TARGETS: dict[str, Target] = {
    "onnx": Target(
        writers={
            "fp32": "nextvit.backends.onnx",
            "fp16": "nextvit.backends.onnx",
            "int8": "nextvit.backends.onnx_int8",
        },
        limits={"detection": ("fp32",), "segmentation": ("fp32", "fp16")},
    ),
    "openvino": Target(
        writers={
            "fp32": "nextvit.backends.openvino",
            "fp16": "nextvit.backends.openvino",
            "bf16": "nextvit.backends.openvino",
            "int8": "nextvit.backends.openvino_int8",
        },
        limits={"detection": ("fp32",), "segmentation": ("fp32", "fp16", "bf16")},
    ),
    "tensorrt": Target(
        writers={
            "fp16": "nextvit.backends.tensorrt",
            "fp32": "nextvit.backends.tensorrt",
            "int8": "nextvit.backends.tensorrt_int8",
        },
        limits=CLASSIFIERS_ALONE,
    ),
    "coreml": Target(
        writers=dict.fromkeys(("fp32", "fp16", "w8", "w6"), "nextvit.backends.coreml"),
        limits={"detection": (), "segmentation": ("fp32", "fp16")},
        one_size=("segmentation",),
        classes_type="int32",  # Core ML has no output of unsigned 8 bits
        check="nextvit.backends.coreml_check",
    ),
    "executorch": Target(
        writers={"fp32": "nextvit.backends.executorch", "int8": "nextvit.backends.executorch_int8"},
        dynamic_size=False,
        limits=CLASSIFIERS_ALONE,
    ),
    "torch": Target(
        writers={"fp32": "nextvit.backends.torch", "bf16": "nextvit.backends.torch"}, limits=CLASSIFIERS_ALONE
    ),
}


def target_of(backend: str, precision: str, *, dynamic_size: bool, task: str | None = None) -> Target:
    """The row of a request.

    Args:
        task: of the network; None: it is not known yet.

    Raises:
        InputError: no such backend, or it lacks the precision or dynamic sizes, or does not take a network for the
            task; the message names what it takes for the task.
    """
    able = {name: taken for name, each in TARGETS.items() if (taken := precisions_of(each, task))}
    if backend not in TARGETS:
        raise InputError(f"no backend {backend!r}; {did_you_mean(backend, able)}")
    target = TARGETS[backend]
    if precision not in precisions_of(target, task):
        if task not in target.limits:
            raise InputError(f"{backend} has no precision {precision!r}; accepted: {', '.join(target.writers)}")
        everywhere = " and ".join(f"{name} in {', '.join(taken)}" for name, taken in able.items())
        raise InputError(f"{backend} {precision} is not for {task}; a network for {task} is exported to {everywhere}")
    if dynamic_size and not target.dynamic_size:
        sizes = ", ".join(name for name in able if TARGETS[name].dynamic_size)
        raise InputError(f"{backend} takes one fixed image size; --dynamic-size is known to {sizes}")
    return target


def precisions_of(target: Target, task: str | None) -> tuple[Precision, ...]:
    """The precisions in which a backend takes networks for a task; None: for any task."""
    return target.limits.get(task or "", tuple(target.writers))
