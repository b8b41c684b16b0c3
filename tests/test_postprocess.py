"""From logits to answers."""

import numpy as np
import pytest

from nextvit.postprocess import softmax, to_classifications


def test_softmax_sums_to_one_and_survives_large_values():
    probabilities = softmax(np.array([[1000.0, 1000.0], [0.0, -1e30]]))
    assert probabilities.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_answers_come_best_first_with_their_names():
    [answer] = to_classifications(np.log([[0.2, 0.5, 0.3]]), classes=("a", "b", "c"), top=2)
    assert [guess.label for guess in answer.top] == ["b", "c"]
    assert answer.label == "b"
    assert answer.probability == pytest.approx(0.5)


def test_equal_values_keep_the_order_of_the_classes():
    [answer] = to_classifications(np.zeros((1, 3)), classes=("a", "b", "c"))
    assert [guess.label for guess in answer.top] == ["a", "b", "c"]
