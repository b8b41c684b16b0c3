"""torch.ops.nextvit.keep_best -> non-maximum suppression in ONNX's standard operators."""

from typing import Any

import torch

import nextvit.models.suppression  # noqa: F401 (registers the operator with torch)
from nextvit.errors import MissingDependency


def keep_best_translations() -> dict[Any, Any]:
    """Translation of `suppression.keep_best`, as the table that torch's exporter takes.

    Raises:
        MissingDependency: onnxscript is not installed.
    """
    try:
        from onnxscript import BOOL, INT32, INT64, opset18
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "onnxscript", extra="train") from None
    op: Any = opset18  # its stubs type the values of a finished program, not of one that is being built

    def keep_best(boxes_BK4: Any, scores_BK: Any, iou: float, score_threshold: float) -> Any:
        shape = op.Shape(scores_BK)
        found_S3 = op.NonMaxSuppression(  # batch, class, box: every row is a batch of one class
            boxes_BK4,
            op.Unsqueeze(scores_BK, op.Constant(value_ints=[1])),
            op.Slice(shape, op.Constant(value_ints=[1]), op.Constant(value_ints=[2])),
            op.Constant(value_floats=[iou]),
            op.Constant(value_floats=[score_threshold]),
        )
        indices_S2 = op.Gather(found_S3, op.Constant(value_ints=[0, 2]), axis=1)
        count = op.Slice(op.Shape(indices_S2), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        ones_S = op.Expand(op.Cast(op.Constant(value_int=1), to=INT32.dtype), count)
        # Integers, because not every runtime scatters booleans.
        zeros_BK = op.Expand(op.Cast(op.Constant(value_int=0), to=INT32.dtype), shape)
        marked_BK = op.ScatterND(zeros_BK, op.Cast(indices_S2, to=INT64.dtype), ones_S)
        return op.Cast(marked_BK, to=BOOL.dtype)

    return {torch.ops.nextvit.keep_best.default: keep_best}
