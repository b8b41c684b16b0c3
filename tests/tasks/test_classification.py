"""The exam and the loss."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nextvit.bundle.card import card_from_plain
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.models.deployed import Deployed, normalise
from nextvit.tasks.classification import ClassificationTask
from nextvit.tasks.classification_evaluation import ClassificationEvaluator, cross_entropy
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import LabelLoss, LabelSettings
from tests.tasks.cards import card


def brightest_channel(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A predict function that knows the colours: mean blue, green and red of each image."""
    means = inputs["images"].mean(axis=(1, 2))
    return {"logits": means[:, ::-1].astype(np.float32)}


def test_the_evaluation_takes_any_predict_function(shared_colours: Path):
    evaluation = ClassificationEvaluator(read_dataset(shared_colours), card()).evaluate(brightest_channel, split="val")
    assert evaluation.scores["top1_score"] == 100.0
    assert evaluation.images == 12
    assert evaluation.details["confusion"] == [[4, 0, 0], [0, 4, 0], [0, 0, 4]]
    assert evaluation.details["mistakes"] == []
    assert [each["label"] for each in evaluation.details["examples"]] == ["blue", "green", "red"]


def test_mistakes_come_most_confident_first(shared_colours: Path):
    task = ClassificationEvaluator(read_dataset(shared_colours), card())
    evaluation = task.evaluate(
        lambda inputs: {"logits": np.tile([0.0, 9.0, 0.0], (len(inputs["images"]), 1))}, split="val"
    )
    assert evaluation.scores["top1_score"] == pytest.approx(100 / 3)
    assert len(evaluation.details["mistakes"]) == 8
    assert {each["guess"] for each in evaluation.details["mistakes"]} == {"green"}


def test_details_say_what_the_predictions_are_worth_for_each_class(shared_colours: Path):
    task = ClassificationEvaluator(read_dataset(shared_colours), card())
    evaluation = task.evaluate(
        lambda inputs: {"logits": np.tile(np.log([0.2, 0.7, 0.1]), (len(inputs["images"]), 1))}, split="val"
    )
    details = evaluation.details
    assert evaluation.scores["ece"] == pytest.approx(70 - 100 / 3)  # 70 % sure, right in a third
    assert evaluation.scores["mean_class_score"] == pytest.approx(100 / 3)
    assert sum(details["calibration"]["counts"]) == 12
    assert details["class_precisions"] == [None, pytest.approx(100 / 3), None]
    assert (details["class_images"], details["class_training_images"]) == ([4, 4, 4], [8, 8, 8])
    assert details["confused_pairs"] == [
        {"label": "blue", "guess": "green", "count": 4, "share": 100.0},
        {"label": "red", "guess": "green", "count": 4, "share": 100.0},
    ]
    low, high = details["class_intervals"][1]
    assert low < 100 <= high
    assert json.loads(json.dumps(details))["classes"] == details["classes"]


def test_unreadable_images_are_named_and_not_judged(colours: Path):
    (colours / "val" / "red" / "0.png").write_bytes(b"")
    evaluation = ClassificationEvaluator(read_dataset(colours), card()).evaluate(brightest_channel, split="val")
    assert evaluation.images == 11
    assert len(evaluation.unreadable) == 1


def test_other_classes_than_the_models_are_refused(shared_colours: Path):
    with pytest.raises(
        InputError, match=r"the model has 2 classes \(cat, dog\), the dataset .* has 3 classes \(blue, green, red\)"
    ):
        ClassificationEvaluator(read_dataset(shared_colours), card(classes=("cat", "dog")))


def test_the_exams_loss_equals_torchs():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 7, generator=generator) * 20, torch.randint(0, 7, (50,), generator=generator)
    expected = torch.nn.functional.cross_entropy(logits.double(), labels).item()
    assert cross_entropy(logits.numpy(), labels.numpy()) == pytest.approx(expected, rel=1e-12)


def test_predictions_that_are_no_numbers_are_refused(shared_colours: Path):
    task = ClassificationEvaluator(read_dataset(shared_colours), card())
    with pytest.raises(InputError, match="the model puts out NaN or infinity"):
        task.evaluate(lambda inputs: {"logits": np.full((len(inputs["images"]), 3), np.nan)}, split="val")


def test_loss_equals_a_plain_computation(shared_colours: Path):
    task, dataset = ClassificationTask(), read_dataset(shared_colours)
    settings = LabelSettings(loss=LabelLoss(label_smoothing=0.1))
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    labels = torch.tensor([0, 2, 1, 1])
    weights = torch.randn(3, 3)

    def model(images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW.mean(dim=(2, 3)) @ weights

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    logits = ((images.double() / 255).mean(dim=(2, 3)) - mean) / std @ weights.double()
    log_probabilities = logits - logits.exp().sum(dim=1, keepdim=True).log()
    target = torch.full((4, 3), 0.1 / 3).scatter(1, labels[:, None], 0.9 + 0.1 / 3)
    expected = -(target * log_probabilities).sum(dim=1).mean()
    samples = Samples.pack((Path("any"), (label,)) for label in labels.tolist())
    source = task.training_source(samples, dataset, card(), settings)
    _, targets = source.collate([np.zeros((32, 32, 3), np.uint8)] * 4, [(index, False) for index in range(4)])
    objective = task.objective(dataset, card(), settings, torch.device("cpu"))
    assert objective.losses(model, images, targets)["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_deployment_form_takes_raw_pixels_to_the_same_logits(shared_colours: Path):
    torch.manual_seed(0)
    model = ClassificationTask().build(card()).eval()
    pixels_NHWC = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = model(normalise(pixels_NHWC.permute(0, 3, 1, 2), card().input))
        got = Deployed(model, card().input)(pixels_NHWC)
    assert (got - expected).abs().max() <= 1e-4 * expected.std()


def test_card_survives_json_and_names_what_is_wrong():
    values = to_plain(card())
    assert card_from_plain(values, what="card") == card()
    with pytest.raises(InputError, match="lacks 'classes'"):
        card_from_plain({name: value for name, value in values.items() if name != "classes"}, what="card")
    with pytest.raises(InputError, match="did you mean 'variant'"):
        card_from_plain({**values, "varient": 1}, what="card")
