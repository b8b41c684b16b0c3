"""The programs in examples/ answer what nextvit answers. examples/README.md says what they need."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nextvit
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.bundle.manifest import read_manifest
from nextvit.predictions.results import Classification
from tests.runtime.conftest import sealed, write_colour_bundle

EXAMPLES = Path(__file__).parent.parent / "examples"


def bundles_and_answers(folder: Path) -> list[tuple[Path, Path, list[str]]]:
    """A bundle of each task, an image of its size, and the lines that its answer is."""
    pixels = np.random.default_rng(0).integers(0, 100, (32, 48, 3), dtype=np.uint8)
    pixels[..., 1] += 20
    Image.fromarray(pixels).save(folder / "picture.ppm")
    one = write_colour_bundle(folder / "one.nextvit")
    many = write_colour_bundle(folder / "many.nextvit")
    sealed(
        many,
        card=replace(read_manifest(many).card, task="multilabel", facts=MultiLabelFacts(thresholds=(0.5, 0.5, 0.999))),
    )
    found: list[tuple[Path, Path, list[str]]] = []
    for bundle in (one, many):
        [answer] = nextvit.load(bundle)([pixels])
        guesses = answer.top[:1] if isinstance(answer, Classification) else answer.present
        assert len(guesses) == (1 if bundle == one else 2)
        found.append((bundle, folder / "picture.ppm", [f"{each.label}\t{each.probability:.6f}" for each in guesses]))
    return found


def check(command: list[str], folder: Path) -> None:
    """The program's lines are the answer; what it cannot take it refuses."""
    for bundle, picture, expected in bundles_and_answers(folder):
        done = subprocess.run([*command, bundle, picture], capture_output=True, text=True, check=False)
        assert sorted(done.stdout.splitlines()) == sorted(expected), done.stderr
        check_refused(command, "usage: ")
        check_refused([*command, str(bundle)], "usage: ")
        check_refused([*command, str(folder / "none"), str(picture)], "none: not a bundle, it has no manifest.json")
        check_refused([*command, str(bundle), str(folder / "none.ppm")], "none.ppm: ")
        check_refused([*command, str(bundle), str(bundle / "golden.npz")], "must be a binary PPM of 48x32")
        picture_cut = folder / "cut.ppm"
        picture_cut.write_bytes(picture.read_bytes()[:-1])
        check_refused([*command, str(bundle), str(picture_cut)], "ends early")
        Image.open(picture).resize((47, 32)).save(folder / "small.ppm")
        check_refused([*command, str(bundle), str(folder / "small.ppm")], "must be a binary PPM of 48x32")
        original = (bundle / "manifest.json").read_text()
        for other in (original.replace('"format": 2', '"format": 3'), original.replace('"onnx"', '"openvino"')):
            (bundle / "manifest.json").write_text(other)
            check_refused([*command, str(bundle), str(picture)], "not an ONNX bundle of format 1 or 2")


def check_refused(command: list[str], message: str) -> None:
    """One line that says what is wrong, and exit code 2."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done.stderr
    assert message in done.stderr


def test_they_are_short():
    for name in ("cpp/main.cpp", "javascript/index.mjs"):
        assert len((EXAMPLES / name).read_text().splitlines()) < 60


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_javascript_parses():
    subprocess.run(["node", "--check", EXAMPLES / "javascript" / "index.mjs"], check=True)


@pytest.mark.network
@pytest.mark.skipif(not shutil.which("npm"), reason="needs node and npm")
def test_javascript_predicts_as_nextvit_does(tmp_path: Path):
    shutil.copy(EXAMPLES / "javascript" / "index.mjs", tmp_path)
    (tmp_path / "package.json").write_text("{}")
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "onnxruntime-web@1"]
    subprocess.run(install, cwd=tmp_path, check=True, timeout=300)
    check(["node", str(tmp_path / "index.mjs")], tmp_path)


def test_cpp_predicts_as_nextvit_does(tmp_path: Path):
    root = os.environ.get("NEXTVIT_ONNXRUNTIME")
    if not root or not shutil.which("g++"):
        pytest.skip("needs g++, and in NEXTVIT_ONNXRUNTIME a folder with include/ and lib/ of ONNX Runtime")
    program = tmp_path / "classify"
    # Releases have their headers in include/, Debian has them in include/onnxruntime/.
    places = [f"-I{root}/include", f"-I{root}/include/onnxruntime", f"-L{root}/lib", f"-Wl,-rpath,{root}/lib"]
    source = EXAMPLES / "cpp" / "main.cpp"
    warnings = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *warnings, source, "-o", program, *places, "-lonnxruntime"], check=True)
    check([str(program)], tmp_path)
