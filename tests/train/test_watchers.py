"""Watchers: named on the command line, told every tick."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

from nextvit.errors import InputError, MissingDependency
from nextvit.tasks.task import Evaluation
from nextvit.train.loop import Tick
from nextvit.train.recipe import Recipe
from nextvit.train.watchers import combine_watchers, load_watch


def tick(step: int, *, score: float | None = None) -> Tick:
    """What training tells after a step, and with a score after an epoch."""
    scores = {"top1_score": score or 0.0, "loss": 0.5}
    evaluation = Evaluation(scores=scores, main_score="top1_score", interval_95=(0, 100), images=4)
    return Tick(
        epoch=0,
        epochs=1,
        step=step,
        steps=4,
        lr=0.1,
        loss=1.0 / step,
        losses={"cross_entropy": 1.0 / step},
        images_per_second=9.0,
        waiting_share=0.25,
        seconds_left=1.0,
        evaluation=None if score is None else evaluation,
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder that is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_factory_in_the_current_folder_is_given_run_and_recipe(here: Path):
    (here / "notes_of_steps.py").write_text(
        "def watch(run, recipe):\n"
        "    run.mkdir()\n"
        "    return lambda tick: (run / 'steps').write_text(f'{tick.step} of {recipe.schedule.epochs} epochs')\n"
    )
    load_watch("notes_of_steps:watch", here / "run", Recipe())(tick(3))
    assert (here / "run" / "steps").read_text() == "3 of 30 epochs"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorboard", "a watcher is named module:factory, such as"),
        ("nowhere_to_be_found:watch", "no module 'nowhere_to_be_found' here"),
        ("broken_watch:wacth", "has no function 'wacth'; did you mean 'watch'"),
        ("broken_watch:watch", "must return a function that takes a Tick, it returned NoneType"),
        ("needy_watch:watch", "needs the package 'no_such_package', which is not installed"),
    ],
)
def test_a_wrong_name_is_explained(here: Path, name: str, message: str):
    (here / "broken_watch.py").write_text("def watch(run, recipe): pass\n")
    (here / "needy_watch.py").write_text("import no_such_package\n")
    with pytest.raises(InputError, match=message):
        load_watch(name, here / "run", Recipe())


def test_all_watchers_are_told_in_order():
    told: list[tuple[str, int]] = []
    combine_watchers([lambda tick: told.append(("a", tick.step)), lambda tick: told.append(("b", tick.step))])(tick(7))
    assert told == [("a", 7), ("b", 7)]


def test_tensorboard_that_is_not_installed_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as if it were not there
    with pytest.raises(MissingDependency, match=r"pip install '\.\[tensorboard\]'"):
        load_watch("nextvit.train.tensorboard:watch", tmp_path / "run", Recipe())


def test_the_examples_for_wandb_and_mlflow_are_factories_and_import_what_exists():
    page = (Path(__file__).parents[2] / "docs" / "watching.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(from pathlib.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        tree = ast.parse(example)
        [factory] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        assert (factory.name, [argument.arg for argument in factory.args.args]) == ("watch", ["run", "recipe"])
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("nextvit"):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), node.module


def test_tensorboard_reads_back_what_training_told(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watch = load_watch("nextvit.train.tensorboard:watch", tmp_path / "run", Recipe())
    assert not (tmp_path / "run").exists()  # a refused start leaves nothing
    for each in (tick(1), tick(2), tick(2, score=80.0)):
        watch(each)
    resumed = load_watch("nextvit.train.tensorboard:watch", tmp_path / "run", Recipe())
    for each in (tick(2), tick(3), tick(3, score=90.0)):  # stopped after step 2, whose checkpoint was not kept
        resumed(each)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    steps = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert steps == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert [event.value for event in events.Scalars("val/top1_score")] == [90.0]
    assert set(events.Tags()["scalars"]) == {
        *(f"train/{name}" for name in ("loss", "lr", "images_per_second", "waiting_share")),
        *(f"val/{name}" for name in ("top1_score", "loss")),
    }
