"""From logits to answers."""

import math

import numpy as np
import pytest

from nextvit.postprocess import present, sigmoid, softmax, to_classifications, to_multi_labels


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


def test_sigmoid_survives_large_values_and_keeps_small_ones():
    probabilities = sigmoid(np.array([[-1e30, -700.0, 0.0, 700.0, 1e30]], np.float32))[0]
    assert probabilities.tolist() == [0.0, pytest.approx(math.exp(-700.0), rel=1e-12), 0.5, 1.0, 1.0]


def test_a_class_is_answered_from_its_own_threshold_on():
    logits = np.log(np.array([[0.5, 0.5, 0.2, 0.8]]) / np.array([[0.5, 0.5, 0.8, 0.2]]))
    assert present(logits, (0.5, 0.6, 0.1, 0.9)).tolist() == [[True, False, True, False]]


def test_each_class_is_present_or_absent_the_most_probable_first():
    logits = np.array([[1.0, -2.0, 3.0, -1.0], [-1.0, -1.0, -5.0, -1.0]])
    both, none = to_multi_labels(logits, classes=("a", "b", "c", "d"), thresholds=(0.5,) * 4)
    assert both.labels == ("c", "a")
    assert [guess.label for guess in both.absent] == ["d", "b"]
    assert both.present[1].probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert none.labels == () and [guess.label for guess in none.absent] == ["a", "b", "d", "c"]
    assert none.to_dict()["present"] == ()
