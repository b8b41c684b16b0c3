"""One step: its gradient, its teacher, and what it does with losses that are no numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from nextvit.models.deployed import normalise
from nextvit.tasks.label_objective import distil_targets
from nextvit.tasks.settings import Distill, LabelSettings
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.train.state import Training
from nextvit.train.step import train_step
from nextvit.views.labelled_source import LabelTargets
from nextvit.views.mix import Mix
from nextvit.views.training_batches import Batch, TrainingSet
from tests.train.runs import training_for

RECIPE = Recipe(
    model=Model(name="nextvit_nano", drop_path=0.0),
    data=Data(image_size=32, batch_size=8, workers=0),
    optim=Optim(lr=1e-3, clip_norm=0),
    schedule=Schedule(epochs=1, warmup_epochs=0),
    ema=Ema(decay=0.5),
    compute=Compute(precision="fp32", device="cpu"),
)


def first_batch(training: Training) -> Batch:
    return next(iter(training.batches))


def test_the_gradient_is_the_mean_over_all_images_of_all_parts(shared_colours: Path):
    """Against a plain computation: each part goes through the network alone, so its norms see that part alone."""
    recipe = replace(RECIPE, optim=replace(RECIPE.optim, accumulate=3), data=replace(RECIPE.data, batch_size=7))
    training, plain = training_for(shared_colours, recipe), training_for(shared_colours, recipe)
    batch = first_batch(training)
    outcome = train_step(training, batch, recipe)
    loss = torch.zeros(())
    labels = torch.from_numpy(training.samples.labels()[batch.indices]).long()
    for part in (slice(0, 3), slice(3, 5), slice(5, 7)):
        logits = plain.model.train()(normalise(batch.images[part], plain.card.input))
        loss = loss + nn.functional.cross_entropy(logits, labels[part], label_smoothing=0.1, reduction="sum") / 7
    loss.backward()
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-5)
    for (name, ours), theirs in zip(training.model.named_parameters(), plain.model.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6, rtol=1e-4), name


def test_clipping_bounds_the_whole_gradient(shared_colours: Path):
    recipe = replace(RECIPE, optim=Optim(clip_norm=0.01))
    training = training_for(shared_colours, recipe)
    train_step(training, first_batch(training), recipe)
    norm = sum(float(weight.grad.square().sum()) for weight in training.model.parameters() if weight.grad is not None)
    assert norm**0.5 == pytest.approx(0.01, rel=1e-3)


def everything(training: Training) -> list[torch.Tensor]:
    tensors = [*training.model.state_dict().values(), *training.ema.model.state_dict().values()]
    return [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_is_no_number_changes_nothing(shared_colours: Path, accumulate: int):
    """Not the weights, not their average, not the statistics of the norms, which saw the bad batch."""
    recipe = replace(RECIPE, optim=replace(RECIPE.optim, accumulate=accumulate))
    training = training_for(shared_colours, recipe)
    batch = first_batch(training)
    assert not train_step(training, batch, recipe).skipped
    before = everything(training)
    losses = training.objective.losses
    training.objective.losses = lambda *given: {name: loss * float("nan") for name, loss in losses(*given).items()}  # type: ignore[method-assign]
    assert train_step(training, batch, recipe).skipped
    assert all(torch.equal(one, other) for one, other in zip(everything(training), before, strict=True))
    training.objective.losses = losses  # type: ignore[method-assign]
    assert not train_step(training, batch, recipe).skipped
    assert not all(torch.equal(one, other) for one, other in zip(everything(training), before, strict=True))


def test_a_step_depends_on_seed_and_position_alone(shared_colours: Path):
    recipe = replace(
        RECIPE,
        model=replace(RECIPE.model, drop_path=0.5),
        task=LabelSettings(mix=Mix(mixup=0.8, cutmix=1.0, erase=0.5)),
    )
    one, other = training_for(shared_colours, recipe), training_for(shared_colours, recipe)
    batch = first_batch(one)
    train_step(one, batch, recipe)
    torch.rand(17)  # other draws before the step, as after a restart
    train_step(other, batch, recipe)
    assert all(torch.equal(*pair) for pair in zip(everything(one), everything(other), strict=True))


def test_fp16_scales_the_loss_and_trains(shared_colours: Path):
    recipe = replace(RECIPE, compute=Compute(precision="fp16", device="cpu"))
    training = training_for(shared_colours, recipe)
    batch = first_batch(training)
    losses = [train_step(training, batch, recipe).loss for _ in range(12)]
    assert training.scaler.get_scale() > 1 and losses[-1] < losses[0]


def test_frozen_stages_keep_weights_and_statistics(shared_colours: Path):
    recipe = replace(RECIPE, model=replace(RECIPE.model, frozen_stages=2))
    training = training_for(shared_colours, recipe)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.model.train()
    from nextvit.train.optim import train_mode

    train_mode(training.model, training.frozen)
    train_step(training, first_batch(training), recipe)
    for name, tensor in training.model.state_dict().items():
        frozen = name.startswith(("backbone.stem", "backbone.stages.0", "backbone.stages.1"))
        if tensor.is_floating_point() and ("weight" in name or "running" in name):
            assert torch.equal(tensor, before[name]) == frozen, name


def test_targets_with_a_teacher_are_the_weighted_sum_of_both_losses():
    torch.manual_seed(0)
    logits, answers = torch.randn(4, 5, dtype=torch.float64), torch.rand(4, 5, dtype=torch.float64).softmax(1)
    labels = torch.tensor([0, 3, 2, 2])
    hard = torch.eye(5, dtype=torch.float64)[labels]
    labelled = torch.tensor([[1.0], [1.0], [1.0], [0.0]], dtype=torch.float64)
    got = nn.functional.cross_entropy(
        logits, distil_targets(hard * labelled, labelled, answers, weight=0.3), reduction="none"
    )
    of_labels = nn.functional.cross_entropy(logits, labels, reduction="none")
    of_teacher = -(answers * logits.log_softmax(1)).sum(1)
    expected = torch.where(labelled[:, 0] > 0, 0.7 * of_labels + 0.3 * of_teacher, of_teacher)
    assert torch.allclose(got, expected)


def test_a_student_follows_its_teacher_on_images_without_labels(shared_colours: Path, tmp_path: Path):
    """Only the teacher says what they are: with weight 1 the labels have no part in it."""
    recipe = replace(
        RECIPE,
        task=LabelSettings(distill=Distill(teacher="given below", weight=1.0, unlabelled=str(shared_colours / "val"))),
        ema=Ema(decay=0.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nextvit.tasks.label_objective.load_teacher", lambda *given: colour_teacher)
        training = training_for(shared_colours, recipe)
    assert len(training.samples) == 24 + 12
    views = training.batches.dataset
    assert isinstance(views, TrainingSet)
    targets = views.__getitems__([(0, 0), (0, 30)]).targets
    assert isinstance(targets, LabelTargets) and targets.rows.shape == (2, 3)
    assert targets.labelled.tolist() == [[1], [0]] and targets.rows[1].sum() == 0
    for training.sampler.epoch in range(6):
        for batch in training.batches:
            train_step(training, batch, recipe)
    batch = next(iter(training.batches))
    answers = training.model.train()(normalise(batch.images, training.card.input)).argmax(1)
    assert (answers == colour_teacher(batch.images.float()).argmax(1)).sum() >= 7


def colour_teacher(pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """Certain of the strongest channel: blue, green, red."""
    return torch.eye(3)[pixels_NCHW.mean(dim=(2, 3)).flip(1).argmax(1)]
