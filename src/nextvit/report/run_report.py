"""report.html of a run: a picture of what lies in its folder now. Training, export and benchmark each write it anew."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.bundle import SUFFIX, Manifest, read_manifest
from nextvit.durable import write_durably
from nextvit.errors import InputError
from nextvit.preprocess import DecodeError, Preprocess
from nextvit.report import figures
from nextvit.report.label_table import label_table
from nextvit.report.page import (
    Markup,
    escape,
    folded,
    heading,
    page,
    paragraph,
    pictures,
    section,
    table,
    tiles,
)
from nextvit.runs import BENCHMARK, ENVIRONMENT, EVALUATION, METRICS, RECIPE, REPORT, read_json_lines
from nextvit.scores import main_score, spoken

THUMBNAIL = Preprocess(image_size=(160, 160))


def write_run_report(run: Path) -> Path:
    """Write `report.html` from the run's files, and return its path."""
    epochs = list({record["epoch"]: record for record in read_json_lines(run / METRICS)}.values())
    evaluation = read_json(run / EVALUATION)
    bundles, damaged = exported_bundles(run)
    timings = latest_benchmark(run)
    facts = read_json(run / ENVIRONMENT)
    sections = [
        heading(f"{facts.get('variant', 'Next-ViT')} on {Path(facts.get('dataset', run)).name}", lead(facts)),
        summary(facts, evaluation, bundles, timings),
    ]
    if epochs:
        sections.append(section("Training", Markup(figures.training_curves(epochs)), training_note(epochs, evaluation)))
    if evaluation:
        details = evaluation["details"]
        sections += [
            section("One image of each class", answered(details["examples"])),
            section("Mistakes, the most confident first", mistakes(details["mistakes"])),
        ]
        if "confusion" in details:
            sections.append(section("Confusion", Markup(figures.confusion(details["confusion"], details["classes"]))))
        sections.append(section("Classes", class_table(details) if "confusion" in details else label_table(details)))
    sections += [section(f"Export: {manifest.backend} {manifest.precision}", proof(manifest)) for manifest in bundles]
    sections += [section("Export", paragraph(message, tone="bad")) for message in damaged]
    if timings:
        sections.append(section("Latency", Markup(figures.latency_bars(timings)), latency_table(timings)))
    sections.append(
        section(
            "How to repeat it",
            folded(RECIPE, (run / RECIPE).read_text(encoding="utf-8")),
            folded(ENVIRONMENT, json.dumps(facts, indent=2)),
        )
    )
    write_durably(run / REPORT, page(f"nextvit: {run.name}", sections))
    return run / REPORT


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def exported_bundles(run: Path) -> tuple[list[Manifest], list[str]]:
    """Manifests of the proven bundles that were exported into the run, and messages about those that are damaged."""
    manifests: list[Manifest] = []
    damaged: list[str] = []
    for path in sorted((run / "exports").glob(f"*{SUFFIX}")):
        try:
            manifest = read_manifest(path)
        except InputError as error:
            damaged.append(str(error))
        else:
            manifests += [manifest] if manifest.verification else []
    return manifests, damaged


def latest_benchmark(run: Path) -> list[dict[str, Any]]:
    """The records of the last benchmark of this run."""
    records = read_json_lines(run / BENCHMARK)
    return [record for record in records if record["environment"]["time"] == records[-1]["environment"]["time"]]


def lead(facts: dict[str, Any]) -> str:
    size = facts.get("image_size", ["?", "?"])
    return (
        f"{facts.get('train_images', '?')} training and {facts.get('val_images', '?')} validation images, "
        f"{len(facts.get('classes', []))} classes, {size[1]}x{size[0]} px; {facts.get('time', '')[:10]}, {facts.get('cpu', '')}"
    )


def summary(
    facts: dict[str, Any], evaluation: dict[str, Any], bundles: list[Manifest], timings: list[dict[str, Any]]
) -> Markup:
    """The few numbers that matter most."""
    shown = [
        (millions(facts.get("parameters", 0)), "parameters"),
        (millions(facts.get("macs", 0)), "multiply-adds per image"),
    ]
    if evaluation:
        low, high = evaluation["interval_95"]
        name = main_score(evaluation["scores"])
        meaning = f"{spoken(name)} on {evaluation['images']} images (95 %: {low:.1f} to {high:.1f})"
        shown.insert(0, (f"{evaluation['scores'][name]:.2f} %", meaning))
    for manifest in bundles:
        proven = manifest.verification
        shown.append(
            (
                f"{proven['max_error']:.0e}",
                f"{manifest.backend}: largest difference / spread, on {proven['images']} images",
            )
        )
    single = [record for record in timings if record["batch"] == 1 and record["backend"] != "torch"]
    shown += [(f"{each['p50_ms']:.2f} ms", f"{each['backend']}, batch 1, {each['threads']} threads") for each in single]
    return tiles(shown)


