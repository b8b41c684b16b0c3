"""A recipe as sections of fields: what one task has, another refuses by name."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from nextvit.errors import InputError
from nextvit.recipes import RECIPES, get_recipe
from nextvit.tasks.task import TASKS, get_task
from nextvit.train.recipe import Recipe
from nextvit.train.recipe_sections import fields_of_tasks, from_sections, read_sections, to_sections
from nextvit.train.resolve import resolve_recipe
from tests.train.test_resolve import dataset


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_file(name: str):
    recipe = get_recipe(name)
    [task] = {task for task in TASKS if type(recipe.task) is get_task(task).settings and task != "multilabel"}
    plain = yaml.safe_load(yaml.safe_dump(to_sections(recipe)))
    assert from_sections(task, plain, source="a file") == recipe


@pytest.mark.parametrize(
    ("task", "section", "field", "value", "others"),
    [
        ("detection", "augment", "flip", 0.0, "classification, distillation and multilabel"),
        ("detection", "mix", "mixup", 0.2, "classification, distillation and multilabel"),
        ("detection", "distill", "teacher", "runs/a", "classification, distillation and multilabel"),
        ("detection", "data", "balance", "on", "classification and multilabel"),
        ("detection", "data", "crop_ratio", 0.9, "classification, distillation and multilabel"),
        ("detection", "loss", "label_smoothing", 0.0, "classification and multilabel"),
        ("detection", "masks", "flip", 0.0, "segmentation"),
        ("detection", "heads", "decoder", "uper", "segmentation"),
        ("detection", "heads", "standardise", True, "segmentation"),
        ("detection", "loss", "dice", 1.0, "segmentation"),
        ("segmentation", "mix", "mixup", 0.5, "classification, distillation and multilabel"),
        ("segmentation", "augment", "flip", 0.0, "classification, distillation and multilabel"),
        ("segmentation", "distill", "teacher", "runs/a", "classification, distillation and multilabel"),
        ("segmentation", "data", "balance", "on", "classification and multilabel"),
        ("segmentation", "data", "leave_out_empty", True, "detection"),
        ("segmentation", "objects", "flip", 0.0, "detection"),
        ("segmentation", "heads", "masks", "on", "detection"),
        ("segmentation", "heads", "anchor_scale", 4.0, "detection"),
        ("segmentation", "loss", "region_samples", 64, "detection"),
        ("classification", "objects", "flip", 0.0, "detection"),
        ("classification", "masks", "flip", 0.0, "segmentation"),
        ("classification", "heads", "size", "light", "detection and segmentation"),
        ("classification", "data", "longer_side", 800, "detection and segmentation"),
        ("classification", "data", "leave_out_empty", True, "detection"),
        ("classification", "loss", "region_samples", 64, "detection"),
        ("multilabel", "loss", "mean_over", "all", "segmentation"),
        ("distillation", "loss", "label_smoothing", 0.1, "classification and multilabel"),
        ("distillation", "distill", "weight", 0.5, "classification and multilabel"),
        ("classification", "distill", "temperature", 2.0, "distillation"),
    ],
)
def test_a_field_of_another_task_is_refused_by_name(task: str, section: str, field: str, value: Any, others: str):
    with pytest.raises(InputError, match=rf"{section}\.{field} is for {others}, and this is {task}; leave it out"):
        from_sections(task, {section: {field: value}}, source="the command line")


@pytest.mark.parametrize(
    ("task", "resize", "accepted"),
    [
        ("classification", "pad", "auto, crop, stretch"),
        ("detection", "stretch", "auto, pad"),
        ("segmentation", "crop", "auto, pad, stretch"),
    ],
)
def test_a_task_has_its_own_ways_to_resize(task: str, resize: str, accepted: str):
    with pytest.raises(InputError, match=rf"the command line: data\.resize cannot be '{resize}'; accepted: {accepted}"):
        from_sections(task, {"data": {"resize": resize}}, source="the command line")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"optm": {"lr": 1.0}}, "no section 'optm'; did you mean 'optim'"),
        ({"optim": {"lrr": 1.0}}, "optim has no field 'lrr'; did you mean 'lr'"),
        ({"optim": 3}, "expected fields in the section 'optim', got int"),
        ({"optim": {"lr": "fast"}}, "optim.lr cannot be 'fast'; accepted: a number, auto"),
        ({"optim": {"lr": -1.0}}, "optim.lr must be positive"),
        ({"data": {"image_size": 16}}, "at least 32 px"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(sections: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        from_sections("classification", sections, source="mine.yaml")


def test_a_recipe_of_another_task_is_refused():
    with pytest.raises(InputError, match=r"this recipe is not for classification.*another --recipe, such as finetune"):
        resolve_recipe(get_recipe("finetune_detection"), dataset(9, 9))


def test_files_of_the_first_format_are_read():
    """They hold the sections of all tasks, and other names for ways to resize."""
    old = {
        "data": {"task": "auto", "image_size": 64, "resize": "fit", "longer_side": "auto", "balance": "off"},
        "heads": {"size": "light", "decoder": "fpn", "standardise": False, "masks": "on", "anchor_scale": 4.0},
        "augment": {"flip": 0.5},
        "masks": {"flip": 0.5},
        "loss": {"label_smoothing": 0.1, "region_samples": 64, "dice": 0.0},
    }
    recipe = from_sections("detection", read_sections("detection", old, of_run=True), source="old run")
    assert isinstance(recipe, Recipe) and recipe.preprocess().resize == "pad"
    assert to_sections(recipe)["heads"] == {"size": "light", "masks": "on", "anchor_scale": 4.0}
    assert to_sections(recipe)["loss"]["region_samples"] == 64
    with pytest.raises(InputError, match="is for"):
        from_sections("detection", read_sections("detection", old, of_run=False), source="mine.yaml")


def test_common_fields_and_the_tasks_own_stand_in_one_section():
    data = to_sections(replace(Recipe(), data=replace(Recipe().data, image_size=96)))["data"]
    assert (data["image_size"], data["crop_ratio"]) == (96, 1.0)


@pytest.mark.parametrize("task", TASKS)
def test_a_recipe_holds_no_settings_of_other_tasks(task: str):
    """What a run writes: the fields that every task has, and the task's own."""
    written = to_sections(get_recipe(get_task(task).recipe))
    known = fields_of_tasks()
    assert {(section, name) for section, values in written.items() for name in values} == {
        field for field, tasks in known.items() if task in tasks
    }
