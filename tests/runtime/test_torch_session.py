"""What a session of PyTorch says of itself is asked back, not what it was told."""

import pytest

torch = pytest.importorskip("torch")

from nextvit.errors import InputError
from nextvit.runtime.torch_session import TorchSession, module_precision


def module(most: torch.dtype) -> torch.nn.Module:
    """Most parameters in one type, a few in float32."""
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1).to(most), torch.nn.BatchNorm2d(3))


def test_precision_is_that_of_most_parameters():
    assert TorchSession(module(torch.float32)).facts()["precision"] == "fp32"
    assert TorchSession(module(torch.bfloat16), precision="bf16").facts()["precision"] == "bf16"
    assert module_precision(module(torch.float16)) == "fp16"
    assert module_precision(module(torch.float64)) == "torch.float64"


def test_another_precision_than_was_asked_for_is_refused():
    with pytest.raises(InputError, match="most of the module's parameters are fp32, expected bf16"):
        TorchSession(module(torch.float32), precision="bf16")


def test_threads_are_those_that_torch_takes(monkeypatch: pytest.MonkeyPatch):
    before = torch.get_num_threads()
    assert TorchSession(module(torch.float32), threads=before + 1).facts()["threads"] == before + 1
    assert TorchSession(module(torch.float32)).facts()["threads"] == before == torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)  # a torch that takes no notice
    assert TorchSession(module(torch.float32), threads=before + 1).facts()["threads"] == before
