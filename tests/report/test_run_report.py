"""report.html from what lies in a run's folder."""

import json
import re
import shutil
from pathlib import Path

import pytest

from nextvit.errors import InputError
from nextvit.report import figures
from nextvit.report.contents import format_count, format_duration
from nextvit.report.page import Markup, breakable, escape, points, render_page, table
from nextvit.report.run_report import write_run_report
from tests.report.bench_records import MACHINE, records
from tests.report.conftest import epoch, run_page, write_run
from tests.report.verification import VERIFICATION
from tests.runtime.conftest import sealed, write_colour_bundle


def test_report_shows_score_mistakes_and_what_could_not_be_read(run: Path):
    text = run_page(run)
    assert "50.00 %" in text and "95 %: 9.0 to 91.0" in text
    assert "1 images could not be read, first: bad.png: damaged" in text
    assert "44.00 %" in text and "optim: {lr: 0.1}" in text
    # An example, a mistake (the other one's image is gone), a pair's example, a batch, two answers with heatmaps.
    assert text.count("data:image/jpeg;base64") == 6


def test_every_section_stands_on_the_page_of_a_whole_run(run: Path):
    text = run_page(run)
    titles = re.findall("<h2>(.*?)</h2>", text)
    assert titles == [
        "Training",
        "A training batch, as the network sees it",
        "One image of each class",
        "Mistakes, the most confident first",
        "Evidence for predictions",
        "Most confused pairs",
        "Confusion",
        "Classes",
        "Calibration",
        "How to repeat it",
    ]


def test_what_a_run_lacks_is_left_out(tmp_path: Path):
    run = write_run(tmp_path / "run")
    titles = re.findall("<h2>(.*?)</h2>", run_page(run))
    assert titles == ["Training", "How to repeat it"]
    (run / "metrics.jsonl").unlink()
    (run / "evaluation.json").write_text(
        json.dumps(
            {
                "scores": {"map_score": 31.0},
                "main_score": "map_score",
                "interval_95": [0, 1],
                "images": 2,
                "details": {},
            }
        )
    )
    text = run_page(run, out=tmp_path / "other.html")
    assert "31.00 %" in text and "map on 2 images" in text
    assert re.findall("<h2>(.*?)</h2>", text) == ["How to repeat it"]


def test_the_curves_of_one_epoch_have_one_epoch(tmp_path: Path):
    text = run_page(write_run(tmp_path / "run", scores=(50.0,)))
    assert not re.findall(r">(?:0\.9\d+|1\.0[1-9]\d*)</text>", text)


def test_another_folder_than_a_run_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"not a run \(it has no recipe.yaml\)"):
        write_run_report(tmp_path, sections=[])


def test_names_are_escaped(run: Path):
    text = run_page(run)
    assert "&lt;blue&gt;" in text
    assert "<blue>" not in text


def test_a_damaged_bundle_does_not_spoil_the_report(run: Path):
    write_colour_bundle(run / "exports" / "good.nextvit")
    shutil.copytree(run / "exports" / "good.nextvit", run / "exports" / "bad.nextvit")
    (run / "exports" / "bad.nextvit" / "manifest.json").write_text("{")
    assert "manifest.json: line 1: not valid JSON" in run_page(run)


def test_many_exports_are_one_table_and_two_tiles(run: Path):
    tiles_before = run_page(run).count('class="tile"')
    verification = {
        **VERIFICATION,
        "images": 434,
        "max_error": 0.0123,
        "latency": {"batch": 1, "runs": 100, "p50_ms": 1.234, "p90_ms": 2.0, "p99_ms": 3.0},
    }
    without_labels = {name: value for name, value in VERIFICATION.items() if name not in ("before", "after", "latency")}
    for name, facts in (("one", verification), ("two-dynamic", without_labels), ("three", VERIFICATION)):
        bundle = write_colour_bundle(run / "exports" / f"{name}.nextvit", dynamic_size=name == "two-dynamic")
        sealed(bundle, verification=facts)
    text = run_page(run)
    assert re.findall("<h2>(Export.*?)</h2>", text) == ["Exports"]
    assert text.count('class="tile"') == tiles_before + 2
    assert "exports, each proven" in text and "smallest export" in text
    [one] = re.findall("<tr><td>one</td>(.*?)</tr>", text)
    size = (run / "exports" / "one.nextvit" / "model.onnx").stat().st_size
    assert re.findall("<td>(.*?)</td>", one) == [
        "onnx fp32",
        "434",
        "100.00%",
        "1.2e-02",
        "97.70",
        "0.30 (0.00 to 0.90)",
        f"{size / 1e6:.2f}",
        "1.23",
    ]
    [two] = re.findall("<tr><td>two-dynamic</td>(.*?)</tr>", text)
    assert re.findall("<td>(.*?)</td>", two)[0] == "onnx fp32, any size"
    assert re.findall("<td>(.*?)</td>", two)[4:6] == ["", ""]


