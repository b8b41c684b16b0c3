"""The page of a benchmark: latencies and scores with their intervals, the machine, and the distance to its limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from nextvit.predictions.score_names import display_name
from nextvit.report import bench_figures as figures
from nextvit.report.bench_figures import format_number
from nextvit.report.page import Cell, Markup, escape, heading, paragraph, render_page, section, table, tiles

Record = dict[str, Any]

BACKBONE_NOTE = (
    "A whole detector is timed on photographs stretched to its full size, because its time depends on the content of "
    "the image; its backbone alone, with random weights, at 512x512 px, as in the tables of the Next-ViT paper. The "
    "FLOPs of a detector count the highest number of regions that it can process."
)
TONES = {"faster": "good", "slower": "bad"}
PROTOCOL_NOTE = (
    "Latency is that of the graph alone, from uint8 pixels to outputs, except where it is called end to end. All "
    "configurations of a batch size take turns in rounds, so that a drift of the machine's speed affects all of them "
    "alike; the first run of a turn does not count. The ratio is the median time over that of the first configuration "
    "in the same rounds; its 95 % interval is a bootstrap over whole rounds, and the verdict is faster or slower only "
    "if the interval excludes 1. Cold start is loading and the first prediction in a separate process, which also "
    "gives the peak memory. FLOPs are two for each multiply-add of the deployed graph; the peak is that of a large "
    "matrix product in the same runtime at the same precision and threads; bytes are the least memory traffic of one "
    "run: input, weights, activations between layers and outputs, once each. Noise is the variation of a fixed piece "
    "of work that was timed once in each round: the 90th minus the 10th percentile, over the median."
)


def render_bench_report(
    records: Sequence[Record], unavailable: Sequence[Record] = (), *, warning: str | None = None
) -> str:
    """The whole page as HTML.

    Args:
        records: one for each measured configuration, as `nextvit bench` writes them to benchmark.jsonl.
        unavailable: those of configurations that could not be measured, with the reason.
        warning: the line that says that the machine was too busy (`Noise.warning`).
    """
    colours = figures.assign_colours(records)
    batches = list(dict.fromkeys(record["batch"] for record in records))
    sections = [
        heading("nextvit bench", lead_text(records)),
        busy_warning(records, warning),
        summary_tiles(records, unavailable),
        *(
            latency_section([record for record in records if record["batch"] == batch], batch, colours)
            for batch in batches
        ),
        *pareto_sections(records),
        cost_section(records),
        roofline_section(records),
        end_to_end_section(records),
        unavailable_section(unavailable),
        section("How it was measured", *protocol(records), *provenance(records)) if records else None,
    ]
    return render_page("nextvit bench", [each for each in sections if each])


def lead_text(records: Sequence[Record]) -> str:
    """Machine, threads and sizes in a sentence."""
    if not records:
        return "nothing could be measured"
    machine = records[0]["environment"]
    memory = f", {machine['memory_gib']} GiB" if machine.get("memory_gib") else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{memory}, {machine['system']}; "
        f"device: {join_values(records, 'device')}; threads: {join_values(records, 'threads')}; "
        f"{', '.join(dict.fromkeys(map(format_size, records)))} px; {machine['time'][:10]}"
    )


def is_backbone(record: Record) -> bool:
    """Whether the record is that of a detector's backbone alone."""
    return record.get("part") == "backbone"


def protocol(records: Sequence[Record]) -> list[Markup]:
    """How it was measured, with a paragraph on detectors if there are any."""
    return [paragraph(PROTOCOL_NOTE), *([paragraph(BACKBONE_NOTE)] if any(map(is_backbone, records)) else [])]


def join_values(records: Sequence[Record], name: str) -> str:
    """The different values of a field, joined with commas."""
    return ", ".join(dict.fromkeys(str(record.get(name, "?")) for record in records))


def format_size(record: Record) -> str:
    """The input's size as WIDTHxHEIGHT."""
    height, width = record["image_size"]
    return f"{width}x{height}"


def busy_warning(records: Sequence[Record], warning: str | None) -> Markup | None:
    """The warning as a paragraph; a general one where only the records say that the machine was busy."""
    if warning is None and any(record.get("busy") for record in records):
        warning = "this machine was too busy to trust small differences"
    return paragraph(f"{warning[0].upper()}{warning[1:]}.", tone="warn") if warning else None


