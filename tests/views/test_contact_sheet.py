"""The image of a batch."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.views.contact_sheet import Sheet, make_contact_sheet, write_contact_sheet


def coloured(count: int, *, height: int = 20, width: int = 20) -> np.ndarray:
    """Plain images whose red tells their place in the batch."""
    images_NHWC = np.zeros((count, height, width, 3), np.uint8)
    images_NHWC[..., 0] = 10 * np.arange(count)[:, None, None]
    return images_NHWC


def test_images_stand_in_rows_of_eight_and_sixteen_are_shown():
    sheet = np.asarray(make_contact_sheet(coloured(20)))
    assert sheet.shape == (2 * 112 + 4, 8 * 112 + 7 * 4, 3)
    centres = [sheet[56 + 116 * (index // 8), 56 + 116 * (index % 8), 0] for index in range(16)]
    assert centres == [10 * index for index in range(16)]


@pytest.mark.parametrize(("count", "size"), [(1, (112, 56)), (3, (344, 56)), (9, (924, 116))])
def test_the_sheet_is_as_large_as_its_images(count: int, size: tuple[int, int]):
    assert make_contact_sheet(coloured(count, height=40, width=80)).size == size


def test_fewer_and_larger_images_can_be_shown_in_a_row():
    assert make_contact_sheet(coloured(5), Sheet(side_px=40, columns=2)).size == (2 * 40 + 4, 3 * 40 + 2 * 4)


def test_the_file_holds_the_sheet_and_replaces_an_older_one(tmp_path: Path):
    write_contact_sheet(tmp_path / "sheet.png", coloured(1))
    write_contact_sheet(tmp_path / "sheet.png", coloured(2))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (228, 112)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
