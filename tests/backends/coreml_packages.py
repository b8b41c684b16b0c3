"""What is known of Core ML packages."""

from nextvit.backends.program import Source
from nextvit.bundle.manifest import Manifest

KNOWN = {
    *("conv", "add", "relu", "transpose", "reshape", "linear", "matmul", "avg_pool", "mul", "softmax", "concat"),
    *("cast", "reduce_mean"),
}
"""What a package of a fixed size computes with: not one batch norm."""


def manifest_for(source: Source, file: str = "model.mlpackage") -> Manifest:
    return Manifest(
        card=source.card,
        backend="coreml",
        precision=source.precision,
        model_file=file,
        outputs=dict.fromkeys(source.outputs, ""),
        made_with={},
    )
