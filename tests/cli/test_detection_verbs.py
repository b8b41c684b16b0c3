"""The verbs of a model's life on images with objects, and what is refused there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.cli import main as command_line
from nextvit.loading import load
from nextvit.predictions.draw_detections import draw_detections
from nextvit.predictions.kind import kind_of
from nextvit.predictions.results import Detections
from tests.cli.commands import FAST, NUTS, found, refused
from tests.data.coco_by_hand import draw_objects, save, spoil

SMALL = ("--model", "nextvit_nano", "--image-size", 64, "--batch-size", 4, "--data.workers", 0, "--epochs", 1,
         "--loss.region-samples", 32)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_objects(tmp_path_factory.mktemp("objects") / "drawn")


@pytest.fixture(scope="module")
def detector(drawn: Path) -> Path:
    """A run of one epoch."""
    out = drawn.parent / "detector"
    command_line.run(["train", str(drawn), "--out", str(out), *map(str, SMALL)])
    return out


def refused_in_the_end(done, *words: str) -> None:
    """As `refused`, behind what was said on the way."""
    done.err = done.err.strip().splitlines()[-1]
    refused(done, *words)


def test_a_folder_with_annotations_gets_the_recipe_for_objects(detector: Path):
    import yaml

    recipe = yaml.safe_load((detector / "recipe.yaml").read_text())
    assert (recipe["objects"]["photometric"], recipe["data"]["resize"]) == (0.5, "pad")
    assert (detector / "report.html").is_file()


@pytest.mark.parametrize(("split", "count"), [("val", 4), ("train", 12)])
def test_eval_tells_the_scores_of_boxes_and_masks(detector: Path, drawn: Path, call, split: str, count: int):
    done = call("eval", detector, drawn, "--split", split)
    assert done.code == 0
    header = done.out.splitlines()[0].split("  ")
    assert [each.strip() for each in header if each.strip()] == ["class", "objects", "box AP", "mask AP"]
    assert "box AP50" in done.out and f"on {count} images (box AP 95 %" in done.out
    rows = [line.split() for line in done.out.splitlines()[1:3]]
    assert [row[:2] for row in rows] == [["square", str(count)], ["disc", str(count)]]


def test_eval_of_a_class_that_a_split_lacks(detector: Path, drawn: Path, call, tmp_path: Path):
    shutil.copytree(drawn, tmp_path / "other")
    discs = lambda content: content.update(
        annotations=[each for each in content["annotations"] if each["category_id"] == 3]
    )
    spoil(tmp_path / "other", discs, split="val")
    done = call("eval", detector, tmp_path / "other", "--json")
    assert done.code == 0
    assert done.document["details"]["class_scores"][1] is None


def test_info_tells_what_a_detector_takes_and_predicts(detector: Path, call):
    facts = call("info", detector, "--json").document
    assert facts["task"] == "detection"
    assert facts["predicts"].startswith(
        "boxes and masks of at most 100 objects, of scores above 0.05; of two of a class"
    )
    assert facts["input"] == "uint8 RGB, at most 107x64 px, either way up"


def test_predict_leaves_images_and_lines(detector: Path, drawn: Path, call, tmp_path: Path):
    done = call("predict", detector, drawn / "images" / "val", "--out", tmp_path / "out", "--json")
    assert done.code == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == len(list((tmp_path / "out").glob("*.jpg"))) == 4
    assert {(line["width"], line["height"]) for line in lines} == {(96, 72)}
    assert lines == done.document["predictions"]
    refused(call("predict", detector, drawn, "--min-score", 30), "--min-score must be between 0 and 1, got 30")


def test_predict_tells_the_best_score_and_no_empty_table(detector: Path, drawn: Path, call, tmp_path: Path):
    told = call("predict", detector, drawn / "images" / "val").out
    assert told.split("\n")[0].split() == ["file", "prediction", "best", "score"]
    (tmp_path / "notes.jpg").write_text("no picture")
    done = call("predict", detector, tmp_path / "notes.jpg")
    assert done.code == 1 and not done.out.strip()


def test_objects_of_low_scores_are_told_in_full_and_not_drawn():
    answer = found(*["nut"] * 8)  # scores 0.9, 0.8, ..., 0.2
    sure = kind_of(NUTS).filter(answer, 0.65)
    assert isinstance(sure, Detections)
    assert [round(each.score, 1) for each in sure.objects] == [0.9, 0.8, 0.7]
    picture = Image.new("RGB", (64, 48), "gray")
    drawn, expected = (
        draw_detections(picture, each, classes=NUTS.classes) for each in (sure, found("nut", "nut", "nut"))
    )
    assert drawn.tobytes() == expected.tobytes()


def test_a_least_score_is_for_detectors(run_folder: Path, pictures: Path, call, tmp_path: Path):
    done = call("predict", run_folder, pictures / "val", "--min-score", 0.5, "--out", tmp_path / "out")
    refused(done, "--min-score is for detectors", "is a model for classification", "leave it out")
    assert not (tmp_path / "out").exists()


def test_a_detector_predicts_at_other_limits(detector: Path, drawn: Path):
    path = drawn / "images" / "val" / "0.png"
    predictor = load(detector, image_size=(48, 80))
    assert predictor.card.input.prepare(path).size == (48, 64)
    [answer] = predictor([path])
    assert isinstance(answer, Detections) and (answer.width, answer.height) == (96, 72)
    assert len(list(predictor.stream([path] * 6))) == 6


def test_a_model_of_another_task_is_refused(
    detector: Path,
    drawn: Path,
    run_folder: Path,
    pictures: Path,
    call,
    tmp_path: Path,
):
    refused(call("eval", run_folder, drawn), "was trained for classification", "is one for detection")
    refused(call("eval", detector, pictures), "was trained for detection", "is one for classification")
    bundle = run_folder / "exports" / "run-onnx-fp32.nextvit"
    refused(call("verify", bundle, "--data", drawn), "was trained for classification", "is one for detection")
    refused(call("verify", bundle, "--against", detector), "differ in task")
    train = ("train", drawn, "--out", tmp_path / "new", *SMALL)
    refused_in_the_end(
        call(*train, "--teacher", run_folder),
        "distill.teacher is for classification, distillation and multilabel, and this is detection",
        "leave it out",
    )
    taught = call("train", pictures, "--out", tmp_path / "new", *FAST, "--teacher", detector, "--data.allow-errors")
    refused_in_the_end(taught, "the teacher", "is a model for detection; take one for classification or multilabel")
    assert not (tmp_path / "new").exists()


def test_weights_of_another_task_start_the_backbone(detector: Path, pictures: Path, call, tmp_path: Path):
    done = call("train", pictures, "--out", tmp_path / "run", *FAST, "--epochs", 1, "--weights", detector)
    assert done.code == 0, done.err
    assert "tensors loaded from nextvit layout" in done.err and "start fresh: norm.weight" in done.err
    assert "left over (neck of a detection or segmentation model)" in done.err


def test_annotations_that_cannot_be_used(drawn: Path, call, tmp_path: Path):
    def spoilt(name: str) -> Path:
        return Path(shutil.copytree(drawn, tmp_path / name))

    def train(root: Path, *flags: object):
        return call("train", root, "--out", tmp_path / "run", *(flags or SMALL))

    shutil.rmtree(spoilt("without") / "annotations")
    refused(train(tmp_path / "without"), "without: no annotations file; expected annotations/instances_train.json")
    (spoilt("untrained") / "annotations" / "instances_train.json").unlink()
    refused(
        train(tmp_path / "untrained"), "no annotations of the split train; expected annotations/instances_train.json"
    )
    save(spoilt("listed"), "train", [1, 2])
    refused(train(tmp_path / "listed"), "instances_train.json: not in COCO's format", "got a list")
    save(spoilt("keyless"), "train", {"shapes": []})
    refused(train(tmp_path / "keyless"), "not in COCO's format: it has no list 'images', but shapes")
    (spoilt("cut") / "annotations" / "instances_val.json").write_text('{"images": [')
    refused(train(tmp_path / "cut"), "instances_val.json: line 1: not valid JSON")
    path = spoilt("resized") / "images" / "val" / "1.png"
    Image.fromarray(np.zeros((36, 48, 3), np.uint8)).save(path)
    refused_in_the_end(train(tmp_path / "resized"), "1.png: is 48x36, annotated as 96x72", "nextvit check")
    extra = {"id": 9, "name": "star", "supercategory": ""}
    for split in ("train", "val"):
        spoil(
            tmp_path / "starry" if split == "val" else spoilt("starry"),
            lambda content: content["categories"].append(extra),
            split=split,
        )
    refused_in_the_end(train(tmp_path / "starry"), "class 'star' (category id 9) has no object", "nextvit check")
    assert not (tmp_path / "run").exists()


def test_eval_names_an_image_of_another_size(detector: Path, drawn: Path, call, tmp_path: Path):
    shutil.copytree(drawn, tmp_path / "resized")
    Image.new("RGB", (48, 36)).save(tmp_path / "resized" / "images" / "val" / "1.png")
    refused(call("eval", detector, tmp_path / "resized"), "1.png: is 48x36 px, and was annotated as 96x72")


def test_eval_without_any_object_to_find(detector: Path, drawn: Path, call, tmp_path: Path):
    shutil.copytree(drawn, tmp_path / "empty")
    spoil(tmp_path / "empty", lambda content: content["annotations"].clear(), split="val")
    refused(call("eval", detector, tmp_path / "empty"), "no object is annotated in the split val")
