"""What predict tells and draws of objects."""

import pytest
from PIL import Image

from nextvit.image.drawing import class_style
from nextvit.predictions.draw_detections import draw_detections, legend_of, mark_of
from nextvit.predictions.kind import kind_of
from nextvit.report.detection_sections import class_mark
from tests.cli.commands import NUTS, found


def test_objects_are_counted_by_class_and_the_surest_score_is_told():
    kind = kind_of(NUTS)
    assert kind.summary(found("nut", "fig", "nut")) == ("2 nut, 1 fig", "90.0%")
    assert kind.summary(found()) == ("none", "")


def test_objects_are_drawn_on_the_image():
    picture = Image.new("RGB", (64, 48), "gray")
    answer = found("nut", "fig")
    drawn = kind_of(NUTS).draw(picture, answer)
    assert drawn.tobytes() == draw_detections(picture, answer, classes=NUTS.classes).tobytes()


@pytest.mark.parametrize("labels", [("fig", "nut"), ("nut", "fig"), ("nut",), ("nut", "nut", "fig")])
def test_a_class_has_the_colour_of_the_report_whatever_else_is_on_the_image(labels: tuple[str, ...]):
    answer = found(*labels)
    styles = dict(zip(labels, (mark_of(each, NUTS.classes).style for each in answer.objects), strict=True))
    for class_index, label in enumerate(NUTS.classes):
        shape = {"box": [1, 2, 30, 20], "mask": None, "label": label, "class_index": class_index, "score": 0.9}
        assert styles.get(label, class_mark(shape).style) == class_mark(shape).style == class_style(class_index)
    assert {text.partition(":")[0]: style for style, text in legend_of(answer, NUTS.classes)} == styles
    assert len({style.colour for style in styles.values()}) == len(set(labels))
