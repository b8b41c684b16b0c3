"""report.html of a run: a picture of what lies in its folder now. Training, export and benchmark each write it anew."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.bundle import SUFFIX, Manifest, read_manifest
from nextvit.durable import write_durably
from nextvit.errors import InputError
from nextvit.preprocess import read_image
from nextvit.report import exam, figures
from nextvit.report.contents import Contents, millions, read_contents
from nextvit.report.evidence import evidence
from nextvit.report.label_table import label_table
from nextvit.report.page import Markup, folded, heading, page, paragraph, picture, section, table, tiles
from nextvit.runs import AUGMENTED, BENCHMARK, ENVIRONMENT, RECIPE, REPORT, read_json_lines
from nextvit.scores import spoken


def write_run_report(run: Path, *, out: Path | None = None) -> Path:
    """Write the run's page to `out`, else to its `report.html`, and return the path. InputError where there is no run."""
    contents = read_contents(run)
    bundles, damaged = exported_bundles(run)
    timings = latest_benchmark(run)
    details = contents.evaluation.get("details", {})
    sections = [
        heading(title(contents), lead(contents.facts)),
        summary(contents, bundles, timings),
        training(contents),
        augmented(run),
        exam.examples(details),
        exam.mistakes(details),
        evidence(run),
        exam.confused_pairs(details),
        exam.confusion(details),
        exam.class_table(details),
        label_table(details),
        exam.calibration(details),
        *(section(f"Export: {manifest.backend} {manifest.precision}", proof(manifest)) for manifest in bundles),
        *(section("Export", paragraph(message, tone="bad")) for message in damaged),
        latency(timings),
        section(
            "How to repeat it",
            folded(RECIPE, contents.recipe),
            folded(ENVIRONMENT, json.dumps(contents.facts, indent=2)),
        ),
    ]
    path = out or run / REPORT
    write_durably(path, page(f"nextvit: {run.name}", [each for each in sections if each]))
    return path


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


def title(contents: Contents) -> str:
    """What was trained on what."""
    dataset = Path(contents.facts.get("dataset", contents.path)).name
    return f"{contents.facts.get('variant', 'Next-ViT')} on {dataset}"


def lead(facts: dict[str, Any]) -> str:
    size = facts.get("image_size", ["?", "?"])
    return (
        f"{facts.get('train_images', '?')} training and {facts.get('val_images', '?')} validation images, "
        f"{len(facts.get('classes', []))} classes, {size[1]}x{size[0]} px; {facts.get('time', '')[:10]}, {facts.get('cpu', '')}"
    )


def summary(contents: Contents, bundles: list[Manifest], timings: list[dict[str, Any]]) -> Markup:
    """The few numbers that matter most."""
    facts, evaluation = contents.facts, contents.evaluation
    shown: list[tuple[str, str]] = []
    if evaluation:
        low, high = evaluation["interval_95"]
        scores, main = evaluation["scores"], contents.main_score
        meaning = f"{spoken(main)} on {evaluation['images']} images (95 %: {low:.1f} to {high:.1f})"
        shown.append((f"{scores[main]:.2f} %", meaning))
        if main != "mean_class_score" and "mean_class_score" in scores:
            shown.append((f"{scores['mean_class_score']:.2f} %", "mean of the classes' accuracies"))
    shown += [
        (millions(facts.get("parameters", 0)), "parameters"),
        (millions(facts.get("macs", 0)), "multiply-adds per image"),
    ]
    for manifest in bundles:
        proven = manifest.verification
        shown.append(
            (
                f"{proven['max_error']:.0e}",
                f"{manifest.backend} {manifest.precision}: largest difference / spread, on {proven['images']} images",
            )
        )
    single = [record for record in timings if record["batch"] == 1 and record["backend"] != "torch"]
    shown += [(f"{each['p50_ms']:.2f} ms", f"{each['backend']}, batch 1, {each['threads']} threads") for each in single]
    return tiles(shown)


def training(contents: Contents) -> Markup | None:
    """The curves, and how fast it went."""
    epochs, score = contents.epochs, contents.main_score
    if not epochs:
        return None
    drawn = figures.training_curves(epochs, score=score, name=spoken(score))
    return section("Training", Markup(drawn), training_note(epochs, contents.evaluation))


def training_note(epochs: list[dict[str, Any]], evaluation: dict[str, Any]) -> Markup:
    """Speed, waiting, and images that could not be read."""
    rate = float(np.median([record["images_per_second"] for record in epochs]))
    waiting = float(np.mean([record["waiting_share"] for record in epochs]))
    text = f"{rate:.0f} images per second in the median epoch, {waiting:.0%} of the time waiting for data."
    unreadable = evaluation.get("unreadable_training", []) + evaluation.get("unreadable", [])
    if unreadable:
        text += f" {len(unreadable)} images could not be read, first: {unreadable[0]}"
    return paragraph(text, tone="bad" if unreadable else "soft")


def augmented(run: Path) -> Markup | None:
    """What the network saw first: a batch after all augmentation."""
    if not (run / AUGMENTED).is_file():
        return None
    sheet = read_image(run / AUGMENTED)
    return section("A training batch, as the network sees it", picture(np.asarray(sheet), side_px=max(sheet.size)))


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


def latency(records: list[dict[str, Any]]) -> Markup | None:
    """The benchmark, drawn and in numbers."""
    if not records:
        return None
    return section("Latency", Markup(figures.latency_bars(records)), latency_table(records))


def latency_table(records: list[dict[str, Any]]) -> Markup:
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
