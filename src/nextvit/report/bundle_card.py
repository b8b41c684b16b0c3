"""The one page that a colleague reads to know what a bundle is and how far to trust it."""

import json
import math
from collections.abc import Sequence
from typing import Any

from nextvit.bundle.manifest import Manifest
from nextvit.files.records import to_plain
from nextvit.image.resizing import INPUT_NAME
from nextvit.predictions.kind import kind_of
from nextvit.predictions.score_names import display_name
from nextvit.report.page import Markup, bar, folded_text, heading, paragraph, points, render_page, section, table, tiles

PRECISIONS = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "w8": "w8 (8-bit weights)",
    "w6": "w6 (6-bit weights from a palette)",
}
NOT_CORE_ML = (
    "Core ML itself has not run this file. Its operators were run one by one in PyTorch, by their published "
    "definitions; "
    "run nextvit verify on a Mac before you ship it."
)
WHAT_NEXT = (
    "What next: where the score fell, allow more (--max-drop); take another precision; or prove, and for int8 "
    "calibrate, on "
    "more or better images (--data). See docs/export.md."
)


def bundle_card(manifest: Manifest, *, failures: Sequence[str] = ()) -> str:
    """The page of a bundle; with failures, that of an export that was refused."""
    card, proven = manifest.card, manifest.verification
    lead = f"{card.task} of {len(card.classes)} classes, {card.input.words}"
    title = f"{manifest.card.variant}, {manifest.backend} {PRECISIONS[manifest.precision]}"
    sections = [heading(f"{title}: not proven" if failures else title, lead)]
    sections += [paragraph(failure, tone="bad") for failure in failures]
    if failures:
        sections.append(paragraph(WHAT_NEXT))
    if stands_in(manifest):
        sections.append(paragraph(NOT_CORE_ML, tone="warn"))
    sections += [proof_section(manifest), facts_section(manifest)]
    if manifest.sha256:
        sections.append(files_section(manifest))
    if "layers" in proven:
        sections.append(layers_section(proven["layers"]))
    elif "layers_note" in proven:
        sections.append(section("Layer by layer", paragraph(proven["layers_note"])))
    if "sensitivity" in proven:
        sections.append(sensitivity_section(proven["sensitivity"]))
    if "program" in proven:
        sections.append(program_section(proven["program"]))
    everything = json.dumps(to_plain(manifest), indent=2, ensure_ascii=False)
    sections.append(section("Everything", folded_text("manifest", everything)))
    return render_page(title, sections)


def stands_in(manifest: Manifest) -> bool:
    """Whether something else than Core ML ran a Core ML file for the proof."""
    return manifest.backend == "coreml" and "re-executed" in str(manifest.verification["runtime"].get("runtime"))


def proof_section(manifest: Manifest) -> Markup:
    """How its predictions compare with PyTorch's."""
    proven = manifest.verification
    kind = kind_of(manifest.card)
    content = [
        tiles([(value, name) for name, value in kind.parity_rows(proven)]),
        paragraph(f"Measured on {proven['images']} images: {proven['source']}. {kind.parity_note}", tone="soft"),
    ]
    if "unreadable" in proven:
        content.append(paragraph(unreadable_words(proven["unreadable"]), tone="bad"))
    if "before" in proven:
        content.append(table([display_name(proven["before"]["metric"]), "", "95 % interval"], score_rows(proven)))
    if proven.get("beyond_tolerances"):
        content.append(paragraph(beyond_words(manifest), tone="warn"))
    return section("Proof", *content)


def beyond_words(manifest: Manifest) -> str:
    """How far the outputs are of a file that its score decides on."""
    found = "; ".join(manifest.verification["beyond_tolerances"])
    return (
        f"The score decides on this file, as its images have labels. By its outputs alone, a {manifest.precision} file "
        f"without labels would be refused: {found}."
    )


