"""The table of a multi-label model's classes."""

from nextvit.report.classification_sections import percent
from nextvit.report.label_table import label_section


def test_the_worst_class_comes_first_and_what_cannot_be_said_is_told():
    details = {
        "classes": ["good", "<bad>", "absent"],
        "class_images": [4, 2, 0],
        "class_scores": [90.0, 12.34, None],
        "class_precisions": [80.0, None, None],
        "class_recalls": [75.0, 0.0, None],
    }
    shown = label_section(details)
    assert shown
    text = shown.text
    assert text.index("absent") < text.index("&lt;bad&gt;") < text.index("good")
    assert percent(12.34) in text and "never predicted" in text and "no images" in text


def test_other_tasks_have_no_such_table():
    assert label_section({"class_scores": [1.0]}) is None
