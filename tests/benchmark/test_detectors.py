"""What `nextvit bench` measures of detectors: the whole, the backbone alone, and the latency from file to masks."""

import builtins
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nextvit.backends.program import Source
from nextvit.benchmark import configurations, networks
from nextvit.benchmark.baseline import configuration_key, evaluate_conditions, parse_conditions
from nextvit.benchmark.cold_start import measure_cold_start
from nextvit.benchmark.configurations import Candidates, Configuration, Selection, UnavailableConfiguration
from nextvit.benchmark.discovery import find_configurations
from nextvit.benchmark.end_to_end import STAGES, predict_in_stages
from nextvit.benchmark.limit import Limits
from nextvit.benchmark.profile import profile_all
from nextvit.benchmark.suite import OTHER_WORK, BenchmarkSettings, Record, load_all, run_benchmark, timed_inputs
from nextvit.benchmark.summary import comparability_warnings, summary_notes, table_row
from nextvit.benchmark.unproven import write_unproven
from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts
from nextvit.bundle.manifest import read_manifest
from nextvit.errors import InputError, MissingDependency
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.detection import MaskRCNN
from nextvit.models.weights import save_model
from nextvit.predictions.results import Detections
from nextvit.report.bench_report import render_bench_report
from nextvit.runtime.predictor import load_bundle
from tests.conftest import needs
from tests.models.detectors import random_detector

LIMITS_PX = (64, 100)
QUICK = BenchmarkSettings(runs=2, min_seconds=0.0, with_cold_start=False)


@pytest.fixture(scope="module")
def detector() -> MaskRCNN:
    return random_detector(detections=10).float()


@pytest.fixture(scope="module")
def card(detector: MaskRCNN) -> ModelCard:
    return ModelCard(
        task="detection",
        classes=("square", "disc", "cross"),
        facts=DetectionFacts(category_ids=(3, 7, 9)),
        input=Preprocess(image_size=LIMITS_PX, resize="pad"),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=asdict(detector.detector),
    )


