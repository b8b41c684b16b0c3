"""Images under maps of evidence."""

from pathlib import Path

import numpy as np

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
