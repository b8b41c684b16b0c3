"""Sections on the evaluation of a detector."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.metrics.detection import evaluate_detections
from nextvit.report import classification_sections as exam
from nextvit.report import detection_sections as detection_exam
from nextvit.report.classification_sections import percent
from nextvit.report.detection_sections import AROUND, SHOWN_PX, region_around
from tests.metrics.detection_scene import CLASSES, SIZE, draw_scene
from tests.report.conftest import run_page

NAMES = ("<cell>", "nut", "car", "none of $these")


@pytest.fixture(scope="module")
def details(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a detector's evaluation tells, on grey images of which the last is gone since."""
    answers, annotations = draw_scene()
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(len(answers))]
    for path in paths[:-1]:
        Image.fromarray(np.full((*SIZE, 3), 128, np.uint8)).save(path)
    _, told = evaluate_detections(answers, annotations, CLASSES, paths=paths, masks=True)
    assert any(each["path"] == str(paths[-1]) for each in told["detection"]["examples"])
    return {**told, "classes": list(NAMES)}


def test_the_page_of_a_run_shows_all_sections_of_a_detector(details: dict[str, Any], run: Path):
    record = json.loads((run / "evaluation.json").read_text())
    (run / "evaluation.json").write_text(json.dumps({**record, "details": details}))
    page = run_page(run, task="detection")
    for section in detection_exam.SECTIONS:
        assert shown(section(details)) in page


def shown(markup: Any) -> str:
    assert markup
    return markup.text.replace("<wbr>", "")  # where names of files may be broken


@pytest.mark.parametrize("section", detection_exam.SECTIONS)
def test_a_section_without_its_data_is_left_out(section: Any):
    assert section({}) is None
    assert section({"classes": ["a", "b"], "class_scores": [1.0, 2.0]}) is None


def test_sections_on_classifiers_leave_detectors_alone(details: dict[str, Any]):
    for section in (
        exam.examples,
        exam.mistakes,
        exam.confused_pairs,
        exam.confusion,
        exam.class_table,
        exam.calibration,
    ):
        assert section(details) is None


def test_mistakes_are_shown_with_their_reasons_and_images_that_are_gone_are_left_out(details: dict[str, Any]):
    for name, section in (
        ("false_positives", detection_exam.worst_false_positives),
        ("misses", detection_exam.worst_misses),
    ):
        listed = details["detection"][name]
        there = [each for each in listed if Path(each["path"]).is_file()]
        text = shown(section(details))
        assert text.count("<img") == len(there) > 3
        assert f"threshold of the score is {details['detection']['threshold']:.2f}" in text


@pytest.mark.parametrize(
    ("kind", "truth", "expected"),
    [
        ("twice", "<nut>", "&lt;nut&gt; that a prediction of higher score has found"),
        ("class", "<nut>", "is annotated as &lt;nut&gt;"),
        ("place", "<nut>", "not in the place of the &lt;nut&gt;"),
        ("nothing", None, "nothing is annotated there"),
    ],
)
def test_each_kind_of_mistake_is_said(details: dict[str, Any], kind: str, truth: str | None, expected: str):
    there = [each for each in details["detection"]["false_positives"] if Path(each["path"]).is_file()]
    pixels, caption = detection_exam.false_positive({**there[0], "kind": kind, "truth": truth})
    assert expected in caption.text and max(pixels.shape) == SHOWN_PX


def test_no_mistakes_are_good_news(details: dict[str, Any]):
    perfect = {**details, "detection": {**details["detection"], "false_positives": [], "misses": []}}
    for section in (detection_exam.worst_false_positives, detection_exam.worst_misses):
        assert "None on the validation images." in shown(section(perfect))


def test_the_class_table_tells_each_score_worst_first(details: dict[str, Any]):
    text = shown(detection_exam.class_table(details))
    for column in ("objects", "box AP", "box AP50", "mask AP", "mask AP50", "precision", "recall"):
        assert f">{column}</th>" in text
    rows = re.findall(r"<tr><td>(.*?)</td>", text)
    assert rows[0] == "none of $these" and "no objects" in text and "never predicted" in text
    scores = [details["class_scores"][NAMES.index(name.replace("&lt;", "<").replace("&gt;", ">"))] for name in rows[1:]]
    assert scores == sorted(scores) and percent(scores[0]) in text


def test_of_boxes_alone_and_of_many_classes_the_table_shows_what_there_is(details: dict[str, Any]):
    detection = {name: values for name, values in details["detection"].items() if not name.startswith("class_mask")}
    many = {name: values[:1] * 100 for name, values in detection.items() if name.startswith("class_")}
    given = {"classes": ["a"] * 100, "class_scores": [5.0] * 100, "detection": {**detection, **many}}
    text = shown(detection_exam.class_table(given))
    assert "mask AP" not in text and text.count("<tr>") == 61 and "40 better classes are left out." in text


def test_curves_name_the_classes_that_have_objects_and_their_mean(details: dict[str, Any]):
    text = shown(detection_exam.curves(details))
    assert "&lt;cell&gt;" in text and "nut" in text and "mean of the classes" in text and "none of" not in text
    assert "Overlap of at least 0.75 (IoU)" in text


@pytest.mark.parametrize("classes", [1, 13])
def test_curves_of_one_class_and_of_many_can_be_drawn(details: dict[str, Any], classes: int):
    given = details["detection"]["curves"]
    some = {name: given[name][:1] * classes for name in ("precision_50", "precision_75")}
    names = [f"class {number}" for number in range(classes)]
    text = shown(detection_exam.curves({"classes": names, "detection": {"curves": {**given, **some}}}))
    assert ("mean of the classes" in text) == (classes > 1) and ("class 0" in text) == (classes == 1)


def test_the_confusion_has_a_row_and_a_column_for_nothing(details: dict[str, Any]):
    text = shown(detection_exam.confusion(details))
    assert text.count("(nothing)") == 2 and "none of $these" in text


@pytest.mark.parametrize("box", [[0, 0, 20, 10], [300, 230, 320, 240], [0, 0, 320, 240], [100, 100, 101, 101]])
def test_a_cut_out_holds_the_box_and_what_is_around_it_inside_the_image(box: list[float]):
    left, top, right, bottom = region_around(box, (320, 240))
    assert 0 <= left <= box[0] and 0 <= top <= box[1] and box[2] <= right <= 320 and box[3] <= bottom <= 240
    assert right - left >= min(320, (1 + 2 * AROUND) * (box[2] - box[0]), 48)
    assert min(right - left, bottom - top) >= 48
