"""Which classes a mirror exchanges, by their names."""

import pytest

from nextvit.bundle.sided_classes import TOP_BOTTOM, find_sides


def named(classes: tuple[str, ...], **sides: dict[str, str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs and the classes without a counterpart, by name."""
    found = find_sides(classes, *sides.values())
    return [(classes[one], classes[other]) for one, other in found.pairs], [classes[index] for index in found.alone]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left", "right"),
        ("left_mirror", "right_mirror"),
        ("left mirror", "right-mirror"),
        ("front_left_door", "front_right_door"),
        ("frontLeftDoor", "frontRightDoor"),
        ("LeftDoor", "RightDoor"),
        ("LEFT_DOOR", "RIGHT_DOOR"),
        ("LEFTDoor", "RIGHTDoor"),
        ("door2left", "door2right"),
        ("turn-left", "turn-right"),
        ("Tür (left)", "Tür (right)"),
        ("left_to_right", "right_to_left"),
        ("eye.left.1", "eye.right.1"),
    ],
)
def test_a_pair_is_found_whatever_separates_its_words(left: str, right: str):
    assert named((left, "wheel", right)) == ([(left, right)], [])
    assert named((right, left)) == ([(right, left)], [])


@pytest.mark.parametrize(
    "name", ["bright", "copyright", "leftover", "upright", "Wright", "rightful", "cleft", "leftmirror", "links", ""]
)
def test_letters_inside_of_a_word_are_no_side(name: str):
    assert named((name, "left_door", "right_door")) == ([("left_door", "right_door")], [])


@pytest.mark.parametrize(
    ("classes", "alone"),
    [
        (("left_mirror", "wheel"), ["left_mirror"]),
        (("left_mirror", "right_door"), ["left_mirror", "right_door"]),
        (("left_mirror", "right_mirror", "rightDoor"), ["rightDoor"]),
        (("left_mirror", "right_mirror", "right mirror"), ["left_mirror", "right_mirror", "right mirror"]),
        (("left_eye_1", "right_eye_2"), ["left_eye_1", "right_eye_2"]),
        (("left_right_arrow", "stop"), ["left_right_arrow"]),
    ],
)
def test_a_side_without_one_counterpart_stands_alone(classes: tuple[str, ...], alone: list[str]):
    assert named(classes)[1] == alone


def test_exchanged_maps_each_class_to_its_mirror_image_and_back():
    classes = ("hood", "right_door", "left_lamp", "left_door", "right_lamp")
    exchanged = find_sides(classes).exchanged(5)
    assert exchanged.tolist() == [0, 3, 4, 1, 2]
    assert exchanged[exchanged].tolist() == list(range(5))


def test_up_and_down_are_sides_of_their_own():
    classes = ("top_shelf", "bottom_shelf", "upperLip", "lowerLip", "left_hand", "stopped", "slower")
    assert named(classes, opposites=dict(TOP_BOTTOM)) == (
        [("top_shelf", "bottom_shelf"), ("upperLip", "lowerLip")],
        [],
    )
