"""Latency from a file to its prediction, and its parts."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.benchmark.end_to_end import STAGES, measure_end_to_end, predict_in_stages
from nextvit.errors import InputError
from nextvit.image.reading import DecodeError
from nextvit.runtime.predictor import Predictor, load_bundle
from tests.runtime.conftest import write_colour_bundle

pytestmark = pytest.mark.serial


class SlowSession:
    """A session with constant outputs, after a while."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, inputs):
        time.sleep(self.seconds)
        return {"logits": np.tile(np.float32([0.0, 1.0, 2.0]), (len(inputs["images"]), 1))}

    def facts(self):
        return {}


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load_bundle(write_colour_bundle(tmp_path / "colours.nextvit"), threads=1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.effect_noise((400, 300), 90).convert("RGB").save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def test_the_stages_give_the_predictors_own_prediction(predictor: Predictor, photo: Path):
    prediction, seconds = predict_in_stages(predictor, photo)
    assert [prediction] == predictor([photo])
    assert len(seconds) == len(STAGES) and min(seconds) > 0


def test_fractions_sum_to_one_and_a_slow_graph_dominates(predictor: Predictor, photo: Path):
    quick = measure_end_to_end(predictor, [photo], images=5, warm_up=1)
    slow = measure_end_to_end(Predictor(SlowSession(0.1), predictor.card), [photo], images=3, warm_up=1)
    for record in (quick, slow):
        assert tuple(record["shares"]) == STAGES
        assert sum(record["shares"].values()) == pytest.approx(1, abs=1e-3)
    assert (quick["images"], slow["images"]) == (5, 3)
    assert slow["p50_ms"] > 100 and slow["shares"]["infer"] > 0.5 > quick["shares"]["infer"]


def test_a_file_that_cannot_be_read_is_named(predictor: Predictor, photo: Path, tmp_path: Path):
    photo.write_bytes(photo.read_bytes()[:1000])
    with pytest.raises(DecodeError, match=r"photo\.jpg: damaged"):
        measure_end_to_end(predictor, [photo])
    with pytest.raises(InputError, match="needs image files"):
        measure_end_to_end(predictor, [])
