"""Small real objects that several test files share, and how the tests are shared out."""

import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from getpass import getuser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cpu_times import CpuTimes

# Before torch, OpenBLAS or OpenMP are loaded, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

COLOURS = {"blue": (40, 60, 220), "green": (40, 200, 60), "red": (220, 50, 40)}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-times", metavar="FILE", help="write the CPU time of each test")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuTimes(config.getoption("cpu_times")), "cpu times")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Of all workers of pytest-xdist, which take whole files (`--dist loadfile`), one runs a `serial` test at a time.

    Marks of groups would say the same, but pytest-xdist 3.8 does not find them with pytest 9.2.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ or not item.get_closest_marker("serial"):
        return (yield)
    from filelock import FileLock  # not where only a runtime is installed

    with FileLock(Path(tempfile.gettempdir()) / f"nextvit-serial-tests-of-{getuser()}.lock"):
        return (yield)


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """`made_once(name, make)`: a folder that `make(folder)` fills for all tests of all workers, who only read it."""
    from filelock import FileLock  # not where only a runtime is installed

    times = request.config.pluginmanager.get_plugin("cpu times")
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / "once" / name, shared / "once" / f"{name}.done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(shared / "once" / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                with times.making(name):
                    make(folder)
                done.touch()
        return folder

    return made


def needs(*packages: str) -> None:
    """Skip where one of these is not installed. Importing OpenVINO or NNCF here would start its telemetry."""
    for package in packages:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


def draw_dataset(root: Path, *, train: int = 8, val: int = 4, size: int = 40) -> Path:
    """Three classes of noisy coloured squares, which the smallest network learns in seconds."""
    generator = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                noisy = np.array(colour) + generator.normal(0, 30, (size, size, 3))
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """A fresh dataset of three colours."""
    return draw_dataset(tmp_path / "colours")


@pytest.fixture(scope="session")
def shared_colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset once for all tests that only read it."""
    return draw_dataset(tmp_path_factory.mktemp("shared") / "colours")


@pytest.fixture(scope="session")
def images(shared_colours: Path) -> list[Path]:
    """Twelve of its images, for proofs."""
    return sorted((shared_colours / "val").rglob("*.png"))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`nextvit ...` in this process."""
    from nextvit.cli import main as command_line
    from tests.cli.commands import Done

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["nextvit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory):
    """Unpack a real image set by name; skips where there is none."""
    source = os.environ.get("NEXTVIT_TEST_DATA")

    def unpack(name: str) -> Path:
        if not source or not (Path(source) / f"{name}.tar").is_file():
            pytest.skip(f"needs {name}.tar in the folder that NEXTVIT_TEST_DATA names")
        folder = tmp_path_factory.mktemp(name)
        with tarfile.open(Path(source) / f"{name}.tar") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or Path(member.name).is_absolute() or ".." in Path(member.name).parts:
                    continue
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
        return folder / name

    return unpack
