"""Device and precision of a training."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

from nextvit.errors import InputError
from nextvit.train.recipe import Recipe

CPU_IS_FULL = ("can't allocate memory", "could not create a primitive", "could not create a memory object")
"""Messages of torch's allocator and of oneDNN, which uses the same one for other, rarer failures."""

Precision = Literal["fp32", "bf16", "fp16"]


def pick_device(name: str, *, local_rank: int = 0) -> torch.device:
    """The device that a recipe names; "auto" is this process's GPU where there is one.

    Raises:
        InputError: the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} is not available here ({str(error).partition(chr(10))[0]})") from None
    return device


def pick_precision(recipe: Recipe, device: torch.device) -> Precision:
    """The recipe's precision; "auto" is bf16 where the device computes with it faster than with fp32."""
    if recipe.compute.precision != "auto":
        return recipe.compute.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"  # pyright: ignore


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """A context in which torch computes in `precision` where that is safe."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


def ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether this error means that the memory of the GPU or of the machine ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(message in str(error) for message in CPU_IS_FULL)
