"""The exam and the loss for images with several labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import MultiLabelFacts
from nextvit.data.dataset import Dataset
from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess
from nextvit.tasks.multilabel import MultiLabelTask
from nextvit.tasks.multilabel_evaluation import MultiLabelEvaluator, binary_cross_entropy, set_probabilities
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import LabelLoss, LabelSettings
from nextvit.tasks.task import Shard, make_evaluator
from nextvit.views.labelled_source import LabelTargets
from tests.conftest import COLOURS
from tests.tasks.cards import card

# Which colours are in each image of the validation split.
VAL = (("red",), ("blue", "red"), (), ("blue", "green"), ("blue", "green", "red"), ("green",))


def multilabel_card(**changes: object) -> ModelCard:
    return card(**{"task": "multilabel", "facts": MultiLabelFacts(thresholds=(0.5,) * 3), **changes})


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Images whose three stripes are black or in the colour of a class."""
    folder = tmp_path_factory.mktemp("stripes")
    lines = ["path,labels,split"]
    for number, labels in enumerate((tuple(COLOURS), *VAL)):
        picture = np.zeros((32, 96, 3), np.uint8)
        for stripe, (name, colour) in enumerate(COLOURS.items()):
            picture[:, 32 * stripe : 32 * (stripe + 1)] = np.array(colour) * (name in labels)
        Image.fromarray(picture).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{'|'.join(labels)},{'val' if number else 'train'}")
    (folder / "list.csv").write_text("\n".join(lines))
    return read_dataset(folder / "list.csv")


