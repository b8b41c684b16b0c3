"""What docs/architecture.md says of imports and of tasks, and what an import may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nextvit
from nextvit.tasks.task import TASKS

SOURCE = Path(nextvit.__file__).parent
BELOW = {"image", "files", "machine", "bundle", "errors"}
"""What every folder above them may import."""
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "machine": {"errors"},
    "image": {"files", "errors"},
    "bundle": {"image", "files", "errors"},
    "models": BELOW,
    "data": BELOW,
    "predictions": BELOW,
    "metrics": {*BELOW, "predictions"},
    "convert": {*BELOW, "data"},
    "check": {*BELOW, "data"},
    "views": {*BELOW, "data"},
    "runtime": {*BELOW, "predictions"},
    "proof": {*BELOW, "predictions", "runtime"},
    "report": {*BELOW, "data", "check", "predictions"},  # the page of a check shows the images of its findings
    "tasks": {*BELOW, "predictions", "models", "views", "data", "check", "metrics", "runtime", "report"},
    "loading": {*BELOW, "models", "predictions", "runtime", "tasks"},
    "train": {*BELOW, "tasks", "views", "data", "models", "predictions", "runtime"},
    "recipes": {*BELOW, "train", "tasks", "views"},
    "backends": {*BELOW, "tasks", "models", "predictions", "proof", "report", "runtime"},
    "export": {
        *BELOW,
        "backends",
        "proof",
        "tasks",
        "views",
        "data",
        "metrics",
        "models",
        "predictions",
        "report",
        "runtime",
    },
    "benchmark": {*BELOW, "export", "backends", "loading", "tasks", "models", "predictions", "runtime"},
    "tune": {*BELOW, "benchmark", "export", "backends", "models", "runtime"},
}
TASK_TABLES = {"tasks", "predictions"}
"""The folders that may compare the name of a task."""


def layer_of(module: str) -> str | None:
    """The folder or base file of a dotted name inside nextvit; None for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nextvit" and len(parts) > 1 else None


def imported_modules(path: Path) -> set[str]:
    """Every dotted name that a file may import, wherever the import stands."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative imports hide the arrows"
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def imported_layers(path: Path) -> set[str]:
    return {layer for each in imported_modules(path) if (layer := layer_of(each)) in MAY_IMPORT.keys() | {"cli"}}


def test_imports_are_seen_in_every_form(tmp_path: Path):
    forms = ("import nextvit.cli.main", "from nextvit import cli", "from nextvit.cli.main import run")
    for number, line in enumerate((*forms, "def f():\n from nextvit.cli import main")):
        (tmp_path / f"{number}.py").write_text(line)
        assert imported_layers(tmp_path / f"{number}.py") == {"cli"}, line


def files_of(layer: str) -> list[Path]:
    file = SOURCE / f"{layer}.py"
    return [file] if file.is_file() else sorted((SOURCE / layer).rglob("*.py"))


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_layers_import_only_what_the_architecture_page_allows(layer: str):
    files = files_of(layer)
    assert files
    for path in files:
        assert imported_layers(path) <= MAY_IMPORT[layer] | {layer}, path


def test_no_two_layers_import_each_other():
    for layer, others in MAY_IMPORT.items():
        assert not {other for other in others if layer in MAY_IMPORT[other]}, layer


def test_every_folder_and_file_is_a_layer():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    files = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    assert folders | files == MAY_IMPORT.keys() | {"cli"}


def test_folders_are_at_most_one_deep():
    assert not [path for path in SOURCE.rglob("*.py") if len(path.relative_to(SOURCE).parts) > 2]


def test_no_files_import_each_other_in_a_circle():
    modules = {
        ".".join(("nextvit", *path.relative_to(SOURCE).with_suffix("").parts)): path for path in SOURCE.rglob("*.py")
    }
    imports = {name: {each for each in imported_modules(path) if each in modules} for name, path in modules.items()}
    while leaves := [name for name, others in imports.items() if not others & imports.keys() - {name}]:
        for name in leaves:
            del imports[name]
    assert not imports, f"these files import each other in circles: {sorted(imports)}"


def names_a_task(node: ast.expr) -> bool:
    """Whether an expression is the name of a task, or a collection with one."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(names_a_task, node.elts))
    return isinstance(node, ast.Constant) and node.value in TASKS


def compares_a_task(node: ast.AST) -> bool:
    """Whether a value is compared with the name of a task; `"segmentation" in annotation` asks for a key of COCO's."""
    match node:
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            return names_a_task(left) or names_a_task(right)
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]):
            return names_a_task(right)
        case ast.MatchValue(value=value):
            return names_a_task(value)
        case _:
            return False


def test_comparisons_with_the_name_of_a_task_are_seen():
    for line in ('task == "detection"', '"detection" != card.task', 'task in ("detection", "other")'):
        assert any(map(compares_a_task, ast.walk(ast.parse(line)))), line
    for line in ('"segmentation" in annotation', "task == other", 'kind == "crop"'):
        assert not any(map(compares_a_task, ast.walk(ast.parse(line)))), line


def test_only_the_tables_compare_the_name_of_a_task():
    """A comparison elsewhere is a decision that belongs into the task's object."""
    for path in SOURCE.rglob("*.py"):
        if path.relative_to(SOURCE).parts[0] not in TASK_TABLES:
            found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if compares_a_task(node)]
            assert not found, path


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


@pytest.mark.parametrize("arguments", [("predict", ".", "."), ("info", ".")])
def test_a_folder_that_is_no_model_is_refused_before_torch_is_loaded(tmp_path: Path, arguments: tuple[str, ...]):
    (tmp_path / "a.jpg").write_bytes(b"")
    command = [sys.executable, "-X", "importtime", "-m", "nextvit", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    *imports, line = done.stderr.splitlines()
    assert done.returncode == 2 and "neither a run (no recipe.yaml) nor a bundle" in line
    assert not any(each.rpartition("|")[2].strip() == "torch" for each in imports)


def test_public_names_exist_and_are_listed():
    assert set(dir(nextvit)) >= {"__version__"}
    for name in nextvit.__all__:
        assert getattr(nextvit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        nextvit.laod  # noqa: B018
