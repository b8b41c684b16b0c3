"""Which images ranges are measured on."""

from collections import Counter
from pathlib import Path

import pytest

from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.export.calibration import calibration_images, stratified
from tests.export.nano import build_card


def test_every_class_gives_as_many_as_it_can():
    samples = Samples.pack((f"{index}", (0 if index < 90 else 1 + (index >= 98),)) for index in range(100))
    taken = Counter(sample.label for sample in stratified(samples, 30))
    assert taken == {0: 20, 1: 8, 2: 2}
    assert len({sample.path for sample in stratified(samples, 30)}) == 30


def test_the_choice_is_the_same_each_time_and_another_with_another_seed():
    samples = Samples.pack((f"{index}", (index % 3,)) for index in range(100))
    first, again, other = (stratified(samples, 12, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_no_more_than_there_are_and_images_without_labels():
    samples = Samples.pack((f"{index}", ()) for index in range(5))
    assert len(stratified(samples, 300)) == 5


def test_a_dataset_gives_its_training_images_and_a_folder_all(shared_colours: Path, tmp_path: Path):
    assert calibration_images(shared_colours, build_card(64, 64)).shape == (24, 64, 64, 3)
    assert calibration_images(shared_colours, build_card(64, 64), count=7).shape == (7, 64, 64, 3)
    assert calibration_images(shared_colours / "val", build_card(33, 47)).shape == (12, 33, 47, 3)
    with pytest.raises(InputError, match="no image can be read"):
        calibration_images(tmp_path, build_card(64, 64))
