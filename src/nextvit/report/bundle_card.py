"""The one page that a colleague reads to know what a bundle is and how far to trust it."""

import json
import math
from collections.abc import Sequence
from typing import Any

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Manifest
from nextvit.files.records import to_plain
from nextvit.image.masks import MASK_THRESHOLD
from nextvit.image.resizing import INPUT_NAME
from nextvit.predictions.score_names import spoken
from nextvit.report.page import Markup, bar, folded, heading, page, paragraph, section, table, tiles

PRECISIONS = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "w8": "w8 (8-bit weights)",
    "w6": "w6 (6-bit weights from a palette)",
}
SPREAD = (
    "Differences are relative to the spread: the standard deviation of PyTorch's logits over all these images. 1e-3 is a "
    "thousandth of it."
)
SAME_OBJECTS = (
    "Two objects are the same where class and box (overlap of at least 0.99) agree, and scores, which are 0 to 1, to a "
    "thousandth."
)
SAME_PIXELS = (
    "Pixels are those of the images as the network saw them; the last digit decides where two classes are as probable."
)
NOT_CORE_ML = (
    "Core ML itself has not run this file. Its operators were run one by one in PyTorch, by their published definitions; "
    "run nextvit verify on a Mac before you ship it."
)
WHAT_NEXT = (
    "What next: where the score fell, allow more (--max-drop); take another precision; or prove, and for int8 calibrate, on "
    "more or better pictures (--data). See docs/export.md."
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
    sections.append(section("Everything", folded("manifest", everything)))
    return page(title, sections)


def stands_in(manifest: Manifest) -> bool:
    """Whether something else than Core ML ran a Core ML file for the proof."""
    return manifest.backend == "coreml" and "re-executed" in str(manifest.verification["runtime"].get("runtime"))


def proof_section(manifest: Manifest) -> Markup:
    """How its answers compare with PyTorch's."""
    proven = manifest.verification
    facts, note = {
        "detection": (object_facts, SAME_OBJECTS),
        "segmentation": (pixel_facts, SAME_PIXELS),
    }.get(manifest.card.task, (output_facts, SPREAD))
    content = [
        tiles(facts(proven)),
        paragraph(f"Measured on {proven['images']} images: {proven['source']}. {note}", tone="soft"),
    ]
    if "unreadable" in proven:
        content.append(paragraph(unreadable_words(proven["unreadable"]), tone="bad"))
    if "before" in proven:
        content.append(table([spoken(proven["before"]["metric"]), "", "95 % interval"], score_rows(proven)))
    return section("Proof", *content)


def output_facts(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """How a classifier's outputs compare."""
    return [
        (f"{float(proven['agreement']):.2%}", "same answer as PyTorch"),
        (scaled(proven["max_error"]), "largest difference / spread"),
        (scaled(proven["mean_error"]), "mean difference / spread"),
        (f"{float(proven['cosine']):.6f}", "least cosine"),
    ]


def object_facts(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """How the objects that a detector finds compare."""
    facts = [
        (f"{proven['objects']}", "objects found"),
        (f"{float(proven['agreement']):.2%}", "same objects as PyTorch"),
        (scaled(proven["max_error"]), "largest difference of scores"),
    ]
    if proven["mask_iou"] is not None:
        facts.append((f"{float(proven['mask_iou']):.5f}", "mean overlap of masks"))
    return facts


def pixel_facts(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """How the classes of pixels compare."""
    facts = [
        (f"{float(proven['agreement']):.4%}", "same class as PyTorch"),
        (f"{proven['pixels']:,}", "pixels compared"),
        (scaled(proven["max_error"]), "largest share of an image that differs"),
    ]
    if proven["logits_error"] is not None:
        facts.append((scaled(proven["logits_error"]), "largest difference of logits / spread"))
    return facts


def score_rows(proven: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The score before and after, and what the export cost."""
    rows = [
        (who, f"{each['score']:.2f} %", "{:.2f} to {:.2f} %".format(*each["interval_95"]))
        for who, each in (("PyTorch", proven["before"]), ("this file", proven["after"]))
    ]
    low, high = proven["drop_interval_95"]
    rows.append(("drop, on the same images", f"{proven['drop']:.2f} points", f"{low:.2f} to {high:.2f} points"))
    if proven.get("max_drop") is not None:
        rows.append(("drop that is allowed", f"{proven['max_drop']:.2f} points", ""))
    if "masks_before" in proven:
        both = (("PyTorch", proven["masks_before"]), ("this file", proven["masks_after"]))
        rows += [(f"{spoken('mask_ap_score')}, {who}", f"{score:.2f} %", "") for who, score in both]
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
        *decision_rows(card),
        *((f'output "{name}"', output_words(manifest, meaning)) for name, meaning in manifest.outputs.items()),
        ("licence of the weights", card.weights_licence),
        *([("left in fp32", ", ".join(manifest.float_layers))] if manifest.float_layers else []),
        *([("calibrated on", calibration_words(proven["calibration"]))] if proven.get("calibration") else []),
        ("run by", runtime_words(proven["runtime"])),
        *latency_rows(proven),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())),
        ("made at", machine["time"]),
        ("command", machine["command"] or "from Python"),
    ]
    return section("Facts", table(["", ""], rows))


def decision_rows(card: ModelCard) -> list[tuple[str, str]]:
    """From which values on a detector answers; what several labels need is said of each class in the manifest."""
    if card.task != "detection":
        return []
    head = card.head
    said = f"score above {head['score_threshold']:g}, at most {head['detections']} objects of a picture"
    masks = f"; a mask's pixels from {MASK_THRESHOLD:g} on" if head["masks"] else ""
    return [("answered", f"{said}; of two of a class that overlap by more than {head['iou']:g} the surer{masks}")]


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


def latency_rows(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """How long one image took, where that was measured."""
    if "latency" not in proven:
        return []
    measured = proven["latency"]
    times = f"{measured['p50_ms']:.2f} ms in the median, {measured['p90_ms']:.2f} ms at p90, of {measured['runs']} runs"
    return [("one image takes", f"{times}, threads: {proven['runtime'].get('threads', 'default')}")]


def inputs_in_words(manifest: Manifest) -> dict[str, str]:
    """What it takes. A Core ML package takes pictures of the system's own kind, the others arrays."""
    if manifest.backend != "coreml":
        return manifest.inputs
    height, width = manifest.card.input.image_size
    size = f"any size from 33 px, {width}x{height} px by default" if manifest.dynamic_size else f"{width}x{height} px"
    program = manifest.verification.get("program", {})
    return {INPUT_NAME: program.get("input") or f"RGB image, {size}"}


def output_words(manifest: Manifest, meaning: str) -> str:
    """What it answers; a Core ML package for one picture at a time."""
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
        "Differences are relative to the spread of PyTorch's tensor at that layer. What a layer adds is a share of the whole "
        "error of the answers; it can be negative, because errors partly cancel. Layers inside a block have no share of their "
        "own, the block has."
    )
    columns = ["layer", "largest difference", "mean difference", "adds to the error of the answers"]
    return section("Layer by layer", table(columns, rows), paragraph(note, tone="soft"))


def sensitivity_section(costs: Sequence[dict[str, Any]]) -> Markup:
    """What quantising each group alone costs."""
    errors = [float(each["mean_error"]) for each in costs]
    most = max((error for error in errors if math.isfinite(error)), default=0.0) or 1.0
    rows = [
        (each["group"], scaled(error), f"{float(each['agreement']):.1%}", bar(min(1.0, error / most)))
        for each, error in zip(costs, errors, strict=True)
    ]
    columns = ["quantised alone", "mean difference", "same answer", ""]
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
