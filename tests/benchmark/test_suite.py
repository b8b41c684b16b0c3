"""What `nextvit bench` measures: which combinations there are, what each record says, and what is said of the others."""

from pathlib import Path

import numpy as np
import pytest

from nextvit.benchmark.configurations import Configuration, Found, Unavailable, Wanted, configurations, kind_of
from nextvit.benchmark.suite import Protocol, benchmark, unique_names
from nextvit.bundle import INPUT_NAME
from nextvit.errors import InputError
from nextvit.models.cost import deployed_cost

pytestmark = pytest.mark.backend
QUICK = Protocol(batches=(1, 2), runs=2, min_seconds=0.0, limits=False, starts=False)


def found_for(folder: Path, *models: str, **wanted: object) -> Found:
    return configurations(models, Wanted(**wanted), folder, say=lambda message: None)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
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


def test_every_combination_is_there_or_has_a_reason(found: Found):
    there = {(each.backend, each.precision, each.threads) for each in found if isinstance(each, Configuration)}
    assert there == {
        ("torch", "fp32", 1), ("torch", "fp32", 2),
        *((backend, precision, threads)
          for backend in ("onnx", "openvino") for precision in ("fp32", "int8") for threads in (1, 2)),
    }  # fmt: skip
    [missing] = [each for each in found if isinstance(each, Unavailable)]
    assert (missing.facts["backend"], missing.facts["precision"]) == ("torch", "int8")
    assert "PyTorch has no file in int8" in str(missing.error)


def test_all_forms_answer_alike(found: Found):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    answers = {
        each.label: each.load().session.run({INPUT_NAME: pixels})["logits"]
        for each in found
        if isinstance(each, Configuration) and each.precision == "fp32"
    }
    first, *others = answers.values()
    assert first.std() > 0.01 and len(others) == 2
    assert all(np.abs(each - first).max() < 1e-3 * first.std() for each in others)


def test_records_hold_what_was_asked_and_what_the_runtime_says(found: Found):
    chosen: Found = [each for each in found if isinstance(each, Unavailable) or each.threads == 1]
    records = benchmark(chosen, QUICK)
    measured = [each for each in records if "unavailable" not in each]
    assert [each["batch"] for each in measured] == [1] * 5 + [2] * 5
    assert len({each["name"] for each in measured[:5]}) == 5
    first = measured[0]
    assert (first["backend"], first["ratio"], first["verdict"]) == ("torch", 1.0, "first")
    cost = chosen[0].cost() if isinstance(chosen[0], Configuration) else None
    assert cost and cost == deployed_cost(chosen[0].card)  # pyright: ignore[reportAttributeAccessIssue]
    for each in measured:
        assert each["threads"] == 1
        assert each["image_size"] == [64, 64]
        assert each["runs"] >= 2
        assert 0 < each["least_ms"] <= each["p50_ms"] <= each["p99_ms"]
        assert each["images_per_second"] == pytest.approx(1000 * each["batch"] / each["p50_ms"], rel=1e-2)
        assert each["environment"]["versions"]
    int8 = next(each for each in measured if each["precision"] == "int8")
    assert int8["size_mib"] < 0.5 * first["size_mib"]
    assert {each["batch"] for each in records if "unavailable" in each} == {1, 2}


def test_a_first_answer_is_measured_in_a_process_of_its_own(found: Found):
    onnx = next(each for each in found if isinstance(each, Configuration) and each.backend == "onnx")
    [record] = benchmark([onnx], Protocol(runs=2, min_seconds=0.0, limits=False))
    assert record["cold_start_ms"] > record["p50_ms"]
    assert 20 < record["peak_memory_mib"] < 400, "a process without torch"


def test_names_say_what_differs(found: Found):
    names = unique_names([each for each in found if isinstance(each, Configuration)])
    assert len(set(names)) == len(names)
    assert "nextvit_nano onnx int8 1 thread" in names
    assert "nextvit_nano onnx int8 2 threads" in names


def test_what_is_no_model_is_said():
    with pytest.raises(InputError, match="nextvit_nanoo: no such run, checkpoint or bundle, and no name of a network"):
        kind_of("nextvit_nanoo")


def test_nothing_to_measure_says_why(tmp_path: Path):
    found = found_for(tmp_path, "nextvit_nano", runtimes=("torch",), precisions=("int8",))
    with pytest.raises(InputError, match="PyTorch has no file in int8"):
        benchmark(found, QUICK)
