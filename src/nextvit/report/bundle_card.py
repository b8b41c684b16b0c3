"""The one page that a colleague reads to know what a bundle is and how far to trust it."""

import json
from collections.abc import Sequence
from typing import Any

from nextvit.bundle import Manifest
from nextvit.records import to_plain
from nextvit.report.page import Markup, bar, folded, heading, page, paragraph, section, table, tiles
from nextvit.scores import spoken

PRECISIONS = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "w8": "8-bit weights",
    "w6": "6-bit weights from a palette",
}


def bundle_card(manifest: Manifest, *, failures: Sequence[str] = ()) -> str:
    """The page of a bundle; with failures, that of an export that was refused."""
    card = manifest.card
    height, width = card.input.image_size
    lead = f"{card.task} of {len(card.classes)} classes at {width}x{height} px"
    title = f"{manifest.card.variant}, {manifest.backend} {PRECISIONS[manifest.precision]}"
    sections = [heading(f"{title}: not proven" if failures else title, lead)]
    sections += [paragraph(failure, tone="bad") for failure in failures]
    sections += [proof_section(manifest), facts_section(manifest)]
    for name, build in (
        ("layers", layers_section),
        ("sensitivity", sensitivity_section),
        ("program", program_section),
    ):
        if name in manifest.verification:
            sections.append(build(manifest.verification[name]))
    sections.append(
        section("Everything", folded("manifest", json.dumps(to_plain(manifest), indent=2, ensure_ascii=False)))
    )
    return page(title, sections)


def proof_section(manifest: Manifest) -> Markup:
    """How its answers compare with PyTorch's."""
    proven = manifest.verification
    facts = [
        (f"{proven['agreement']:.2%}", "same answer as PyTorch"),
        (f"{proven['max_error']:.1e}", "largest difference / spread"),
        (f"{proven['mean_error']:.1e}", "mean difference / spread"),
        (f"{proven['cosine']:.6f}", "least cosine"),
    ]
    content = [tiles(facts)]
    if "before" in proven:
        rows = [
            (who, f"{each['score']:.2f} %", "{:.2f} to {:.2f} %".format(*each["interval_95"]))
            for who, each in (("PyTorch", proven["before"]), ("this file", proven["after"]))
        ]
        low, high = proven["drop_interval_95"]
        rows.append(("drop, on the same images", f"{proven['drop']:.2f} points", f"{low:.2f} to {high:.2f} points"))
        content.append(table([spoken(proven["before"]["metric"]), "", "95 % interval"], rows))
    content.append(paragraph(f"Measured on {proven['images']} images: {proven['source']}.", tone="soft"))
    return section("Proof", *content)


def facts_section(manifest: Manifest) -> Markup:
    """What it is, where it was made, and what its files are."""
    proven, card = manifest.verification, manifest.card
    machine, runtime = proven["environment"], proven["runtime"]
    classes = ", ".join(card.classes[:40]) + (f" and {len(card.classes) - 40} more" if len(card.classes) > 40 else "")
    rows: list[tuple[str, str]] = [
        ("classes", classes),
        ("input", f'"images": uint8, (N, height, width, 3), RGB; {input_words(manifest)}'),
        *((f'output "{name}"', meaning) for name, meaning in manifest.outputs.items()),
        ("licence of the weights", card.weights_licence),
        ("run by", ", ".join(f"{name} {value}" for name, value in runtime.items())),
        *latency_rows(proven),
        ("machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in machine["versions"].items())),
        ("made at", machine["time"]),
        ("command", machine["command"] or "from Python"),
    ]
    if manifest.float_layers:
        rows.insert(3, ("left in fp32", ", ".join(manifest.float_layers)))
    files = [(name, digest) for name, digest in manifest.sha256.items()]
    return Markup(section("Facts", table(["", ""], rows)).text + section("Files", table(["", "SHA-256"], files)).text)


def latency_rows(proven: dict[str, Any]) -> list[tuple[str, str]]:
    """How long one image took, where that was measured."""
    if "latency" not in proven:
        return []
    measured = proven["latency"]
    times = f"{measured['p50_ms']:.2f} ms in the median, {measured['p90_ms']:.2f} ms at p90, of {measured['runs']} runs"
    return [("one image takes", f"{times}, threads: {proven['runtime'].get('threads', 'default')}")]


def input_words(manifest: Manifest) -> str:
    height, width = manifest.card.input.image_size
    return f"any size from 33 px, made for {width}x{height}" if manifest.dynamic_size else f"{width}x{height} px"


def layers_section(layers: Sequence[dict[str, Any]]) -> Markup:
    """Where the difference comes from."""
    rows = [
        (
            each["layer"],
            f"{each['error']:.1e}",
            f"{each['mean_error']:.1e}",
            "" if each["share"] is None else f"{each['share']:.0%}",
        )
        for each in layers
    ]
    note = "Differences are relative to the spread of PyTorch's tensor at that layer."
    columns = ["layer", "largest difference", "mean difference", "adds to the error of the answers"]
    return section("Layer by layer", table(columns, rows), paragraph(note, tone="soft"))


def sensitivity_section(costs: Sequence[dict[str, Any]]) -> Markup:
    """What quantising each group alone costs."""
    most = max(each["mean_error"] for each in costs) or 1.0
    rows = [
        (each["group"], f"{each['mean_error']:.1e}", f"{each['agreement']:.1%}", bar(each["mean_error"] / most))
        for each in costs
    ]
    columns = ["quantised alone", "mean difference", "same answer", ""]
    return section("What each group of layers costs", table(columns, rows))


def program_section(program: dict[str, Any]) -> Markup:
    """What a look at the file itself found."""
    rows = [(name.replace("_", " "), words(value)) for name, value in program.items()]
    return section("What is in the file", table(["", ""], rows))


def words(value: Any) -> str:
    """Counts and findings in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {words(each)}" for name, each in value.items())
    if isinstance(value, list):
        return "; ".join(words(each) for each in value) or "none"
    return str(value)
