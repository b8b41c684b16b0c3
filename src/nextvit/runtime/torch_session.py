"""PyTorch, behind the same face as every runtime: the reference that the others are compared with."""

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
    """The device that torch calls so: "cpu", "cuda", "cuda:1", "mps".

    Raises:
        InputError: there is none here.
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
    """So many CPU threads for now; torch's are the process's. None: as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_within(threads: int | None) -> int:
    """How many CPU threads torch has where so many are asked for; None: as many as the process has."""
    with torch_threads(threads):
        return torch.get_num_threads()


PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def precision_of(model: torch.nn.Module) -> str:
    """What a module computes in: the type of most of its parameters."""
    sizes: Counter[torch.dtype] = Counter()
    for each in model.parameters():
        sizes[each.dtype] += each.numel()
    [(most, _)] = sizes.most_common(1)
    return PRECISIONS.get(most, str(most))


def numpy_of(tensor: torch.Tensor) -> NDArray[Any]:
    """A tensor's values, floats of any precision as float32, which NumPy knows."""
    return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


class TorchSession:
    """A module from uint8 images (N, H, W, 3) to logits (N, classes), or from the inputs of another task to its outputs,
    run without gradients on its own device.

    Its weights are laid out channels last, as the pixels are, which spares PyTorch copies between the two.

    Args:
        precision: what the module must compute in.
        compiled: let torch.compile make one program for each shape of images, with the weights in it as constants laid
            out for this processor. The first run of a shape takes long, and needs a C++ compiler on a CPU.
        threads: CPU threads while it runs; None: as many as the process has.
        outputs: names of what the module gives, in its order.

    Raises:
        InputError: the module computes in another precision.
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
        self.device, self.precision, self.threads = next(model.parameters()).device, precision_of(model), threads
        if self.precision != precision:
            raise InputError(f"most of the module's parameters are {self.precision}, where {precision} is asked for")
        self.output_names = outputs
        self.backend = "torch-compiled" if compiled else "torch"
        self.settings: Callable[[], AbstractContextManager[Any]] = nullcontext
        if compiled:
            from torch._inductor import config

            self.model = cast(torch.nn.Module, torch.compile(self.model, dynamic=False))
            # Weights become constants only so: as an option of torch.compile it has no effect (torch 2.15).
            self.settings = partial(cast(Any, config).patch, freezing=True)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        sides = (1, MAX_SIDE_PX)
        checked = check_inputs(inputs, height=sides, width=sides, framed=SIZES_NAME in inputs)
        with torch_threads(self.threads), torch.no_grad(), self.settings():  # inference mode would freeze nothing
            given = self.model(*(torch.as_tensor(each).to(self.device) for each in checked.values()))
        outputs = (given,) if isinstance(given, torch.Tensor) else given
        return {name: numpy_of(each) for name, each in zip(self.output_names, outputs, strict=True)}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "precision": self.precision,
            "threads": threads_within(self.threads),
        }
