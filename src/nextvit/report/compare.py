"""One page on several runs: what they scored, how they got there, and what was different."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nextvit.errors import InputError
from nextvit.files.durable import write_durably
from nextvit.report import figures
from nextvit.report.contents import Contents, duration, millions, read_contents
from nextvit.report.figures import Line, Panel
from nextvit.report.page import Cell, Markup, escape, heading, page, paragraph, section, table

# Eight colours that most kinds of colour blindness leave apart (Okabe and Ito, "Color Universal Design", 2008);
# their yellow is too faint for lines on white, grey stands in.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#94a3b8")
from nextvit.predictions.score_names import spoken


def write_comparison(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the page on 2 to 8 runs to `out`, and return what it says as plain values.

    Raises:
        InputError: too many runs, a folder that is none, or a run without a finished epoch.
    """
    if len(runs) > len(COLOURS):
        raise InputError(f"at most {len(COLOURS)} runs can be told apart on one page, got {len(runs)}")
    contents = [read_contents(run) for run in runs]
    for each in contents:
        if not each.epochs:
            raise InputError(f"{each.path}: has no finished epoch to compare")
    names = distinct_names(runs)
    different = different_settings(contents)
    sections = [
        heading(f"{len(runs)} runs side by side", datasets(contents)),
        *doubts(contents),
        section("Results", results_table(names, contents)),
        section("Curves", Markup(figures.curves(panels(names, contents), shared_legend=True))),
        section("What was set differently", settings_table(names, different)),
    ]
    write_durably(out, page("nextvit: " + ", ".join(names), sections))
    found = [{"run": str(each.path), **result(each)} for each in contents]
    return {"runs": found, "different_settings": different}


def distinct_names(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their whole paths where names are equal."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def result(contents: Contents) -> dict[str, Any]:
    """What a run reached, and what it took: plain values. Without an exam of its best checkpoint there is no interval."""
    facts, evaluation, score = contents.facts, contents.evaluation, contents.main_score
    rates = [record["images_per_second"] for record in contents.epochs]
    images = facts.get("train_images")
    return {
        "main_score": score,
        "score": evaluation["scores"][score] if evaluation else contents.best[f"val_{score}"],
        "interval_95": evaluation.get("interval_95"),
        "parameters": facts.get("parameters"),
        "macs": facts.get("macs"),
        "epochs": len(contents.epochs),
        "images_per_second": float(np.median(rates)),
        "training_seconds": sum(images / rate for rate in rates if rate) if images else None,
    }


def results_table(names: Sequence[str], contents: Sequence[Contents]) -> Markup:
    """A row for each run, in its colour."""
    rows: list[tuple[Cell, ...]] = []
    for name, colour, each in zip(names, COLOURS, contents, strict=False):
        found = result(each)
        interval = "({:.1f} to {:.1f})".format(*found["interval_95"]) if found["interval_95"] else "(still training)"
        rows.append(
            (
                Markup(f'<b style="color:{colour}">{escape(name)}</b>'),
                f"{spoken(found['main_score'])} {found['score']:.2f} % {interval}",
                each.facts.get("variant", "?"),
                "?" if found["parameters"] is None else millions(found["parameters"]),
                "?" if found["macs"] is None else millions(found["macs"]),
                found["epochs"],
                Markup(f"{found['images_per_second']:.0f}"),
                "?" if found["training_seconds"] is None else duration(found["training_seconds"]),
            )
        )
    columns = ["run", "score (95 %)", "variant", "parameters", "multiply-adds", "epochs", "images/s", "training"]
    note = "Training is the time of the training steps, without evaluation and saving."
    return Markup(table(columns, rows).text + paragraph(note, tone="soft").text)


def panels(names: Sequence[str], contents: Sequence[Contents]) -> list[Panel]:
    """Main score, losses and learning rate, each with a line for each run."""

    def panel(title: str, *keys: str) -> Panel:
        lines = [
            Line(name, colour, [record["epoch"] for record in each.epochs], [record[key] for record in each.epochs])
            for name, colour, each, key in zip(names, COLOURS, contents, keys, strict=False)
            if key in each.epochs[0]  # a detector's exam has no loss
        ]
        return Panel(title, lines)

    scores = [each.main_score for each in contents]
    count = len(contents)
    drawn = [
        panel(f"Validation {' or '.join(dict.fromkeys(map(spoken, scores)))}, %", *(f"val_{name}" for name in scores)),
        panel("Validation loss", *["val_loss"] * count),
        panel("Training loss (augmented)", *["train_loss"] * count),
        panel("Learning rate, at the epoch's end", *["lr"] * count),
    ]
    return [each for each in drawn if each.lines]


def datasets(contents: Sequence[Contents]) -> str:
    """On what the runs were evaluated."""
    named = (Path(each.facts.get("dataset", "?")).name for each in contents)
    return "trained on " + ", ".join(dict.fromkeys(named))


def doubts(contents: Sequence[Contents]) -> list[Markup]:
    """Why the scores may not be comparable."""
    exams = {(each.facts.get("dataset"), each.facts.get("val_images"), each.main_score) for each in contents}
    if len(exams) == 1:
        return []
    return [paragraph("The runs were evaluated on different images or by different scores.", tone="bad")]


def different_settings(contents: Sequence[Contents]) -> dict[str, list[Any]]:
    """The fields of the recipes that are not the same in all runs, as section.field, with each run's value."""
    recipes = [flat(yaml.safe_load(each.recipe) or {}) for each in contents]
    fields = dict.fromkeys(field for recipe in recipes for field in recipe)
    values = {field: [recipe.get(field) for recipe in recipes] for field in fields}
    return {field: each for field, each in values.items() if any(value != each[0] for value in each)}


def flat(recipe: dict[str, Any]) -> dict[str, Any]:
    """Sections with fields as section.field."""
    fields: dict[str, Any] = {}
    for name, value in recipe.items():
        fields.update(
            {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        )
    return fields


def settings_table(names: Sequence[str], different: dict[str, list[Any]]) -> Markup:
    """A row for each field."""
    if not different:
        return paragraph("Nothing: the recipes are the same.")
    rows = [(field, *("" if value is None else str(value) for value in values)) for field, values in different.items()]
    return table(["setting", *names], rows)
