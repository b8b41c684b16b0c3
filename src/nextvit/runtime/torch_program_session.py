"""PyTorch, from a program in a file: what `nextvit export --to torch` writes. For live modules see `torch_session`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.bundle import Manifest
from nextvit.errors import InputError
from nextvit.runtime.session import Arrays, check_images
from nextvit.runtime.torch_program import read_program

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


class TorchProgramSession:
    """One program, run step by step. It computes in the types that the file states."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str = "cpu") -> None:
        """
        Args:
            threads: CPU threads; torch's are the process's, so they are set while this session runs.
            device: where torch runs it, such as "cuda".
        """
        model_file = path / manifest.model_file
        try:
            self.device = torch.zeros(1, device=device).device
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"torch {torch.__version__} has no device {device!r} here ({error})") from None
        self.program = read_program(model_file, device=self.device)
        _, self.height, self.width, channels = self.program.input_sizes
        if channels != (3, 3) or len(self.program.outputs) != len(manifest.outputs):
            raise InputError(f"{model_file}: its input or outputs are not those of the manifest")
        self.output_names, self.threads = list(manifest.outputs), threads

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = torch.as_tensor(np.ascontiguousarray(check_images(inputs, height=self.height, width=self.width)))
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                outputs = self.program(images.to(self.device))
        finally:
            torch.set_num_threads(before)
        return {name: output.cpu().numpy() for name, output in zip(self.output_names, outputs, strict=True)}

    def facts(self) -> dict[str, Any]:
        # All weights but the two of the normalisation are of the type that the network computes in.
        types = Counter(each.dtype for each in self.program.constants.values())
        return {
            "backend": "torch",
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "precision": PRECISIONS[types.most_common(1)[0][0]],
            "threads": self.threads or torch.get_num_threads(),
        }
