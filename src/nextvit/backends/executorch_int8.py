"""Source -> model.pte for ExecuTorch in static int8 (PT2E), with one scale for each output channel of the weights."""

from pathlib import Path

import torch
from torch.fx import GraphModule, Node

from nextvit.backends.executorch import MAX_BATCH, decompose, lower
from nextvit.backends.layers import group_of
from nextvit.backends.program import Source, capture
from nextvit.errors import MissingDependency
from nextvit.machine.quiet import suppress_output


def export(source: Source, folder: Path) -> str:
    """Write the quantised program for ExecuTorch under `folder`.

    Convolutions, linear layers, additions and concatenations compute in int8. The matrix products of attention, softmax
    and pooling stay in fp32, and so do the layer groups of `source.float_layers` and the normalisation of the pixels,
    which needs two numbers for each pixel.

    Returns:
        The name of the file.

    Raises:
        MissingDependency: ExecuTorch or torchao is not installed.
    """
    with suppress_output():
        quantised_program = quantise(source)
        program = capture(quantised_program, source.card.input.image_size, max_batch=MAX_BATCH)
        return lower(program, folder)


def quantise(source: Source) -> GraphModule:
    """The network with quantise and dequantise operators in its graph, calibrated on `source.calibration`."""
    try:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY
    except ModuleNotFoundError as error:
        raise MissingDependency((error.name or "executorch").partition(".")[0], extra="executorch") from None
    assert source.calibration is not None

    patterns = XNNPACKQuantizer.SUPPORTED_PATTERNS

    class PartialQuantizer(XNNPACKQuantizer):
        """Annotates nothing in groups kept in float; the base class's filter misses concatenations and their users."""

        # Batch norms are folded already, and matching their patterns would take half of the time.
        SUPPORTED_PATTERNS = [each for each in patterns if "bn" not in each.name]  # noqa: RUF012

        def annotate(self, model: GraphModule) -> GraphModule:
            model = super().annotate(model)
            for node in model.graph.nodes:
                if not is_quantised(node, source.float_layers):
                    node.meta.pop(Q_ANNOTATION_KEY, None)
            return model

    quantizer = PartialQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(lambda node: is_quantised(node, source.float_layers))
    program = decompose(source.capture_program(max_batch=MAX_BATCH))
    prepared = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for images_NHWC in torch.from_numpy(source.calibration).split(MAX_BATCH):
            prepared(images_NHWC)
    return convert_pt2e(prepared)


def is_quantised(node: Node, float_layers: tuple[str, ...]) -> bool:
    """Whether an operator is in a group to quantise. Weights are in no group; the operators that use them decide."""
    path = module_path(node)
    return not path or ("normalise" not in path.split(".") and group_of(path) not in float_layers)


def module_path(node: Node) -> str:
    """The path of the module that an operator comes from, below the deployed network; empty where there is none."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return list(stack.values())[-1][0]
