"""Module in memory -> a session in PyTorch, the reference that the other runtimes are compared with."""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from numpy.typing import NDArray

from nextvit.bundle.manifest import MAX_SIDE_PX, Precision
from nextvit.errors import InputError
from nextvit.image.resizing import SIZES_NAME
from nextvit.runtime.session import Arrays, check_inputs


def torch_device(name: str) -> torch.device:
    """The device with torch's name "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        InputError: this system has no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} is not available to PyTorch here ({str(error).partition(chr(10))[0]})"
        ) from None
    return device


@contextmanager
def torch_threads(threads: int | None) -> Generator[None]:
    """Set torch's number of CPU threads, which is one for the process, while the block runs; None: leave it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def count_torch_threads(threads: int | None) -> int:
    """The number of CPU threads that torch reports for a request of `threads`; None: the process's number."""
    with torch_threads(threads):
        return torch.get_num_threads()


PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def module_precision(model: torch.nn.Module) -> str:
    """The precision of a module: the type of most of its parameters."""
    sizes: Counter[torch.dtype] = Counter()
    for each in model.parameters():
        sizes[each.dtype] += each.numel()
    [(most, _)] = sizes.most_common(1)
    return PRECISIONS.get(most, str(most))


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Convert a tensor to numpy, with floats of any precision as float32 (numpy has no bfloat16)."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


class TorchSession:
    """A session for a module, which runs without gradients on its own device.

    The module maps uint8 images (N, H, W, 3) to logits (N, classes), or the inputs of another task to its outputs. Its
    weights are converted to channels last, the layout of the pixels, which saves PyTorch copies between the two.

    Args:
        precision: the precision that the module must have.
        compiled: use torch.compile, with one program for each input shape and the weights as constants in the layout of
            this processor. The first run of a shape is slow, and on a CPU needs a C++ compiler.
        threads: CPU threads while it runs; None: as many as the process has.
        outputs: names of the module's outputs, in order.

    Raises:
        InputError: the module has another precision.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        outputs: Sequence[str] = ("logits",),
        precision: str = "fp32",
        compiled: bool = False,
        threads: int | None = None,
    ) -> None:
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.device, self.precision, self.threads = next(model.parameters()).device, module_precision(model), threads
        if self.precision != precision:
            raise InputError(f"most of the module's parameters are {self.precision}, expected {precision}")
        self.output_names = outputs
        self.backend = "torch-compiled" if compiled else "torch"
        self.run_context: Callable[[], AbstractContextManager[Any]] = nullcontext
        if compiled:
            from torch._inductor import config

            self.model = cast(torch.nn.Module, torch.compile(self.model, dynamic=False))
            # Weights become constants only this way: as an option of torch.compile it has no effect (torch 2.15).
            self.run_context = partial(cast(Any, config).patch, freezing=True)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        sides = (1, MAX_SIDE_PX)
        checked = check_inputs(inputs, height=sides, width=sides, is_padded=SIZES_NAME in inputs)
        with torch_threads(self.threads), torch.no_grad(), self.run_context():  # inference mode would disable freezing
            result = self.model(*(torch.as_tensor(each).to(self.device) for each in checked.values()))
        outputs = (result,) if isinstance(result, torch.Tensor) else result
        return {name: to_numpy(each) for name, each in zip(self.output_names, outputs, strict=True)}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "precision": self.precision,
            "threads": count_torch_threads(self.threads),
        }
