"""The paper's comparison: its claims on made-up records, its intervals, and that it goes on where it was stopped."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import paper
from paper_networks import ANCHOR, BY_NAME, CSWIN, GROUPS, NETWORKS, members
from paper_page import CLAIMS, Measurements, Ratio, check_bound, find_better, find_worse, page

from nextvit.errors import InputError

MACHINE = {"cpu": "made up", "cores": 2, "system": "none", "versions": {"torch": "1"}, "time": "", "command": ""}
CELL = ("onnx", "fp32", "classifier", 1)
BACKBONE = ("openvino", "int8", "backbone", 1)


def record(name: str, ratio: float, *, spread: float = 0.01, cell: Any = CELL, **changes: Any) -> dict[str, Any]:
    """An invented measurement: `ratio` is the time over the anchor's, `spread` half of the interval's width."""
    backend, precision, part, batch = cell
    return {
        "model": name,
        "group": BY_NAME[name].group,
        "backend": backend,
        "precision": precision,
        "part": part,
        "batch": batch,
        "threads": 2,
        "runs": 50,
        "p50_ms": 100 * ratio,
        "noise": 0.02,
        "ratio": ratio,
        "ratio_interval_95": [ratio - spread, ratio + spread],
        "parameters": 10_000_000,
        "macs": 10**9,
        "environment": MACHINE,
        **changes,
    }


def anchor(cell: Any = CELL, group: str = "light") -> dict[str, Any]:
    return record(ANCHOR, 1.0, spread=0, cell=cell, group=group)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.1, 1.2, "holds"), (0.8, 0.9, "does not hold"), (0.9, 1.1, "not shown")]
)
def test_a_claim_needs_its_whole_interval(low: float, high: float, verdict: str):
    assert check_bound(Ratio((low + high) / 2, low, high), 1.0) == verdict


def claim_of(slower: str, part: str) -> Any:
    return next(each for each in CLAIMS if each.slower == slower and part in each.parts)


@pytest.mark.parametrize(
    ("slower", "own", "other", "verdict"),
    [
        ("timm:resnet101", 1.0, 1.0, "holds"),  # at the same latency
        ("timm:resnet101", 1.0, 0.95, "holds"),  # similar
        ("timm:resnet101", 1.0, 0.8, "does not hold"),
        ("timm:resnet101", 1.0, 1 / 1.1, "not shown"),
        (CSWIN, 1.0, 3.7, "holds"),
        (CSWIN, 1.0, 2.5, "does not hold"),
        (CSWIN, 1.0, 3.6, "not shown"),
        ("timm:efficientformer_l7", 1.6, 1.7, "holds"),
        ("timm:efficientformer_l7", 1.6, 1.5, "does not hold"),
        ("timm:efficientformer_l7", 1.6, 1.605, "not shown"),
    ],
)
def test_claims_go_both_ways(slower: str, own: float, other: float, verdict: str):
    claim = claim_of(slower, "classifier")
    records = [anchor(), record(slower, other)]
    if claim.ours != ANCHOR:
        records.append(record(claim.ours, own))
    assert claim.verdict(Measurements(records), CELL)[0] == verdict


def test_backbone_claim_is_against_next_vit_b():
    records = [anchor(BACKBONE), record("nextvit_base", 1.4, cell=BACKBONE), record(CSWIN, 5.4, cell=BACKBONE)]
    verdict, ratio = claim_of(CSWIN, "backbone").verdict(Measurements(records), BACKBONE)
    assert verdict == "holds" and ratio and ratio.value == pytest.approx(5.4 / 1.4)


def test_nothing_is_claimed_of_what_was_not_measured():
    records = [anchor(), {**record(CSWIN, 1.0), "unavailable": "no reason"}]
    assert claim_of(CSWIN, "classifier").verdict(Measurements(records), CELL) == ("not measured", None)


def test_a_ratio_of_ratios_is_less_certain_than_both():
    one, other = Ratio(2.0, 1.8, 2.2), Ratio(4.0, 3.8, 4.2)
    joined = one.over(other)
    assert joined.value == 0.5
    assert joined.low < 0.5 * 1.8 / 2.0 and joined.high > 0.5 * 2.2 / 2.0
    assert one.inverse() == Ratio(0.5, 1 / 2.2, 1 / 1.8)


def test_winners_are_both_faster_and_more_accurate():
    faster_and_better, faster_only, slower = "timm:caformer_s18", "timm:resnet50", "timm:repvit_m2_3"
    unknown, undecided = "timm:fastvit_sa24", "timm:tiny_vit_21m_224"
    records = [anchor(), record(faster_and_better, 0.9), record(faster_only, 0.5), record(slower, 1.2)]
    records += [record(unknown, 0.4), record(undecided, 0.99, spread=0.02)]
    measured = Measurements(records)
    assert [each.name for each, _ in find_better(measured, CELL, ANCHOR)] == [faster_and_better]
    assert not find_worse(measured, CELL, ANCHOR)
    records.append(record("timm:deit_small_patch16_224", 1.5))
    assert [each.name for each, _ in find_worse(Measurements(records), CELL, ANCHOR)] == ["timm:deit_small_patch16_224"]


def test_page_says_who_wins_and_which_claims_fail():
    text = page([anchor(), record("timm:repvit_m2_3", 0.8), record("timm:resnet101", 0.7), record(CSWIN, 4.0)])
    assert "| ONNX Runtime, fp32, 1 | Next-ViT-S | **RepViT-M2.3** 0.80 | 0 of 3 |" in text
    assert "| ONNX Runtime, fp32 | classifier, batch 1 | 0.70 (0.69 to 0.71) | does not hold |" in text
    assert "| ONNX Runtime, fp32 | classifier, batch 1 | 4.00 (3.99 to 4.01) | holds |" in text
    lines = [line for line in text.splitlines() if line.startswith("| RepViT-M2.3 | 80.0 |")]
    assert lines == ["| RepViT-M2.3 | 80.0 | 0.80 (0.79 to 0.81) | 10.0 M | 1.00 G | 83.7 |"]


def test_page_turns_with_the_data():
    text = page([anchor(), record("timm:repvit_m2_3", 1.2), record("timm:resnet101", 1.3), record(CSWIN, 2.0)])
    assert "| ONNX Runtime, fp32, 1 | Next-ViT-S | none | 1 of 3 |" in text
    assert "| ONNX Runtime, fp32 | classifier, batch 1 | 1.30 (1.29 to 1.31) | holds |" in text
    assert "| ONNX Runtime, fp32 | classifier, batch 1 | 2.00 (1.99 to 2.01) | does not hold |" in text


def test_page_lists_what_could_not_be_measured():
    text = page([anchor(), {**record("timm:resnet50", 1.0), "unavailable": "it would not load"}])
    assert "- ResNet50, ONNX Runtime, fp32, classifier, batch 1: it would not load" in text
    assert "| ResNet50 | 100" not in text


def test_page_says_how_steady_the_machine_was_and_how_often_each_was_run():
    text = page([anchor(), record("timm:resnet50", 1.0, noise=None, runs=11), record(CSWIN, 4.0, noise=0.07)])
    assert "classifiers at batch 1: 11 to 50 timed runs of each. A fixed workload," in text
    assert "varied by 7% at most (the 90th less the 10th percentile of its time, over the median)." in text
    assert "A fixed workload" not in page([record(ANCHOR, 1.0, spread=0, noise=None)])


def test_page_keeps_machines_apart():
    elsewhere = {**MACHINE, "cpu": "another"}
    text = page([record("timm:resnet50", 9.0, environment=elsewhere), anchor()])
    assert "made up" in text and "| ResNet50 | 900" not in text


class Slept:
    """A session that computes nothing, and takes a millisecond for it."""

    def __init__(self, backend: str, precision: str) -> None:
        self.backend, self.precision = backend, precision

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.001)
        return {}

    def facts(self) -> dict[str, Any]:
        return {"backend": self.backend, "runtime": "none", "device": "cpu", "precision": self.precision, "threads": 2}


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Exports of no network at all, which take no time; returns the requested names."""
    requests: list[list[str]] = []
    images = np.zeros((5, 8, 8, 3), dtype=np.uint8)

    def prepare_all(
        names: list[str], cells: list[Any], *_: Any, **__: Any
    ) -> dict[tuple[str, str], paper.NetworkFiles]:
        requests.append(names)
        parts = {setting.part for _, _, setting in cells}
        return {(name, part): paper.NetworkFiles(images_NHWC=images, macs=10**9) for name in names for part in parts}

    def open_file(prepared: paper.NetworkFiles, backend: str, precision: str, *, threads: int) -> tuple[Slept, float]:
        if precision == "bf16":
            raise InputError("no bf16 here")
        return Slept(backend, precision), 1.0

    monkeypatch.setattr(paper, "prepare_all", prepare_all)
    monkeypatch.setattr(paper, "open_file", open_file)
    return requests


