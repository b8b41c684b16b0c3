"""An ONNX file of any origin -> the logits of a teacher, by what is stated of its input and output."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvit.data.class_names import normalize_class_name
from nextvit.errors import InputError, MissingDependency, first_line
from nextvit.files.regular import read_regular
from nextvit.files.structured_text import decode
from nextvit.runtime.onnx_contents import check_self_contained
from nextvit.tasks.settings import OnnxTeacher
from nextvit.views.resized_views import resize_views

TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
"""Types of an input that can be fed."""
LEAST_PROBABILITY = 1e-12
"""Stands in for smaller ones, whose logarithm is taken."""
MAX_NAMES_BYTES = 2**22
SUM_TOLERANCE = 1e-2
"""How far the sum of probabilities may be from 1, in fp16 too."""


class OnnxNetwork:
    """A classifier in an ONNX file."""

    def __init__(self, path: Path, stated: OnnxTeacher, device: torch.device) -> None:
        """Open the file, and run it once to see that it is as stated.

        Raises:
            InputError: it cannot be run, its input or output is another than stated, or not all of it is known.
            MissingDependency: ONNX Runtime is not installed.
        """
        self.path, self.stated = path, stated
        self.session = open_session(path, device)
        self.find_input()
        self.output = self.find_output()
        values = self.run(np.random.default_rng(0).uniform(0, 255, (2, 3, *self.image_size)).astype(np.float32))
        if values.ndim != 2 or values.shape[0] != 2 or values.shape[1] < 2:
            raise InputError(
                f"{path}: its output {self.output!r} has the shape {values.shape} for two images; a teacher has a row "
                "of values for each, name another with --onnx-teacher.output"
            )
        self.num_classes = values.shape[1]
        self.check_values(values)

    def find_input(self) -> None:
        """Compare the file's input with what is stated, and note its name, type, layout and size."""
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in TYPES:
            found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
            raise InputError(f"{self.path}: a teacher takes one input, images with four axes; this one takes {found}")
        self.input, self.dtype = inputs[0].name, TYPES[inputs[0].type]
        shape = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self.batch_size: int | None = shape[0]
        self.layout = self.stated.layout
        if self.layout == "auto":
            fits = [layout for layout, axis in (("NCHW", 1), ("NHWC", 3)) if shape[axis] == 3]
            if len(fits) != 1:
                raise InputError(
                    f"{self.path}: its input of {inputs[0].shape} does not say where the channels are; state it with "
                    "--onnx-teacher.layout NCHW or NHWC"
                )
            self.layout = fits[0]
        channels, height, width = shape[1:] if self.layout == "NCHW" else (shape[3], *shape[1:3])
        if channels not in (3, None):
            raise InputError(f"{self.path}: its input of {inputs[0].shape} has no 3 channels in {self.layout}")
        side = None if self.stated.size == "auto" else self.stated.size
        if (height or side) is None or (width or side) is None:
            raise InputError(
                f"{self.path}: takes images of any size, {inputs[0].shape}; state the side it was trained for with "
                "--onnx-teacher.size"
            )
        if side is not None and (height or side, width or side) != (side, side):
            raise InputError(f"{self.path}: takes {width}x{height} px, and --onnx-teacher.size says {side}")
        self.image_size = (cast(int, height or side), cast(int, width or side))

    def find_output(self) -> str:
        """The name of the stated output, or of the only one."""
        names = [each.name for each in self.session.get_outputs()]
        if self.stated.output == "auto" and len(names) == 1:
            return names[0]
        if self.stated.output not in names:
            wanted = "" if self.stated.output == "auto" else f", and none called {self.stated.output!r}"
            raise InputError(
                f"{self.path}: has the outputs {', '.join(names)}{wanted}; name the one with a value for each class "
                "with --onnx-teacher.output"
            )
        return self.stated.output

    def check_values(self, values: NDArray[np.float32]) -> None:
        """Raise InputError where values are plainly not what they are stated to be."""
        if not np.isfinite(values).all():
            raise InputError(f"{self.path}: puts out NaN or infinity for an image of noise")
        are_probabilities = bool((values >= 0).all() and (abs(values.sum(axis=1) - 1) < SUM_TOLERANCE).all())
        if are_probabilities != (self.stated.values == "probabilities"):
            found, asked = ("logits", "probabilities")[are_probabilities], self.stated.values
            raise InputError(
                f"{self.path}: its outputs are {found}, not {asked} (whose sum is 1 for each image); state it with "
                f"--onnx-teacher.values {found}"
            )

    def logits(self, pixels_NCHW: Tensor) -> Tensor:
        """The logits (N, classes), float32, of views (N, 3, H, W), float, 0..255; or the logarithms of probabilities,
        of which softmax gives the same."""
        resized_NCHW = resize_views(pixels_NCHW, self.image_size).float().cpu().numpy()
        values = self.run(resized_NCHW)
        if self.stated.values == "probabilities":
            values = np.log(np.maximum(values, LEAST_PROBABILITY))
        return torch.from_numpy(values).to(pixels_NCHW.device)

    def run(self, pixels_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """The outputs, float32, for pixels of the file's own size, in as many runs as its batch asks for."""
        images = self.prepare(pixels_NCHW)
        size = self.batch_size or len(images)
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            try:
                (values,) = self.session.run([self.output], {self.input: filled})
            except Exception as error:  # noqa: BLE001 (ONNX Runtime's exceptions share no base class of their own)
                raise InputError(f"{self.path}: ONNX Runtime cannot run it ({first_line(error)})") from None
            parts.append(np.asarray(values, np.float32)[: len(part)])
        joined = np.concatenate(parts)
        return joined.reshape(joined.shape[:2]) if joined.shape[2:] == (1, 1) else joined

    def prepare(self, pixels_NCHW: NDArray[np.float32]) -> NDArray[Any]:
        """Pixels in the file's own channels, scale, layout and type; a file that takes uint8 gets them unscaled."""
        stated = self.stated
        images = pixels_NCHW if stated.channels == "RGB" else pixels_NCHW[:, ::-1]
        if self.dtype is np.uint8:
            images = images.round().clip(0, 255)
        else:
            mean, std = (np.array(each, np.float32)[:, None, None] for each in (stated.mean, stated.std))
            images = (images / np.float32(stated.scale) - mean) / std
        images = images if self.layout == "NCHW" else images.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images, self.dtype)

    def class_names(self) -> tuple[str, ...] | None:
        """The stated names of the classes; None where none are.

        Raises:
            InputError: there are more or fewer than outputs, or one stands there twice.
        """
        if self.stated.classes == "none":
            return None
        file = Path(self.stated.classes)
        text = decode(read_regular(file, max_bytes=MAX_NAMES_BYTES), what=str(file))
        names = tuple(normalize_class_name(line) for line in text.strip().splitlines())
        if len(names) != self.num_classes or len({*names}) != len(names):
            raise InputError(
                f"{file}: has {len(names)} names, {len({*names})} of them different, and {self.path} has "
                f"{self.num_classes} classes; write one name in each line"
            )
        return names


def open_session(path: Path, device: torch.device) -> Any:
    """A session of ONNX Runtime on the student's device, where it has it, else on the CPU, with as many threads as
    PyTorch."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
    except ModuleNotFoundError:
        raise MissingDependency("onnxruntime", extra="onnx") from None
    runtime = cast(Any, onnxruntime)
    check_self_contained(path)
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; they also come as exceptions
    options.add_session_config_entry("session.force_spinning_stop", "1")  # the student needs the cores in between
    options.intra_op_num_threads = torch.get_num_threads()
    available = runtime.get_available_providers()
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" and "CUDAExecutionProvider" in available else []
    try:
        return runtime.InferenceSession(path, options, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (as above)
        raise InputError(f"{path}: ONNX Runtime {runtime.__version__} cannot load it ({first_line(error)})") from None
