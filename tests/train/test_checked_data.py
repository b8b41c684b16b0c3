"""What a training does with data that have errors: refuses them, or leaves out what cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nextvit.errors import InputError
from nextvit.tasks.reading import read_dataset
from nextvit.train.start import check_data
from tests.data.coco_by_hand import draw_objects, spoil
from tests.data.masks_by_hand import draw_masked, repaint


def test_masks_that_cannot_be_used_are_left_out_with_their_images(tmp_path: Path):
    root = draw_masked(tmp_path, train=12, val=3)
    repaint(root, lambda mask: np.full_like(mask, 77), only=3)
    repaint(root, lambda mask: mask[::2, ::2], only=5)
    (root / "masks" / "train" / "7.png").write_bytes(b"no image")
    dataset, lines = read_dataset(root), list[str]()
    with pytest.raises(InputError, match=r"3 errors in the data, first: masks that cannot be used \(.*7\.png"):
        check_data(dataset, allowed=False, say=lines.append)
    remaining = check_data(dataset, allowed=True, say=lines.append)
    assert lines[-1] == "left out: 3 images"
    names = [sample.path.stem for sample in remaining.split("train")]
    assert not {"3", "5", "7"} & set(names)
    assert [Path(remaining.masks["train"].name(at)).stem for at in range(9)] == names


def test_images_of_another_size_than_annotated_are_left_out_with_their_objects(tmp_path: Path):
    root = draw_objects(tmp_path, train=12, val=2)
    path = root / "images" / "train" / "0.png"
    Image.open(path).resize((48, 36)).save(path)
    lines: list[str] = []
    remaining = check_data(read_dataset(root), allowed=True, say=lines.append)
    assert lines[-1] == "left out: 1 image"
    assert remaining.annotations["train"].image_ids.tolist() == list(range(1, 12))


def test_where_nothing_usable_remains_the_training_is_refused(tmp_path: Path):
    root = draw_objects(tmp_path, train=2, val=1)
    spoil(root, lambda content: content["images"][0].update(width=50), split="val")
    with pytest.raises(InputError, match="no usable image remains in a split"):
        check_data(read_dataset(root), allowed=True, say=lambda _: None)
