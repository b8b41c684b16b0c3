"""Distillation without labels: the loss, the evaluation, and what has no part in either."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nextvit.bundle.card import ModelCard
from nextvit.data.dataset import Dataset
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.image.resizing import Preprocess
from nextvit.metrics.divergence import divergence_of_mean, kl_divergences
from nextvit.models.deployed import normalise
from nextvit.tasks.distillation import DistillationTask
from nextvit.tasks.distillation_evaluation import DistillationEvaluator
from nextvit.tasks.distillation_objective import Distil
from nextvit.tasks.settings import Distillation, DistillationSettings
from nextvit.tasks.teacher import Teacher
from nextvit.train.recipe import Recipe
from nextvit.views.labelled_source import LabelTargets
from nextvit.views.mix import Mix
from tests.tasks.cards import card as make_card

CPU = torch.device("cpu")
MATRIX = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (3, 3)).astype(np.float32))


def classification_card(side: int) -> ModelCard:
    return make_card(input=Preprocess(image_size=(side, side)))


def mean_colours(pixels_NCHW: Tensor) -> Tensor:
    """Logits that depend on the pixels alone."""
    return pixels_NCHW.mean(dim=(2, 3)) @ MATRIX / 64


TEACHER = Teacher(source="colours", device=CPU, logits=mean_colours, num_classes=3)


def plain_kl(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """Row by row, by the definition, in float64."""
    rows = []
    for of_teacher, of_student in zip(teacher.astype(np.float64), student.astype(np.float64), strict=True):
        p, q = (np.exp(each) / np.exp(each).sum() for each in (of_teacher, of_student))
        rows.append(sum(a * (np.log(a) - np.log(b)) for a, b in zip(p, q, strict=True)))
    return np.array(rows)


def test_the_divergence_is_that_of_the_definition():
    teacher, student = np.random.default_rng(1).normal(0, 3, (2, 6, 5)).astype(np.float32)
    assert np.allclose(kl_divergences(teacher, student), plain_kl(teacher, student), atol=1e-12)
    assert np.allclose(kl_divergences(teacher, teacher), 0)
    probabilities = np.exp(teacher.astype(np.float64))
    mean = (probabilities / probabilities.sum(axis=1, keepdims=True)).mean(axis=0)
    assert divergence_of_mean(teacher) == pytest.approx(plain_kl(teacher, np.tile(np.log(mean), (6, 1))).mean())
    far = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    assert np.isfinite(kl_divergences(far, -far)).all() and np.isfinite(divergence_of_mean(far))


def batch(count: int = 6) -> tuple[Tensor, LabelTargets]:
    pixels = 255 * torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return pixels, LabelTargets(torch.zeros(count, 3), torch.zeros(count, 1))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_loss_is_the_divergence_from_the_teacher_on_the_mixed_views(temperature: float):
    settings = DistillationSettings(mix=Mix(mixup=1.0), distill=Distillation(temperature=temperature))
    card = classification_card(64)
    objective = Distil(card, settings, TEACHER)
    pixels, targets = batch()
    mixed, drawn = objective.mix(pixels, targets, np.random.default_rng(0))
    assert not torch.equal(mixed, pixels)
    taught = objective.add_teacher_targets(mixed, drawn)

    def student(normalised: Tensor) -> Tensor:
        return normalised.mean(dim=(2, 3))

    got = objective.losses(student, mixed, taught)["kl_divergence"]  # pyright: ignore[reportArgumentType]
    logits = (mean_colours(mixed), student(normalise(mixed, card.input)))
    expected = plain_kl(*(each.numpy() / temperature for each in logits)).mean() * temperature**2
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_sizes_are_drawn_for_the_student_alone_and_follow_from_the_seed():
    settings = DistillationSettings(distill=Distillation(sizes=(32, 48, 64)))
    objective = Distil(classification_card(64), settings, TEACHER)
    sizes: list[tuple[int, int]] = []
    for seed in range(12):
        pixels, targets = objective.mix(*batch(), np.random.default_rng(seed))
        again = objective.mix(*batch(), np.random.default_rng(seed))[1]
        assert pixels.shape[2:] == (64, 64) and targets.size == again.size
        seen: list[tuple[int, ...]] = []

        def student(normalised: Tensor, seen: list[tuple[int, ...]] = seen) -> Tensor:
            seen.append(tuple(normalised.shape[2:]))
            return normalised.mean(dim=(2, 3))

        taught = objective.add_teacher_targets(pixels, targets)
        assert torch.equal(taught.rows, mean_colours(pixels).softmax(1))
        objective.losses(student, pixels, taught)  # pyright: ignore[reportArgumentType]
        assert seen == [targets.size]
        sizes.append(targets.size)
    assert set(sizes) == {(32, 32), (48, 48), (64, 64)}


def test_half_of_the_batches_are_mixed_where_that_is_asked_for():
    settings = DistillationSettings(mix=Mix(mixup=1.0, cutmix=1.0, batches=0.5))
    objective = Distil(classification_card(64), settings, TEACHER)
    pixels, targets = batch()
    same = [torch.equal(objective.mix(pixels, targets, np.random.default_rng(seed))[0], pixels) for seed in range(40)]
    assert 10 <= sum(same) <= 30


class Counted:
    """The teacher, which counts the images that it sees."""

    seen = 0

    def logits(self, pixels_NCHW: Tensor) -> Tensor:
        self.seen += len(pixels_NCHW)
        return mean_colours(pixels_NCHW)


@pytest.fixture
def held_out(images: list[Path]) -> tuple[Dataset, ModelCard]:
    card = classification_card(32)
    splits = {"val": Samples.pack((path, ()) for path in images)}
    return Dataset(root=images[0].parent, classes=card.classes, splits=splits, task="distillation"), card


def test_the_evaluation_is_divergence_and_agreement_and_asks_the_teacher_once(held_out: tuple[Dataset, ModelCard]):
    dataset, card = held_out
    counted = Counted()
    teacher = replace(TEACHER, logits=counted.logits)
    evaluator = DistillationEvaluator(dataset, card, teacher)

    def student(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": inputs["images"].mean(axis=(1, 2))[:, ::-1].astype(np.float32) / 64}

    evaluation = evaluator.evaluate(student)  # pyright: ignore[reportArgumentType]
    images = np.stack([card.input(sample.path) for sample in dataset.split("val")])
    logits = student({"images": images})["logits"]
    teachers = mean_colours(torch.from_numpy(images).permute(0, 3, 1, 2).float()).numpy()
    assert evaluation.scores["loss"] == pytest.approx(plain_kl(teachers, logits).mean(), rel=1e-5)
    agreement = 100 * (teachers.argmax(1) == logits.argmax(1)).mean()
    assert evaluation.scores["agreement_score"] == pytest.approx(agreement)
    assert evaluation.main_score == "agreement_score" and evaluation.images == 12
    worst = [each["divergence"] for each in evaluation.details["differences"]]
    assert np.allclose(worst, sorted(plain_kl(teachers, logits), reverse=True), rtol=1e-5)
    evaluator.evaluate(student)  # pyright: ignore[reportArgumentType]
    assert counted.seen == 12
    resampled = evaluator.resampled_scores([*dataset.split("val")], logits, np.ones((12, 1), np.int32))
    assert resampled[0] == pytest.approx(agreement)


def test_settings_that_contradict_each_other_are_refused(images: list[Path]):
    with pytest.raises(InputError, match=r"distill\.temperature must be above 0"):
        Distillation(temperature=0)
    with pytest.raises(InputError, match=r"distill\.sizes must be 32 px or more"):
        Distillation(sizes=(16, 64))
    with pytest.raises(InputError, match=r"distill\.sizes may be as large as data\.image_size, 224, got \(256,\)"):
        Recipe(task=DistillationSettings(distill=Distillation(sizes=(256,))))
    dataset = Dataset(root=images[0].parent, classes=(), splits={}, task="distillation")
    with pytest.raises(InputError, match=r"need a teacher; .* --teacher"):
        DistillationTask().resolve(DistillationSettings(), dataset, image_size=32)
