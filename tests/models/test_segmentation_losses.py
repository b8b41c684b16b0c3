"""The losses of segmentation models, against plain NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextvit.errors import InputError
from nextvit.models.segmentation_losses import IGNORE_INDEX, LossSettings, class_weights, head_losses
from tests.models import plain_segmentation as plain

CLASSES = 3


def logits() -> Tensor:
    return 2 * torch.randn(2, CLASSES, 6, 8, generator=torch.Generator().manual_seed(0))


def targets() -> Tensor:
    """(2, 12, 16) with ignored pixels; class 2 is only in the second image."""
    targets_NHW = torch.randint(0, 2, (2, 12, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    targets_NHW[0, :5, :7] = IGNORE_INDEX
    targets_NHW[1, 3:6, 3:5] = 2
    return targets_NHW


def pixel_rows(logits_NCHW: Tensor, targets_NHW: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities (P, C) and classes (P,) of the labelled pixels."""
    upsampled = plain.resize_bilinear(logits_NCHW.double().numpy(), tuple(targets_NHW.shape[1:]))
    exponentials = np.exp(upsampled - upsampled.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    labelled = targets_NHW.numpy() != IGNORE_INDEX
    return probabilities.transpose(0, 2, 3, 1)[labelled], targets_NHW.numpy()[labelled].astype(np.int64)


def only(**settings: Any) -> LossSettings:
    return LossSettings(**({"cross_entropy": 0.0} | settings))


def one_loss(settings: LossSettings, logits_NCHW: Tensor | None = None, targets_NHW: Tensor | None = None) -> float:
    found = head_losses(
        logits() if logits_NCHW is None else logits_NCHW, targets() if targets_NHW is None else targets_NHW, settings
    )
    assert len(found) == 1
    return next(iter(found.values())).item()


@pytest.mark.parametrize("mean_over", ["labelled", "all"])
def test_cross_entropy_is_the_mean_over_the_pixels(mean_over: Any):
    probabilities_PC, classes_P = pixel_rows(logits(), targets())
    total = -np.log(probabilities_PC[np.arange(len(classes_P)), classes_P]).sum()
    count = len(classes_P) if mean_over == "labelled" else targets().numel()
    assert len(classes_P) < targets().numel()
    assert one_loss(LossSettings(mean_over=mean_over)) == pytest.approx(total / count, rel=1e-5)
    assert one_loss(LossSettings(cross_entropy=3.0, mean_over=mean_over)) == pytest.approx(3 * total / count, rel=1e-5)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_a_pixel_of_a_rare_class_weighs_more(balance: float):
    pixels_C = np.array([900, 90, 10])
    fractions_C = pixels_C / 1000
    weights_C = (1 / fractions_C) ** balance
    weights_C /= sum(fraction * weight for fraction, weight in zip(fractions_C, weights_C, strict=True))
    probabilities_PC, classes_P = pixel_rows(logits(), targets())
    entropy_P = -np.log(probabilities_PC[np.arange(len(classes_P)), classes_P])
    expected = (weights_C[classes_P] * entropy_P).mean()
    found = head_losses(logits(), targets(), LossSettings(), class_weights(pixels_C, balance))
    assert found["cross_entropy"].item() == pytest.approx(expected, rel=1e-5)


def test_a_class_without_pixels_changes_no_other_weight():
    assert class_weights(np.array([90, 10, 0]), 1.0)[:2].tolist() == class_weights(np.array([90, 10]), 1.0).tolist()
    assert class_weights(np.array([90, 10, 0]), 1.0).isfinite().all()


def test_dice_is_the_overlap_of_each_class():
    probabilities_PC, classes_P = pixel_rows(logits(), targets())
    is_class_PC = classes_P[:, None] == np.arange(CLASSES)
    intersection_C = (probabilities_PC * is_class_PC).sum(axis=0)
    dice_C = 2 * intersection_C / (probabilities_PC.sum(axis=0) + is_class_PC.sum(axis=0))
    assert one_loss(only(dice=1.0)) == pytest.approx(1 - dice_C.mean(), rel=1e-5)
    assert one_loss(only(tversky=2.0, missed=0.5)) == pytest.approx(2 * (1 - dice_C.mean()), rel=1e-5)


@pytest.mark.parametrize("missed", [0.3, 0.7])
def test_tversky_weighs_false_negatives_against_false_positives(missed: float):
    probabilities_PC, classes_P = pixel_rows(logits(), targets())
    indices = []
    for number in range(CLASSES):
        of_class = classes_P == number
        true_positives = probabilities_PC[of_class, number].sum()
        false_negatives = (1 - probabilities_PC[of_class, number]).sum()
        false_positives = probabilities_PC[~of_class, number].sum()
        indices.append(true_positives / (true_positives + missed * false_negatives + (1 - missed) * false_positives))
    assert one_loss(only(tversky=1.0, missed=missed)) == pytest.approx(1 - np.mean(indices), rel=1e-5)


def test_a_class_that_no_image_contains_is_left_out_of_the_dice_loss():
    labels_NHW = targets()
    labels_NHW[labels_NHW == 2] = 0
    probabilities_PC, classes_P = pixel_rows(logits(), labels_NHW)
    is_class_PC = classes_P[:, None] == np.arange(2)
    intersection_C = (probabilities_PC[:, :2] * is_class_PC).sum(axis=0)
    dice_C = 2 * intersection_C / (probabilities_PC[:, :2].sum(axis=0) + is_class_PC.sum(axis=0))
    assert one_loss(only(dice=1.0), targets_NHW=labels_NHW) == pytest.approx(1 - dice_C.mean(), rel=1e-5)


def test_ignored_pixels_have_no_part_in_any_loss():
    """Where they are, the logits have no gradient."""
    logits_NCHW = 2 * torch.randn(2, CLASSES, 12, 16)
    logits_NCHW.requires_grad_()
    losses = head_losses(logits_NCHW, targets(), LossSettings(dice=1.0, tversky=1.0))
    torch.stack(list(losses.values())).sum().backward()
    ignored_NHW = targets() == IGNORE_INDEX
    assert logits_NCHW.grad is not None
    gradient_PC = logits_NCHW.grad.movedim(1, -1)
    assert not gradient_PC[ignored_NHW].any()
    assert gradient_PC[~ignored_NHW].abs().sum(dim=1).min() > 0


@pytest.mark.parametrize("settings", [LossSettings(), only(dice=1.0), only(tversky=1.0)])
def test_a_batch_without_labels_has_no_gradient(settings: LossSettings):
    logits_NCHW = logits().requires_grad_()
    (loss,) = head_losses(logits_NCHW, torch.full((2, 12, 16), IGNORE_INDEX, dtype=torch.uint8), settings).values()
    loss.backward()
    assert loss.item() == 0
    assert logits_NCHW.grad is not None and not logits_NCHW.grad.any()


def test_a_rare_class_counts_in_dice_and_tversky_more_than_in_the_cross_entropy():
    """The background is right everywhere; the other class has 4 of 4096 pixels, all missed."""
    targets_NHW = torch.zeros(1, 64, 64, dtype=torch.uint8)
    targets_NHW[0, 10:12, 10:12] = 1
    logits_NCHW = torch.zeros(1, 2, 64, 64)
    logits_NCHW[:, 0] = 8.0
    assert one_loss(LossSettings(), logits_NCHW, targets_NHW) < 0.01
    assert one_loss(only(dice=1.0), logits_NCHW, targets_NHW) > 0.49
    assert one_loss(only(tversky=1.0), logits_NCHW, targets_NHW) > 0.49


def test_losses_are_float32_whatever_the_network_computes_in():
    found = head_losses(logits().bfloat16(), targets(), LossSettings(dice=1.0, tversky=1.0))
    assert list(found) == ["cross_entropy", "dice", "tversky"]
    assert {each.dtype for each in found.values()} == {torch.float32}


def test_a_huge_difference_of_logits_gives_no_nan():
    logits_NCHW = torch.tensor([1e4, -1e4, 0.0])[None, :, None, None].repeat(1, 1, 4, 4).requires_grad_()
    targets_NHW = torch.ones(1, 4, 4, dtype=torch.uint8)
    losses = head_losses(logits_NCHW, targets_NHW, LossSettings(dice=1.0, tversky=1.0))
    torch.stack(list(losses.values())).sum().backward()
    assert all(each.isfinite() for each in losses.values())
    assert logits_NCHW.grad is not None and logits_NCHW.grad.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dice": -1.0}, "the weight dice must be at least 0, got -1.0"),
        ({"auxiliary": -0.4}, "the weight auxiliary must be at least 0, got -0.4"),
        ({"tversky": float("nan")}, "the weight tversky must be at least 0, got nan"),
        ({"cross_entropy": 0.0}, "one of the weights cross_entropy, dice and tversky must be above 0"),
        ({"missed": 1.0}, "missed must be above 0 and below 1, got 1.0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        LossSettings(**settings)
