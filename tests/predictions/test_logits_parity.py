"""The measure of the proof."""

import numpy as np
import pytest

from nextvit.predictions.logits_parity import compare_logits
from nextvit.predictions.tolerances import TOLERANCES

REFERENCE = np.random.default_rng(0).normal(0, 2.0, (100, 10))


def test_equal_outputs_have_no_error():
    parity = compare_logits(REFERENCE, REFERENCE.copy())
    assert (parity.max_error, parity.agreement, parity.images) == (0.0, 1.0, 100)
    assert parity.cosine == pytest.approx(1.0)
    assert parity.failures("fp32") == []


def test_error_is_relative_to_the_spread():
    changed = REFERENCE.copy()
    changed[3, 4] += 0.01 * REFERENCE.std()
    parity = compare_logits(REFERENCE, changed)
    assert parity.max_error == pytest.approx(0.01)
    assert parity.mean_error == pytest.approx(0.01 / 1000)
    assert "largest error 1.00e-02 > 1e-04" in parity.failures("fp32")[0]
    assert parity.failures("fp16") == []


def test_other_predictions_are_counted():
    changed = REFERENCE.copy()
    changed[:5] = -changed[:5]
    parity = compare_logits(REFERENCE, changed)
    assert parity.agreement == 0.95
    assert parity.cosine == pytest.approx(-1.0)
    assert len(parity.failures("bf16")) == 3


def test_with_thresholds_every_class_of_an_image_is_a_decision():
    changed = REFERENCE.copy()
    changed[0, 3] = -changed[0, 3]
    changed[7] = -changed[7]
    assert compare_logits(REFERENCE, changed, thresholds=(0.5,) * 10).agreement == 1 - 11 / 1000
    high = (1e-9,) * 3 + (1.0,) * 7  # where all or none are answered whatever the logits
    assert compare_logits(REFERENCE, changed, thresholds=high).agreement == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_never_pass(value: float):
    changed = REFERENCE.copy()
    changed[0, 0] = value
    for precision in TOLERANCES:
        assert compare_logits(REFERENCE, changed).failures(precision)