QUICK = [paper.Setting("classifier", 224, 1, runs=3, seconds=0.0, warmup=1)]


def measure(results: Path, groups: dict[str, list[str]], *, fresh: bool = False) -> list[dict[str, Any]]:
    paper.measure(groups, results, threads=2, fresh=fresh, settings=QUICK)
    return paper.read_json_lines(results)


@pytest.mark.serial
@pytest.mark.backend
def test_a_second_call_goes_on_with_what_is_missing(networks: list[list[str]], tmp_path: Path):
    results = tmp_path / "paper.jsonl"
    names = [ANCHOR, "timm:resnet50"]
    records = measure(results, {"middle": names})
    assert len(records) == 2 * len(paper.RUNTIMES) and networks == [names]
    assert {each["unavailable"] for each in records if each["precision"] == "bf16"} == {"no bf16 here"}
    assert all(each["runs"] >= 3 for each in records if "runs" in each)
    lines = results.read_text().splitlines(keepends=True)
    results.write_text("".join(lines[:-2]))  # stopped before the last cell
    assert len(measure(results, {"middle": names})) == len(records)
    assert len(measure(results, {"middle": names})) == len(records) and len(networks) == 2
    assert len(measure(results, {"middle": names}, fresh=True)) == 2 * len(records)
    page(paper.read_json_lines(results))


