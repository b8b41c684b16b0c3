"""What is said to be wrong, on images whose mistakes are known."""

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from nextvit.data.objects import Objects
from nextvit.metrics.detection import evaluate_detections
from nextvit.metrics.detection_matches import match_boxes
from nextvit.metrics.detection_mistakes import (
    confusion_with_background,
    find_best_threshold,
    find_false_positives,
    find_misses,
    limit_per_image,
    precision_and_recall,
)
from nextvit.predictions.results import Detection, Detections
from tests.metrics.detection_scene import CLASSES, SIZE, draw_scene

CAT, DOG = "cat", "dog"
NAMES = (CAT, DOG)


def square(x: float, side: float = 10) -> tuple[float, float, float, float]:
    return x, 0.0, x + side, side


def annotated(*objects: tuple[str, tuple[float, ...]], crowd: tuple[int, ...] = ()) -> Objects:
    boxes = np.array([box for _, box in objects], np.float32).reshape(-1, 4)
    return Objects(
        boxes=boxes,
        labels=np.array([NAMES.index(name) for name, _ in objects], np.int64),
        crowd=np.array([index in crowd for index in range(len(objects))], np.bool_),
        areas=((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64),
    )


def answered(*objects: tuple[str, float, tuple[float, float, float, float]]) -> Detections:
    found = [Detection(label=name, category_id=NAMES.index(name), score=score, box=box) for name, score, box in objects]
    return Detections(width=200, height=100, objects=tuple(sorted(found, key=lambda each: -each.score)))


TRUTH = [
    annotated((CAT, square(0)), (DOG, square(40)), (CAT, square(80)), (CAT, square(120, 60)), crowd=(3,)),
    annotated((DOG, square(0, 20)), (DOG, square(60))),
]
ANSWERS = [
    answered(
        (CAT, 0.95, square(0.5)),  # right
        (CAT, 0.9, square(1)),  # the same once more
        (CAT, 0.85, square(40)),  # a dog
        (DOG, 0.8, square(150)),  # in a crowd of cats, which excuses no dog
        (CAT, 0.75, square(130)),  # in the crowd: not judged
        (CAT, 0.7, square(86)),  # beside the cat
        (CAT, 0.3, square(80)),  # right, but not sure
    ),
    answered((DOG, 0.6, square(0, 20))),
]


def test_each_wrong_prediction_is_told_with_its_reason_the_surest_first():
    matches = match_boxes(ANSWERS, TRUTH, NAMES)
    listed = find_false_positives(matches, ANSWERS, TRUTH, threshold=0.5)
    assert [(each.score, each.kind, each.object) for each in listed] == [
        (0.9, "twice", 0),
        (0.85, "class", 1),
        (0.8, "nothing", None),
        (0.7, "place", 2),
    ]
    assert ANSWERS[0].objects[listed[3].detection].score == 0.7


def test_what_is_not_found_at_all_comes_before_what_is_found_unsurely_and_the_large_before_the_small():
    listed = find_misses(match_boxes(ANSWERS, TRUTH, NAMES), TRUTH, threshold=0.5)
    assert [(each.image, each.object, each.found_at) for each in listed] == [
        (0, 1, None),
        (1, 1, None),
        (0, 2, 0.3),
    ]
    large = find_misses(match_boxes([answered()] * 2, TRUTH, NAMES), TRUTH, threshold=0.5)
    assert (large[0].image, large[0].object, large[0].area) == (1, 0, 400.0)


def test_the_confusion_counts_predictions_and_objects_once_each():
    matches = match_boxes(ANSWERS, TRUTH, NAMES)
    confusion = confusion_with_background(matches, ANSWERS, TRUTH, threshold=0.5)
    # true cat: one found, one missed; true dog: one found, one taken for a cat, one missed; nothing: two cats, one dog
    assert confusion.tolist() == [[1, 0, 1], [1, 1, 1], [2, 1, 0]]
    lower = confusion_with_background(matches, ANSWERS, TRUTH, threshold=0.2)
    assert lower.tolist() == [[2, 0, 0], [1, 1, 1], [2, 1, 0]]


def test_the_shares_of_a_class_leave_crowds_out():
    cat, dog = (precision_and_recall(each, 0.5) for each in match_boxes(ANSWERS, TRUTH, NAMES))
    assert cat == (pytest.approx(25.0), pytest.approx(50.0))  # of four judged answers and two cats
    assert dog == (pytest.approx(50.0), pytest.approx(100 / 3))
    assert precision_and_recall(match_boxes(ANSWERS[1:], TRUTH[1:], NAMES)[0], 0.5) == (None, None)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_threshold_has_the_best_f1_of_all_scores(seed: int):
    answers, annotations = draw_scene(seed=seed)
    matches = match_boxes(answers, annotations, CLASSES)
    objects = sum(int((~each.crowd).sum()) for each in annotations)

    def f1(threshold: float) -> float:
        believed = [(each.scores_D >= threshold) & ~each.ignored_TD[0] for each in matches]
        right = sum(int((each.is_true_positive[0] & kept).sum()) for each, kept in zip(matches, believed, strict=True))
        return 2 * right / (sum(int(kept.sum()) for kept in believed) + objects)

    chosen = find_best_threshold(matches)
    assert f1(chosen) == max(f1(score) for each in matches for score in each.scores_D.tolist()) > 0
    silent = [Detections(height=1, width=1, objects=())] * len(answers)
    assert find_best_threshold(match_boxes(silent, annotations, CLASSES)) == 0.5


def test_one_image_does_not_hide_the_others():
    assert limit_per_image([1, 1, 1, 2, 2, 3, 1], lambda each: each, per_image=2, limit=4) == [1, 1, 2, 2]


def judged(**changes: Any) -> tuple[dict[str, float], dict[str, Any]]:
    answers, annotations = draw_scene()
    given = {"paths": [f"{number}.png" for number in range(len(answers))], "masks": True, **changes}
    return evaluate_detections(answers, annotations, CLASSES, **given)


def test_the_box_ap_comes_first_and_details_are_plain_json():
    scores, details = judged()
    assert next(iter(scores)) == "box_ap_score" and "mask_ap75_score" in scores
    assert json.loads(json.dumps(details, allow_nan=False)) == details
    detection = details["detection"]
    assert details["class_scores"][3] is None and detection["curves"]["precision_50"][3] is None
    assert len(detection["curves"]["precision_75"][0]) == len(detection["curves"]["recall"]) == 101
    counts = np.array(detection["confusion"])
    assert counts[:4].sum(axis=1).tolist() == detection["class_objects"]
    wrong, missed = detection["false_positives"], detection["misses"]
    assert wrong and missed and all(each["answer"]["score"] >= detection["threshold"] for each in wrong)
    scores_of_wrong = [each["answer"]["score"] for each in wrong]
    assert scores_of_wrong == sorted(scores_of_wrong, reverse=True)


def test_shapes_of_polygons_and_of_run_lengths_are_told_as_run_lengths():
    _, annotations = draw_scene()
    _, details = judged()
    example = details["detection"]["examples"][0]
    assert example["path"] == "0.png" and len(example["objects"]) == len(annotations[0]) >= 3
    for shape, segmentation in zip(example["objects"], annotations[0].segmentations, strict=True):
        runs = segmentation if isinstance(segmentation, dict) else coco.merge(coco.frPyObjects(segmentation, *SIZE))
        if isinstance(runs["counts"], list):
            runs = coco.frPyObjects(runs, *SIZE)
        expected = coco.area(runs if isinstance(runs["counts"], bytes) else {**runs, "counts": runs["counts"].encode()})
        assert isinstance(shape["mask"]["counts"], str)
        assert coco.area({**shape["mask"], "counts": shape["mask"]["counts"].encode()}) == expected


def test_boxes_alone_are_judged_without_masks():
    scores, details = evaluate_detections(ANSWERS, TRUTH, NAMES, paths=["a", "b"], masks=False)
    assert not [name for name in scores if name.startswith("mask")] and "class_mask_ap" not in details["detection"]
    assert details["detection"]["examples"][1]["objects"][0]["mask"] is None
