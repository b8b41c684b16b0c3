"""Where a bundle computes is said by name, and nothing takes its place."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nextvit
from nextvit.errors import InputError
from nextvit.runtime import session as sessions

onnxruntime: Any = pytest.importorskip("onnxruntime")


def test_the_cpu_is_the_default_and_has_a_name(bundle: Path):
    for device in (None, "cpu"):
        facts = nextvit.load(bundle, device=device).session.facts()
        assert (facts["device"], facts["provider"]) == ("cpu", "CPUExecutionProvider")
        assert facts["operators"] in ({"CPUExecutionProvider": 3}, {})  # older versions do not tell


def test_unknown_devices_and_those_that_this_runtime_lacks_are_refused(bundle: Path):
    with pytest.raises(InputError, match="no device 'cdua'; did you mean 'cuda'"):
        nextvit.load(bundle, device="cdua")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(InputError, match=r"built without CUDAExecutionProvider; it has: .*cpu"):
            nextvit.load(bundle, device="cuda")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_no_silent_step_back_to_the_cpu(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """ONNX Runtime itself goes on without it: here for real, on a machine that has none."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime may well start CUDA")
    here = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    with pytest.raises(InputError, match="could not start CUDAExecutionProvider and took CPUExecutionProvider instead"):
        nextvit.load(bundle, device="cuda")


def test_a_backend_without_a_choice_says_so(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    class OneDevice:
        def __init__(self, path: Path, manifest: Any, *, threads: int | None) -> None: ...

    monkeypatch.setattr("nextvit.runtime.onnx_session.OnnxSession", OneDevice)
    assert isinstance(nextvit.load(bundle).session, OneDevice)
    with pytest.raises(InputError, match="the backend onnx has no choice of devices; leave out 'cuda'"):
        nextvit.load(bundle, device="cuda")


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(bundle: Path, threads: int):
    with pytest.raises(InputError, match=f"threads must be at least 1, got {threads}"):
        nextvit.load(bundle, threads=threads)
    assert sessions.check_threads(1) is None


@pytest.mark.serial
def test_no_thread_spins_after_a_run(bundle: Path):
    """In a process of its own, where nothing else computes. Spinning takes 40 ms of a core; a run's end none."""
    code = f"""
import time
import nextvit
predictor = nextvit.load({str(bundle)!r}, threads=2)
predictor.warm_up((64,))
before = time.process_time()
time.sleep(0.1)
assert time.process_time() - before < 0.02, time.process_time() - before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