@pytest.mark.serial
@pytest.mark.backend
def test_too_few_runs_and_a_lack_of_memory_are_no_results(networks: list[list[str]], tmp_path: Path):
    results = tmp_path / "paper.jsonl"
    names = [ANCHOR, "timm:resnet50"]
    records = measure(results, {"middle": names})
    thorough = [paper.replace(QUICK[0], runs=1000)]
    assert not any(
        paper.is_done(records, "middle", names, *cell, thorough[0]) for cell in paper.RUNTIMES if cell[1] != "bf16"
    )
    assert paper.is_done(
        records, "middle", names, "openvino", "bf16", thorough[0]
    )  # refused, however many runs are requested
    for reason in ("RuntimeError: std::bad_alloc", "Failed to allocate memory for requested buffer", "MemoryError: "):
        lacked = [{**each, "unavailable": reason} if each["precision"] == "bf16" else each for each in records]
        assert not paper.is_done(lacked, "middle", names, "openvino", "bf16", QUICK[0]), reason


def test_a_quick_try_is_kept_away_from_the_committed_results(tmp_path: Path):
    for results in (None, paper.RESULTS):
        with pytest.raises(InputError, match=r"--runs is for a quick try; .* --results FILE"):
            paper.settings_for(3, results)
    with pytest.raises(InputError, match="--runs must be at least 1, got 0"):
        paper.settings_for(0, tmp_path / "tried.jsonl")
    assert {each.runs for each in paper.settings_for(3, tmp_path / "tried.jsonl")} == {3}
    assert paper.settings_for(None, None) == paper.SETTINGS


@pytest.mark.serial
@pytest.mark.backend
def test_the_page_of_other_results_lies_beside_them(
    networks: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    tried = ["paper.py", "--only", "timm:resnet50", "--runs", "2", "--results", str(tmp_path / "tried.jsonl")]
    before = paper.PAGE.read_bytes() if paper.PAGE.exists() else None
    monkeypatch.setattr(sys, "argv", tried)
    paper.main()
    assert "| ResNet50 |" in (tmp_path / "tried.md").read_text()
    assert (paper.PAGE.read_bytes() if paper.PAGE.exists() else None) == before


def test_it_stops_when_the_minutes_are_over(networks: list[list[str]], tmp_path: Path):
    results = tmp_path / "paper.jsonl"
    paper.measure({"middle": [ANCHOR]}, results, threads=2, fresh=False, settings=QUICK, minutes=0)
    assert not paper.read_json_lines(results)


def test_groups_all_have_the_anchor_and_every_network_has_one():
    assert all(members(group)[0].name == ANCHOR for group in GROUPS)
    grouped = [each.name for group in GROUPS for each in members(group)[1:]]
    assert sorted([ANCHOR, *grouped]) == sorted(each.name for each in NETWORKS) == sorted(BY_NAME)


def test_all_networks_are_known_to_timm():
    timm = pytest.importorskip("timm", reason="needs nextvit[timm]")
    assert not [each.name for each in NETWORKS if each.name[:5] == "timm:" and not timm.is_model(each.name[5:])]


def test_unknown_network_or_group_is_an_error():
    with pytest.raises(InputError, match="did you mean 'timm:resnet101'"):
        paper.select_groups("timm:resnet10", None)
    with pytest.raises(InputError, match="did you mean 'light'"):
        paper.select_groups(None, "lights")
    assert paper.select_groups("cswin_tiny", None) == {"heavy": [ANCHOR, "cswin_tiny"]}


@pytest.mark.parametrize("name", ["nextvit_nano", "timm:lcnet_050"])
@pytest.mark.parametrize("part", ["classifier", "backbone"])
def test_every_network_comes_as_a_source_of_the_exporters(name: str, part: str):
    pytest.importorskip("timm")
    source = paper.make_source(name, part, 64)
    assert source.card.variant == name
    assert source.outputs == (["logits"] if part == "classifier" else ["features"])
    assert source.calibration.shape[1:] == (64, 64, 3)
