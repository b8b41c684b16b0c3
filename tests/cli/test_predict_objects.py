"""What predict tells and draws of objects."""

from PIL import Image

from nextvit.cli.predict import annotate, in_words
from nextvit.predictions.draw_detections import draw_detections
from tests.cli.commands import found


def test_objects_are_counted_by_class_and_the_surest_score_is_told():
    assert in_words(found("nut", "fig", "nut")) == ("2 nut, 1 fig", "90.0%")
    assert in_words(found()) == ("none", "")


def test_objects_are_drawn_on_the_picture():
    picture = Image.new("RGB", (64, 48), "gray")
    answer = found("nut", "fig")
    assert annotate(picture, answer).tobytes() == draw_detections(picture, answer).tobytes()
