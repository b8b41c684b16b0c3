"""What predict tells and draws of objects."""

from PIL import Image

from nextvit.cli.draw_detections import draw_detections
from nextvit.cli.predict import annotate, in_words
from nextvit.predictions.results import Detection, Detections


def found(*labels: str) -> Detections:
    objects = tuple(
        Detection(label=label, category_id=len(label), score=0.9 - index / 10, box=(1.0, 2.0, 30.0, 20.0))
        for index, label in enumerate(labels)
    )
    return Detections(width=64, height=48, objects=objects)


def test_objects_are_counted_by_class_and_the_surest_score_is_told():
    assert in_words(found("nut", "fig", "nut")) == ("2 nut, 1 fig", "90.0%")
    assert in_words(found()) == ("none", "")


def test_objects_are_drawn_on_the_picture():
    picture = Image.new("RGB", (64, 48), "gray")
    answer = found("nut", "fig")
    assert annotate(picture, answer).tobytes() == draw_detections(picture, answer).tobytes()