def lit(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A predict function that sees which stripes are lit."""
    thirds = np.array_split(inputs["images"].astype(np.float32), 3, axis=2)
    return {"logits": np.stack([third.mean(axis=(1, 2, 3)) for third in thirds], axis=1) - 20}


def evaluator(stripes: Dataset, **changes: object) -> MultiLabelEvaluator:
    return MultiLabelEvaluator(stripes, multilabel_card(input=Preprocess(image_size=(32, 96)), **changes))


def test_the_evaluation_takes_any_predict_function(stripes: Dataset):
    evaluation = evaluator(stripes).evaluate(lit, split="val")
    assert evaluation.main_score == "mean_ap_score"
    assert [evaluation.scores[name] for name in ("mean_ap_score", "micro_f1_score", "exact_match_score")] == [100.0] * 3
    assert (evaluation.interval_95, evaluation.images) == ((100.0, 100.0), 6)
    assert evaluation.details["class_scores"] == [100.0] * 3
    assert evaluation.details["class_images"] == [3, 3, 3]
    assert evaluation.details["mistakes"] == []
    assert [each["label"] for each in evaluation.details["examples"]] == ["blue, red", "blue, green", "red"]


def test_mistakes_come_most_confident_first_with_their_whole_sets(stripes: Dataset):
    logits = np.array([1.0, -3.0, 2.0], np.float32)
    evaluation = evaluator(stripes).evaluate(
        lambda inputs: {"logits": np.tile(logits, (len(inputs["images"]), 1))}, split="val"
    )
    assert {each["guess"] for each in evaluation.details["mistakes"]} == {"blue, red"}
    assert sorted(each["label"] for each in evaluation.details["mistakes"]) == [
        "blue, green", "blue, green, red", "green", "none", "red",
    ]  # fmt: skip
    expected = np.prod(1 / (1 + np.exp(-np.abs(logits))))
    assert evaluation.details["mistakes"][0]["probability"] == pytest.approx(expected)
    assert evaluation.scores["exact_match_score"] == pytest.approx(100 / 6)
    assert evaluation.scores["mean_ap_score"] == pytest.approx(50.0)  # of every class half the images, all alike
    assert evaluation.details["class_precisions"] == [50.0, None, 50.0]
    assert evaluation.details["class_recalls"] == [100.0, 0.0, 100.0]


def test_the_cards_thresholds_decide_what_is_answered(stripes: Dataset):
    evaluation = evaluator(stripes, facts=MultiLabelFacts(thresholds=(0.0, 1.0, 0.5))).evaluate(lit, split="val")
    assert evaluation.scores["mean_ap_score"] == 100.0
    assert evaluation.details["class_precisions"][0] == 50.0
    assert evaluation.details["class_recalls"][0] == 100.0


def test_processes_that_share_the_evaluation_get_the_same_evaluation(stripes: Dataset):
    """Each process asks for its part; here both parts are computed in one, before either gathers."""
    parts: list[object] = []
    for index in range(2):
        keep = Shard(index=index, count=2, gather=lambda value: parts.append(value) or [value])
        evaluator(stripes).evaluate(lit, split="val", shard=keep)
    whole = evaluator(stripes).evaluate(lit, split="val", shard=Shard(index=1, count=2, gather=lambda value: parts))
    assert whole == evaluator(stripes).evaluate(lit, split="val")


def test_predictions_that_are_no_numbers_are_refused(stripes: Dataset):
    with pytest.raises(InputError, match="the model puts out NaN or infinity"):
        evaluator(stripes).evaluate(lambda inputs: {"logits": np.full((len(inputs["images"]), 3), np.inf)}, split="val")


def test_the_exams_loss_equals_torchs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 7, generator=generator) * 50
    true = torch.rand(50, 7, generator=generator) < 0.3
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits.double(), true.double()).item()
    assert binary_cross_entropy(logits.numpy(), true.numpy()) == pytest.approx(expected, rel=1e-12)


def test_the_probability_of_a_set_is_that_of_all_its_decisions():
    logits = np.log(np.array([[0.8, 0.3]]) / np.array([[0.2, 0.7]]))
    assert set_probabilities(logits, np.array([[True, False]])) == pytest.approx([0.8 * 0.7])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_loss_equals_a_plain_computation(stripes: Dataset, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets, weights = torch.rand(4, 3, generator=generator), torch.randn(3, 3, generator=generator)

    def model(images_NCHW: torch.Tensor) -> torch.Tensor:
        return images_NCHW.mean(dim=(2, 3)) @ weights

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    probabilities = torch.sigmoid(((images.double() / 255).mean(dim=(2, 3)) - mean) / std @ weights.double())
    expected = -(targets * probabilities.log() + (1 - targets) * (1 - probabilities).log()).mean()
    objective = MultiLabelTask().objective(stripes, multilabel_card(), LabelSettings(), torch.device("cpu"))
    losses = objective.losses(model, images.to(dtype), LabelTargets(targets, torch.ones(4, 1)))
    assert losses.keys() == {"binary_cross_entropy"}
    assert losses["binary_cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_smoothing_draws_every_class_halfway(stripes: Dataset):
    settings = LabelSettings(loss=LabelLoss(label_smoothing=0.1))
    source = MultiLabelTask().training_source(stripes.split("val"), stripes, multilabel_card(), settings)
    _, targets = source.collate([np.zeros((32, 32, 3), np.uint8)], [(0, False)])
    assert targets.rows.dtype == torch.float32
    assert targets.rows[0].tolist() == pytest.approx([0.05, 0.05, 0.95])  # the first picture is red


def test_a_model_of_another_task_is_refused(stripes: Dataset, shared_colours: Path):
    assert isinstance(make_evaluator(stripes, multilabel_card()), MultiLabelEvaluator)
    with pytest.raises(InputError, match=r"trained for classification, the dataset .*list.csv is one for multilabel"):
        make_evaluator(stripes, card())
    with pytest.raises(InputError, match=r"trained for multilabel, the dataset .*colours is one for classification"):
        make_evaluator(read_dataset(shared_colours), multilabel_card())


def test_a_card_has_a_threshold_for_each_class_or_none():
    with pytest.raises(InputError, match="multilabel of 3 classes has 0 thresholds"):
        multilabel_card(facts=MultiLabelFacts(thresholds=()))
    with pytest.raises(InputError, match="a card of classification has NoFacts, got MultiLabelFacts"):
        replace(multilabel_card(), task="classification")
