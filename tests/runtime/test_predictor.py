"""Serving a bundle."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nextvit
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.bundle.manifest import read_manifest
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError
from nextvit.predictions.results import MultiLabel
from nextvit.runtime.predictor import Predictor, load_bundle
from tests.runtime.conftest import CLASSES, sealed, write_colour_bundle
from tests.runtime.onnx_by_hand import colour_model, node


class FixedSession:
    """A session that always gives the same answer, and remembers what it was asked."""

    def __init__(self, *logits: float) -> None:
        self.logits = logits
        self.batches: list[int] = []

    def run(self, inputs):
        self.batches.append(len(inputs["images"]))
        return {"logits": np.tile(np.float32(self.logits), (len(inputs["images"]), 1))}

    def facts(self):
        return {}


def test_paths_images_and_arrays_are_answered_alike(bundle: Path, tmp_path: Path):
    picture = Image.new("RGB", (80, 60), (10, 200, 30))
    picture.save(tmp_path / "green.png")
    answers = nextvit.load(bundle)([tmp_path / "green.png", str(tmp_path / "green.png"), picture, np.array(picture)])
    assert [answer.label for answer in answers] == ["2 green"] * 4
    assert len({answer.probability for answer in answers}) == 1
    assert [guess.label for guess in answers[0].top] == ["2 green", "3 blue", "1 red"]


def test_batches_are_cut_and_put_together(bundle: Path):
    session = FixedSession(0.0, 1.0, 2.0)
    predictor = Predictor(session, load_bundle(bundle).card)
    assert len(predictor([np.zeros((40, 40, 3), np.uint8)] * 7, batch_size=3)) == 7
    assert session.batches == [3, 3, 1]


def test_no_images_give_no_predictions(bundle: Path):
    assert load_bundle(bundle)([]) == []


@pytest.mark.parametrize(
    "single", ["a.jpg", Path("a.jpg"), Image.new("RGB", (9, 9)), np.zeros((9, 9, 3), np.uint8), None, {"a.jpg"}]
)
def test_what_is_no_list_is_refused(bundle: Path, single: object):
    with pytest.raises(InputError, match="pass a list of images"):
        load_bundle(bundle)(single)  # pyright: ignore


def closed_image() -> Image.Image:
    image = Image.new("RGB", (9, 9))
    image.close()
    return image


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "a path, a Pillow image or a uint8 array, got NoneType"),
        (b"bytes", "a path, a Pillow image or a uint8 array, got bytes"),
        (np.zeros((9, 9, 3)), r"must be uint8 of shape \(H, W, 3\), got float64 \(9, 9, 3\)"),
        (np.zeros((9, 9), np.uint8), r"got uint8 \(9, 9\)"),
        (np.zeros((9, 9, 4), np.uint8), r"got uint8 \(9, 9, 4\)"),
        (np.zeros((3, 9, 9), np.uint8), r"got uint8 \(3, 9, 9\)"),
        (np.zeros((0, 9, 3), np.uint8), r"got uint8 \(0, 9, 3\)"),
        (Image.new("RGB", (0, 9)), "the image: damaged .it has no pixels"),
        (closed_image(), "the image: damaged .Operation on closed image"),
    ],
)
def test_other_things_than_images_are_refused(bundle: Path, image: Any, message: str):
    with pytest.raises(InputError, match=message):
        load_bundle(bundle)([image])


def test_an_image_whose_file_ends_early_is_refused_as_the_file_is(bundle: Path):
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 50).convert("RGB").save(whole, "JPEG")
    with pytest.raises(DecodeError, match=r"the image: damaged \(image file is truncated"):
        load_bundle(bundle)([Image.open(io.BytesIO(whole.getvalue()[:2000]))])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 32, 48, 3), np.float32),
        np.zeros((1, 3, 32, 48), np.uint8),
        np.zeros((1, 48, 32, 3), np.uint8),
        np.zeros((1, 32, 48, 4), np.uint8),
        np.zeros((32, 48, 3), np.uint8),
        np.zeros((0, 32, 48, 3), np.uint8),
        [[[[0, 0, 0]]]],
        None,
    ],
)
def test_pixels_of_another_type_or_shape_never_reach_the_runtime(bundle: Path, pixels: Any):
    predictor = Predictor(session := FixedSession(0.0, 1.0, 2.0), load_bundle(bundle).card)
    with pytest.raises(InputError, match=r"takes uint8 images of shape \(N, 32, 48, 3\), N at least 1; got "):
        predictor.predict_pixels(pixels)
    assert session.batches == []
    assert predictor.predict_pixels(np.zeros((2, 32, 48, 3), np.uint8))[1].label == CLASSES[2]


def test_warming_up_runs_each_batch_size_once(bundle: Path):
    predictor = Predictor(session := FixedSession(0.0, 1.0, 2.0), load_bundle(bundle).card)
    predictor.warm_up()
    predictor.warm_up((1, 8))
    assert session.batches == [1, 1, 8]
    load_bundle(bundle).warm_up((2,))


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_holds_at_least_one_image(bundle: Path, batch_size: int):
    with pytest.raises(InputError, match=f"batch_size must be at least 1, got {batch_size}"):
        load_bundle(bundle)([np.zeros((9, 9, 3), np.uint8)], batch_size=batch_size)


def test_a_bundle_of_dynamic_size_predicts_at_any(tmp_path: Path):
    """The model's own size, and another that its user asks for."""
    bundle = write_colour_bundle(tmp_path / "any.nextvit", dynamic_size=True)
    picture = np.full((100, 300, 3), (10, 10, 90), np.uint8)
    for size in (None, (32, 48), (33, 100)):
        predictor = load_bundle(bundle, image_size=size)
        assert predictor.card.input.image_size == (size or (32, 48))
        assert predictor([picture])[0].label == "3 blue"
    with pytest.raises(InputError, match=r"shape \(N, 33, 100, 3\)"):
        predictor.predict_pixels(np.zeros((1, 32, 48, 3), np.uint8))
    with pytest.raises(InputError, match="takes sides of 33 to 4096 px, got height 32, width 100"):
        load_bundle(bundle, image_size=(32, 100))


