"""Bundle from `nextvit export --to torch` -> a session in PyTorch. For modules in memory see `torch_session`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, first_line
from nextvit.runtime.session import Arrays, check_images
from nextvit.runtime.torch_program import read_program
from nextvit.runtime.torch_session import count_torch_threads, torch_device, torch_threads

PRECISIONS: dict[torch.dtype | None, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16"}


class TorchProgramSession:
    """A session that runs one program step by step, in the types that the file states."""

    def __init__(self, path: Path, manifest: Manifest, *, threads: int | None = None, device: str = "cpu") -> None:
        """
        Args:
            threads: CPU threads of torch, a setting of the whole process that changes only while this session runs.
            device: torch's name of the device, such as "cuda".
        """
        model_file = path / manifest.model_file
        self.device = torch_device(device)
        self.program = read_program(model_file, device=self.device)
        _, self.height, self.width, channels = self.program.input_sizes
        if channels != (3, 3) or len(self.program.outputs) != len(manifest.outputs):
            raise InputError(f"{model_file}: its input or outputs are not those of the manifest")
        # All weights except the two of the normalisation have the type that the network computes in.
        types = Counter(each.dtype for each in self.program.constants.values())
        self.precision = PRECISIONS.get(max(types, key=lambda each: types[each], default=None))
        if self.precision != manifest.precision:
            raise InputError(
                f"{model_file}: computes in {self.precision or 'another type'}, "
                f"and its manifest says {manifest.precision}"
            )
        self.output_names, self.threads = list(manifest.outputs), threads

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        images = torch.as_tensor(np.ascontiguousarray(check_images(inputs, height=self.height, width=self.width)))
        try:
            with torch_threads(self.threads), torch.inference_mode():
                outputs = self.program(images.to(self.device))
                return {name: output.cpu().numpy() for name, output in zip(self.output_names, outputs, strict=True)}
        except Exception as error:  # noqa: BLE001 (calls with unsuitable arguments raise anything)
            raise InputError(f"torch {torch.__version__} cannot run the program ({first_line(error)})") from None

    def facts(self) -> dict[str, Any]:
        return {
            "backend": "torch",
            "runtime": f"torch {torch.__version__}",
            "device": str(self.device),
            "precision": self.precision,
            "threads": count_torch_threads(self.threads),
        }
