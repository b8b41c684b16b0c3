"""Source -> model.mlpackage: a Core ML program for iOS 16, macOS 13 and newer, in fp32, fp16, or with small weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from nextvit.backends.program import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Source
from nextvit.errors import MissingDependency
from nextvit.export.meanings import output_meanings
from nextvit.files.records import to_plain
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.quiet import quietly

PACKAGE = "model.mlpackage"
PALETTE_BITS = 6
KEPT_OUT = ("common::fuse_elementwise_to_batchnorm",)
"""Would turn the normalisation's scale and shift into a batch norm whose epsilon makes them a little wrong."""
NOT_CORE_ML = "executorch_debug_handle_mapping.json"
"""What coremltools adds to a package that came from torch.export; Core ML's own list of the package knows nothing of it."""


class PlanarImage(nn.Module):
    """A deployed network behind the input that Core ML makes of an image: float (1, 3, H, W), 0 to 255."""

    def __init__(self, deployed: nn.Module) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.deployed(images.permute(0, 2, 3, 1))


def export(source: Source, folder: Path) -> str:
    """Write the package for Core ML under `folder`; returns its name.

    The input is an RGB image, which Core ML fills from a pixel buffer; the normalisation is inside. The target is iOS 16
    and macOS 13, the oldest that read 8-bit and palettised weights: a newer one would shut devices out and bring no
    operator that this network needs. With "w8" and "w6" only weights are small: everything computes in fp16.
    """
    try:
        with quietly():
            import coremltools
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "coremltools", extra="coreml") from None
    ct: Any = coremltools
    with quietly():
        model = ct.convert(
            planar_program(source).run_decompositions({torch.ops.aten.upsample_nearest2d.vec: doubled_and_cut}),
            inputs=[ct.ImageType(name=INPUT_NAME, shape=image_shape(source, ct), color_layout=ct.colorlayout.RGB)],
            outputs=[
                ct.TensorType(name=name, dtype=np.int32 if name == "classes" else np.float32) for name in source.outputs
            ],
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32 if source.precision == "fp32" else ct.precision.FLOAT16,
            pass_pipeline=passes_for(source.precision, ct),
            skip_model_load=True,
        )
        describe(model, source)
        model.save(str(folder / PACKAGE))
    (folder / PACKAGE / NOT_CORE_ML).unlink(missing_ok=True)
    return PACKAGE


def planar_program(source: Source) -> ExportedProgram:
    """The deployment form for one float image (1, 3, H, W)."""
    height, width = (64, 96) if source.dynamic_size else source.card.input.image_size
    sides = {axis: Dim(name, min=MIN_DYNAMIC_SIDE_PX, max=MAX_SIDE_PX) for axis, name in ((2, "h"), (3, "w"))}
    with torch.no_grad():
        return torch.export.export(
            PlanarImage(source.deployed()),
            (torch.zeros(1, 3, height, width),),
            dynamic_shapes=(sides,) if source.dynamic_size else None,
        )


def doubled_and_cut(x_NCHW: Tensor, size: list[int] | None, factors: list[float] | None) -> Tensor:
    """What a pyramid resizes to the map that is twice as large, or one less where that was rounded up: each place twice, which
    Core ML defines; of fractions, to which coremltools would turn it, Core ML does not say which place they take."""
    height, width = x_NCHW.shape[2:]
    if size is None or size == [2 * height, 2 * width]:
        return NotImplemented  # stays as it is
    assert all(new in (2 * old - 1, 2 * old) for new, old in zip(size, (height, width), strict=True)), (
        size,
        x_NCHW.shape,
    )
    doubled_NCHW = torch.ops.aten.upsample_nearest2d.vec(x_NCHW, None, [2.0, 2.0])
    return doubled_NCHW[:, :, : size[0], : size[1]]


def image_shape(source: Source, ct: Any) -> tuple[Any, ...]:
    """The shape of the input: fixed, or a range of sides around the card's size."""
    sides = source.card.input.image_size
    if source.dynamic_size:
        sides = [ct.RangeDim(MIN_DYNAMIC_SIDE_PX, MAX_SIDE_PX, default=side) for side in sides]
    return 1, 3, *sides


def passes_for(precision: str, ct: Any) -> Any:
    """coremltools' passes over a program, and for "w8" and "w6" one behind them that makes its weights small: 8 bits on
    a line with a scale for each output channel, or 64 values for each tensor.

    The functions that coremltools has for finished models would run all passes a second time.
    """
    passes = ct.PassPipeline.DEFAULT
    passes.remove_passes(KEPT_OUT)
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


def describe(model: Any, source: Source) -> None:
    """Write what the model is where Xcode shows it; the card goes in whole, so that the package explains itself."""
    card = source.card
    height, width = card.input.image_size
    model.short_description = f"{card.variant}: {card.task} of {len(card.classes)} classes, {width}x{height} px"
    model.license = card.weights_licence
    model.input_description[INPUT_NAME] = f"RGB image, {width}x{height} px; normalisation is inside the model"
    for name, meaning in output_meanings(card, classes_type="int32").items():
        model.output_description[name] = meaning.replace("(N, ", "(1, ").replace("the card's", "the metadata's")
    model.user_defined_metadata["nextvit_card"] = json.dumps(to_plain(card), ensure_ascii=False)
    model.user_defined_metadata["classes"] = json.dumps(card.classes, ensure_ascii=False)
