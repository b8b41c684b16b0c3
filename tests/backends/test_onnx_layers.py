"""Nodes of an exported ONNX file, and the groups of layers they belong to."""

import onnx
import pytest

from nextvit.backends.layers import layer_groups, tap_points
from nextvit.backends.onnx import export
from nextvit.backends.onnx_layers import groups_of_nodes
from nextvit.backends.program import Source
from tests.export.nano import build_card, calibrated_model

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """Dynamic and with taps, which has more nodes of no module; test_to_tensorrt.py has the plain form."""
    network, card, folder = calibrated_model().eval(), build_card(64, 64), tmp_path_factory.mktemp("onnx")
    taps = tuple(tap_points(network, card.input))
    export(Source(model=network, card=card, precision="fp32", dynamic_size=True, taps=taps), folder)
    return onnx.load(folder / "model.onnx")


def test_every_node_with_weights_has_the_group_that_its_weights_are_named_after(model: onnx.ModelProto):
    """Weights keep the module's name, which is an independent witness."""
    found = groups_of_nodes(model)
    weights = {tensor.name for tensor in model.graph.initializer if "model." in tensor.name}
    checked: set[str] = set()
    for node in model.graph.node:
        for name in node.input:
            if name in weights:
                path = name.removeprefix("deployed.").removeprefix("model.").removeprefix("backbone.")
                assert path.startswith(found[node.name] + "."), (node.name, name)
                checked.add(found[node.name])
    assert checked == set(layer_groups(calibrated_model()))


def test_nodes_of_no_module_are_in_no_group(model: onnx.ModelProto):
    found = groups_of_nodes(model)
    outputs = {output.name for output in model.graph.output}  # halved tensors of watched layers among them
    outside = {node.op_type for node in model.graph.node if node.name not in found and node.output[0] not in outputs}
    assert outside <= {"Transpose", "Shape", "Squeeze"}
    scaling = [node for node in model.graph.node if any(name.endswith("normalise.scale") for name in node.input)]
    assert [(node.op_type, found[node.name]) for node in scaling] == [("Mul", "stem")]
