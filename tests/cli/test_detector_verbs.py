"""A detector on the command line, from a checkpoint file to a bundle that is verified."""

import json
from pathlib import Path

import pytest
from PIL import Image

from nextvit.files.run_folder import read_json_lines
from nextvit.models.weights import save_model
from tests.data.coco_by_hand import CATEGORIES, Content, add, draw_objects, spoil
from tests.models.detectors import detector_card, random_detector


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares, discs, and one ring on each split."""
    root = draw_objects(tmp_path_factory.mktemp("objects") / "shapes", train=2, val=4)
    for split in ("train", "val"):
        spoil(root, with_a_ring, split=split)
    return root


def with_a_ring(content: Content) -> None:
    content["categories"] = [*CATEGORIES, {"id": 9, "name": "ring"}]
    add(content, 0, 9, [40, 30, 8, 8], segmentation=[[40, 30, 48, 30, 48, 38, 40, 38]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "shapes.safetensors"
    model = random_detector().float()
    save_model(path, model, detector_card(model))
    return path


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, data: Path) -> Path:
    from nextvit.cli import main as command_line

    out = checkpoint.parent / "shapes.nextvit"
    assert command_line.run(["export", str(checkpoint), "--data", str(data), "--out", str(out)]) == 0
    return out


@pytest.mark.backend
def test_export_tells_objects_and_both_scores(checkpoint: Path, data: Path, tmp_path: Path, call):
    done = call("export", checkpoint, "--data", data, "--out", tmp_path / "a.nextvit", "--max-drop", 0.1)
    assert done.code == 0
    for words in (
        "same objects",
        "100.00% of",
        "difference of scores",
        "mean IoU of masks",
        "box AP, PyTorch",
        "mask AP",
    ):
        assert words in done.out
    assert "spread" not in done.out


@pytest.mark.backend
def test_before_and_after_are_in_the_document(checkpoint: Path, bundle: Path, data: Path, call):
    done = call("verify", bundle, "--against", checkpoint, "--data", data, "--json")
    assert done.code == 0
    proven = done.document["against"]
    assert proven["before"]["metric"] == proven["after"]["metric"] == "box_ap_score"
    assert abs(proven["drop"]) <= 0.1 and len(proven["drop_interval_95"]) == 2
    assert proven["further"]["mask_ap_score"]["after"] == pytest.approx(
        proven["further"]["mask_ap_score"]["before"], abs=0.1
    )
    assert done.document["golden"]["objects"] > 0
    assert done.document["exam"] == proven["after"]
    score = call("verify", bundle, "--data", data, "--json").document["exam"]["score"]
    assert score == call("eval", bundle, data, "--json").document["scores"]["box_ap_score"]


@pytest.mark.backend
def test_verify_tells_people_the_objects(checkpoint: Path, bundle: Path, data: Path, call):
    done = call("verify", bundle, "--against", checkpoint, "--data", data)
    assert done.code == 0
    assert "same objects" in done.out and "box AP, exported, against shapes.safetensors" in done.out
    assert "spread" not in done.out


@pytest.mark.backend
def test_another_detector_does_not_pass_for_the_bundles(bundle: Path, data: Path, tmp_path: Path, call):
    other = random_detector(seed=1).float()
    save_model(tmp_path / "other.safetensors", other, detector_card(other))
    done = call("verify", bundle, "--against", tmp_path / "other.safetensors", "--data", data)
    assert done.code == 1 and "same objects" in done.err
    fewer = random_detector(detections=10).float()
    save_model(tmp_path / "fewer.safetensors", fewer, detector_card(fewer))
    done = call("verify", bundle, "--against", tmp_path / "fewer.safetensors", "--data", data)
    assert done.code == 2 and "differ in head, so their predictions cannot be compared" in done.err


@pytest.mark.backend
def test_info_says_what_a_detector_predicts(checkpoint: Path, bundle: Path, call):
    for path in (checkpoint, bundle):
        facts = call("info", path, "--json").document
        assert facts["predicts"].startswith(
            "boxes and masks of at most 20 objects, of scores above 0.05; of two of a class"
        )
        assert facts["input"] == "uint8 RGB, at most 96x64 px, either way up"
        assert facts["category ids"] == [3, 7, 9]
    assert "objects on 4 images, largest difference of scores" in facts["proven on"]
    assert facts["image sizes"] == "any size, on canvases of multiples of 32 px"


@pytest.mark.backend
def test_predict_draws_and_writes_lines(bundle: Path, data: Path, tmp_path: Path, call):
    done = call("predict", bundle, data / "images" / "val", "--out", tmp_path / "answers")
    assert done.code == 0
    lines = read_json_lines(tmp_path / "answers" / "predictions.jsonl")
    assert [(each["width"], each["height"]) for each in lines] == [(96, 72)] * 4
    assert {each["category_id"] for line in lines for each in line["objects"]} <= {3, 7, 9}
    for drawn in (tmp_path / "answers").glob("*.jpg"):
        with Image.open(drawn) as picture:
            picture.load()
    json.dumps(lines)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--to", "torch"),
            "torch fp32 is not for detection; a network for detection is exported to onnx in fp32 and openvino in fp32",
        ),
        (("--precision", "int8"), "onnx int8 is not for detection"),
        (
            ("--dynamic-size",),
            "keeps aspect ratios and pads (data.resize pad), and so takes any size without --dynamic-size",
        ),
        (("--explain",), "--explain is for classifiers"),
    ],
)
def test_what_only_classifiers_have_is_refused_in_a_line(
    checkpoint: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
    call,
):
    done = call("export", checkpoint, *flags, "--data", tmp_path / "not read", "--out", tmp_path / "a.nextvit")
    assert done.code == 2 and message in done.err and "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_another_task_is_refused(checkpoint: Path, shared_colours: Path, tmp_path: Path, call):
    done = call("export", checkpoint, "--data", shared_colours, "--out", tmp_path / "a.nextvit")
    assert done.code == 2 and "trained for detection" in done.err
