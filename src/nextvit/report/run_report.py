"""report.html of a run: what lies in its folder now. Training, export and benchmark each write it anew."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextvit.bundle.manifest import CARD_PAGE, GOLDEN, SUFFIX, Manifest, read_manifest
from nextvit.errors import InputError
from nextvit.files.durable import write_durably
from nextvit.files.run_folder import AUGMENTED, BENCHMARK, ENVIRONMENT, RECIPE, REPORT, read_json_lines
from nextvit.image.reading import read_image
from nextvit.predictions.kind import kind_of
from nextvit.predictions.score_names import display_name
from nextvit.report import classification_sections as label_sections
from nextvit.report import figures
from nextvit.report.bench_figures import draw_latency_bars
from nextvit.report.bundle_card import stands_in
from nextvit.report.contents import (
    RunContents,
    format_count,
    format_duration,
    read_json,
    read_run_contents,
    training_seconds,
)
from nextvit.report.evidence import evidence_section
from nextvit.report.page import (
    Cell,
    Markup,
    breakable,
    folded_text,
    heading,
    image_element,
    paragraph,
    points,
    render_page,
    section,
    table,
    tiles,
)

BESIDE = {
    "box_ap_score": ("box_ap50_score", "mask_ap_score", "mask_ap50_score"),
    "mean_iou_score": ("mean_dice_score", "pixel_accuracy_score"),
}
"""Scores whose curves stand beside that of the main one."""


def write_run_report(run: Path, *, sections: Sequence[Markup | None], out: Path | None = None) -> Path:
    """Write the run's page to `out`, else to its `report.html`, and return the path.

    Args:
        sections: of its task, on the evaluation; those that are None are left out.

    Raises:
        InputError: there is no run.
    """
    contents = read_run_contents(run)
    bundles, damaged = exported_bundles(run)
    timings = latest_benchmark(run)
    details = contents.evaluation.get("details", {})
    content = [
        heading(title(contents), lead(contents.facts)),
        summary(contents, bundles, timings),
        training(contents),
        augmented(run),
        label_sections.examples(details),
        label_sections.mistakes(details),
        evidence_section(run),
        *sections,
        exports(bundles),
        refused_exports(run),
        *(section("Export", paragraph(message, tone="bad")) for message in damaged),
        latency(timings),
        section(
            "How to repeat it",
            folded_text(RECIPE, contents.recipe),
            folded_text(ENVIRONMENT, json.dumps(contents.facts, indent=2)),
        ),
    ]
    path = out or run / REPORT
    write_durably(path, render_page(f"nextvit: {run.name}", [each for each in content if each]))
    return path


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A proven bundle in the run's folder."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)

    @property
    def model_bytes(self) -> int:
        """Size of what the backend loads: golden examples and the page are left out."""
        files = [self.path / name for name in self.manifest.sha256 if name not in (GOLDEN, CARD_PAGE)]
        return sum(file.stat().st_size for file in files if file.is_file())


def exported_bundles(run: Path) -> tuple[list[Exported], list[str]]:
    """The proven bundles that were exported into the run, and messages about those that are damaged."""
    bundles: list[Exported] = []
    damaged: list[str] = []
    for path in sorted((run / "exports").glob(f"*{SUFFIX}")):
        try:
            manifest = read_manifest(path)
        except InputError as error:
            damaged.append(str(error))
        else:
            bundles += [Exported(path=path, manifest=manifest)] if manifest.verification else []
    return bundles, damaged


def latest_benchmark(run: Path) -> list[dict[str, Any]]:
    """The records of the last benchmark of this run; those of an older form, which had no ratio, are left out."""
    records = [record for record in read_json_lines(run / BENCHMARK) if "ratio" in record]
    return [record for record in records if record["environment"]["time"] == records[-1]["environment"]["time"]]


def title(contents: RunContents) -> str:
    """What was trained on what."""
    dataset = Path(contents.facts.get("dataset", contents.path)).name
    return f"{contents.facts.get('variant', 'Next-ViT')} on {dataset}"


def lead(facts: dict[str, Any]) -> str:
    size = facts.get("image_size", ["?", "?"])
    most = "at most " if facts.get("resize") in ("pad", "fit") else ""
    return (
        f"{facts.get('train_images', '?')} training and {facts.get('val_images', '?')} validation images, "
        f"{len(facts.get('classes', []))} classes, {most}{size[1]}x{size[0]} px; {facts.get('time', '')[:10]}, "
        f"{facts.get('cpu', '')}"
    )


def summary(contents: RunContents, bundles: list[Exported], timings: list[dict[str, Any]]) -> Markup:
    """The few numbers that matter most."""
    facts, evaluation = contents.facts, contents.evaluation
    shown: list[tuple[str, str]] = []
    if evaluation:
        low, high = evaluation["interval_95"]
        scores, main = evaluation["scores"], contents.main_score
        meaning = f"{display_name(main)} on {evaluation['images']} images (95 %: {low:.1f} to {high:.1f})"
        shown.append((f"{scores[main]:.2f} %", meaning))
        if "pixel_accuracy_score" in scores:
            shown.append((f"{scores['pixel_accuracy_score']:.2f} %", "pixel accuracy"))
        if main == "box_ap_score" and "box_ap50_score" in scores:
            shown.append(
                (f"{scores['box_ap50_score']:.2f} %", f"{display_name('box_ap50_score')}, an IoU of 0.5 suffices")
            )
        if main != "mean_class_score" and "mean_class_score" in scores:
            shown.append((f"{scores['mean_class_score']:.2f} %", "mean of the classes' accuracies"))
    if seconds := training_seconds(contents):
        epochs = f"{len(contents.epochs)} epochs" if len(contents.epochs) > 1 else "1 epoch"
        shown.append((format_duration(seconds), f"training, {epochs} without their evaluations"))
    shown += [
        (format_count(facts.get("parameters", 0)), "parameters"),
        (format_count(facts.get("macs", 0)), "multiply-adds per image"),
    ]
    return tiles([*shown, *export_tiles(bundles, timings)])


def export_tiles(bundles: list[Exported], timings: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """How many exports there are, the smallest one, and the fastest of the benchmark: at most three, however many."""
    shown: list[tuple[str, str]] = []
    if bundles:
        smallest = min(bundles, key=lambda each: each.model_bytes)
        shown.append((f"{len(bundles)}", "export, proven" if len(bundles) == 1 else "exports, each proven"))
        shown.append((f"{smallest.model_bytes / 1e6:.2f} MB", f"smallest export: {smallest.name}"))
    whole = [record for record in timings if record.get("part", "whole") == "whole"]
    single = [record for record in whole if record["batch"] == 1 and record["backend"] != "torch"]
    if single:
        fastest = min(single, key=lambda record: record["p50_ms"])
        meaning = f"fastest: {fastest['backend']} {fastest['precision']}, batch 1, threads: {fastest['threads']}"
        shown.append((f"{fastest['p50_ms']:.2f} ms", meaning))
    return shown


def training(contents: RunContents) -> Markup | None:
    """The curves, and how fast it went."""
    epochs, score = contents.epochs, contents.main_score
    if not epochs:
        return None
    beside = {name: display_name(name) for name in BESIDE.get(score, ()) if f"val_{name}" in epochs[0]}
    drawn = figures.draw_training_curves(epochs, score=score, name=display_name(score), beside=beside)
    return section("Training", Markup(drawn), training_note(epochs, contents.evaluation))


def training_note(epochs: list[dict[str, Any]], evaluation: dict[str, Any]) -> Markup:
    """Speed, waiting, and images that could not be read."""
    rate = float(np.median([record["images_per_second"] for record in epochs]))
    waiting = float(np.mean([record["waiting_share"] for record in epochs]))
    text = f"{rate:.0f} images per second in the median epoch, {waiting:.0%} of the time waiting for data."
    teacher = float(np.mean([record.get("teacher_share", 0.0) for record in epochs]))
    if teacher:
        text += f" The teacher took {teacher:.0%} of the time."
    unreadable = evaluation.get("unreadable_training", []) + evaluation.get("unreadable", [])
    if unreadable:
        text += f" {len(unreadable)} images could not be read, first: {unreadable[0]}"
    return paragraph(text, tone="bad" if unreadable else "soft")


def augmented(run: Path) -> Markup | None:
    """What the network saw first: a batch after all augmentation."""
    if not (run / AUGMENTED).is_file():
        return None
    sheet = read_image(run / AUGMENTED)
    return section(
        "A training batch, as the network sees it", image_element(np.asarray(sheet), side_px=max(sheet.size))
    )


def exports(bundles: list[Exported]) -> Markup | None:
    """What comparing each exported file with PyTorch gave, a row for each."""
    if not bundles:
        return None
    kind = kind_of(bundles[0].manifest.card)
    columns = ["bundle", "format", "images", kind.same, "largest difference", "score", "drop (95 %)", "MB", "p50 ms"]
    note = (
        f"The {kind.same} and the difference are those to PyTorch on the same images; the difference is "
        f"{kind.max_error_note}, the drop is in points, with its 95 % interval. p50 is one image, timed shortly at the "
        "export: nextvit bench measures properly. card.html in a bundle has the rest."
    )
    return section("Exports", table(columns, [export_row(each) for each in bundles]), paragraph(note, tone="soft"))


def refused_exports(run: Path) -> Markup | None:
    """The exports that were not proven, each with the reason."""
    rows: list[tuple[Cell, ...]] = []
    for path in sorted((run / "exports").glob("*.refused.json")):
        try:
            record = read_json(path)
            kind, reasons = f"{record['backend']} {record['precision']}", "; ".join(map(str, record["failures"]))
        except (ValueError, LookupError, TypeError) as error:
            kind, reasons = "", f"damaged ({error})"
        rows.append((breakable(path.name.removesuffix(".refused.json")), kind, reasons))
    if not rows:
        return None
    note = "The page NAME.refused.html beside each says how far it is, and where it diverges."
    return section("Refused exports", table(["export", "format", "why"], rows), paragraph(note, tone="soft"))


def export_row(exported: Exported) -> list[Cell]:
    """The cells of one bundle, empty where something was not measured."""
    manifest = exported.manifest
    proven = manifest.verification
    kind = f"{manifest.backend} {manifest.precision}" + (" (not run by Core ML)" if stands_in(manifest) else "")
    score = drop = time = ""
    if "before" in proven:
        low, high = proven["drop_interval_95"]
        score = f"{proven['after']['score']:.2f}"
        drop = f"{points(proven['drop'])} ({points(low)} to {points(high)})"
    if "latency" in proven:
        time = f"{proven['latency']['p50_ms']:.2f}"
    return [
        breakable(exported.name),
        kind + (", any size" if manifest.dynamic_size else ""),
        f"{proven['images']}",
        f"{proven['agreement']:.2%}",
        f"{proven['max_error']:.1e}",
        score,
        drop,
        f"{exported.model_bytes / 1e6:.2f}",
        time,
    ]


def latency(records: list[dict[str, Any]]) -> Markup | None:
    """The benchmark, drawn and in numbers."""
    if not records:
        return None
    return section("Latency", Markup(draw_latency_bars(records)), latency_table(records))


def latency_table(records: list[dict[str, Any]]) -> Markup:
    columns = ["model", "runtime", "precision", "threads", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "ratio"]
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
            Markup(f"{record['ratio']:.2f}"),
        )
        for record in records
    ]
    return table(columns, rows)
