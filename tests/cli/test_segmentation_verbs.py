"""The verbs of a model's life on images with masks, and what is refused there."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageColor

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import SegmentationFacts
from nextvit.cli import main as command_line
from nextvit.cli.export import with_options
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.drawing import class_colours
from nextvit.image.resizing import Preprocess
from nextvit.models.config import VARIANTS
from nextvit.models.segmentation import LIGHT_FPN, Segmenter
from nextvit.models.weights import save_model
from nextvit.predictions.draw_class_map import as_percent, draw_class_map
from nextvit.predictions.results import ClassMap
from nextvit.tasks.reading import read_dataset
from tests.cli.commands import refused
from tests.conftest import draw_dataset, needs
from tests.data.coco_by_hand import draw_objects, spoil
from tests.data.masks_by_hand import CLASSES, draw_masked, read_mask, repaint

SMALL = ("--model", "nextvit_nano", "--image-size", 64, "--batch-size", 4, "--data.workers", 0, "--epochs", 1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_masked(tmp_path_factory.mktemp("masks") / "drawn")


def test_check_counts_the_images_of_each_class(drawn: Path, call):
    done = call("check", drawn)
    assert done.code == 0, done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert all([name, "12", "4"] in lines for name in CLASSES)
    document = json.loads(call("check", drawn, "--json").out)
    assert document["classes"] == {name: {"train": 12, "val": 4} for name in CLASSES}


def test_the_page_of_a_check_tells_how_much_of_each_class_there_is(drawn: Path, call, tmp_path: Path):
    assert call("check", drawn, "--report", tmp_path / "check.html").code == 0
    page = (tmp_path / "check.html").read_text()
    masks = read_dataset(drawn).masks["train"]
    share = np.mean([masks[index] == 1 for index in range(len(masks))])
    assert "labelled pixels in train" in page and f"{share:.2%}" in page


def test_masks_are_not_put_into_shards(drawn: Path, call, tmp_path: Path):
    refused(call("shard", drawn, "--out", tmp_path / "shards"), "annotated objects and masks stay as they are")


def test_check_finds_what_is_wrong_with_masks(tmp_path: Path, call):
    repaint(draw_masked(tmp_path / "drawn"), lambda mask: mask + 5, only=3)
    done = call("check", tmp_path / "drawn")
    assert done.code == 1 and "value_out_of_range" in done.out


@pytest.fixture(scope="module")
def segmenter(drawn: Path) -> Path:
    """A run of one epoch."""
    out = drawn.parent / "segmenter"
    command_line.run(["train", str(drawn), "--out", str(out), *map(str, SMALL)])
    return out


def test_a_folder_with_masks_gets_the_recipe_for_them(segmenter: Path):
    recipe = yaml.safe_load((segmenter / "recipe.yaml").read_text())
    assert (recipe["masks"]["photometric"], recipe["data"]["resize"]) == (0.5, "pad")
    assert (segmenter / "report.html").is_file()


def test_eval_tells_the_scores_of_each_class(segmenter: Path, drawn: Path, call):
    done = call("eval", segmenter, drawn)
    assert done.code == 0
    header = [each.strip() for each in done.out.splitlines()[0].split("  ") if each.strip()]
    assert header == ["class", "pixels", "IoU", "Dice", "recall", "precision"]
    assert "mIoU" in done.out and "pixel accuracy" in done.out and "on 4 images (mIoU 95 %" in done.out


def test_predict_writes_overlays_and_index_images(segmenter: Path, drawn: Path, call, tmp_path: Path):
    out = tmp_path / "answers"
    done = call("predict", segmenter, drawn / "images" / "val", "--out", out)
    assert done.code == 0
    assert "probability" not in done.out  # no column without content
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(records) == 4
    for record in records:
        assert (record["width"], record["height"]) == (48, 36)
        mask = Image.open(out / record["mask"])
        assert (mask.mode, mask.size) == ("P", (48, 36))
        values, counts = np.unique(np.array(mask), return_counts=True)
        assert {
            CLASSES[value]: count / mask.width / mask.height for value, count in zip(values, counts, strict=True)
        } == (pytest.approx(record["shares"]))
        assert (out / record["mask"]).with_suffix(".jpg").is_file()


@pytest.mark.parametrize("views", [("--windows", 32), ("--scales", "0.75,1.5", "--flip"), ("--flip",)])
def test_predict_and_eval_look_at_images_as_they_are_told(views, segmenter: Path, drawn: Path, call, tmp_path: Path):
    done = call("predict", segmenter, drawn / "images" / "val" / "0.png", "--out", tmp_path, *views)
    assert done.code == 0, done.err
    assert read_mask(tmp_path / "00000-0.png").shape == (36, 48)
    done = call("eval", segmenter, drawn, *views, "--json")
    assert done.code == 0 and done.document["scores"]["mean_iou_score"] > 0
    window_px = 32 if views[0] == "--windows" else None
    assert done.document["runtime"]["views"]["window_px"] == window_px


@pytest.fixture(scope="module")
def defects(drawn: Path) -> tuple[Path, Path]:
    """A dataset of two classes, and a run of one epoch on it."""
    root = drawn.parent / "defects"
    shutil.copytree(drawn, root)
    (root / "classes.txt").write_text("sound\ndefect\n")
    for split in ("train", "val"):
        repaint(root, lambda mask: (mask == 1).astype(np.uint8), split=split)
    repaint(root, np.zeros_like, split="val", only=1)
    out = drawn.parent / "inspector"
    command_line.run(["train", str(root), "--out", str(out), *map(str, SMALL)])
    return root, out


def test_eval_of_a_binary_model_tells_how_many_defects_are_missed(defects: tuple[Path, Path], call):
    root, run = defects
    done = call("eval", run, root, "--false-alarms", 20)
    assert done.code == 0, done.err
    assert "pixels: AUROC" in done.out and "images: AUROC" in done.out and "(of 20 % allowed; threshold" in done.out
    document = call("eval", run, root, "--json").document
    found = document["details"]["segmentation"]["defects"]
    assert found["false_alarms"] == 1.0 and found["pixel_miss"]["false_alarm_rate"] <= 1
    final = json.loads((run / "evaluation.json").read_text())
    assert final["details"]["segmentation"]["defects"] == found and final["scores"] == document["scores"]
    windows = call("eval", run, root, "--json", "--windows", 64).document
    assert windows["details"]["segmentation"]["defects"]["pixel_auroc"] is not None


def test_an_overlay_keeps_what_it_covers_to_be_seen():
    labels = np.repeat(np.arange(4, dtype=np.uint8), 300)[None].repeat(1200, axis=0)
    answer = ClassMap(classes=("a", "b", "c", "d"), labels=labels)
    sheet = draw_class_map(Image.new("RGB", (1200, 1200), "white"), answer)
    assert sheet.width == 1200 and sheet.height > 1200
    assert len({sheet.getpixel((150 + 300 * label, 600)) for label in range(4)}) == 4
    assert len(set(class_colours(255))) == 255


@pytest.mark.parametrize("side", [300, 4000])
def test_an_overlay_shows_the_ground_through_the_common_class_and_a_crack_of_one_pixel_in_full(side: int):
    labels = np.zeros((side, side), np.uint8)
    labels[side // 2] = 1
    sheet = draw_class_map(
        Image.new("RGB", (side, side), "#808080"), ClassMap(classes=("sound", "crack"), labels=labels)
    )
    drawn = np.asarray(sheet)[: sheet.width]
    assert abs(drawn[10, 10].astype(int) - 128).max() < 30
    crack = (drawn == ImageColor.getrgb(class_colours(2)[1])).all(axis=2)
    assert crack.any(axis=0).all()


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0%"), (1e-6, "below 0.1%"), (0.0005, "0.1%"), (0.25, "25.0%"), (0.9996, "above 99.9%"), (1.0, "100.0%")],
)
def test_a_defect_of_a_few_pixels_is_not_told_as_nothing(share: float, text: str):
    assert as_percent(share) == text


@pytest.mark.backend
def test_a_segmentation_model_is_exported_and_verified(segmenter: Path, drawn: Path, call):
    needs("onnxruntime")
    out = segmenter / "exports" / "segmenter-onnx-fp32.nextvit"
    done = call("export", segmenter, "--to", "onnx")
    assert done.code == 0, done.err
    assert "same class" in done.out and "mIoU, exported" in done.out
    assert "same class" in call("verify", out, "--data", drawn, "--against", segmenter).out
    told = call("info", out).out
    assert "the class of each pixel, by Semantic FPN of 64 channels" in told and "of the same class" in told
    page = (segmenter / "report.html").read_text()
    assert "same pixels" in page and "the largest fraction of an image" in page
    refused(call("predict", out, drawn / "images" / "val", "--windows", 64), "puts out classes alone", "with --scores")
    refused(call("eval", out, drawn, "--flip"), "puts out classes alone", "with --scores")


@pytest.mark.backend
def test_it_is_exported_with_scores_and_for_one_size(segmenter: Path, drawn: Path, call):
    """What the run takes in frames is squashed to that size in the proof, the exam, and for the model it is compared
    with."""
    needs("onnxruntime")
    done = call("export", segmenter, "--scores", "--fixed-size", "40x64")
    assert done.code == 0, done.err
    assert "4 (drawn, val)" in done.out and f"{4 * 40 * 64} pixels" in done.out and "difference of logits" in done.out
    out = segmenter / "exports" / "segmenter-onnx-fp32-40x64-scores.nextvit"
    card = json.loads((out / "manifest.json").read_text())["card"]
    assert card["facts"]["scores"] and (card["input"]["image_size"], card["input"]["resize"]) == ([40, 64], "stretch")
    verified = call("verify", out, "--against", segmenter)
    assert verified.code == 0 and "difference of logits" in verified.out
    assert "the class of each pixel, and the scores of all, by Semantic FPN" in call("info", out).out
    assert call("eval", out, drawn).code == 0


def test_scores_and_one_size_are_for_segmentation_models():
    card = ModelCard(
        task="classification", classes=("a", "b"), input=Preprocess(image_size=(64, 64)), variant="", architecture={}
    )
    for given in ({"scores": True, "fixed_size": None}, {"scores": False, "fixed_size": "64x64"}):
        with pytest.raises(InputError, match="is for segmentation models, and this is one for classification"):
            with_options(card, dynamic_size=False, **given)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["export", "RUN", "--to", "onnx", "--precision", "int8"],
            ["onnx int8 is not for segmentation; a network for segmentation is exported to onnx in fp32"],
        ),
        (["export", "RUN", "--fixed-size", "352"], ["--fixed-size is HEIGHTxWIDTH in pixels", "got '352'"]),
        (["export", "RUN", "--fixed-size", "16x64"], ["at least 32 px a side"]),
        (["export", "RUN", "--fixed-size", "64x64", "--dynamic-size"], ["leave one of them out"]),
        (["eval", "RUN", "PHOTOS"], ["the model was trained for segmentation", "is one for classification"]),
        (
            ["train", "DATA", "--out", "NEW", "--teacher", "RUN"],
            ["distill.teacher is for classification, distillation and multilabel, and this is segmentation"],
        ),
        (["train", "DATA", "--out", "NEW", "--data.resize", "crop"], ["resize cannot be 'crop'"]),
        (["predict", "RUN", "DATA", "--windows", "50"], ["the side of a window is a multiple of 32 px", "got 50"]),
        (["predict", "RUN", "DATA", "--scales", "1,big"], ["--scales takes numbers with commas", "'1,big'"]),
        (["predict", "RUN", "DATA", "--scales", "0.1"], ["at least 32 px a side"]),
        (["eval", "RUN", "DATA", "--windows", "64", "--flip"], ["use them without scales and flips"]),
        (
            ["eval", "RUN", "DATA", "--false-alarms", "1"],
            ["--false-alarms is for segmentation models with two classes"],
        ),
    ],
)
def test_what_is_not_possible_is_said_in_a_line(
    arguments: list[str], words: list[str], segmenter: Path, drawn: Path, call, tmp_path: Path
):
    draw_dataset(tmp_path / "photos")
    places = {"RUN": segmenter, "DATA": drawn, "PHOTOS": tmp_path / "photos", "NEW": tmp_path / "new"}
    refused(call(*(places.get(each, each) for each in arguments)), *words)


def without_mask(root: Path) -> None:
    (root / "masks" / "val" / "1.png").unlink()


def without_masks(root: Path) -> None:
    shutil.rmtree(root / "masks")


def without_the_masks_of_a_split(root: Path) -> None:
    shutil.rmtree(root / "masks" / "val")


def with_a_mask_of_another_size(root: Path) -> None:
    repaint(root, lambda mask: mask[:30], split="val", only=1)


def with_colours(root: Path) -> None:
    repaint(root, lambda mask: np.stack([mask * 60] * 3, axis=2), split="val", only=1)


def with_fewer_names(root: Path) -> None:
    (root / "classes.txt").write_text("background\nsquare\n")


def without_names(root: Path) -> None:
    (root / "classes.txt").unlink()


def with_a_broken_mask(root: Path) -> None:
    (root / "masks" / "val" / "1.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("spoil", "trained", "examined"),
    [
        (without_mask, "1 image has no mask, first: ROOT/images/val/1.png; expected ROOT/masks/val/1.png", None),
        (without_masks, "or masks/train/NAME.png", None),
        (without_the_masks_of_a_split, "has images/val but no folder masks/val", None),
        (
            with_a_mask_of_another_size,
            "images/val/1.png: is 48x36, its mask 48x30",
            "val/1.png: is 48x36 px, its mask 48x30",
        ),
        (
            with_colours,
            (
                "is in colours (RGB), such as (0, 0, 0); expected one channel of class indices; first: "
                "ROOT/masks/val/1.png);"
            ),
            "masks/val/1.png: is in colours (RGB), such as (0, 0, 0); expected one channel of class indices",
        ),
        (
            with_fewer_names,
            "the value 2 in the mask of 16 images",
            "has the value 2; expected 0 to 1 (the 2 classes) or 255",
        ),
        (without_names, "classes.txt: no such file; it lists the names of the classes", None),
        (
            with_a_broken_mask,
            "the mask of images/val/1.png: not an image in a known format",
            "masks/val/1.png: not an image",
        ),
    ],
)
def test_bad_masks_are_told_in_a_line(
    spoil, trained: str, examined: str | None, segmenter: Path, drawn: Path, call, tmp_path: Path
):
    """`examined` is what eval says, where it is not what train says."""
    root = tmp_path / "data"
    shutil.copytree(drawn, root)
    spoil(root)
    done = call("train", root, "--out", tmp_path / "new", *SMALL)
    assert done.code == 2 and done.out == "" and trained.replace("ROOT", str(root)) in done.err.splitlines()[-1]
    assert not (tmp_path / "new").exists()
    refused(call("eval", segmenter, root), (examined or trained).replace("ROOT", str(root)))


def test_a_run_and_a_dataset_of_different_tasks_are_refused(segmenter: Path, drawn: Path, call, tmp_path: Path):
    photos, boxes = tmp_path / "photos", draw_objects(tmp_path / "boxes")
    draw_dataset(photos)
    for split in ("train", "val"):
        spoil(boxes, lambda content: [each.update(segmentation=[]) for each in content["annotations"]], split=split)
    of_photos = ["the model was trained for segmentation", "is one for classification"]
    for verb in (["eval", segmenter], ["export", segmenter, "--to", "onnx", "--out", tmp_path / "x.nextvit", "--data"]):
        refused(call(*verb, photos), *of_photos)
        refused(call(*verb, boxes), "boxes: its objects have boxes alone, and segmentation is learnt from masks")
    teacher = call("train", photos, "--out", tmp_path / "new", "--teacher", segmenter, *SMALL)
    assert teacher.code == 2 and "is a model for segmentation; take one for classification or multilabel" in teacher.err
    as_masks = ("train", photos, "--out", tmp_path / "new", "--task", "segmentation")
    refused(call(*as_masks), "photos: is a dataset for classification, not for segmentation", "it takes masks")
    refused(
        call("check", photos, "--task", "segmentation"), "photos: is a dataset for classification, not for segmentation"
    )
    refused(call("check", drawn, "--task", "detection"), "detection", "segmentation")
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def of_objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """COCO's objects, and a run that learnt them as masks."""
    needs("faster_coco_eval")
    folder = tmp_path_factory.mktemp("objects")
    root, run = draw_objects(folder / "drawn"), folder / "run"
    command_line.run(["train", str(root), "--task", "segmentation", "--out", str(run), *map(str, SMALL)])
    return root, run


