"""Average precision against pycocotools, and of resamples against what is computed anew."""

import contextlib
import io
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nextvit.errors import InputError
from nextvit.metrics.bootstrap import resample_counts
from nextvit.metrics.detection_matches import match_boxes, resampled_box_ap
from nextvit.metrics.detection_scores import Kind, average_precisions
from nextvit.predictions.results import Detections
from tests.metrics.detection_scene import CLASSES, SIZE, draw_scene


def pycocotools_stats(answers: list[Detections], annotations: list[Any], *, kind: Kind) -> tuple[np.ndarray, Any]:
    """The twelve numbers, in percent, from a COCO file that is written here."""
    images = [{"id": 100 + number, "height": SIZE[0], "width": SIZE[1]} for number in range(len(answers))]
    truth = []
    for image, objects in zip(images, annotations, strict=True):
        for index in range(len(objects)):
            x1, y1, x2, y2 = objects.boxes[index].astype(float).tolist()
            entry = {"id": len(truth) + 1, "image_id": image["id"], "category_id": 7 * int(objects.labels[index])}
            shape = {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": objects.segmentations[index]}
            known = {"iscrowd": int(objects.crowd[index]), "area": float(objects.areas[index])}
            truth.append({**entry, **shape, **known})
    found = []
    for image, answer in zip(images, answers, strict=True):
        for each in answer.objects:
            x1, y1, x2, y2 = each.box
            shape = {"bbox": [x1, y1, x2 - x1, y2 - y1]} if kind == "box" else {"segmentation": dict(each.mask or {})}
            entry = {"image_id": image["id"], "category_id": 7 * CLASSES.index(each.label), "score": each.score}
            found.append({**entry, **shape})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = [{"id": 7 * number, "name": name} for number, name in enumerate(CLASSES)]
        coco.dataset = {"info": {}, "images": images, "annotations": truth, "categories": categories}
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(found), "bbox" if kind == "box" else "segm")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return 100 * np.array(judged.stats), judged.eval["precision"]


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_scores_equal_pycocotools(kind: Kind, seed: int):
    answers, annotations = draw_scene(seed=seed)
    stats, precision = pycocotools_stats(answers, annotations, kind=kind)
    assert (stats[:6] > 0).all() and len(set(stats[:6])) == 6  # all sizes occur, and no score stands for another
    given = average_precisions(answers, annotations, CLASSES, kind=kind)
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    assert list(given.scores) == [f"{kind}_{name}_score" for name in names]
    assert list(given.scores.values()) == pytest.approx(stats[:6].tolist(), abs=1e-12)
    assert np.abs(given.precision_TRK - precision[..., 0, -1]).max() < 1e-12
    for label in range(3):
        assert given.class_scores[label] == pytest.approx(100 * precision[:, :, label, 0, -1].mean(), abs=1e-12)
        assert given.class_scores_50[label] == pytest.approx(100 * precision[0, :, label, 0, -1].mean(), abs=1e-12)
    assert given.class_scores[3] is None


def test_a_mask_that_is_not_annotated_is_not_judged():
    answers, annotations = draw_scene(pictures=3, crowds=False)
    first = annotations[0]
    without = replace(first, segmentations=(None, *first.segmentations[1:]))
    corners = first.boxes[0][[0, 1, 2, 1, 2, 3, 0, 3]].tolist()
    as_crowd = replace(first, crowd=np.arange(len(first)) == 0, segmentations=([corners], *first.segmentations[1:]))
    given, expected = (
        average_precisions(answers, [each, *annotations[1:]], CLASSES, kind="mask").scores
        for each in (without, as_crowd)
    )
    assert given == expected


def test_judging_changes_neither_predictions_nor_annotations():
    (answers, annotations), (same_answers, same_annotations) = draw_scene(), draw_scene()
    first = average_precisions(answers, annotations, CLASSES, kind="mask").scores
    assert average_precisions(answers, annotations, CLASSES, kind="mask").scores == first
    assert answers == same_answers
    for given, same in zip(annotations, same_annotations, strict=True):
        assert given.segmentations == same.segmentations


def test_masks_cannot_be_judged_where_a_prediction_has_none():
    answers, annotations = draw_scene(pictures=2)
    bare = [replace(each, objects=(replace(each.objects[0], mask=None),)) for each in answers]
    with pytest.raises(InputError, match="without a mask"):
        average_precisions(bare, annotations, CLASSES, kind="mask")


def test_without_the_evaluator_its_extra_is_named():
    code = "import sys; sys.modules['faster_coco_eval'] = None; import nextvit.metrics.detection_scores"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install '.[train]'" in result.stderr.splitlines()[-1]


def test_judging_needs_no_torch():
    code = "import sys, nextvit.metrics.detection; assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("crowds", [True, False])
def test_each_image_once_is_the_box_ap_itself(seed: int, crowds: bool):
    answers, annotations = draw_scene(seed=seed, crowds=crowds)
    expected = average_precisions(answers, annotations, CLASSES, kind="box").scores["box_ap_score"]
    matches = match_boxes(answers, annotations, CLASSES)
    given = resampled_box_ap(matches, np.ones((len(answers), 2), np.int32))
    assert given.tolist() == pytest.approx([expected] * 2, abs=1e-10)


def test_a_resample_is_the_box_ap_of_the_images_written_out():
    """Scores without equals: of equal ones the order is open."""
    answers, annotations = draw_scene(seed=3)
    generator = np.random.default_rng(0)
    answers = [
        replace(each, objects=tuple(replace(one, score=float(generator.random())) for one in each.objects))
        for each in answers
    ]
    counts = resample_counts(len(answers))[:, :12]
    given = resampled_box_ap(match_boxes(answers, annotations, CLASSES), counts)
    for score, times in zip(given, counts.T, strict=True):
        drawn = np.repeat(np.arange(len(answers)), times)
        written_out = [answers[index] for index in drawn], [annotations[index] for index in drawn]
        expected = average_precisions(*written_out, CLASSES, kind="box").scores["box_ap_score"]
        assert score == pytest.approx(expected, abs=1e-10)


def test_a_resample_without_objects_has_no_score():
    answers, annotations = draw_scene()
    counts = np.zeros((len(answers), 1), np.int32)
    counts[3] = 12  # a picture without objects
    assert np.isnan(resampled_box_ap(match_boxes(answers, annotations, CLASSES), counts)).all()


def test_without_any_prediction_the_score_is_zero_and_without_any_object_there_is_none():
    answers, annotations = draw_scene(pictures=4)
    silent = [replace(each, objects=()) for each in answers]
    given = average_precisions(silent, annotations, CLASSES, kind="box")
    assert given.scores["box_ap_score"] == 0
    assert resampled_box_ap(match_boxes(silent, annotations, CLASSES), np.ones((4, 1), np.int32)).tolist() == [0]
    with pytest.raises(InputError, match="no object is annotated"):
        average_precisions(answers[3:], annotations[3:], CLASSES, kind="box")
