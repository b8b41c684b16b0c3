"""The ExecuTorch backend: exact in fp32, int8 where and only where it is asked for."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nextvit.backends import executorch as to_executorch
from nextvit.backends import executorch_int8 as quantized
from nextvit.backends.layers import TAP_SCALE, TrainedNetwork, group_of, layer_groups, record_outputs
from nextvit.backends.program import Source
from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, MissingDependency
from nextvit.export.targets import target_of
from nextvit.machine.quiet import suppress_output
from nextvit.models.classification import Classifier
from nextvit.models.config import NANO
from tests.conftest import MadeOnce
from tests.export.nano import build_card
from tests.models.calibrated import calibrate
from tests.models.reference import reference_logits

pytest.importorskip("executorch", reason="needs nextvit[executorch]")
from nextvit.runtime.executorch_session import ExecutorchSession, set_threads

CARD, EVEN = build_card(33, 47), build_card(64, 64)
TAPS = ("normalise", "model.backbone.stages.1.blocks.0.e_mhsa", "model.backbone.stages.3.blocks.0.mhca")
MANIFEST = Manifest(
    card=CARD, backend="executorch", precision="fp32", model_file="model.pte", outputs={"logits": ""}, made_with={}
)


def pixels(count: int, height: int = 33, width: int = 47) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def error(got: Any, expected: Any) -> float:
    """The largest difference, relative to the spread of what is expected."""
    return float(np.abs(got - expected).max() / expected.std())


@pytest.fixture(scope="module")
def model() -> Classifier:
    """Few blocks, because lowering takes a second for each."""
    torch.manual_seed(0)
    return calibrate(Classifier(replace(NANO, blocks=("C", "T", "C", "C")), num_classes=3)).float()


@pytest.fixture(scope="module")
def exported(model: Classifier, made_once: MadeOnce) -> Path:
    """An fp32 file at odd sides, with watched layers as outputs."""
    source = Source(model=model, card=CARD, precision="fp32", taps=TAPS)
    return made_once("executorch-program", lambda folder: to_executorch.export(source, folder))


@pytest.fixture(scope="module")
def session(exported: Path) -> ExecutorchSession:
    outputs = dict.fromkeys(("logits", *TAPS), "watched")
    return ExecutorchSession(exported, replace(MANIFEST, outputs=outputs))


def int8(model: Classifier, *, kept: str | None = None) -> Source:
    """A request for int8, of all groups or of one."""
    float_layers = tuple(name for name in layer_groups(model) if kept and name != kept)
    return Source(model=model, card=EVEN, precision="int8", calibration=pixels(20, 64, 64), float_layers=float_layers)


def test_predictions_are_exact_in_any_batch_at_odd_sides(session: ExecutorchSession, model: Classifier):
    """Also in batches beyond the largest that memory is planned for."""
    for count in (1, 3, to_executorch.MAX_BATCH, 2 * to_executorch.MAX_BATCH + 1):
        images = pixels(count)
        assert error(session.run({"images": images})["logits"], reference_logits(model, CARD, images)) <= 1e-4


def test_watched_layers_come_by_their_names(session: ExecutorchSession, model: Classifier):
    images = pixels(2)
    got = session.run({"images": images})
    trained = TrainedNetwork(model, CARD.input).eval()
    with torch.inference_mode(), record_outputs(trained, TAPS) as expected:
        trained(torch.from_numpy(images))
    assert list(got) == ["logits", *TAPS]
    for name in TAPS:
        assert error(got[name] / TAP_SCALE, expected[name].numpy()) <= 1e-4, name


def test_a_prediction_stays_when_the_next_is_computed(session: ExecutorchSession):
    first = session.run({"images": pixels(1)})["logits"]
    kept = first.copy()
    session.run({"images": 255 - pixels(1)})
    np.testing.assert_array_equal(first, kept)


def test_other_sizes_are_refused_even_with_as_many_pixels(session: ExecutorchSession):
    with pytest.raises(InputError, match=r"images of 47x33 px .*; got 33x47 px"):
        session.run({"images": pixels(1, 47, 33)})
    with pytest.raises(InputError, match="got float32"):
        session.run({"images": pixels(1).astype(np.float32)})


def test_what_the_runtime_refuses_is_one_clear_error(session: ExecutorchSession):
    with pytest.raises(InputError, match=r"^ExecuTorch .* cannot run the model \(.+\)$"):
        session.run_batch(pixels(session.max_batch + 1))


@pytest.mark.backend
def test_the_network_is_one_piece_for_xnnpack(model: Classifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Split in pieces, as it is without the rewriting, it is slower, and nothing else would tell."""
    from executorch.exir.program import EdgeProgramManager

    seen: list[Any] = []
    finish = EdgeProgramManager.to_executorch

    def spy(self: Any) -> Any:
        seen.append([str(node.target) for node in self.exported_program().graph.nodes if node.op == "call_function"])
        return finish(self)

    monkeypatch.setattr(EdgeProgramManager, "to_executorch", spy)
    to_executorch.export(Source(model=model, card=EVEN, precision="fp32"), tmp_path)
    images = pixels(2, 64, 64)
    got = ExecutorchSession(tmp_path, MANIFEST).run({"images": images})["logits"]
    assert error(got, reference_logits(model, EVEN, images)) <= 1e-4
    assert sum("delegate" in name for name in seen[0]) == 1
    assert not [name for name in seen[0] if "conv" in name or "mm" in name or "pool" in name or "softmax" in name]


