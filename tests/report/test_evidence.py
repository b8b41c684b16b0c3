"""Images under maps of evidence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nextvit.errors import InputError
from nextvit.report.evidence import evidence_section, overlay_heatmap


def test_where_nothing_speaks_for_the_class_the_image_shows_in_grey():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    heat = np.zeros((2, 3), np.uint8)
    assert np.array_equal(overlay_heatmap(pixels, heat), np.rint(pixels.mean(axis=2, keepdims=True)).repeat(3, axis=2))


def test_strong_evidence_is_bright_and_lies_where_the_map_has_it():
    heat = np.zeros((2, 2), np.uint8)
    heat[0, 1] = 255
    red = overlay_heatmap(np.full((32, 32, 3), 60, np.uint8), heat)[..., 0]
    assert red[:8, 24:].min() > 150 and red[24:, :8].max() < 70


def test_a_mistake_shows_three_images_and_a_right_prediction_two(run: Path):
    markup = evidence_section(run)
    assert markup and markup.text.count("<figure>") == 2
    assert "truth: red" in markup.text and "&lt;blue&gt;" in markup.text
    assert "4x4" in markup.text


def test_a_run_without_heatmaps_has_no_such_section(tmp_path: Path):
    assert evidence_section(tmp_path) is None


def heatmaps(count: int = 2) -> dict[str, np.ndarray]:
    texts = np.array(["a", "b"][:count])
    maps = np.zeros((count, 4, 4), np.uint8)
    pixels = np.zeros((count, 8, 8, 3), np.uint8)
    named = {"pixels": pixels, "for_guess": maps, "for_label": maps, "guesses": texts, "labels": texts}
    return {**named, "probabilities": np.ones(count)}


@pytest.mark.parametrize("name", heatmaps())
@pytest.mark.parametrize(
    "change",
    [
        lambda array: None,
        lambda array: array[:1],
        lambda array: array[0],
        lambda array: array[..., None],
        lambda array: array.astype(object),
        lambda array: array.astype("S"),
        lambda array: np.zeros(array.shape, complex),
        lambda array: array[:, :0] if array.ndim > 1 else array.reshape(1, -1),
    ],
)
def test_heatmaps_that_do_not_belong_together_are_refused_in_a_line(
    name: str, change: Callable[[np.ndarray], np.ndarray | None], tmp_path: Path
):
    arrays = {**heatmaps(), name: change(heatmaps()[name])}
    np.savez(tmp_path / "heatmaps.npz", **{each: array for each, array in arrays.items() if array is not None})
    with pytest.raises(InputError, match=r"heatmaps\.npz: damaged") as error:
        evidence_section(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x93NUMPY"])
def test_damaged_heatmaps_are_refused_in_a_line(content: bytes, tmp_path: Path):
    (tmp_path / "heatmaps.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"heatmaps\.npz: damaged"):
        evidence_section(tmp_path)
