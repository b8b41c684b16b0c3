"""Which group of layers a node of an exported ONNX file belongs to."""

import onnx

from nextvit.backends.layers import group_of


def groups_of_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Name of each node -> its group, as `layers.group_of` names them.

    Nodes that no module of the network computes (the layout of the input, its sizes, casts at the ends) are left out.
    """
    found: dict[str, str] = {}
    for node in model.graph.node:
        path = node.name.rpartition(":")[0]
        if path.partition(".")[0] in ("normalise", "model"):
            found[node.name] = group_of(path)
    return found
