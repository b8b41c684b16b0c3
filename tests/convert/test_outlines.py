"""Outlines of ellipses: near enough to the curve, with a bounded number of corners at any size."""

import numpy as np
import pytest

from nextvit.convert.outlines import MAX_DEVIATION_PX, polygon_area, trace_ellipse


@pytest.mark.parametrize("radius", [0.5, 10.0, 300.0, 5000.0])
def test_no_chord_leaves_the_curve_by_more_than_is_stated(radius: float):
    points = trace_ellipse((7, 5), (radius, radius))
    middles = (points + np.roll(points, 1, axis=0)) / 2
    sagitta = radius - np.linalg.norm(middles - (7, 5), axis=1)
    assert (sagitta <= MAX_DEVIATION_PX * 1.001).all()
    assert polygon_area(points) == pytest.approx(np.pi * radius**2, rel=0.06)


@pytest.mark.parametrize("radius", [1e9, 1e300])
def test_a_huge_one_has_a_thousand_corners(radius: float):
    assert len(trace_ellipse((0, 0), (radius, 1.0))) == 1000