def test_the_latest_benchmark_is_shown_with_its_ratios_and_those_of_an_older_form_are_not(run: Path):
    older = {"name": "older", "batch": 1, "p50_ms": 1.0, "speedup": 2.0, "environment": MACHINE}
    earlier = [{**each, "name": "earlier", "environment": {**MACHINE, "time": "2026-01-01"}} for each in records(1)]
    latest = records(2, batches=(1,))
    latest[1]["ratio"] = 0.437
    lines = [json.dumps(each) + "\n" for each in (older, *earlier, *latest)]
    (run / "benchmark.jsonl").write_text("".join(lines))
    text = run_page(run)
    assert "<h2>Latency</h2>" in text and latest[1]["name"] in text and "<td>0.44</td>" in text
    assert "older" not in text and "earlier" not in text
    (run / "benchmark.jsonl").write_text(lines[0])
    assert "<h2>Latency</h2>" not in run_page(run)


def test_an_epoch_that_was_repeated_after_a_kill_counts_once(run: Path):
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(epoch(2, 80.0, is_best=True)) + "\n" + '{"epoch": 3, "cut o')
    text = run_page(run)
    assert "best 80.00 %" in text and "best 75.00 %" not in text


def test_page_and_table_are_html():
    text = render_page("a & b", [table(["name", "count"], [("<x>", 3), (Markup("<b>y</b>"), 4)])])
    assert text.startswith("<!doctype html>") and "<title>a &amp; b</title>" in text
    assert "&lt;x&gt;" in text and "<b>y</b>" in text and "<td class=number>3</td>" in text
    assert escape("<") == "&lt;"


def test_no_image_is_wider_than_the_page():
    assert "img { max-width: 100%; }" in render_page("a batch", [])


def test_counts_are_said_as_people_do():
    assert (format_count(11_500_000), format_count(5_794_000_000), format_count(2_180_000)) == (
        "11.5 M",
        "5.79 G",
        "2.18 M",
    )


def test_times_are_said_as_people_do():
    assert [format_duration(seconds) for seconds in (9.4, 200, 7500)] == ["9 s", "3 min 20 s", "2 h 05 min"]


def test_exports_of_a_detector_are_compared_by_objects(run: Path):
    from tests.models.detectors import detector_card, random_detector

    verification = {**VERIFICATION, "objects": 99, "mask_iou": None}
    bundle = write_colour_bundle(run / "exports" / "one.nextvit")
    sealed(bundle, verification=verification, card=detector_card(random_detector()))
    text = run_page(run)
    assert "<th>same objects</th>" in text and "the difference is of scores, 0 to 1" in text


def test_the_losses_that_training_sums_are_plotted_by_name():
    record = {"epoch": 1, "is_best": True, "train_loss": 3.0, "val_box_ap_score": 1.0, "lr": 0.1, "waiting_share": 0.0}
    named = {"train_objectness": 1.0, "train_proposal_box": 2.0}
    drawn = figures.draw_training_curves([record | named], score="box_ap_score", name="box AP")
    assert "objectness" in drawn and "proposal box" in drawn
    assert "objectness" not in figures.draw_training_curves([record], score="box_ap_score", name="box AP")


def test_refused_exports_are_listed_with_the_reason(run: Path):
    assert "Refused exports" not in run_page(run)
    (run / "exports").mkdir()
    refused = {"backend": "openvino", "precision": "bf16", "failures": ["cosine 0.99 < 0.999", "agreement 0.9 < 0.995"]}
    (run / "exports" / "photos-openvino-bf16.refused.json").write_text(json.dumps(refused))
    (run / "exports" / "other.refused.json").write_text("{")
    rows = re.findall("<tr><td>(.*?)</tr>", run_page(run).split("<h2>Refused exports</h2>")[1].split("<h2>")[0])
    assert rows[1] == (
        "photos-openvino-bf16</td><td>openvino bf16</td><td>cosine 0.99 &lt; 0.999; agreement 0.9 &lt; 0.995</td>"
    )
    assert rows[0].startswith("other</td><td></td><td>damaged")


def test_a_detectors_tiles_have_its_ap50_and_the_time_of_training(run: Path):
    scores = {"box_ap_score": 40.0, "box_ap50_score": 61.25}
    evaluation = {"scores": scores, "main_score": "box_ap_score", "interval_95": [38.0, 42.0], "images": 9}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    (run / "environment.json").write_text(json.dumps({"train_images": 3000}))
    metrics = (run / "metrics.jsonl").read_text().replace("val_top1_score", "val_box_ap_score")
    (run / "metrics.jsonl").write_text(metrics)
    tiles = re.findall('<div class="tile"><b>(.*?)</b><span>(.*?)</span>', run_page(run, task="detection"))
    assert ("61.25 %", "box AP50, an IoU of 0.5 suffices") in tiles
    assert ("45 s", "training, 2 epochs without their evaluations") in tiles  # 3000 images at 100 and 200 a second


@pytest.mark.parametrize(("value", "shown"), [(-0.0, "0.00"), (-0.004, "0.00"), (0.004, "0.00"), (-0.14, "-0.14")])
def test_nothing_is_minus_zero(value: float, shown: str):
    assert points(value) == shown


def test_names_of_files_may_be_broken_after_their_separators():
    shown = breakable("train/left_door-1.<b>.png").text
    assert shown == "train/<wbr>left_<wbr>door-<wbr>1.&lt;b&gt;.<wbr>png"
