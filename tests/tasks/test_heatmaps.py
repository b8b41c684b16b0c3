"""Heatmaps of an exam's answers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nextvit.bundle.card import ModelCard
from nextvit.files.records import to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS
from nextvit.tasks.heatmaps import write_heatmaps
from nextvit.tasks.task import Evaluation

CARD = ModelCard(
    task="classification",
    classes=("blue", "green", "red"),
    input=Preprocess(image_size=(192, 192)),
    variant="nextvit_nano",
    architecture=to_plain(VARIANTS["nextvit_nano"]),
)


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(VARIANTS["nextvit_nano"], num_classes=3)


def exam(folder: Path) -> Evaluation:
    """Two mistakes, one of which is gone, and ten examples, all but the first right."""

    def answer(name: str, label: str, guess: str) -> dict[str, object]:
        return {"path": str(folder / "val" / label / name), "label": label, "guess": guess, "probability": 0.75}

    mistakes = [answer("gone.png", "red", "blue"), answer("0.png", "red", "green")]
    right = [answer(f"{index % 4}.png", "blue", "blue") for index in range(9)]
    details = {"mistakes": mistakes, "examples": [mistakes[1], *right]}
    return Evaluation(
        scores={"top1_score": 50.0}, main_score="top1_score", interval_95=(0, 1), images=4, details=details
    )


def test_mistakes_and_right_predictions_are_explained_for_guess_and_truth(
    tmp_path: Path, shared_colours: Path, model: Classifier
):
    write_heatmaps(tmp_path, model, CARD, exam(shared_colours))
    with np.load(tmp_path / "heatmaps.npz", allow_pickle=False) as file:
        kept = dict(file)
    assert kept["labels"].tolist() == ["red"] + ["blue"] * 6  # the picture that is gone is left out
    assert kept["guesses"].tolist() == ["green"] + ["blue"] * 6
    assert kept["pixels"].shape == (7, 160, 160, 3) and kept["pixels"].dtype == np.uint8
    assert kept["for_guess"].shape == (7, 6, 6) and kept["for_guess"].dtype == np.uint8
    assert np.array_equal(kept["for_guess"][1:], kept["for_label"][1:])
    assert not np.array_equal(kept["for_guess"][0], kept["for_label"][0])


def test_an_evaluation_without_single_predictions_leaves_no_file(tmp_path: Path, model: Classifier):
    write_heatmaps(tmp_path, model, CARD, Evaluation(scores={}, main_score="", interval_95=(0, 0), images=0))
    assert not list(tmp_path.iterdir())
