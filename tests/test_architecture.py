"""The arrows of docs/architecture.md, drawn by a test, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nextvit

SOURCE = Path(nextvit.__file__).parent
BASE = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__", "loading"}
MAY_IMPORT = {
    "base": set(),
    "models": set(),
    "data": set(),
    "metrics": set(),
    "runtime": set(),
    "tasks": {"models", "data", "metrics"},
    "train": {"tasks", "data", "models", "runtime", "loading"},
    "recipes": {"train", "tasks", "models", "data"},
    "export": {"models", "runtime", "data", "tasks", "metrics", "report"},
    "quantize": {"export", "data", "runtime"},
    "benchmark": {"export", "models", "runtime", "loading"},
    "report": {"data"},  # the page of a check shows the pictures of its findings
    "loading": {"models", "runtime"},
}


def layer_of(module: str) -> str | None:
    """The layer of a dotted name inside nextvit; None for other packages."""
    parts = module.split(".")
    if parts[0] != "nextvit" or len(parts) == 1:
        return None
    return "base" if parts[1] in BASE else parts[1]


def imported_layers(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative imports hide the arrows"
            modules += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return {layer for module in modules if (layer := layer_of(module)) in MAY_IMPORT.keys() | {"cli"}}


def test_the_arrows_are_seen_in_every_form_of_import(tmp_path: Path):
    forms = ("import nextvit.cli.main", "from nextvit import cli", "from nextvit.cli.main import run")
    for number, line in enumerate((*forms, "def f():\n from nextvit.cli import main")):
        (tmp_path / f"{number}.py").write_text(line)
        assert imported_layers(tmp_path / f"{number}.py") == {"cli"}, line


def files_of(layer: str) -> list[Path]:
    if layer == "base":
        return [SOURCE / f"{name}.py" for name in sorted(BASE)]
    return [SOURCE / "loading.py"] if layer == "loading" else sorted((SOURCE / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layers_only_import_downwards(layer: str):
    files = files_of(layer)
    assert files
    for path in files:
        assert imported_layers(path) <= MAY_IMPORT[layer] | {layer, "base"}, path


def test_every_folder_is_a_layer():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == MAY_IMPORT.keys() - {"base", "loading"} | {"cli"}


def test_folders_are_at_most_one_deep():
    assert not [path for path in SOURCE.rglob("*.py") if len(path.relative_to(SOURCE).parts) > 2]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "statement",
    [
        "import nextvit",
        "import nextvit.cli.main as m; m.run(['--help'])",
        "import nextvit.cli.main as m; m.run(['train', '--help'])",
        "import nextvit.runtime.predictor, nextvit.runtime.session",
    ],
)
def test_import_and_help_load_neither_torch_nor_a_runtime(statement: str):
    heavy = {"torch", "torchvision", "onnx", "onnxruntime", "matplotlib", "sklearn"}
    assert (
        run(f"import sys; {statement}; print(); print(sorted({heavy!r} & set(sys.modules)))").splitlines()[-1] == "[]"
    )


def test_public_names_exist_and_are_listed():
    assert set(dir(nextvit)) >= {"__version__"}
    for name in nextvit.__all__:
        assert getattr(nextvit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        nextvit.laod  # noqa: B018
