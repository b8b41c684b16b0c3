"""ExportedProgram -> model.pte with static int8 (PT2E): weights by channel, activations by ranges seen in calibration."""

from pathlib import Path

import torch
from torch.fx import GraphModule, Node

from nextvit.backends.executorch import MAX_BATCH, lower, plain
from nextvit.backends.layers import group_of
from nextvit.backends.program import Source, capture
from nextvit.errors import MissingDependency
from nextvit.machine.quiet import quietly


def export(source: Source, folder: Path) -> str:
    """Write the quantised program for ExecuTorch under `folder`; returns the file's name.

    Convolutions, linear layers, additions and joins compute in int8; attention's products, its softmax and poolings in
    fp32. So do the groups of `source.float_layers`, and the normalisation of the pixels, which needs two numbers a pixel.

    Raises:
        MissingDependency: ExecuTorch or torchao is not installed.
    """
    with quietly():
        quantised = quantise(source)
        program = capture(quantised, source.card.input.image_size, max_batch=MAX_BATCH)
        return lower(program, folder)


def quantise(source: Source) -> GraphModule:
    """The program with quantisation stated in its graph, calibrated on `source.calibration`."""
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

    class Islands(XNNPACKQuantizer):
        """Annotates nothing in the groups that stay in float: its own filter misses concatenations and what follows."""

        # Nor does it look for batch norms, which are folded: that alone would take half the time.
        SUPPORTED_PATTERNS = [each for each in XNNPACKQuantizer.SUPPORTED_PATTERNS if "bn" not in each.name]  # noqa: RUF012

        def annotate(self, model: GraphModule) -> GraphModule:
            model = super().annotate(model)
            for node in model.graph.nodes:
                if not may_quantise(node, source.float_layers):
                    node.meta.pop(Q_ANNOTATION_KEY, None)
            return model

    quantizer = Islands().set_global(get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(lambda node: may_quantise(node, source.float_layers))
    program = plain(source.program(max_batch=MAX_BATCH))
    watched = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for images_NHWC in torch.from_numpy(source.calibration).split(MAX_BATCH):
            watched(images_NHWC)
    return convert_pt2e(watched)


def may_quantise(node: Node, float_layers: tuple[str, ...]) -> bool:
    """Whether an operator belongs to a group that is quantised. Weights belong to none: their operators decide."""
    path = module_path(node)
    return not path or ("normalise" not in path.split(".") and group_of(path) not in float_layers)


def module_path(node: Node) -> str:
    """The module that an operator came from, as a path from the deployed network; empty for what came from none."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return list(stack.values())[-1][0]
