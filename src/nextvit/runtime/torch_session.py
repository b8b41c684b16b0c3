"""PyTorch, behind the same face as every runtime: the reference that the others are compared with."""

from typing import Any

import torch
from numpy.typing import NDArray

from nextvit.bundle import INPUT_NAME
from nextvit.errors import InputError
from nextvit.runtime.session import Arrays


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


class TorchSession:
    """A module from uint8 images (N, H, W, 3) to logits (N, classes), run without gradients on its own device."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model.eval()
        self.device = next(model.parameters()).device

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        with torch.inference_mode():
            logits = self.model(torch.as_tensor(inputs[INPUT_NAME]).to(self.device))
        return {"logits": logits.float().cpu().numpy()}

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "torch",
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "threads": torch.get_num_threads(),
        }
