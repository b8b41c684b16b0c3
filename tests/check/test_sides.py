"""What `check` says of classes with a side."""

import pytest

from nextvit.check.sides import check_sides


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("left_door", "hood", "right_door"), [("class_with_side", "left_door with right_door")]),
        (("left_door", "hood"), [("side_without_counterpart", "left_door")]),
        (("top_shelf", "bottom_shelf"), [("class_above_or_below", "top_shelf with bottom_shelf")]),
        (("crop_top", "bright", "copyright", "leftover"), []),
        (
            ("left_ear", "right_ear", "left_eye"),
            [("side_without_counterpart", "left_eye"), ("class_with_side", "left_ear with right_ear")],
        ),
    ],
)
def test_pairs_and_lone_sides_are_found(classes: tuple[str, ...], expected: list[tuple[str, str]]):
    assert [(each.kind, each.message) for each in check_sides(classes)] == expected
