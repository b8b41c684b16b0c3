"""The proof's own arithmetic: both sides on the same images, the score before and after, the interval of the drop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nextvit.errors import InputError
from nextvit.export.attempt import other_size
from nextvit.export.proof_images import plain, proof_images, spread
from nextvit.export.reference import prove
from tests.export.nano import build_card, calibrated_model


class Disturbed:
    """A session that answers as PyTorch does, and gives every third image another class."""

    def __init__(self) -> None:
        self.model, self.seen = calibrated_model(), 0

    def run(self, inputs: Any) -> dict[str, Any]:
        from tests.models.reference import reference_logits

        logits = reference_logits(self.model, build_card(64, 64), inputs["images"])
        places = np.arange(self.seen, self.seen + len(logits)) % 3 == 0
        self.seen += len(logits)
        logits[places] = np.roll(logits[places], 1, axis=1)
        return {"logits": logits}

    def facts(self) -> dict[str, Any]:
        return {}


def test_the_scores_and_the_interval_of_their_difference_are_those_of_a_plain_computation(shared_colours: Path):
    card = build_card(64, 64)
    images = proof_images(shared_colours, card)
    proof = prove(calibrated_model(), card, Disturbed(), images)
    record = proof.record(images.evaluator)
    labels = np.array([sample.label for sample in images.samples])
    right_before, right_after = (
        logits.argmax(axis=1) == labels for logits in (proof.comparison.expected, proof.comparison.got)
    )
    assert record["before"]["score"] == pytest.approx(100 * right_before.mean())
    assert record["after"]["score"] == pytest.approx(100 * right_after.mean())
    assert record["drop"] == pytest.approx(100 * (right_before.mean() - right_after.mean()))
    assert record["agreement"] == pytest.approx(1 - 4 / 12)
    # The paired bootstrap, written out: the same images are drawn for both sides.
    gains = 100.0 * right_before - 100.0 * right_after
    generator = np.random.default_rng(0)
    drawn = [np.repeat(gains, counts).mean() for counts in generator.multinomial(12, np.full(12, 1 / 12), size=1000)]
    assert record["drop_interval_95"] == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=1e-9)


def test_without_labels_there_is_no_score(shared_colours: Path):
    card = build_card(64, 64)
    images = proof_images(shared_colours / "val", card)
    record = prove(calibrated_model(), card, Disturbed(), images).record(images.evaluator)
    assert "before" not in record and record["images"] == 12 and record["source"] == "val"


def test_photographs_come_with_the_package_and_can_be_read():
    card = build_card(64, 64)
    images = proof_images(None, card)
    assert len(images.samples) == 5
    pixels = [card.input(sample.path) for sample in images.samples]
    assert min(each.std() for each in pixels) > 10  # real pictures, none of them blank
    assert images.evaluator is None


def test_files_that_cannot_be_read_prove_nothing_and_are_told(shared_colours: Path, tmp_path: Path):
    card = build_card(64, 64)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"no image can be read; first: .*a\.png"):
        prove(calibrated_model(), card, Disturbed(), proof_images(tmp_path, card))
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "b.png")
    proof = prove(calibrated_model(), card, Disturbed(), proof_images(tmp_path, card))
    assert proof.parity.images == 1 and "a.png" in proof.unreadable[0]


def test_fewer_images_are_spread_over_all_and_never_too_few(shared_colours: Path):
    samples = plain([Path(f"{index:04d}.png") for index in range(1000)])
    chosen = [int(sample.path.stem) for sample in spread(samples, 256)]
    assert len(set(chosen)) == 256 and chosen[0] == 0 and chosen[-1] == 999
    assert max(np.diff(chosen)) <= 4
    assert spread(samples, None) is samples
    with pytest.raises(InputError, match="at least 256 images, or all there are; got 100"):
        proof_images(shared_colours, build_card(64, 64), limit=100)


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (40, 300), (33, 33)])
def test_the_second_size_is_another_and_odd(size: tuple[int, int]):
    height, width = other_size(size)
    assert height % 2 == width % 2 == 1
    assert min(height, width) >= 33
    assert (height, width) != size


def test_shards_are_a_dataset_for_proof_and_calibration(shared_colours: Path, tmp_path: Path):
    from nextvit.data.shards import write_shards
    from nextvit.export.calibration import calibration_images
    from nextvit.tasks.reading import read_dataset

    data = read_dataset(shared_colours)
    write_shards(
        data.splits, data.classes, tmp_path / "shards", task=data.task, shard_bytes=2**20, written=lambda *told: None
    )
    card = build_card(64, 64)
    images = proof_images(tmp_path / "shards", card)
    assert len(images.samples) == 12 and images.evaluator is not None
    assert calibration_images(tmp_path / "shards", card).shape == (24, 64, 64, 3)
