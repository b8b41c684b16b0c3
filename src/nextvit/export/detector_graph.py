"""A detector as a captured program and as an ONNX file of standard operators, for any number and any size of pictures."""

from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from nextvit.bundle import INPUT_NAME, MAX_SIDE_PX
from nextvit.errors import MissingDependency
from nextvit.export.program import MAX_BATCH
from nextvit.export.to_onnx import OPSET, name_after_modules
from nextvit.models.deployed import DeployedDetector
from nextvit.quiet import quietly

SIZES_NAME = "sizes"
OUTPUT_NAMES = ("boxes", "scores", "labels", "masks")
STEP_PX = 32  # sides are multiples of it


def capture_detector(deployed: DeployedDetector, *, max_batch: int = MAX_BATCH) -> ExportedProgram:
    """A graph for uint8 images (N, H, W, 3), with H and W multiples of 32 from 32 px to 4096 px, and sizes (N, 2)."""
    batch = Dim("batch", min=1, max=max_batch)
    steps = [Dim(name, min=1, max=MAX_SIDE_PX // STEP_PX) for name in ("rows", "columns")]
    # Two different sides, so that nothing takes them for equal.
    images_NHWC = torch.zeros(2, 3 * STEP_PX, 4 * STEP_PX, 3, dtype=torch.uint8)
    sizes_N2 = torch.tensor([[80, 100], [96, 128]])
    dynamic_shapes = ({0: batch, 1: STEP_PX * steps[0], 2: STEP_PX * steps[1]}, {0: batch})
    with torch.no_grad():
        return torch.export.export(deployed, (images_NHWC, sizes_N2), dynamic_shapes=dynamic_shapes)


def detector_onnx(deployed: DeployedDetector) -> Any:
    """The same as an `onnx.ModelProto`: inputs "images" and "sizes", outputs "boxes", "scores", "labels" and, of a model
    with masks, "masks"."""
    translations = keep_best_as_onnx()
    names = OUTPUT_NAMES if deployed.model.detector.masks else OUTPUT_NAMES[:-1]
    with quietly():  # the exporter warns about its own internals; the proof on real images is what counts
        exported = torch.onnx.export(
            capture_detector(deployed),
            input_names=[INPUT_NAME, SIZES_NAME],
            output_names=list(names),
            opset_version=OPSET,
            custom_translation_table=translations,
            verbose=False,
        )
    assert exported is not None
    name_after_modules(exported.model.graph)
    return exported.model_proto


def keep_best_as_onnx() -> dict[Any, Any]:
    """How `suppression.keep_best` is written: the table that torch's exporter takes."""
    try:
        from onnxscript import BOOL, INT32, INT64, opset18
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnxscript", extra="train") from None
    op: Any = opset18  # its stubs know the types of a program's values, not those of a program being written

    def keep_best(boxes_BK4: Any, scores_BK: Any, iou: float, score_threshold: float) -> Any:
        shape = op.Shape(scores_BK)
        found_S3 = op.NonMaxSuppression(  # batch, class, box: every row is a batch of one class
            boxes_BK4,
            op.Unsqueeze(scores_BK, op.Constant(value_ints=[1])),
            op.Slice(shape, op.Constant(value_ints=[1]), op.Constant(value_ints=[2])),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[score_threshold]),
        )
        places_S2 = op.Gather(found_S3, op.Constant(value_ints=[0, 2]), axis=1)
        count = op.Slice(op.Shape(places_S2), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        ones_S = op.Expand(op.Cast(op.Constant(value_int=1), to=INT32.dtype), count)
        # Integers, because not every runtime scatters booleans.
        zeros_BK = op.Expand(op.Cast(op.Constant(value_int=0), to=INT32.dtype), shape)
        marked_BK = op.ScatterND(zeros_BK, op.Cast(places_S2, to=INT64.dtype), ones_S)
        return op.Cast(marked_BK, to=BOOL.dtype)

    return {torch.ops.nextvit.keep_best.default: keep_best}
