"""`--config` and a run's recipe.yaml, as anybody may have written them: one line names the file and what is wrong."""

import random
from pathlib import Path
from typing import Any

import pytest

from nextvit.cli.settings import build_recipe, dataset_of
from nextvit.errors import InputError
from nextvit.train.start import recorded_batch_size

GOOD = "optim:\n  lr: 0.001\n  betas: [0.9, 0.999]\nschedule:\n  epochs: 2\ndata:\n  image_size: 32\n  resize: crop\n"


def read(path: Path, *, resumed: bool = False) -> None:
    config = None if resumed else path
    build_recipe("classification", {}, name=None, config=config, resumed=path.parent if resumed else None)


@pytest.mark.parametrize("resumed", [False, True], ids=["config", "run"])
@pytest.mark.parametrize(
    "text",
    [
        "x: 2024-99-99",
        "optim: {lr: 2024-01-01}",
        "optim: {lr: !!timestamp zz}",
        "optim: {lr: !!bool zz}",
        "optim: {lr: !!int zz}",
        "optim: {lr: " + "9" * 5000 + "}",
        "optim: {lr: .nan}",
        "optim: {lr: .inf}",
        "optim:\n  lr: " + "[" * 2000 + "]" * 2000,
        "optim: &x {lr: *x}",
        "1: {2: 3}",
        "null: {a: 1}",
        "optim: {null: 1}",
        "optim: {1: 1}",
        "optim: {2.5: 1}",
        "optim: {true: 1}",
        "optim: {[1]: 1}",
        "optim: {lr: 1, lr: 2}",
        "optim: {lr: {}}",
        "optim: {lr: [1]}",
        "optim: {betas: [1]}",
        "optim: {betas: [0.9, null]}",
        "optim: {betas: 0.9}",
        "optim: 3",
        "optim: [lr]",
        "data: {resize: [crop]}",
        "data: {resize: {a: 1}}",
        "data: {resize: 1}",
        "data: {image_size: 99999999999999999999}",
        "schedule: {epochs: true}",
        "schedule: {epochs: !!str 2}",
        "- optim",
        "optim",
        "3",
        "optim: {'\\e[31m': 1}",
        'optim: {"\\ud800": 1}',
        f"optim: {{{'x' * 5000}: 1}}",
        "a: \x00",
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text: str, resumed: bool, tmp_path: Path):
    path = tmp_path / "recipe.yaml"
    path.write_text(("dataset: photos\ntask: classification\n" if resumed and not text.startswith("-") else "") + text)
    with pytest.raises(InputError) as error:
        read(path, resumed=resumed)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 1000


def test_mutations_of_a_recipe_are_read_or_refused(tmp_path: Path):
    """Bytes that are replaced, doubled or left out, and YAML's own signs put in: never another exception."""
    path, chance = tmp_path / "config.yaml", random.Random(0)
    signs = [
        "!!timestamp ",
        "!!null ",
        "&a ",
        "*a",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "? ",
        "'",
        '"',
        "|",
        "%",
        "\t",
        "~",
        "<<: ",
    ]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        text = GOOD
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(text))
            text = (
                text[:at]
                + chance.choice([*signs, *"0123456789 \n#", chr(chance.randrange(256))])
                + text[at + chance.randint(0, 2) :]
            )
        path.write_text(text, encoding="utf-8")
        try:
            read(path)
            outcomes["read"] += 1
        except InputError as error:
            assert len(str(error).splitlines()) == 1, text
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 5, outcomes


@pytest.mark.parametrize(
    "text", ["", "data: 3", "data: {batch_size: auto}", "data: {batch_size: -1}", "data: {batch_size: [3]}"]
)
def test_a_run_that_does_not_say_its_batch_size_is_refused(text: str, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=r"recipe\.yaml: damaged \(data\.batch_size"):
        recorded_batch_size(tmp_path)


@pytest.mark.parametrize("text", ["", "dataset: 3", "dataset: null", "dataset: [a]", "dataset: 'a\\0'"])
def test_a_run_that_does_not_say_its_dataset_is_refused(text: str, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match="dataset"):
        dataset_of(tmp_path)


TIMED = "schedule: {epochs: auto, minutes: 10.0, patience: 0, epoch_steps: 40}"
COUNTED = "schedule: {epochs: 30, minutes: 0.0, patience: 4}"


@pytest.mark.parametrize(
    ("config", "flags", "expected"),
    [
        (None, {"minutes": 10.0}, ("auto", 10.0, 0)),
        (None, {"minutes": 10.0, "patience": 5}, ("auto", 10.0, 5)),
        (None, {"epochs": 7}, (7, 0.0, 15)),
        (TIMED, {}, ("auto", 10.0, 0)),
        (TIMED, {"epochs": 41}, (41, 0.0, 0)),
        (TIMED, {"minutes": 3.0}, ("auto", 3.0, 0)),
        (COUNTED, {}, (30, 0.0, 4)),
        (COUNTED, {"minutes": 3.0}, ("auto", 3.0, 0)),
        (COUNTED, {"patience": 1}, (30, 0.0, 1)),
    ],
)
@pytest.mark.parametrize("resumed", [False, True], ids=["config", "run"])
def test_minutes_and_epochs_replace_each_other(
    config: str | None, flags: dict[str, Any], expected: tuple[Any, ...], resumed: bool, tmp_path: Path
):
    path = tmp_path / "recipe.yaml"
    if config:
        path.write_text(config)
    recipe = build_recipe(
        "classification",
        {"schedule": flags} if flags else {},
        name=None,
        config=path if config and not resumed else None,
        resumed=tmp_path if resumed else None,
    )
    assert (recipe.schedule.epochs, recipe.schedule.minutes, recipe.schedule.patience) == expected