def millions(count: int) -> str:
    """A count as people say it: 11.5 M, 5.79 G."""
    return f"{count / 1e9:.3g} G" if count >= 1e9 else f"{count / 1e6:.3g} M"


def training_note(epochs: list[dict[str, Any]], evaluation: dict[str, Any]) -> Markup:
    """Speed, waiting, and images that could not be read."""
    rate = float(np.median([record["images_per_second"] for record in epochs]))
    waiting = float(np.mean([record["waiting_share"] for record in epochs]))
    text = f"{rate:.0f} images per second in the median epoch, {waiting:.0%} of the time waiting for data."
    unreadable = evaluation.get("unreadable_training", []) + evaluation.get("unreadable", [])
    if unreadable:
        text += f" {len(unreadable)} images could not be read, first: {unreadable[0]}"
    return paragraph(text, tone="bad" if unreadable else "soft")


def mistakes(listed: list[dict[str, Any]]) -> Markup:
    """The pictures that the model got wrong."""
    if not listed:
        return paragraph("None on the validation images.", tone="good")
    return answered(listed)


def answered(listed: list[dict[str, Any]]) -> Markup:
    """Pictures with the answer and, where it is wrong, the truth; a picture that is gone since is left out."""
    shown: list[tuple[Any, Markup]] = []
    for answer in listed:
        right = answer["guess"] == answer["label"]
        truth = "" if right else f"truth: {escape(answer['label'])}<br>"
        caption = Markup(
            f'<span class="{"good" if right else "bad"}">{escape(answer["guess"])}</span> {answer["probability"]:.0%}'
            f'<br>{truth}<span class="soft">{escape(Path(answer["path"]).name)}</span>'
        )
        try:
            shown.append((THUMBNAIL(answer["path"]), caption))
        except DecodeError:
            continue
    return pictures(shown)


def class_table(details: dict[str, Any]) -> Markup:
    """Accuracy of each class, worst first."""
    confusion = np.array(details["confusion"])
    rows: list[tuple[str, int, str, str]] = []
    order = sorted(range(len(confusion)), key=lambda label: details["class_scores"][label] or 0.0)
    for label in order:
        score = details["class_scores"][label]
        wrong = confusion[label].copy()
        wrong[label] = 0
        taken_for = f"{details['classes'][int(wrong.argmax())]} ({wrong.max()}x)" if wrong.any() else ""
        shown = "no images" if score is None else f"{score:.1f} %"
        rows.append((details["classes"][label], int(confusion[label].sum()), shown, taken_for))
    return table(["class", "images", "accuracy", "most often taken for"], rows)


def proof(manifest: Manifest) -> Markup:
    """What comparing the exported file with PyTorch gave."""
    proven = manifest.verification
    rows: list[tuple[str, str]] = [
        ("images compared, from file to answer", f"{proven['images']}"),
        ("largest difference / spread of the outputs", f"{proven['max_error']:.2e}"),
        ("mean difference / spread", f"{proven['mean_error']:.2e}"),
        ("least cosine similarity", f"{proven['cosine']:.9f}"),
        ("same answer", f"{proven['agreement']:.2%}"),
        ("runtime", f"{proven['runtime']['runtime']}, {proven['runtime']['device']}"),
    ]
    if "before" in proven:
        before, after = proven["before"], proven["after"]
        low, high = after["interval_95"]
        shown = f"{before['score']:.2f} % -> {after['score']:.2f} % (95 %: {low:.1f} to {high:.1f})"
        rows.insert(0, (f"{spoken(before['metric'])}, PyTorch -> exported", shown))
    return table(["", "measured"], rows)


def latency_table(records: list[dict[str, Any]]) -> Markup:
    """The benchmark in numbers."""
    columns = ["model", "runtime", "precision", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "speed"]
    rows = [
        (
            record["name"],
            record["runtime"],
            record["precision"],
            record["threads"],
            record["batch"],
            Markup(f"{record['p50_ms']:.2f}"),
            Markup(f"{record['p90_ms']:.2f}"),
            Markup(f"{record['p99_ms']:.2f}"),
            Markup(f"{record['images_per_second']:.0f}"),
            Markup(f"{record['speedup']:.2f}x"),
        )
        for record in records
    ]
    return table(columns, rows)
