"""What `nextvit bench` measures: the combinations, their records, and the reasons of unavailable ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextvit.benchmark import networks
from nextvit.benchmark.configurations import (
    Candidates,
    Configuration,
    Selection,
    UnavailableConfiguration,
    bundle_configurations,
)
from nextvit.benchmark.discovery import find_configurations, model_kind
from nextvit.benchmark.limit import Limits
from nextvit.benchmark.networks import missing_exports, published_top1
from nextvit.benchmark.suite import BenchmarkSettings, Record, load_all, run_benchmark, unique_names
from nextvit.benchmark.summary import describe_run
from nextvit.errors import InputError
from nextvit.image.resizing import INPUT_NAME
from nextvit.models.weights import save_model
from nextvit.runtime.predictor import Predictor
from nextvit.tasks.network import deployed_cost
from tests.conftest import needs
from tests.export.nano import build_card, calibrated_model
from tests.runtime.conftest import write_colour_bundle

QUICK = BenchmarkSettings(batches=(1, 2), runs=2, min_seconds=0.0, with_cold_start=False)


def found_for(folder: Path, *models: str, **wanted: object) -> Candidates:
    return find_configurations(models, Selection(**wanted), folder, say=lambda message: None)  # pyright: ignore[reportArgumentType]


def measured(found: Candidates, settings: BenchmarkSettings) -> list[Record]:
    loaded, refused = load_all(found, settings.batches)
    return run_benchmark(loaded, settings, limits=Limits(), unavailable=refused)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """A variant in PyTorch, ONNX Runtime and OpenVINO, fp32 and int8, at 64 px."""
    runtimes = ("torch", "onnx", "openvino")
    return found_for(
        tmp_path_factory.mktemp("files"),
        "nextvit_nano",
        runtimes=runtimes,
        precisions=("fp32", "int8"),
        image_sizes=((64, 64),),
        threads=(1, 2),
    )


@pytest.mark.backend
def test_every_combination_is_available_or_has_a_reason(found: Candidates):
    there = {(each.backend, each.precision, each.threads) for each in found if isinstance(each, Configuration)}
    assert there == {
        ("torch", "fp32", 1), ("torch", "fp32", 2),
        *((backend, precision, threads)
          for backend in ("onnx", "openvino") for precision in ("fp32", "int8") for threads in (1, 2)),
    }  # fmt: skip
    missing = [each for each in found if isinstance(each, UnavailableConfiguration)]
    assert [(each.facts["backend"], each.facts["precision"], each.facts["threads"]) for each in missing] == [
        ("torch", "int8", 1),
        ("torch", "int8", 2),
    ]
    assert all("PyTorch does not compute in int8" in str(each.error) for each in missing)


@pytest.mark.backend
def test_all_backends_have_equal_outputs(found: Candidates):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    outputs = {
        each.label: each.load().session.run({INPUT_NAME: pixels})["logits"]
        for each in found
        if isinstance(each, Configuration) and each.precision == "fp32"
    }
    first, *others = outputs.values()
    assert first.std() > 0.01 and len(others) == 2
    assert all(np.abs(each - first).max() < 1e-3 * first.std() for each in others)


@pytest.mark.backend
def test_records_hold_the_selection_and_what_the_runtime_reports(found: Candidates):
    chosen: Candidates = [each for each in found if isinstance(each, UnavailableConfiguration) or each.threads == 1]
    records = measured(chosen, QUICK)
    done = [each for each in records if "unavailable" not in each]
    assert [each["batch"] for each in done] == [1] * 5 + [2] * 5
    assert len({each["name"] for each in done[:5]}) == 5
    first = done[0]
    assert (first["backend"], first["ratio"], first["verdict"]) == ("torch", 1.0, "first")
    cost = chosen[0].cost() if isinstance(chosen[0], Configuration) else None
    assert cost and cost == deployed_cost(chosen[0].card)  # pyright: ignore[reportAttributeAccessIssue]
    for each in done:
        assert each["threads"] == 1
        assert each["image_size"] == [64, 64]
        assert each["runs"] >= 2
        assert 0 < each["least_ms"] <= each["p50_ms"] <= each["p99_ms"]
        assert each["p50_interval_95_ms"] is None, "two rounds at most"
        assert each["images_per_second"] == pytest.approx(1000 * each["batch"] / each["p50_ms"], rel=1e-2)
        assert each["environment"]["versions"]
    int8 = next(each for each in done if each["precision"] == "int8")
    assert int8["size_mib"] < 0.5 * first["size_mib"]
    assert {each["batch"] for each in records if "unavailable" in each} == {1, 2}


@pytest.mark.backend
def test_cold_start_is_measured_in_its_own_process(found: Candidates):
    onnx = next(each for each in found if isinstance(each, Configuration) and each.backend == "onnx")
    [record] = measured([onnx], BenchmarkSettings(runs=2, min_seconds=0.0))
    assert record["cold_start_ms"] > record["p50_ms"]
    assert 20 < record["peak_memory_mib"] < 400, "a process without torch"


@pytest.mark.backend
def test_names_say_what_differs(found: Candidates):
    names = unique_names([each for each in found if isinstance(each, Configuration)])
    assert len(set(names)) == len(names)
    assert "nextvit_nano onnx int8 1 thread" in names
    assert "nextvit_nano onnx int8 2 threads" in names


def test_an_unknown_model_is_an_error():
    with pytest.raises(InputError, match="nextvit_nanoo: no such run, checkpoint or bundle, and no name of a network"):
        model_kind("nextvit_nanoo")


def test_nothing_to_measure_says_why(tmp_path: Path):
    found = found_for(tmp_path, "nextvit_nano", runtimes=("torch",), precisions=("int8",))
    with pytest.raises(InputError, match="PyTorch does not compute in int8"):
        measured(found, QUICK)


class Fails:
    """Runs single images only, as if the memory were too small for more."""

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        count = len(inputs[INPUT_NAME])
        if count > 1:
            raise RuntimeError("out of memory\nwhile a tensor was made")
        return {"logits": np.zeros((count, 3), np.float32)}

    def facts(self) -> dict[str, Any]:
        return {"runtime": "by hand"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_colour_bundle(tmp_path / "colours.nextvit")


@pytest.fixture
def colours(bundle: Path) -> Configuration:
    """A bundle by hand, at its own size."""
    needs("onnxruntime")
    [found] = bundle_configurations(bundle, str(bundle), "bundle", Selection())
    assert isinstance(found, Configuration)
    return found


def test_what_fails_at_one_batch_is_measured_at_the_others(colours: Configuration):
    fails = replace(colours, label="fails", load=lambda: Predictor(Fails(), colours.card))
    records = measured([colours, fails], QUICK)
    done = [(each["name"], each["batch"]) for each in records if "unavailable" not in each]
    assert done == [("colours", 1), ("fails", 1), ("colours", 2)]
    [missing] = [each for each in records if "unavailable" in each]
    assert (missing["name"], missing["batch"]) == ("fails", 2)
    assert missing["unavailable"] == "RuntimeError: out of memory"
    assert colours.facts.items() <= missing.items()


def test_what_a_runtime_raises_while_loading_is_a_reason(colours: Configuration):
    def load() -> Predictor:
        raise OSError("no compiler")

    [record, missing] = measured([colours, replace(colours, load=load)], replace(QUICK, batches=(1,)))
    assert (record["name"], missing["unavailable"]) == ("colours", "OSError: no compiler")


def test_cold_start_is_measured_on_the_selected_device(colours: Configuration):
    elsewhere = replace(colours, device="abacus")
    [record] = measured([elsewhere], BenchmarkSettings(runs=2, min_seconds=0.0))
    assert "cold_start_ms" not in record
    assert "'abacus'" in record["cold_start_failed"] and "\n" not in record["cold_start_failed"]
    assert "no first prediction: " in describe_run(record)


def test_published_scores_reach_the_records(colours: Configuration):
    assert published_top1("nextvit_small", (224, 224)) == published_top1("timm:nextvit_small", (224, 224)) == 82.5
    assert published_top1("timm:nextvit_small.bd_ssld_6m_in1k_384", (384, 384)) == 85.8
    assert published_top1("nextvit_small", (256, 256)) is published_top1("timm:resnet18", (224, 224)) is None
    [record] = measured([replace(colours, published_top1=82.5)], replace(QUICK, batches=(1,)))
    assert record["published_top1"] == 82.5


def test_networks_by_name_have_their_published_score(tmp_path: Path):
    [found] = found_for(tmp_path, "nextvit_small", runtimes=("torch",))
    assert isinstance(found, Configuration) and found.published_top1 == 82.5


def test_a_bundle_that_is_not_selected_is_unavailable_if_the_user_named_it(bundle: Path):
    for wanted, words in (
        (Selection(runtimes=("openvino",)), "its runtime is onnx; selected: openvino"),
        (Selection(precisions=("int8", "bf16")), "its precision is fp32; selected: int8, bf16"),
    ):
        [missing] = bundle_configurations(bundle, str(bundle), "bundle", wanted)
        assert isinstance(missing, UnavailableConfiguration) and words in str(missing.error)
        assert bundle_configurations(bundle, "a run", "run", wanted) == []


def test_unavailable_configurations_have_the_facts_of_available_ones(bundle: Path, tmp_path: Path):
    """So that a baseline finds it again."""
    wanted = Selection(threads=(1, 2), image_sizes=((32, 48), (64, 64)))
    found = bundle_configurations(bundle, "a run", "run", wanted)
    assert [type(each) for each in found] == [
        Configuration,
        Configuration,
        UnavailableConfiguration,
        UnavailableConfiguration,
    ]
    assert {each.facts["bundle"] for each in found} == {"colours.nextvit"}
    assert [(each.facts["threads"], each.facts["image_size"]) for each in found] == [
        (1, [32, 48]), (2, [32, 48]), (1, [64, 64]), (2, [64, 64]),
    ]  # fmt: skip
    there = found[0].facts
    assert all(each.facts.keys() == there.keys() for each in found)

    model, card = calibrated_model(), build_card(64, 64)
    save_model(tmp_path / "defects.safetensors", model, card)
    gone = found_for(
        tmp_path,
        str(tmp_path / "defects.safetensors"),
        runtimes=("torch", "onnx"),
        precisions=("fp32", "int8"),
        threads=(1, 2),
    )
    assert all(each.facts.keys() == there.keys() and each.facts["image_size"] == [64, 64] for each in gone)
    assert [(each.facts["backend"], each.facts["precision"], each.facts["threads"]) for each in gone] == [
        *(("torch", "fp32", threads) for threads in (1, 2)),
        *(("torch", "int8", threads) for threads in (1, 2)),
        *(("onnx", "fp32", threads) for threads in (1, 2)),
        *(("onnx", "int8", threads) for threads in (1, 2)),
    ]


def test_every_selected_runtime_and_precision_exists_or_is_missing():
    there = {("onnx", "fp32"), ("openvino", "int8")}
    assert missing_exports("run", Selection(), there) == []
    assert missing_exports("run", Selection(runtimes=("torch", "onnx", "coreml")), there) == [("coreml", "fp32")]
    assert missing_exports("run", Selection(precisions=("fp32", "bf16")), there) == [("openvino", "bf16")]
    assert missing_exports("checkpoint", Selection(precisions=("fp32", "bf16")), set()) == []
    both = Selection(runtimes=("onnx", "openvino"), precisions=("fp32", "int8"))
    assert missing_exports("run", both, there) == [("onnx", "int8"), ("openvino", "fp32")]


def test_what_an_exporter_raises_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> Path:
        raise RuntimeError("cannot trace\nthis")

    monkeypatch.setattr(networks, "write_unproven", refuse)
    found = found_for(tmp_path, "nextvit_nano", runtimes=("torch", "onnx"), image_sizes=((64, 64),), threads=(1, 2))
    assert [type(each) for each in found] == [
        Configuration,
        Configuration,
        UnavailableConfiguration,
        UnavailableConfiguration,
    ]
    assert [str(each.error) for each in found if isinstance(each, UnavailableConfiguration)] == [
        "RuntimeError: cannot trace"
    ] * 2
    assert {tuple(each.facts["image_size"]) for each in found} == {(64, 64)}


def test_a_size_that_a_network_does_not_take_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stumble(model: str, size: object) -> None:
        raise RuntimeError("Kernel size can't be greater than actual input size")

    monkeypatch.setattr(networks, "network_source", stumble)
    found = found_for(tmp_path, "timm:convnext_tiny", image_sizes=((16, 16),), precisions=("fp32", "int8"))
    assert len(found) == 6
    assert all(isinstance(each, UnavailableConfiguration) and "Kernel size can't" in str(each.error) for each in found)
    assert {tuple(each.facts["image_size"]) for each in found} == {(16, 16)}


def test_names_are_all_read_before_any_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        networks, "named_network_configurations", lambda *arguments, **named: pytest.fail("written too early")
    )
    with pytest.raises(InputError, match="nextvit_nanoo: no such run"):
        found_for(tmp_path, "nextvit_nano", "nextvit_nanoo")