@pytest.mark.backend
def test_int8_is_smaller_and_near(model: Classifier, exported: Path, tmp_path: Path):
    quantized.export(int8(model), tmp_path)
    images = pixels(20, 64, 64)
    got = ExecutorchSession(tmp_path, replace(MANIFEST, precision="int8")).run({"images": images})["logits"]
    assert 1e-3 < error(got, reference_logits(model, EVEN, images)) < 0.6
    assert (tmp_path / "model.pte").stat().st_size < 0.4 * (exported / "model.pte").stat().st_size


@pytest.mark.parametrize("kept", ["stem", "stages.1.blocks.0", None])
def test_only_groups_that_may_be_are_quantised(model: Classifier, kept: str | None):
    with suppress_output():
        graph = quantized.quantise(int8(model, kept=kept)).graph
    found = {True: set(), False: set()}
    for node in graph.nodes:
        if node.op == "call_function" and str(node.target) in ("aten.conv2d.default", "aten.linear.default"):
            # Its weights come from int8, and so do its values.
            from_int8 = {"dequantize" in str(node.args[position].target) for position in (0, 1)}
            assert len(from_int8) == 1 or group_of(quantized.module_path(node)) != kept
            found["dequantize" in str(node.args[1].target)].add(group_of(quantized.module_path(node)))
    every = set(layer_groups(model))
    assert found == ({True: {kept}, False: every - {kept}} if kept else {True: every, False: set()})


def test_there_is_no_form_for_any_size_and_no_fp16():
    with pytest.raises(InputError, match="executorch takes one fixed image size"):
        target_of("executorch", "fp32", dynamic_size=True)
    with pytest.raises(InputError, match="executorch has no precision 'fp16'; accepted: fp32, int8"):
        target_of("executorch", "fp16", dynamic_size=False)


def test_threads_are_the_processs_and_said_as_they_are(session: ExecutorchSession):
    now = session.facts()["threads"]
    assert isinstance(now, int) and now >= 1
    set_threads(now)
    with pytest.raises(
        InputError, match=f"it has {now}, and cannot get {now + 1} while another ExecuTorch model is loaded"
    ):
        set_threads(now + 1)


@pytest.mark.backend
def test_the_first_model_of_a_process_gets_the_threads_it_asks_for(exported: Path):
    code = f"""
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from nextvit.runtime.executorch_session import ExecutorchSession
manifest = SimpleNamespace(model_file="model.pte", precision="fp32", outputs=dict.fromkeys(range({1 + len(TAPS)}), ""))
for threads in (1, 3):  # the first session is gone when the second asks
    session = ExecutorchSession(Path({str(exported)!r}), manifest, threads=threads)
    session.run({{"images": np.zeros((1, 33, 47, 3), np.uint8)}})
    print(session.facts()["threads"])
    del session
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3"]


@pytest.mark.parametrize("content", [b"", b"no program", None])
def test_a_damaged_file_is_refused(content: bytes | None, exported: Path, tmp_path: Path):
    whole = (exported / "model.pte").read_bytes()
    (tmp_path / "model.pte").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError, match=r"model\.pte: ExecuTorch .* cannot load it"):
        ExecutorchSession(tmp_path, MANIFEST)


@pytest.mark.parametrize(
    ("precision", "package"), [("fp32", "executorch"), ("int8", "executorch"), ("int8", "torchao")]
)
def test_without_its_packages_it_says_what_to_install(
    precision: Precision, package: str, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    source = replace(int8(model), precision=precision)
    with pytest.raises(MissingDependency, match=rf"'{package}' is not installed.*\.\[executorch\]"):
        target_of("executorch", precision, dynamic_size=False).writer(precision)(source, tmp_path)