def test_objects_are_checked_and_learnt_as_masks(of_objects: tuple[Path, Path], call):
    root, run = of_objects
    done = call("check", root, "--task", "segmentation", "--json")
    assert done.code == 0
    names = ["background", "square", "disc"]
    assert done.document["classes"] == {name: {"train": 12, "val": 4} for name in names}
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (recipe["task"], recipe["data"]["resize"]) == ("segmentation", "pad")
    done = call("eval", run, root, "--json")
    assert done.code == 0 and done.document["details"]["classes"] == names
    assert done.document["scores"] == json.loads((run / "evaluation.json").read_text())["scores"]


@pytest.mark.backend
def test_a_run_that_learnt_objects_as_masks_is_resumed_and_exported_with_them(of_objects: tuple[Path, Path], call):
    needs("onnxruntime")
    root, run = of_objects
    done = call("train", root, "--out", run, "--resume")
    assert done.code == 0 and "mIoU" in done.out, done.err
    done = call("export", run, "--to", "onnx")
    assert done.code == 0 and "mIoU, exported" in done.out, done.err
    assert call("verify", next((run / "exports").glob("*.nextvit")), "--data", root).code == 0


def test_objects_of_one_class_are_defects(tmp_path: Path, call):
    """With the background they are two classes."""
    needs("faster_coco_eval")
    root = draw_objects(tmp_path / "drawn")
    for split in ("train", "val"):
        spoil(root, keep_squares, split=split)
    segmenter = Segmenter(VARIANTS["nextvit_nano"], LIGHT_FPN, num_classes=2)
    card = ModelCard(
        task="segmentation",
        classes=("background", "square"),
        input=Preprocess(image_size=(64, 64), resize="stretch"),
        variant="nextvit_nano",
        architecture=to_plain(VARIANTS["nextvit_nano"]),
        head=to_plain(LIGHT_FPN),
        facts=SegmentationFacts(),
    )
    save_model(tmp_path / "model.safetensors", segmenter, card)
    done = call("eval", tmp_path / "model.safetensors", root, "--false-alarms", 5, "--json")
    assert done.code == 0, done.err
    found = done.document["details"]["segmentation"]["defects"]
    assert found["pixel_auroc"] is not None and found["false_alarms"] == 5


def keep_squares(content: dict[str, Any]) -> None:
    for name, key in (("categories", "id"), ("annotations", "category_id")):
        content[name] = [each for each in content[name] if each[key] == 3]