def summary_tiles(records: Sequence[Record], unavailable: Sequence[Record]) -> Markup | None:
    """The few numbers that matter most."""
    if not records:
        return None
    facts: list[tuple[str, str]] = []
    whole = [record for record in records if not is_backbone(record)] or records
    smallest_batch = min(record["batch"] for record in whole)
    fastest = min(
        (record for record in whole if record["batch"] == smallest_batch), key=lambda record: record["p50_ms"]
    )
    facts.append((f"{format_number(fastest['p50_ms'])} ms", f"fastest at batch {smallest_batch}: {fastest['name']}"))
    highest = max(whole, key=lambda record: record["images_per_second"])
    facts.append(
        (
            f"{format_number(highest['images_per_second'])} images/s",
            f"highest throughput: {highest['name']}, batch {highest['batch']}",
        )
    )
    noises = [record["noise"] for record in records if record.get("noise") is not None]
    if noises:
        facts.append((f"{max(noises):.0%}", "noise of the machine during the benchmark"))
    caption = f"configurations measured, {len(unavailable)} not available" if unavailable else "configurations measured"
    return tiles([*facts, (str(len(records)), caption)])


def latency_section(records: Sequence[Record], batch: int, colours: Mapping[str, str]) -> Markup:
    """The bars and the table of the latencies at one batch size."""
    extra = varying_fields(records)
    columns = ["configuration", *extra, "least", "p50 ms", "p90", "p99", "images/s", "ratio (95 %)", "verdict"]
    rows = [
        [
            record["name"],
            *(extra_cell(record, name) for name in extra),
            *(number_cell(record[name]) for name in ("least_ms", "p50_ms", "p90_ms", "p99_ms", "images_per_second")),
            ratio_cell(record),
            Markup(f'<span class="{TONES.get(record["verdict"], "soft")}">{no_wrap(record["verdict"]).text}</span>'),
        ]
        for record in records
    ]
    return section(f"Latency, batch {batch}", Markup(figures.draw_latency_bars(records, colours)), table(columns, rows))


def varying_fields(records: Sequence[Record]) -> list[str]:
    """The fields that differ between the records and so need a column, besides the name."""
    return [name for name in ("threads", "image_size") if len({str(record[name]) for record in records}) > 1]


def extra_cell(record: Record, name: str) -> Cell:
    return format_size(record) if name == "image_size" else record[name]


def number_cell(value: float | None) -> Markup:
    """A number with three significant digits; an empty cell for None."""
    return no_wrap("" if value is None else format_number(value))


def no_wrap(text: str) -> Markup:
    """Text that is not broken into lines."""
    return Markup(f'<span style="white-space:nowrap">{escape(text)}</span>')


def ratio_cell(record: Record) -> Markup:
    """The ratio to the first configuration, with its 95 % interval."""
    interval = record.get("ratio_interval_95")
    if record["verdict"] == "first":
        return Markup("1")
    text = f"{record['ratio']:.2f}" + (
        f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else " (too few rounds)"
    )
    return no_wrap(text)


def pareto_sections(records: Sequence[Record]) -> list[Markup]:
    """Figures of accuracy against latency, by measured and by published scores, each if it has two networks or more.

    They are drawn at the smallest batch size, as the latency of one image.
    """
    sections: list[Markup] = []
    batch = min((record["batch"] for record in records), default=1)
    single = [record for record in records if record["batch"] == batch]
    measured: dict[tuple[str, int], list[Record]] = {}
    for record in single:
        if record.get("score"):
            measured.setdefault((record["score"]["name"], record["score"].get("images", 0)), []).append(record)
    for (name, images), group in measured.items():
        if has_several_names(group):
            caption = f"{display_name(name)} measured here on {images} images, %"
            values, intervals = (
                [each["score"]["value"] for each in group],
                [each["score"].get("interval_95") for each in group],
            )
            drawn = Markup(figures.draw_pareto_front(group, values, name=caption, intervals=intervals))
            sections.append(section(f"{display_name(name)} against latency, measured, batch {batch}", drawn))
    published = [record for record in single if record.get("published_top1") is not None]
    if has_several_names(published):
        values = [record["published_top1"] for record in published]
        drawn = Markup(figures.draw_pareto_front(published, values, name="published ImageNet-1k top-1, %"))
        note = (
            "Scores are those published for the full-precision networks: int8 and bf16 may lower them, and training "
            "recipes differ."
        )
        sections.append(
            section(f"Published accuracy against latency, batch {batch}", drawn, paragraph(note, tone="soft"))
        )
    return sections


def has_several_names(records: Sequence[Record]) -> bool:
    return len({record["name"] for record in records}) > 1


