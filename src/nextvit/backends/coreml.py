"""Source -> model.mlpackage: a Core ML program for iOS 16, macOS 13 and newer, in fp32, fp16, w8 or w6.

With w8 and w6 the weights are compressed to 8 or 6 bits, and the program computes in fp16.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nextvit.backends.program import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Source
from nextvit.errors import MissingDependency
from nextvit.files.records import to_plain
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.quiet import suppress_output
from nextvit.predictions.kind import kind_of

PACKAGE = "model.mlpackage"
PALETTE_BITS = 6
DISABLED_PASSES = ("common::fuse_elementwise_to_batchnorm",)
"""It would turn the normalisation's scale and shift into a batch norm, whose epsilon makes them slightly wrong."""
DEBUG_MAPPING_FILE = "executorch_debug_handle_mapping.json"
"""coremltools adds this file to packages made from torch.export; their Manifest.json does not list it."""


class PlanarImage(nn.Module):
    """A deployed network that takes an image as Core ML passes it: float (1, 3, H, W), 0 to 255."""

    def __init__(self, deployed: nn.Module) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.deployed(images.permute(0, 2, 3, 1))


def export(source: Source, folder: Path) -> str:
    """Write the package for Core ML under `folder`.

    The input is an RGB image, which Core ML fills from a pixel buffer; the normalisation is part of the program. The
    deployment target is iOS 16 and macOS 13, the oldest versions that read 8-bit and palettised weights. A newer target
    would exclude devices and add no operator that this network needs.

    Returns:
        The name of the package.

    Raises:
        MissingDependency: coremltools is not installed.
    """
    try:
        with suppress_output():
            import coremltools
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "coremltools", extra="coreml") from None
    ct: Any = coremltools
    with suppress_output():
        model = ct.convert(
            capture_planar(source).run_decompositions({torch.ops.aten.upsample_nearest2d.vec: upsample_and_crop}),
            inputs=[ct.ImageType(name=INPUT_NAME, shape=input_shape(source, ct), color_layout=ct.colorlayout.RGB)],
            outputs=[
                ct.TensorType(name=name, dtype=np.int32 if name == "classes" else np.float32) for name in source.outputs
            ],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32 if source.precision == "fp32" else ct.precision.FLOAT16,
            pass_pipeline=build_pass_pipeline(source.precision, ct),
            skip_model_load=True,
        )
        write_metadata(model, source)
        model.save(str(folder / PACKAGE))
    (folder / PACKAGE / DEBUG_MAPPING_FILE).unlink(missing_ok=True)
    return PACKAGE


def capture_planar(source: Source) -> ExportedProgram:
    """Capture the deployed network for one float image (1, 3, H, W)."""
    height, width = (64, 96) if source.dynamic_size else source.card.input.image_size
    sides = {axis: Dim(name, min=MIN_DYNAMIC_SIDE_PX, max=MAX_SIDE_PX) for axis, name in ((2, "h"), (3, "w"))}
    with torch.no_grad():
        return torch.export.export(
            PlanarImage(source.build_deployed()),
            (torch.zeros(1, 3, height, width),),
            dynamic_shapes=(sides,) if source.dynamic_size else None,
        )


def upsample_and_crop(x_NCHW: Tensor, size: list[int] | None, factors: list[float] | None) -> Tensor:
    """Nearest-neighbour upsampling of a feature pyramid, written as upsampling by exactly 2 and a crop.

    The target map is twice as large, or one row or column smaller where its size was odd. coremltools would write a
    fractional scale factor instead, and Core ML does not document which source pixel a fractional factor takes.
    """
    height, width = x_NCHW.shape[2:]
    if size is None or size == [2 * height, 2 * width]:
        return NotImplemented  # torch then keeps the operator
    assert all(new in (2 * old - 1, 2 * old) for new, old in zip(size, (height, width), strict=True)), (
        size,
        x_NCHW.shape,
    )
    doubled_NCHW = torch.ops.aten.upsample_nearest2d.vec(x_NCHW, None, [2.0, 2.0])
    return doubled_NCHW[:, :, : size[0], : size[1]]


def input_shape(source: Source, ct: Any) -> tuple[Any, ...]:
    """The shape (1, 3, H, W) of the input: fixed, or ranges of H and W whose default is the card's size."""
    sides = source.card.input.image_size
    if source.dynamic_size:
        sides = [ct.RangeDim(MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX, default=side) for side in sides]
    return 1, 3, *sides


def build_pass_pipeline(precision: str, ct: Any) -> Any:
    """coremltools' default passes, followed by weight compression for "w8" and "w6".

    "w8" is linear 8-bit quantisation with one scale for each output channel, "w6" a palette of 64 values per tensor.
    The functions of coremltools that compress finished models would run all passes a second time.
    """
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(DISABLED_PASSES)
    if precision in ("w8", "w6"):
        from coremltools.optimize import coreml

        optimize: Any = coreml
        if precision == "w8":
            name = "compression::linear_quantize_weights"
            settings = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_channel")
        else:
            name = "compression::palettize_weights"
            settings = optimize.OpPalettizerConfig(mode="kmeans", nbits=PALETTE_BITS)
        passes.append_pass(name)
        passes.set_options(name, {"config": optimize.OptimizationConfig(global_config=settings)})
    return passes


def write_metadata(model: Any, source: Source) -> None:
    """Fill the fields that Xcode shows, and add the whole card, so that the package describes itself."""
    card = source.card
    height, width = card.input.image_size
    model.short_description = f"{card.variant}: {card.task} of {len(card.classes)} classes, {width}x{height} px"
    model.license = card.weights_licence
    model.input_description[INPUT_NAME] = f"RGB image, {width}x{height} px; normalisation is inside the model"
    for name, meaning in kind_of(card).output_meanings(classes_type="int32").items():
        model.output_description[name] = meaning.replace("(N, ", "(1, ").replace("the card's", "the metadata's")
    model.user_defined_metadata["nextvit_card"] = json.dumps(to_plain(card), ensure_ascii=False)
    model.user_defined_metadata["classes"] = json.dumps(card.classes, ensure_ascii=False)
