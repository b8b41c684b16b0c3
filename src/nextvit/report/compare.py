"""A page that compares several runs: their scores, their training curves, and their different settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.errors import InputError
from nextvit.files.durable import write_durably
from nextvit.files.run_folder import RECIPE, read_recipe
from nextvit.predictions.score_names import display_name
from nextvit.report import figures
from nextvit.report.contents import RunContents, format_count, format_duration, read_run_contents, training_seconds
from nextvit.report.figures import Line, Panel
from nextvit.report.page import Cell, Markup, escape, heading, paragraph, render_page, section, table

# Eight colours that colour-blind people can distinguish, too (Okabe and Ito, "Color Universal Design", 2008). Grey
# replaces their yellow, which is too faint for lines on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#94a3b8")


def write_comparison(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the page on 2 to 8 runs to `out`.

    Returns:
        The content of the page as plain JSON values: `runs` (see `summarise_run`) and `different_settings`.

    Raises:
        InputError: there are too many runs, a folder is no run, or a run has no finished epoch.
    """
    if len(runs) > len(COLOURS):
        raise InputError(f"at most {len(COLOURS)} runs can be distinguished on one page, got {len(runs)}")
    contents = [read_run_contents(run) for run in runs]
    for each in contents:
        if not each.epochs:
            raise InputError(f"{each.path}: has no finished epoch to compare")
    names = distinct_names(runs)
    different_settings = find_different_settings(contents)
    sections = [
        heading(f"{len(runs)} runs side by side", describe_datasets(contents)),
        *comparability_warnings(contents),
        section("Results", results_table(names, contents)),
        section("Curves", Markup(figures.draw_curves(make_panels(names, contents), shared_legend=True))),
        section("Different settings", settings_table(names, different_settings)),
    ]
    write_durably(out, render_page("nextvit: " + ", ".join(names), sections))
    summaries = [{"run": str(each.path), **summarise_run(each)} for each in contents]
    return {"runs": summaries, "different_settings": different_settings}


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their whole paths where names are equal."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def summarise_run(contents: RunContents) -> dict[str, Any]:
    """A run's score and its cost as plain JSON values; without an evaluation of its best checkpoint there is no
    interval."""
    facts, evaluation, score = contents.facts, contents.evaluation, contents.main_score
    rates = [record["images_per_second"] for record in contents.epochs]
    return {
        "main_score": score,
        "score": evaluation["scores"][score] if evaluation else contents.best[f"val_{score}"],
        "interval_95": evaluation.get("interval_95"),
        "parameters": facts.get("parameters"),
        "macs": facts.get("macs"),
        "epochs": len(contents.epochs),
        "images_per_second": float(np.median(rates)),
        "training_seconds": training_seconds(contents),
    }


def results_table(names: Sequence[str], contents: Sequence[RunContents]) -> Markup:
    """A row for each run, in its colour."""
    rows: list[tuple[Cell, ...]] = []
    for name, colour, each in zip(names, COLOURS, contents, strict=False):
        summary = summarise_run(each)
        interval = (
            "({:.1f} to {:.1f})".format(*summary["interval_95"]) if summary["interval_95"] else "(still training)"
        )
        rows.append(
            (
                Markup(f'<b style="color:{colour}">{escape(name)}</b>'),
                f"{display_name(summary['main_score'])} {summary['score']:.2f} % {interval}",
                each.facts.get("variant", "?"),
                "?" if summary["parameters"] is None else format_count(summary["parameters"]),
                "?" if summary["macs"] is None else format_count(summary["macs"]),
                summary["epochs"],
                Markup(f"{summary['images_per_second']:.0f}"),
                "?" if summary["training_seconds"] is None else format_duration(summary["training_seconds"]),
            )
        )
    columns = ["run", "score (95 %)", "variant", "parameters", "multiply-adds", "epochs", "images/s", "training"]
    note = "Training is the time of the training steps, without evaluation and checkpoints."
    return Markup(table(columns, rows).text + paragraph(note, tone="soft").text)


def make_panels(names: Sequence[str], contents: Sequence[RunContents]) -> list[Panel]:
    """Panels of the main score, the losses and the learning rate, each with a line for each run."""

    def panel(title: str, *keys: str) -> Panel:
        lines = [
            Line(name, colour, [record["epoch"] for record in each.epochs], [record[key] for record in each.epochs])
            for name, colour, each, key in zip(names, COLOURS, contents, keys, strict=False)
            if key in each.epochs[0]  # the evaluation of a detector has no loss
        ]
        return Panel(title, lines)

    scores = [each.main_score for each in contents]
    count = len(contents)
    drawn = [
        panel(
            f"Validation {' or '.join(dict.fromkeys(map(display_name, scores)))}, %",
            *(f"val_{name}" for name in scores),
        ),
        panel("Validation loss", *["val_loss"] * count),
        panel("Training loss (augmented)", *["train_loss"] * count),
        panel("Learning rate, at the epoch's end", *["lr"] * count),
    ]
    return [each for each in drawn if each.lines]


def describe_datasets(contents: Sequence[RunContents]) -> str:
    """The names of the datasets of the runs."""
    names = (Path(each.facts.get("dataset", "?")).name for each in contents)
    return "trained on " + ", ".join(dict.fromkeys(names))


def comparability_warnings(contents: Sequence[RunContents]) -> list[Markup]:
    """Why the scores may not be comparable."""
    evaluations = {(each.facts.get("dataset"), each.facts.get("val_images"), each.main_score) for each in contents}
    if len(evaluations) == 1:
        return []
    return [paragraph("The runs were evaluated on different images or by different scores.", tone="bad")]


def find_different_settings(contents: Sequence[RunContents]) -> dict[str, list[Any]]:
    """The fields of the recipes that differ between the runs, as section.field, with the value of each run."""
    recipes = [flatten_recipe(read_recipe(each.path / RECIPE)) for each in contents]
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    values = {field: [recipe.get(field) for recipe in recipes] for field in fields}
    return {field: each for field, each in values.items() if any(value != each[0] for value in each)}


def flatten_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe under their names as section.field."""
    fields: dict[str, Any] = {}
    for name, value in recipe.items():
        fields.update(
            {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        )
    return fields


def settings_table(names: Sequence[str], different: dict[str, list[Any]]) -> Markup:
    """A row for each field that differs, a column for each run."""
    if not different:
        return paragraph("None: the recipes are the same.")
    rows = [(field, *("" if value is None else str(value) for value in values)) for field, values in different.items()]
    return table(["setting", *names], rows)
