"""Which group of layers a node of an exported ONNX file belongs to."""

import ast

import onnx

from nextvit.export.layers import group_of

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where torch's exporter notes the path of modules that a node came from: a list, outermost first, that ends with the
node's own name in the captured program."""


def groups_of_nodes(model: onnx.ModelProto) -> dict[str, str]:
    """Name of each node -> its group, as `layers.group_of` names them.

    Nodes that no module of the network computes (the layout of the input, its sizes, casts at the ends) are left out.
    """
    found: dict[str, str] = {}
    for node in model.graph.node:
        noted = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
        modules: list[str] = ast.literal_eval(noted)[:-1]
        path = modules[-1].removeprefix("deployed.") if modules else ""  # the prefix: a file with taps has a wrapper
        if path.partition(".")[0] in ("normalise", "model"):
            found[node.name] = group_of(path)
    return found
