"""The script for GPUs, where there is none: it says so; and what it would measure there, built on the CPU."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from nextvit.benchmark.peers import Peer
from nextvit.tasks.network import deployed_cost
from tests.export.nano import build_card

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = spec_from_file_location("gpu", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["gpu"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.backend
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(tmp_path: Path):
    results = tmp_path / "gpu.jsonl"
    command = [sys.executable, SCRIPT, "--results", results]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "no CUDA device here: nothing to measure\n", "")
    assert not results.exists()


def test_what_is_asked_most_comes_first_and_fits(gpu: ModuleType):
    groups = gpu.plan_groups((*gpu.OURS, *gpu.PEERS))
    assert len(groups) == len(set(groups))
    plain = [group for group in groups if group.backend != gpu.COMPILED]
    assert sum(group.expected_seconds for group in plain) < 240
    assert sum(group.expected_seconds for group in groups[: len(plain) + 2]) < 9 * 60
    for backend in (gpu.EAGER, gpu.GRAPH, gpu.COMPILED):
        assert {group.batch for group in groups if group.backend == backend} == {1, 8, 64, 256}
    assert (groups[0].precision, groups[0].backend, groups[0].batch) == ("fp16", gpu.GRAPH, 1)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_network_is_placed_as_the_group_has_it(gpu: ModuleType, channels_last: bool):
    group = gpu.Group(
        precision="bf16", channels_last=channels_last, backend=gpu.EAGER, batch=2, networks=("nextvit_nano",)
    )
    network = gpu.build_network("nextvit_nano")
    assert network.batch_norms == 0
    assert network.cost.macs > deployed_cost(build_card(224, 224)).macs  # a thousand classes against three
    model, images = gpu.place_network(network, group, "cpu"), gpu.images_for(group, "cpu")
    assert images.shape == (2, 224, 224, 3)
    seen: list[torch.Tensor] = []
    stem = next(each for each in model.modules() if isinstance(each, torch.nn.Conv2d))
    stem.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        assert gpu.prepare(model, images, group, None)().shape == (2, 1000)
    assert seen[0].dtype == torch.bfloat16
    assert seen[0].is_contiguous(memory_format=torch.channels_last) == channels_last


def test_networks_have_the_statistics_of_photographs(gpu: ModuleType):
    pytest.importorskip("timm", reason="needs nextvit[timm]")
    network = gpu.build_network("timm:lcnet_050")
    assert isinstance(network.module, Peer)
    images = torch.from_numpy(gpu.load_photographs(gpu.Preprocess(image_size=(gpu.SIZE_PX, gpu.SIZE_PX))))
    for built in (network, gpu.build_network("nextvit_nano")):
        with torch.inference_mode():
            assert built.module(images).std(dim=0).mean() > 1e-3  # as they are made: below 1e-6


def test_peers_keep_the_attention_that_is_fastest_in_pytorch(gpu: ModuleType):
    pytest.importorskip("timm", reason="needs nextvit[timm]")
    assert gpu.timm_model("vit_tiny_patch16_224").blocks[0].attn.fused_attn


def test_predictions_that_differ_from_eager_ones_are_not_measured(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch):
    group = gpu.Group(precision="bf16", channels_last=True, backend=gpu.GRAPH, batch=2, networks=())
    monkeypatch.setattr(gpu, "capture_graph", lambda run, pool: lambda: -run())
    with pytest.raises(RuntimeError, match=r"its outputs differ from eager ones \(cosine -1"):
        gpu.prepare(lambda images: torch.ones(2, 3), torch.zeros(1), group, None)
