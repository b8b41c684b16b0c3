"""The wheel that `make dist` builds is all that a server needs; nothing is taken from a registry under our name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.conftest import write_colour_bundle

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).parent / "uv"

SERVE = """
import sys, numpy, nextvit
from pathlib import Path
[prediction] = nextvit.load(sys.argv[1])([numpy.zeros((40, 40, 3), numpy.uint8)])
assert "site-packages" in nextvit.__file__ and "torch" not in sys.modules
assert list((Path(nextvit.__file__).parent / "sample_images").glob("*.jpg"))
print(prediction.label)
"""


@pytest.mark.slow
@pytest.mark.skipif(not UV.exists(), reason="needs uv, which `make` installs")
def test_the_wheel_serves_from_an_empty_environment(tmp_path: Path):
    def call(*command: object) -> str:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call(UV, "build", "--quiet", "--out-dir", tmp_path / "dist", ROOT)
    [wheel], [source] = (list((tmp_path / "dist").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    assert source.stat().st_size < 20e6
    python = tmp_path / "server" / "bin" / "python"
    call(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "server")
    call(
        UV, "pip", "install", "--quiet", "--python", python, "--constraints", ROOT / "constraints.txt", f"{wheel}[onnx]"
    )
    bundle = write_colour_bundle(tmp_path / "colours.nextvit")
    assert call(python, "-I", "-c", SERVE, bundle).strip() in ("1 red", "2 green", "3 blue")
    assert "quickstart" in call(tmp_path / "server" / "bin" / "nextvit", "--help")


OUR_NAME = re.compile(r"pip install(?: -\S+)* ['\"]?nextvit(?![-\w])")


@pytest.mark.parametrize("line", ["pip install nextvit", "pip install 'nextvit[onnx]'", "pip install -U nextvit==0.2"])
def test_our_name_is_recognised(line: str):
    assert OUR_NAME.search(line)


def test_nobody_is_told_to_install_our_name_from_a_registry():
    """No registry has the package, so whoever registers the name would be installed."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), ROOT / "pyproject.toml"]
    told = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*pages, *sources, ROOT / "Makefile"]
        for line in path.read_text(encoding="utf-8").splitlines()
        if OUR_NAME.search(line)
    ]
    assert not told
