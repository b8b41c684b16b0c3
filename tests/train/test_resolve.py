"""What "auto" becomes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nextvit.data.dataset import Dataset
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.models.published import best_tag
from nextvit.recipes import get_recipe
from nextvit.tasks.reading import read_dataset
from nextvit.tasks.settings import DetectionData
from nextvit.train.recipe import Model
from nextvit.train.recipe_sections import to_sections
from nextvit.train.resolve import describe_sides, describe_start, resolve_recipe
from tests.data.coco_by_hand import draw_objects
from tests.train.runs import with_sections


def dataset(*counts: int) -> Dataset:
    samples = Samples.pack(
        (Path(f"{label}/{number}.png"), (label,)) for label, count in enumerate(counts) for number in range(count)
    )
    return Dataset(
        root=Path("photos"), classes=tuple("abcdefgh"[: len(counts)]), splits={"train": samples, "val": samples}
    )


NANO = replace(get_recipe("finetune"), model=Model(name="nextvit_nano", weights="published"))


@pytest.mark.parametrize(("images", "epochs"), [(300, 100), (2000, 50), (50_000, 10)])
def test_small_datasets_are_seen_more_often(images: int, epochs: int):
    assert resolve_recipe(NANO, dataset(images // 2, images // 2)).epochs == epochs


@pytest.mark.parametrize(("image_size", "longer_side"), [(224, 4128), (2496, "auto")])
def test_a_size_that_no_export_takes_is_refused_before_the_training(image_size: int, longer_side: Any, tmp_path: Path):
    recipe = with_sections(get_recipe("finetune_detection"), data=DetectionData(longer_side=longer_side))
    recipe = replace(recipe, data=replace(recipe.data, image_size=image_size))
    with pytest.raises(InputError, match=r"may have 4096 px at most.*got 41\d\d; set data.longer_side or lower"):
        resolve_recipe(recipe, read_dataset(draw_objects(tmp_path)))


def test_epochs_of_so_many_steps_are_counted_by_the_user():
    steps = replace(NANO, schedule=replace(NANO.schedule, epoch_steps=5))
    with pytest.raises(
        InputError, match=r"schedule.epoch_steps needs a number of epochs, got auto; pass one with --epochs"
    ):
        resolve_recipe(steps, dataset(9, 9))
    assert resolve_recipe(replace(steps, schedule=replace(steps.schedule, epochs=3)), dataset(9, 9)).epochs == 3


def test_classes_are_balanced_where_the_check_calls_them_uneven():
    assert resolve_recipe(NANO, dataset(99, 10)).task.data.balance == "off"
    assert resolve_recipe(NANO, dataset(100, 10)).task.data.balance == "on"


def test_a_start_from_weights_learns_more_slowly_below():
    scratch = resolve_recipe(NANO, dataset(9, 9))
    assert (scratch.model.weights, scratch.lr, scratch.optim.layer_decay) == ("none", 5e-4, 1.0)
    tuned = resolve_recipe(replace(NANO, model=Model(name="nextvit_nano", weights="some.safetensors")), dataset(9, 9))
    assert (tuned.model.weights, tuned.lr, tuned.optim.layer_decay) == ("some.safetensors", 2e-4, 0.8)


def test_published_weights_that_are_not_here_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert best_tag("nextvit_small") == "bd_ssld_6m_in1k" and best_tag("nextvit_nano") is None
    monkeypatch.setattr("nextvit.train.resolve.is_downloaded", lambda name, tag: False)
    with pytest.raises(InputError, match=r"add --weights bd_ssld_6m_in1k to download them .* or --weights none"):
        resolve_recipe(get_recipe("finetune"), dataset(9, 9))
    monkeypatch.setattr("nextvit.train.resolve.is_downloaded", lambda name, tag: True)
    assert resolve_recipe(get_recipe("finetune"), dataset(9, 9)).model.weights == "bd_ssld_6m_in1k"


def test_a_start_is_described():
    description = describe_start(resolve_recipe(NANO, dataset(100, 10)), dataset(100, 10))
    assert description.endswith("nextvit_nano from scratch, 100 epochs in batches of 32")
    assert "110 validation images, drawn with balanced classes, 2 classes" in description


@pytest.mark.parametrize(("image_size", "scale"), [(72, 4.0), (144, 8.0)])
def test_small_objects_get_small_anchors(tmp_path: Path, image_size: int, scale: float):
    """The drawn objects have sides of 12 to 26 px in images of 96x72."""
    objects = read_dataset(draw_objects(tmp_path))
    recipe = get_recipe("finetune_detection")
    recipe = replace(recipe, model=NANO.model, data=replace(recipe.data, image_size=image_size))
    assert resolve_recipe(recipe, objects).task.heads.anchor_scale == scale
    asked = with_sections(recipe, heads=replace(recipe.task.heads, anchor_scale=5.0))
    assert resolve_recipe(asked, objects).task.heads.anchor_scale == 5.0


@pytest.mark.parametrize(
    ("classes", "flip", "sides"),
    [
        (("left_door", "hood", "right_door"), 0.5, "exchange"),
        (("left_door", "hood", "wheel"), 0.0, "ignore"),
        (("bright", "hood", "wheel"), 0.5, "ignore"),
    ],
)
def test_the_recipe_records_what_flips_do_to_classes_with_a_side(
    colours: Path, classes: tuple[str, ...], flip: float, sides: str
):
    for split in ("train", "val"):
        for colour, name in zip(("red", "green", "blue"), classes, strict=True):
            (colours / split / colour).rename(colours / split / name)
    of_doors, asked = read_dataset(colours), replace(get_recipe("finetune"), model=Model(name="nextvit_nano"))
    recipe = resolve_recipe(asked, of_doors)
    assert (to_sections(recipe)["augment"]["flip"], to_sections(recipe)["augment"]["flip_sides"]) == (flip, sides)
    said = describe_sides(asked, recipe, of_doors)
    assert said is None if "bright" in classes else said is not None and "left_door" in said