def score_rows(proven: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The score before and after, and what the export cost."""
    rows = [
        (who, f"{each['score']:.2f} %", "{:.2f} to {:.2f} %".format(*each["interval_95"]))
        for who, each in (("PyTorch", proven["before"]), ("this file", proven["after"]))
    ]
    low, high = proven["drop_interval_95"]
    rows.append(
        ("drop, on the same images", f"{points(proven['drop'])} points", f"{points(low)} to {points(high)} points")
    )
    if proven.get("max_drop") is not None:
        rows.append(("drop that is allowed", f"{proven['max_drop']:.2f} points", ""))
    for name, each in proven.get("further", {}).items():
        rows += [
            (f"{display_name(name)}, {who}", f"{each[when]:.2f} %", "")
            for who, when in (("PyTorch", "before"), ("this file", "after"))
        ]
    return rows


def scaled(difference: float | str) -> str:
    """A relative difference; JSON has no number for an infinite one, so that one is text."""
    return f"{float(difference):.1e}"


def unreadable_words(unreadable: dict[str, Any]) -> str:
    """How many images of the proof could not be read, and which came first."""
    return f"{unreadable['images']} images could not be read, the first of them: {'; '.join(unreadable['first'])}"


def facts_section(manifest: Manifest) -> Markup:
    """What it is, and where it was made."""
    proven, card = manifest.verification, manifest.card
    machine = proven["environment"]
    classes = ", ".join(card.classes[:40]) + (f" and {len(card.classes) - 40} more" if len(card.classes) > 40 else "")
    rows: list[tuple[str, str]] = [
        ("classes", classes),
        *((f'input "{name}"', meaning) for name, meaning in inputs_in_words(manifest).items()),
        *((name, words(value)) for name, value in kind_of(card).card_rows().items()),
        *((f'output "{name}"', output_words(manifest, meaning)) for name, meaning in manifest.outputs.items()),
        ("licence of the weights", card.weights_licence),
        *([("left in fp32", ", ".join(manifest.float_layers))] if manifest.float_layers else []),
        *([("calibrated on", calibration_words(proven["calibration"]))] if proven.get("calibration") else []),
        ("run by", runtime_words(proven["runtime"])),
        *latency_rows(manifest),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())),
        ("made at", machine["time"]),
        ("command", machine["command"] or "from Python"),
    ]
    return section("Facts", table(["", ""], rows))


def files_section(manifest: Manifest) -> Markup:
    """The files with the beginning of their checksums."""
    files = [(name, f"{digest[:16]}…") for name, digest in manifest.sha256.items()]
    note = "The whole checksums are in manifest.json; nextvit verify compares them."
    return section("Files", table(["", "SHA-256"], files), paragraph(note, tone="soft"))


def calibration_words(calibration: dict[str, Any]) -> str:
    """Which images the ranges of int8 come from."""
    return f"{calibration['images']} images: {calibration['source']}"


def runtime_words(runtime: dict[str, Any]) -> str:
    """What ran the file, as the runtime said it."""
    rest = {name: value for name, value in runtime.items() if name not in ("backend", "runtime", "device")}
    said = [f"{name.replace('_', ' ')}: {words(value)}" for name, value in rest.items() if value != {}]
    return "; ".join([f"{runtime['runtime']}, device {runtime['device']}", *said])


def latency_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """How long one image took, where that was measured."""
    proven = manifest.verification
    if "latency" not in proven:
        return []
    measured = proven["latency"]
    times = f"{measured['p50_ms']:.2f} ms in the median, {measured['p90_ms']:.2f} ms at p90, of {measured['runs']} runs"
    # Bundles that were made before the size was recorded were measured at that of the card.
    height, width = measured.get("image_size", manifest.card.input.image_size)
    return [
        (f"one image of {width}x{height} px takes", f"{times}, threads: {proven['runtime'].get('threads', 'default')}")
    ]


def inputs_in_words(manifest: Manifest) -> dict[str, str]:
    """What it takes. A Core ML package takes images of the system's own kind, the others arrays."""
    if manifest.backend != "coreml":
        return manifest.inputs
    height, width = manifest.card.input.image_size
    size = f"any size from 33 px, {width}x{height} px by default" if manifest.dynamic_size else f"{width}x{height} px"
    program = manifest.verification.get("program", {})
    return {INPUT_NAME: program.get("input") or f"RGB image, {size}"}


def output_words(manifest: Manifest, meaning: str) -> str:
    """What it predicts; a Core ML package for one image at a time."""
    return meaning.replace("(N, classes)", "(1, classes)") if manifest.backend == "coreml" else meaning


def layers_section(layers: Sequence[dict[str, Any]]) -> Markup:
    """Where the difference comes from."""
    rows = [
        (
            each["layer"],
            scaled(each["error"]),
            scaled(each["mean_error"]),
            "" if each["share"] is None else f"{float(each['share']):.0%}",
        )
        for each in layers
    ]
    note = (
        "Differences are relative to the standard deviation of PyTorch's tensor at that layer. What a layer adds is a "
        "fraction of the error of the outputs; it can be negative, because errors partly cancel. For layers inside a "
        "block, see the block."
    )
    columns = ["layer", "largest difference", "mean difference", "adds to the error of the outputs"]
    return section("Layer by layer", table(columns, rows), paragraph(note, tone="soft"))


def sensitivity_section(costs: Sequence[dict[str, Any]]) -> Markup:
    """What quantising each group alone costs."""
    errors = [float(each["mean_error"]) for each in costs]
    most = max((error for error in errors if math.isfinite(error)), default=0.0) or 1.0
    rows = [
        (each["group"], scaled(error), f"{float(each['agreement']):.1%}", bar(min(1.0, error / most)))
        for each, error in zip(costs, errors, strict=True)
    ]
    columns = ["quantised alone", "mean difference", "same prediction", ""]
    return section("What each group of layers costs", table(columns, rows))


def program_section(program: dict[str, Any]) -> Markup:
    """What a look at the file itself found: a row for each fact, and for each finding of a list."""
    rows: list[tuple[str, str]] = []
    for name, value in program.items():
        if name == "bytes":
            rows.append(("size", megabytes(value)))
        elif isinstance(value, list):
            rows += [(name.replace("_", " "), finding_words(each)) for each in value] or [
                (name.replace("_", " "), "nothing that the rules name")
            ]
        else:
            rows.append((name.replace("_", " "), words(value)))
    return section("What is in the file", table(["", ""], rows))


def finding_words(finding: dict[str, Any]) -> str:
    """A rule and the operators that break it."""
    return f"{finding['rule']}: {words(finding['operators'])} (first: {finding['first']})"


def megabytes(count: int) -> str:
    """Bytes as millions of them."""
    return f"{count / 1e6:.2f} MB"


def words(value: Any) -> str:
    """A fact in a line; counts by name, the number first."""
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items())
    return str(value)