def cost_section(records: Sequence[Record]) -> Markup | None:
    """The costs besides latency, and the scores; a column without any value is left out."""
    if not records:
        return None
    extra = varying_fields(records)
    values = {
        "size MiB": [number_cell(record.get("size_mib")) for record in records],
        "memory MiB": [number_cell(record.get("peak_memory_mib")) for record in records],
        "cold start ms": [number_cell(record.get("cold_start_ms")) for record in records],
        "score": [score_cell(record) for record in records],
        "published": [number_cell(record.get("published_top1")) for record in records],
    }
    filled = {name: column for name, column in values.items() if any(cell.text for cell in column)}
    rows = [
        [record["name"], record["batch"], *(extra_cell(record, name) for name in extra), *cells]
        for record, *cells in zip(records, *filled.values(), strict=True)
    ]
    return section("What it costs", table(["configuration", "batch", *extra, *filled], rows))


def scale_field(record: Record, name: str, factor: float) -> float | None:
    value = record.get(name)
    return None if value is None else value * factor


def format_runtime(record: Record) -> str:
    """The runtime with its version and precision, and the precision in which it computes if that is another."""
    actual = {"f32": "fp32", "f16": "fp16"}.get(record.get("computes_in", ""), record.get("computes_in"))
    addition = f" (layers that are not quantised in {actual})" if record["precision"] == "int8" else f" (in {actual})"
    return f"{record['runtime']} {record['precision']}" + (addition if actual and actual != record["precision"] else "")


def score_cell(record: Record) -> Markup:
    """The score that was measured here, with its 95 % interval."""
    score = record.get("score")
    if not score:
        return Markup("")
    interval = score.get("interval_95")
    return no_wrap(f"{score['value']:.2f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""))


def roofline_section(records: Sequence[Record]) -> Markup | None:
    """The roofline, if the machine's limits are known, and the fraction of the peak that each configuration reaches."""
    computed = [record for record in records if record.get("gflops_per_second")]
    if not computed:
        return None
    needed = ("macs", "bytes", "peak_gflops_per_second", "bandwidth_gb_per_second")
    known = [record for record in computed if all(record.get(name) for name in needed)]
    extra = varying_fields(records)
    rows = [
        [
            record["name"],
            record["batch"],
            *(extra_cell(record, name) for name in extra),
            number_cell(scale_field(record, "parameters", 1e-6)),
            number_cell(scale_field(record, "macs", 1e-9)),
            *(number_cell(record.get(name)) for name in ("gflops_per_second", "peak_gflops_per_second")),
            no_wrap("" if record.get("peak_share") is None else f"{record['peak_share']:.0%}"),
        ]
        for record in computed
    ]
    note = (
        "A point cannot be above its flat roof; it can be above the slope if its data stays in a cache. Far below "
        "both, the time is spent on something other than arithmetic or memory: calls, layout changes, operators that "
        "use the processor's units badly."
    )
    drawn = [Markup(figures.draw_roofline(known)), paragraph(note, tone="soft")] if known else []
    return section(
        "The limit",
        *drawn,
        table(["configuration", "batch", *extra, "M params", "GMACs", "GFLOP/s", "peak", "fraction"], rows),
    )


def end_to_end_section(records: Sequence[Record]) -> Markup | None:
    """The time from the file to the prediction, if it was measured."""
    known = [record for record in records if record.get("end_to_end")]
    if not known:
        return None
    counts = ", ".join(dict.fromkeys(f"{record['end_to_end']['images']}" for record in known))
    note = (
        f"Median time of one image from its file to its prediction, over {counts} images, and the time of each stage."
    )
    return section("End to end", Markup(figures.draw_stage_fractions(known)), paragraph(note, tone="soft"))


def unavailable_section(unavailable: Sequence[Record]) -> Markup | None:
    """The configurations that could not be measured; those with the same reason share a row."""
    if not unavailable:
        return None
    names: dict[str, dict[str, None]] = {}
    for record in unavailable:
        names.setdefault(record["unavailable"], {})[record["name"]] = None
    rows = [[", ".join(each), reason] for reason, each in names.items()]
    return section("Not available here", table(["configuration", "why"], rows))


def provenance(records: Sequence[Record]) -> list[Markup]:
    """The command, the runtimes, the versions and the cores of the measurement."""
    machine = records[0]["environment"]
    affinity = "; ".join(
        dict.fromkeys(
            "cores " + ", ".join(map(str, record["affinity"])) for record in records if record.get("affinity")
        )
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    facts = [
        f"runtimes: {', '.join(dict.fromkeys(map(format_runtime, records)))}",
        f"Python {machine['python']}; {versions}",
        f"allowed to run on {affinity}" if affinity else "",
    ]
    runs = sorted(record["runs"] for record in records)
    facts.append(f"timed runs of a configuration: {runs[0]} to {runs[-1]}" if runs else "")
    command = machine.get("command")
    return [
        *([Markup(f"<pre>{escape(command)}</pre>")] if command else []),
        paragraph(". ".join(f"{fact[0].upper()}{fact[1:]}" for fact in facts if fact) + ".", tone="soft"),
    ]
