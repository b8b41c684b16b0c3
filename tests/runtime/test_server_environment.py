"""What the extra `onnx` brings is enough to serve. `make test` runs this folder in such an environment,
too."""

import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

SERVE = """
import sys
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "onnx", "safetensors", "matplotlib", "cyclopts", "rich",
        "yaml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
import nextvit, numpy
predictor = nextvit.load(sys.argv[1], threads=1)
predictor.warm_up()
print(predictor([numpy.full((40, 40, 3), (0, 9, 0), numpy.uint8)])[0].label)
"""


def test_numpy_pillow_and_onnxruntime_are_enough_to_serve(bundle: Path):
    """Everything else that is installed here is hidden."""
    done = subprocess.run([sys.executable, "-c", SERVE, bundle], capture_output=True, text=True, check=True)
    assert done.stdout == "2 green\n"


def test_a_server_has_no_torch():
    if "onnx" in (names := {name.lower() for each in metadata.distributions() if (name := each.metadata["Name"])}):
        pytest.skip("a development environment; .venv-runtime is a server's")
    assert not {"torch", "torchvision", "safetensors", "onnxscript"} & names
    assert util.find_spec("torch") is None
