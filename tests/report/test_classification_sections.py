"""Sections on an evaluation."""

from pathlib import Path
from typing import Any

import pytest

from nextvit.report import classification_sections as exam
from tests.report.conftest import exam_details

SECTIONS = (
    exam.examples,
    exam.mistakes,
    exam.confused_pairs,
    exam.confusion,
    exam.class_table,
    exam.calibration,
)


@pytest.fixture
def details(shared_colours: Path) -> dict[str, Any]:
    return exam_details(shared_colours / "val" / "red" / "0.png")


def shown(markup: Any) -> str:
    assert markup
    return markup.text


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_without_its_data_is_left_out(section: Any):
    assert section({}) is None
    assert section({"classes": ["a", "b"], "class_scores": [1.0, 2.0]}) is None


def test_the_class_table_tells_images_accuracy_and_precision_worst_first(details: dict[str, Any]):
    text = shown(exam.class_table(details))
    for cell in ("31", "50.0 % (10 to 90)", "100.0 %", "&lt;blue&gt; (1x)", "no images"):
        assert f">{cell}</td>" in text
    assert text.index("no images") < text.index("50.0 %")


def test_of_many_classes_the_worst_are_shown(details: dict[str, Any]):
    names = ("classes", "class_scores", "class_intervals", "class_precisions", "class_images", "class_training_images")
    many = {name: details[name][:1] * 100 for name in names}
    text = shown(exam.class_table({**many, "confusion": [[0] * 100] * 100}))
    assert text.count("<tr>") == 61 and "40 better classes are left out." in text


def test_calibration_says_by_how_much_the_model_is_too_sure(details: dict[str, Any]):
    text = shown(exam.calibration(details))
    assert "Expected calibration error 40.0%" in text and "more sure than right by 40.0%" in text
    details["calibration"]["confidence"][1] = 0.4
    assert "less sure than right by 10.0%" in shown(exam.calibration(details))


def test_a_confused_pair_has_an_example_where_one_can_be_read(details: dict[str, Any]):
    assert shown(exam.confused_pairs(details)).count("<img") == 1
    assert shown(exam.confused_pairs({**details, "mistakes": details["mistakes"][1:]})).count("<img") == 0


def test_no_mistakes_are_good_news():
    assert "None on the validation images." in shown(exam.mistakes({"mistakes": []}))
