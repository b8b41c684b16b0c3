"""ExportedProgram -> model.pte for ExecuTorch, lowered to its XNNPACK backend, in fp32.

The program is rewritten into equal forms first, because XNNPACK takes over a run of operators only where all of them are
known to it: as captured, the smallest network falls into 34 pieces with copies between them; as rewritten, all behind the
entrance is one piece (a few where sides are odd), which takes half the time to lower and two thirds of the time to run.

There is no form for any size: ExecuTorch plans all memory for the largest input when the file is written. For the smallest
network, 8 images and sides up to 4096 px that is a plan of 1.2 TB, and the file cannot be loaded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from nextvit.backends.program import Source
from nextvit.errors import MissingDependency
from nextvit.machine.quiet import quietly

MODEL_FILE = "model.pte"
MAX_BATCH = 8
"""Memory is planned for the largest batch when the file is written; the session runs larger ones in parts."""

aten = torch.ops.aten


def export(source: Source, folder: Path) -> str:
    """Write the program for ExecuTorch under `folder`; returns the file's name.

    Raises:
        MissingDependency: ExecuTorch is not installed.
    """
    with quietly():
        return lower(plain(source.program(max_batch=MAX_BATCH)), folder)


def lower(program: ExportedProgram, folder: Path) -> str:
    """Hand what XNNPACK knows over to it, and write the file."""
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ModuleNotFoundError as error:
        raise MissingDependency((error.name or "executorch").partition(".")[0], extra="executorch") from None
    edge = to_edge_transform_and_lower(program, transform_passes=[infer_batch], partitioner=[XnnpackPartitioner()])
    (folder / MODEL_FILE).write_bytes(edge.to_executorch().buffer)
    return MODEL_FILE


def plain(program: ExportedProgram) -> ExportedProgram:
    """An equal program out of operators that XNNPACK knows."""
    return program.run_decompositions(
        {
            aten.matmul.default: product,
            aten.avg_pool1d.default: pool_runs,
            aten.avg_pool2d.default: pool_up,
            aten.mean.dim: mean_of_positions,
        }
    )


# N batch, H heads, T S D any sizes


def product(a_NHTD: Tensor, b_NHDS: Tensor) -> Tensor:
    """Matrix products of all heads as one batch: left alone, their shapes are spread by an operator that XNNPACK lacks."""
    if not a_NHTD.ndim == b_NHDS.ndim == 4:
        return NotImplemented  # a linear layer without bias
    heads, tokens = a_NHTD.shape[1:3]
    a, b = (each.reshape(-1, *each.shape[2:]) for each in (a_NHTD, b_NHDS))
    return torch.bmm(a, b).reshape(-1, heads, tokens, b.shape[2])


def pool_runs(x_NCT: Tensor, kernel_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Average runs of tokens as a pooling of images that are one row high."""
    channels, tokens = x_NCT.shape[1:]
    pooled = aten.avg_pool2d(x_NCT.reshape(-1, channels, 1, tokens), [1, *kernel_size], [1, *stride])
    return pooled.reshape(-1, channels, pooled.shape[3])


def pool_up(x_NCHW: Tensor, kernel_size: Sequence[int], stride: Sequence[int], *options: Any) -> Tensor:
    """2x2 pooling that rounds up, as plain pooling with the last row and column repeated where a side is odd."""
    rounds_up = len(options) > 1 and options[1]
    if not rounds_up:
        return NotImplemented
    height, width = x_NCHW.shape[2:]
    if height % 2:
        x_NCHW = torch.cat([x_NCHW, x_NCHW[:, :, -1:]], dim=2)
    if width % 2:
        x_NCHW = torch.cat([x_NCHW, x_NCHW[:, :, :, -1:]], dim=3)
    return aten.avg_pool2d(x_NCHW, kernel_size, stride)


def mean_of_positions(x_NCHW: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """The mean with its two axes kept, which are dropped in a second step."""
    return NotImplemented if keepdim else aten.mean.dim(x_NCHW, dim, True).flatten(1)


def infer_batch(graph: GraphModule) -> Any:
    """Let every change of shape infer the size that depends on the batch: XNNPACK knows one unknown size, but no formula."""
    from executorch.exir.dialects import _ops
    from torch.fx.passes.infra.pass_base import PassResult

    edge: Any = _ops.ops.edge  # its attributes are made when asked for
    for node in graph.graph.find_nodes(op="call_function", target=edge.aten.view_copy.default):
        values, shape = node.args
        if sum(isinstance(size, Node) for size in shape) == 1:
            node.args = (values, [-1 if isinstance(size, Node) else size for size in shape])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return PassResult(graph, True)
