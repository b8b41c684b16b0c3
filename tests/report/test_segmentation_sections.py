"""Sections on the evaluation of a segmentation model."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.image.class_maps import from_base64_png
from nextvit.image.drawing import class_colours
from nextvit.metrics.mean_iou import dice_scores, iou_scores, precision_scores, recall_scores
from nextvit.report import classification_sections as exam
from nextvit.report import detection_sections as detection_exam
from nextvit.report import figures
from nextvit.report import segmentation_sections as segmentation_exam
from nextvit.report.class_overlays import GAP_PX, SIDE_PX, overlay_row
from nextvit.tasks.reading import read_dataset
from tests.data.masks_by_hand import draw_masked
from tests.report.conftest import run_page
from tests.tasks.by_colour import by_colour, find_task

NAMES = ("back$ground", "<square>", "disc")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_masked(tmp_path_factory.mktemp("segmented") / "drawn", train=1, val=10)


@pytest.fixture(scope="module")
def details(root: Path) -> dict[str, Any]:
    """What the evaluation of a model tells that knows colours."""
    told = find_task(root).evaluate(by_colour).details
    return {**json.loads(json.dumps(told)), "classes": list(NAMES)}


def counted(confusion: list[list[int]] | np.ndarray, names: list[str]) -> dict[str, Any]:
    """Details without examples."""
    counts = np.array(confusion)
    told = {
        "confusion": counts.tolist(),
        "class_pixels": counts.sum(axis=1).tolist(),
        "class_dice": dice_scores(counts),
        "class_recall": recall_scores(counts),
        "class_precision": precision_scores(counts),
        "examples": [],
    }
    return {"classes": names, "class_scores": iou_scores(counts), "segmentation": told}


def shown(markup: Any) -> str:
    assert markup
    return markup.text.replace("\N{NO-BREAK SPACE}", " ")


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def test_the_page_of_a_run_shows_all_sections_of_a_segmentation_model(details: dict[str, Any], run: Path):
    record = json.loads((run / "evaluation.json").read_text())
    scores = {"mean_iou_score": 71.5, "mean_dice_score": 80.0, "pixel_accuracy_score": 93.25, "mean_class_score": 75.0}
    new = {"scores": scores, "main_score": "mean_iou_score", "interval_95": [66.0, 77.0], "details": details}
    (run / "evaluation.json").write_text(json.dumps({**record, **new}))
    (run / "heatmaps.npz").unlink()
    lines = [
        {**json.loads(line), **{f"val_{name}": score for name, score in scores.items()}}
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = run_page(run, task="segmentation")
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Training",
        "A training batch, as the network sees it",
        "Images of the validation set",
        "Classes",
        "Most confused pairs",
        "Confusion",
        "How to repeat it",
    ]
    assert "71.50 %" in page and "mIoU on 2 images (95 %: 66.0 to 77.0)" in page
    assert "93.25 %" in page and "pixel accuracy" in page
    assert "Validation mIoU, %" in page and "mean Dice" in page and "pixel accuracy" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "<script" not in page and "<square>" not in page
    assert len(page) < 500_000


@pytest.mark.parametrize("section", segmentation_exam.SECTIONS)
def test_a_section_without_its_data_is_left_out(section: Any):
    assert section({}) is None
    assert section({"classes": ["a", "b"], "class_scores": [1.0, 2.0]}) is None


def test_sections_on_other_tasks_leave_segmentation_alone(details: dict[str, Any]):
    others = (exam.examples, exam.mistakes, exam.confused_pairs, exam.confusion, exam.class_table, exam.calibration)
    for section in (*others, *detection_exam.SECTIONS):
        assert section(details) is None


def test_examples_hold_the_truth_and_the_prediction_of_each_image(details: dict[str, Any], root: Path):
    dataset, task = read_dataset(root), find_task(root)
    places = {sample.path.name: index for index, sample in enumerate(dataset.splits["val"])}
    examples = details["segmentation"]["examples"]
    assert [each["kind"] for each in examples] == [kind for kind in ("best", "typical", "worst") for _ in range(3)]
    for each in examples:
        index = places[Path(each["path"]).name]
        truth, answer = from_base64_png(each["truth"]), from_base64_png(each["answer"])
        assert np.array_equal(truth, dataset.masks["val"][index]) and answer.shape == truth.shape
        assert each["accuracy"] == pytest.approx(100 * (truth == answer).mean())
        iou = [
            ((truth == label) & (answer == label)).sum() / ((truth == label) | (answer == label)).sum()
            for label in np.union1d(truth, answer)
        ]
        assert each["iou"] == pytest.approx(100 * np.mean(iou))
    assert task.card.classes == dataset.classes


def test_images_stand_under_their_kind_with_their_scores_and_those_that_are_gone_are_left_out(
    details: dict[str, Any],
):
    examples = details["segmentation"]["examples"]
    text = shown(segmentation_exam.overlays(details))
    assert re.findall("<h3>(.*?)</h3>", text) == ["The best", "Typical ones", "The worst"] and text.count("<img") == 9
    for each in examples:
        assert f"mean IoU {each['iou']:.1f} %, {each['accuracy']:.1f} % of the pixels right" in text
    gone = [{**each, "path": "gone.png"} if each["kind"] == "worst" else each for each in examples]
    text = shown(segmentation_exam.overlays({**details, "segmentation": {**details["segmentation"], "examples": gone}}))
    assert text.count("<img") == 6 and "The worst" not in text
    gone = [{**each, "path": "gone.png"} for each in examples]
    told = {**details["segmentation"], "examples": gone}
    assert segmentation_exam.overlays({**details, "segmentation": told}) is None


def test_the_legend_has_the_classes_that_are_shown_in_the_colours_of_predict(details: dict[str, Any]):
    text = shown(segmentation_exam.overlays(details))
    for colour, name in zip(class_colours(3), ("back$ground", "&lt;square&gt;", "disc"), strict=True):
        assert f'style="background:{colour}"></i>{name}' in text


def test_what_the_columns_are_is_told_above_the_first_image(details: dict[str, Any]):
    text = shown(segmentation_exam.overlays(details))
    assert text.index("middle: the ground truth; right: the prediction") < text.index("<img")


def test_a_crack_of_one_pixel_is_seen_in_its_full_colour_and_the_ground_through_the_common_class():
    labels = np.zeros((900, 1200), np.uint8)
    labels[450, 200:1000] = 2
    pixels = overlay_row(Image.new("RGB", (1200, 900), "#808080"), [labels], class_pixels=[10**6, 5, 800])
    assert pixels.shape == (225, 2 * SIDE_PX + GAP_PX, 3)
    alone, under = pixels[:, :SIDE_PX], pixels[:, SIDE_PX + GAP_PX :]
    assert (alone == 128).all()
    solid = (under == rgb(class_colours(3)[2])).all(axis=2)
    assert 200 <= solid.sum() <= 202 and (solid.sum(axis=0) <= 1).all()
    assert abs(under[5, 5].astype(int) - 128).max() < 30


def test_classes_of_which_none_prevails_have_the_tint_of_predict():
    labels = np.repeat(np.arange(2, dtype=np.uint8), 150)[None].repeat(300, axis=0)
    labels[:20] = 255
    grey = Image.new("RGB", (300, 300), "#808080")
    pixels = overlay_row(grey, [labels], class_pixels=[500, 500])[:, SIDE_PX + GAP_PX :]
    assert tuple(pixels[5, 5]) == (128, 128, 128)
    for x, colour in zip((40, 250), class_colours(2), strict=True):
        expected = np.array(rgb(colour)) * 140 / 255 + 128 * 115 / 255
        assert abs(pixels[150, x] - expected).max() < 1.5


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (4000, 30)])
def test_images_of_any_shape_can_be_shown(size: tuple[int, int]):
    width, height = size
    labels = np.ones((min(height, 40), min(width, 40)), np.uint8)
    pixels = overlay_row(Image.new("RGB", size), [labels, labels], class_pixels=[1, 2])
    assert max(pixels.shape[0], (pixels.shape[1] - 2 * GAP_PX) // 3) <= SIDE_PX


def test_the_class_table_tells_the_scores_worst_first_and_what_a_class_is_held_for():
    names = ["road", "<pole>", "sky", "never there"]
    confusion = [[900, 0, 100, 0], [38, 50, 12, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    text = shown(segmentation_exam.class_table(counted(confusion, names)))
    for column in ("pixels", "fraction", "IoU", "Dice", "recall", "precision", "most often confused with"):
        assert f">{column}</th>" in text
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in text.split("<tr>")[2:]]
    assert [re.sub("<.*?>", "", row[0]) for row in rows] == ["sky", "&lt;pole&gt;", "road", "never there"]
    assert rows[1][1:] == ["100", "9.09 %", "50.0 %", "66.7 %", "50.0 %", "100.0 %", "road (38 %)"]
    assert rows[0][1:] == ["0", "0.00 %", "0.0 %", "0.0 %", "", "0.0 %", ""]
    assert rows[3][1:] == ["0", "0.00 %", "no pixels", "", "", "", ""]
    assert rows[2][7] == "sky (10 %)"


def test_confused_pairs_are_by_the_share_of_the_class():
    text = shown(
        segmentation_exam.confused_pairs(counted([[9800, 10, 190], [40, 60, 0], [0, 0, 500]], ["a", "b", "c"]))
    )
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in text.split("<tr>")[2:]]
    assert [[re.sub("<.*?>", "", cell) for cell in row] for row in rows] == [
        ["b", "a", "40.0 %", "40", "16.7 %"],
        ["a", "c", "1.9 %", "190", "79.2 %"],
    ]
    assert segmentation_exam.confused_pairs(counted([[5, 0], [0, 5]], ["a", "b"])) is None


def test_the_matrix_tells_shares_of_whole_rows_in_percent():
    long = "a name of a class that is far too long for the side of a figure"
    text = shown(segmentation_exam.confusion(counted([[999_000, 1000], [300_000, 700_000]], ["sound", long])))
    figure = text[: text.index("</svg>")]
    written = re.findall(r"<text[^>]*>\s*([^<]*?)\s*</text>", figure)
    assert [each for each in written if each.isdigit()] == ["100", "30", "70"]
    assert max(map(len, written)) == figures.MAX_NAME_LENGTH


def test_of_many_classes_the_matrix_shows_those_with_most_mistakes_and_the_table_the_worst():
    generator = np.random.default_rng(0)
    confusion = 3 * generator.integers(0, 5, (150, 150)) + 200 * np.eye(150, dtype=int)
    confusion[7, 100] = 1000
    given = counted(confusion, [f"class {number}" for number in range(150)])
    text = shown(segmentation_exam.confusion(given))
    assert "a row adds up to 100 over all 150 classes, of which" in text
    # The share is of all 150 classes, not of those that are shown.
    assert str(round(100 * 1000 / confusion[7].sum())) in re.findall(r">(\d+)</text>", text)
    assert len(set(re.findall(r">(class \d+)</text>", text))) == figures.MAX_CLASSES
    table = shown(segmentation_exam.class_table(given))
    assert table.count("<tr>") == 61 and "90 better classes are left out." in table
    pairs = shown(segmentation_exam.confused_pairs(given))
    assert pairs.count("<tr>") == segmentation_exam.PAIRS_SHOWN + 1
    assert len(text) + len(table) + len(pairs) < 200_000


def test_defects_are_told_of_pixels_and_images():
    miss = {"threshold": 0.3125, "miss_rate": 12.5, "false_alarm_rate": 0.98}
    defects = {"pixel_auroc": 97.123, "image_auroc": 88.0, "pixel_miss": miss, "false_alarms": 1.0}

    def table(**changed: Any) -> Any:
        return segmentation_exam.defects({"segmentation": {"defects": {**defects, "image_miss": miss, **changed}}})

    text = shown(table())
    assert "97.12 %" in text and "88.00 %" in text and text.count("0.3125") == 2 and "at most 1 % of what" in text
    assert "12.5 %" in text and "0.98 %" in text
    text = shown(table(image_auroc=None, image_miss=None, pixel_miss={**miss, "threshold": None}))
    assert text.count("<tr>") == 2 and ">none</td>" in text
    assert table(image_auroc=None, image_miss=None, pixel_auroc=None, pixel_miss=None) is None
