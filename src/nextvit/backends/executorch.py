"""Source -> model.pte for ExecuTorch, lowered to its XNNPACK backend, in fp32.

The program is first decomposed into equivalent operators, because XNNPACK takes over a sequence of operators only where
it supports all of them. As captured, the smallest network falls into 34 partitions with copies between them.
Decomposed, all of it but the input is one partition (a few where sides are odd), which takes half the time to lower and
two thirds of the time to run.

There is no form for dynamic image sizes: ExecuTorch plans all memory for the largest input when the file is written.
For the smallest network, 8 images and sides up to 4096 px that is a plan of 1.2 TB, and the file cannot be loaded.
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
from nextvit.machine.quiet import suppress_output

MODEL_FILE = "model.pte"
MAX_BATCH = 8
"""Memory is planned for the largest batch when the file is written; the session runs larger ones in parts."""

aten = torch.ops.aten


def export(source: Source, folder: Path) -> str:
    """Write the program for ExecuTorch under `folder`.

    Returns:
        The name of the file.

    Raises:
        MissingDependency: ExecuTorch is not installed.
    """
    with suppress_output():
        return lower(decompose(source.capture_program(max_batch=MAX_BATCH)), folder)


def lower(program: ExportedProgram, folder: Path) -> str:
    """Delegate the operators that XNNPACK supports to it, write the file under `folder`, and return its name."""
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    except ModuleNotFoundError as error:
        raise MissingDependency((error.name or "executorch").partition(".")[0], extra="executorch") from None
    edge = to_edge_transform_and_lower(program, transform_passes=[infer_batch], partitioner=[XnnpackPartitioner()])
    (folder / MODEL_FILE).write_bytes(edge.to_executorch().buffer)
    return MODEL_FILE


def decompose(program: ExportedProgram) -> ExportedProgram:
    """Rewrite a program into an equivalent one whose operators XNNPACK supports."""
    return program.run_decompositions(
        {
            aten.matmul.default: matmul_as_bmm,
            aten.avg_pool1d.default: avg_pool1d_as_2d,
            aten.avg_pool2d.default: ceil_pool_as_pad_and_pool,
            aten.mean.dim: mean_as_keepdim_and_flatten,
        }
    )


# N batch, H heads, T S D any sizes


def matmul_as_bmm(a_NHTD: Tensor, b_NHDS: Tensor) -> Tensor:
    """Matrix products of all heads as one batch; torch would broadcast with an operator that XNNPACK lacks."""
    if not a_NHTD.ndim == b_NHDS.ndim == 4:
        return NotImplemented  # a linear layer without bias
    heads, tokens = a_NHTD.shape[1:3]
    a, b = (each.reshape(-1, *each.shape[2:]) for each in (a_NHTD, b_NHDS))
    return torch.bmm(a, b).reshape(-1, heads, tokens, b.shape[2])


def avg_pool1d_as_2d(x_NCT: Tensor, kernel_size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """1D average pooling as 2D pooling of maps that are one row high."""
    channels, tokens = x_NCT.shape[1:]
    pooled = aten.avg_pool2d(x_NCT.reshape(-1, channels, 1, tokens), [1, *kernel_size], [1, *stride])
    return pooled.reshape(-1, channels, pooled.shape[3])


def ceil_pool_as_pad_and_pool(
    x_NCHW: Tensor, kernel_size: Sequence[int], stride: Sequence[int], *options: Any
) -> Tensor:
    """2x2 average pooling with ceil_mode, as replicate padding of odd sides and pooling without ceil_mode."""
    ceil_mode = len(options) > 1 and options[1]
    if not ceil_mode:
        return NotImplemented
    height, width = x_NCHW.shape[2:]
    if height % 2:
        x_NCHW = torch.cat([x_NCHW, x_NCHW[:, :, -1:]], dim=2)
    if width % 2:
        x_NCHW = torch.cat([x_NCHW, x_NCHW[:, :, :, -1:]], dim=3)
    return aten.avg_pool2d(x_NCHW, kernel_size, stride)


def mean_as_keepdim_and_flatten(x_NCHW: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """The mean over both spatial axes with keepdim, and then a flatten, which XNNPACK supports."""
    return NotImplemented if keepdim else aten.mean.dim(x_NCHW, dim, True).flatten(1)


def infer_batch(graph: GraphModule) -> Any:
    """Replace sizes that depend on the batch by -1 in reshapes: XNNPACK takes one unknown size, but no expression."""
    from executorch.exir.dialects import _ops
    from torch.fx.passes.infra.pass_base import PassResult

    edge: Any = _ops.ops.edge  # its attributes are created on first access
    for node in graph.graph.find_nodes(op="call_function", target=edge.aten.view_copy.default):
        values, shape = node.args
        if sum(isinstance(size, Node) for size in shape) == 1:
            node.args = (values, [-1 if isinstance(size, Node) else size for size in shape])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return PassResult(graph, True)
