"""ONNX model -> the group of layers that each of its nodes belongs to."""

import onnx

from nextvit.backends.layers import group_of


def groups_of_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Map the name of each node to its group, as `layers.group_of` names groups.

    Nodes outside the network's modules are left out: the layout of the input, its sizes, casts of inputs and outputs.
    """
    found: dict[str, str] = {}
    for node in model.graph.node:
        path = node.name.rpartition(":")[0]
        if path.partition(".")[0] in ("normalise", "model"):
            found[node.name] = group_of(path)
    return found