@pytest.fixture(scope="module")
def bundle(detector: MaskRCNN, card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("onnx")
    source = Source(model=detector, card=card, precision="fp32")
    return write_unproven(source, "onnx", tmp_path_factory.mktemp("bundles") / "objects.nextvit")


@pytest.fixture(scope="module")
def checkpoint(detector: MaskRCNN, card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "objects.safetensors"
    save_model(path, detector, card)
    return path


@pytest.fixture(scope="module", autouse=True)
def small_backbone() -> Iterator[None]:
    """Measure backbones at a small size, which is fast."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (configurations, networks):
            patch.setattr(module, "BACKBONE_SIZE", (96, 96))
        yield


def found_for(folder: Path, *models: Path, **wanted: Any) -> Candidates:
    return find_configurations([str(each) for each in models], Selection(**wanted), folder, say=lambda message: None)


@pytest.fixture(scope="module")
def found(bundle: Path, small_backbone: None, tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """The bundle and its backbone."""
    return found_for(tmp_path_factory.mktemp("backbone"), bundle)


def measured(found: Candidates, settings: BenchmarkSettings = QUICK) -> list[Record]:
    loaded, refused = load_all(found, settings.batches)
    return run_benchmark(loaded, settings, limits=Limits(), unavailable=refused)


@pytest.mark.backend
def test_a_bundle_is_timed_whole_and_its_backbone_alone(found: Candidates):
    whole, backbone = measured(found, replace(QUICK, batches=(2,)))
    assert (whole["part"], whole["image_size"], whole["verdict"]) == ("whole", [64, 100], "first")
    assert (backbone["part"], backbone["image_size"], backbone["verdict"]) == ("backbone", [96, 96], OTHER_WORK)
    assert (whole["name"], backbone["name"]) == ("objects", "objects backbone onnx fp32")
    assert whole["backend"] == backbone["backend"] == "onnx" and whole["model"] == backbone["model"]
    assert backbone["size_mib"] < whole["size_mib"]


@pytest.mark.backend
def test_the_backbone_is_that_of_the_detector(found: Candidates):
    whole, backbone = found
    assert isinstance(whole, Configuration) and isinstance(backbone, Configuration)
    inputs = timed_inputs(backbone.card, 1)
    assert {name: each.shape for name, each in inputs.items()} == {"images": (1, 96, 96, 3)}
    [last_map] = backbone.load().session.run(inputs).values()
    assert last_map.shape == (1, VARIANTS["nextvit_nano"].feature_widths[-1], 3, 3)
    cost, whole_cost = backbone.cost(), whole.cost()
    assert cost and whole_cost and cost.parameters < whole_cost.parameters


def test_a_checkpoint_in_pytorch_is_a_detector_too(checkpoint: Path, tmp_path: Path):
    found = found_for(tmp_path, checkpoint, precisions=("fp32", "bf16"))
    assert [(each.facts["part"], each.facts["precision"], type(each)) for each in found] == [
        ("whole", "fp32", Configuration),
        ("whole", "bf16", UnavailableConfiguration),
        ("backbone", "fp32", Configuration),
    ]
    whole, backbone, missing = measured(found)
    assert missing["unavailable"] == "PyTorch does not compute in bf16; it is measured in fp32"
    assert whole["backend"] == backbone["backend"] == "torch"
    loaded, _ = load_all(found, [1])
    outputs = loaded[0].predictor.session.run(timed_inputs(loaded[0].configuration.card, 1))
    assert list(outputs) == ["boxes", "scores", "labels", "masks"]
    assert (outputs["scores"] > 0).any(), "a detector without detections would be faster"


@pytest.mark.backend
def test_another_image_size_is_that_of_a_square_image(bundle: Path, tmp_path: Path):
    [whole, backbone] = found_for(tmp_path, bundle, image_sizes=((80, 80),))
    assert (whole.facts["image_size"], backbone.facts["image_size"]) == ([80, 80], [96, 96])
    assert isinstance(whole, Configuration)
    inputs = timed_inputs(whole.card, 1)
    assert inputs["images"].shape == (1, 96, 96, 3) and inputs["sizes"].tolist() == [[80, 80]]
    prediction = load_bundle(bundle, image_size=(80, 80))([Image.new("RGB", (300, 150))])[0]
    assert isinstance(prediction, Detections) and (prediction.width, prediction.height) == (300, 150)


def test_a_detector_is_timed_on_photographs_of_its_full_size(card: ModelCard):
    inputs = timed_inputs(card, 7)
    images, sizes = inputs["images"], inputs["sizes"]
    assert images.shape == (7, 64, 128, 3) and sizes.tolist() == [[64, 100]] * 7
    assert not images[:, :, 100:].any() and (images[:, :, :100].std(axis=(1, 2, 3)) > 10).all()
    assert (images[0] != images[1]).any() and (images[0] == images[5]).all(), "five photographs, one after another"


@pytest.mark.backend
def test_cold_start_is_that_of_a_padded_image(bundle: Path):
    assert measure_cold_start(bundle, threads=1, image_size=LIMITS_PX, batch=2).cold_start_ms > 0


@pytest.mark.backend
def test_the_prediction_of_a_file_has_pasted_masks(bundle: Path, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 240, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    predictor = load_bundle(bundle, threads=1)
    prediction, seconds = predict_in_stages(predictor, tmp_path / "noise.png")
    assert [prediction] == predictor([tmp_path / "noise.png"])
    assert isinstance(prediction, Detections) and prediction.objects
    assert all(each.mask and each.mask["size"] == [150, 240] for each in prediction.objects)
    assert len(seconds) == len(STAGES) and min(seconds) > 0


@pytest.mark.backend
def test_only_whole_models_are_measured_from_file_to_prediction(found: Candidates, tmp_path: Path):
    Image.new("RGB", (90, 70), "white").save(tmp_path / "white.png")
    whole, backbone = measured(found, replace(QUICK, files=[tmp_path / "white.png"]))
    assert tuple(whole["end_to_end"]["shares"]) == STAGES
    assert "end_to_end" not in backbone


@pytest.mark.backend
def test_a_machine_without_torch_measures_the_bundle_alone(bundle: Path, tmp_path: Path, monkeypatch):
    importing = builtins.__import__

    def without_torch(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "nextvit.benchmark.networks":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return importing(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    found = found_for(tmp_path, bundle, threads=(1, 2))
    monkeypatch.undo()
    assert [type(each) for each in found] == [Configuration] * 2 + [UnavailableConfiguration] * 2
    assert all(
        isinstance(each.error, MissingDependency) for each in found if isinstance(each, UnavailableConfiguration)
    )
    *_, missing = measured(found)
    assert missing["name"] == f"{bundle} backbone onnx fp32" and "'torch' is not installed" in missing["unavailable"]


@pytest.mark.backend
def test_a_backbone_that_cannot_be_built_is_unavailable(bundle: Path, tmp_path: Path, monkeypatch):
    def refuse(*arguments: object, **named: object) -> None:
        raise RuntimeError("too small\nfor this")

    monkeypatch.setattr(networks, "card_backbone_source", refuse)
    whole, missing = measured(found_for(tmp_path, bundle))
    assert whole["part"] == "whole" and missing["part"] == "backbone"
    assert missing["unavailable"] == "RuntimeError: too small"


@pytest.mark.backend
def test_a_backbone_alone_does_not_replace_a_detector_that_cannot_be_loaded(found: Candidates):
    def fail() -> None:
        raise InputError("damaged")

    whole, backbone = found
    with pytest.raises(InputError, match=r"^damaged$"):
        load_all([replace(whole, load=fail), backbone], [1])  # pyright: ignore[reportCallIssue]


@pytest.mark.backend
def test_the_texts_name_the_backbone(found: Candidates):
    quiet = {"warning": None, "busy": False}
    whole, backbone = (each | quiet for each in measured(found))
    faster = [whole, {**backbone, "ratio": 0.1}]
    assert comparability_warnings(faster) == [], "they are not meant to be of the same work"
    assert not any("fastest" in line for line in summary_notes(faster, [], []))
    assert table_row(backbone)[0] == "objects backbone onnx fp32"
    page = render_bench_report(faster)
    assert "its backbone alone" in page and "fastest at batch 1: objects<" in page and OTHER_WORK in page
    assert "its backbone alone" not in render_bench_report([whole])


@pytest.mark.backend
def test_conditions_are_about_the_whole(found: Candidates):
    whole, backbone = measured(found)
    slow = {**backbone, "p50_ms": 1000 * whole["p50_ms"]}
    limit = parse_conditions(f"p50>{10 * whole['p50_ms']:.3f}ms")
    assert evaluate_conditions([whole, slow], None, limit).failed == []
    assert evaluate_conditions([{**whole, "p50_ms": slow["p50_ms"]}, backbone], None, limit).failed
    assert configuration_key(whole) != configuration_key({**whole, "part": "backbone"})
    before = {name: value for name, value in whole.items() if name != "part"}
    assert configuration_key(whole) == configuration_key(before), "records from before `part` existed"
    gone = {**{name: backbone[name] for name in ("name", *whole.keys() & backbone.keys())}, "unavailable": "no torch"}
    assert evaluate_conditions([whole, gone], [whole, backbone], parse_conditions("p50>+900%")).failed == []


@pytest.mark.backend
def test_a_profile_is_that_of_the_backbone(found: Candidates, monkeypatch):
    from nextvit.benchmark import profile

    needs("onnx")
    monkeypatch.setattr(profile, "SECONDS", 0.05)
    said: list[str] = []
    loaded, _ = load_all(found, [1])
    peaks = Limits(peaks={each.peak_key: 100.0 for each in loaded}, bandwidths={1: 10.0})
    [profiled] = profile_all(loaded, peaks, said.append)
    assert profiled.name == "objects backbone onnx fp32" and profiled.operators
    assert any(line.startswith("no profile of objects:") for line in said)


@pytest.mark.backend
def test_an_unproven_bundle_has_the_outputs_of_a_detector(bundle: Path):
    manifest = read_manifest(bundle)
    assert list(manifest.outputs) == ["boxes", "scores", "labels", "masks"]
    assert not manifest.dynamic_size, "it takes any size all the same"
    load_bundle(bundle).warm_up([1, 2])


@pytest.mark.backend
def test_pytorch_and_the_timed_file_detect_the_same(bundle: Path, detector: MaskRCNN, card: ModelCard):
    from nextvit.tasks.network import deploy_network

    inputs = timed_inputs(card, 1)
    with torch.no_grad():
        expected = deploy_network(detector, card)(*map(torch.from_numpy, inputs.values()))
    found = load_bundle(bundle).session.run(inputs)
    assert np.abs(found["scores"] - expected[1].numpy()).max() < 1e-4