def test_load_takes_the_size_too(tmp_path: Path):
    bundle = write_colour_bundle(tmp_path / "any.nextvit", dynamic_size=True)
    assert nextvit.load(bundle, image_size=(40, 60)).card.input.image_size == (40, 60)
    assert nextvit.load(bundle, image_size=[40, 60]).card.input.image_size == (40, 60)  # pyright: ignore
    for wrong in (64, (64.0, 64.0), (64,), "64", (True, 64), ()):
        with pytest.raises(InputError, match=r"a height and a width in whole pixels, such as \(320, 240\); got"):
            nextvit.load(bundle, image_size=wrong)  # pyright: ignore


def test_a_bundle_of_one_size_says_so(bundle: Path):
    assert load_bundle(bundle, image_size=(32, 48)).card.input.image_size == (32, 48)
    with pytest.raises(InputError, match="images of height 32, width 48 alone, got height 64, width 64; export"):
        load_bundle(bundle, image_size=(64, 64))


def test_an_unreadable_image_is_named(bundle: Path, tmp_path: Path):
    with pytest.raises(DecodeError, match=r"nothing\.jpg: no such file"):
        load_bundle(bundle)([tmp_path / "nothing.jpg"])


def test_prediction_as_json_values(bundle: Path):
    [answer] = load_bundle(bundle)([np.full((32, 48, 3), (255, 0, 0), np.uint8)])
    values = answer.to_dict()
    assert values["top"][0]["label"] == CLASSES[0]
    assert values["top"][0]["probability"] == pytest.approx(1.0, abs=1e-9)


def test_session_says_what_it_runs_on(bundle: Path):
    facts = load_bundle(bundle, threads=2).session.facts()
    assert (facts["backend"], facts["threads"], facts["provider"]) == ("onnx", 2, "CPUExecutionProvider")
    assert load_bundle(bundle).session.facts()["threads"] == "default"


def test_a_session_asks_back_what_it_says(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    """Not what it was told: this ONNX Runtime takes one thread whatever is asked, and the manifest is wrong."""
    import onnxruntime

    class OneThread(onnxruntime.InferenceSession):
        def __init__(self, file: Path, options: Any, providers: Any) -> None:
            options.intra_op_num_threads = 1
            super().__init__(file, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", OneThread)
    facts = load_bundle(sealed(bundle, precision="int8"), threads=2).session.facts()
    assert (facts["threads"], facts["precision"]) == (1, "fp32")


def test_a_file_that_onnx_runtime_cannot_read_is_named(bundle: Path):
    from nextvit.runtime.onnx_session import OnnxSession

    manifest = read_manifest(bundle)
    (bundle / "model.onnx").write_bytes(colour_model(nodes=(node("Nonsense", ["images"], "y"),)))
    with pytest.raises(InputError, match=r"model\.onnx: ONNX Runtime .* cannot load it") as caught:
        OnnxSession(bundle, manifest)
    assert "\n" not in str(caught.value)


def output_without_torch(*arguments: object) -> str:
    """What a verb prints in a process of its own, which must end without having loaded anything heavy."""
    heavy = {"torch", "torchvision", "onnx", "matplotlib"}
    code = (
        f"import sys, nextvit.cli.main as m; m.run({list(map(str, arguments))!r});"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    return "\n".join(lines)


def test_the_evaluation_of_a_bundle_needs_no_torch(bundle: Path, tmp_path: Path):
    for split in ("train", "val"):
        for index, name in enumerate(CLASSES):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            colour = tuple(255 * (index == channel) for channel in range(3))
            Image.new("RGB", (40, 40), colour).save(tmp_path / "data" / split / name / "0.png")
    assert "top-1 100.00 %" in output_without_torch("eval", bundle, tmp_path / "data")


def test_verify_and_bench_need_no_torch(bundle: Path):
    assert "golden examples met" in output_without_torch("verify", bundle)
    assert "images/s" in output_without_torch("bench", bundle, "--runs", 2, "--seconds", 0, "--quick")


def test_serving_imports_neither_torch_nor_anything_of_the_command_line(bundle: Path):
    code = (
        f"import sys, numpy, nextvit; nextvit.load({str(bundle)!r})([numpy.zeros((9, 9, 3), numpy.uint8)]);"
        "print(sorted({'torch', 'torchvision', 'onnx', 'rich', 'cyclopts', 'yaml', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_cards_task_decides_what_a_prediction_is(bundle: Path):
    card = replace(load_bundle(bundle).card, task="multilabel", facts=MultiLabelFacts(thresholds=(0.5, 0.9, 0.5)))
    [answer] = Predictor(FixedSession(1.0, 2.0, -1.0), card)([np.zeros((40, 40, 3), np.uint8)])
    assert isinstance(answer, MultiLabel)
    assert answer.labels == ("1 red",)
    assert [guess.label for guess in answer.absent] == ["2 green", "3 blue"]
