"""The page of a benchmark: what was measured, on what, how sure it is, and how far it is from what the machine can do."""

from collections.abc import Mapping, Sequence
from typing import Any

from nextvit.predictions.score_names import spoken
from nextvit.report import bench_figures as figures
from nextvit.report.bench_figures import number
from nextvit.report.page import Cell, Markup, escape, heading, page, paragraph, section, table, tiles

Record = dict[str, Any]

BACKBONES = (
    "Of a detector the whole is timed on photographs stretched to its full size, because its time depends on what is on a picture; "
    "its backbone alone, with random weights, at 512x512 px, as in the tables of the Next-ViT paper. FLOPs of a detector count "
    "all regions that it may look at."
)
TONES = {"faster": "good", "slower": "bad"}
HOW = (
    "The graph alone, uint8 pixels in, outputs out, unless it says end to end. All configurations of a batch take turns in "
    "rounds, so that a drifting machine hurts all alike; the first run of a turn does not count. The ratio is the median "
    "time over that of the first configuration, in the same rounds and without the machine's drift between them; its 95 % "
    "interval is a bootstrap over whole rounds, and faster or slower is said only where it excludes 1. Cold start is loading "
    "and the first answer in a process of its own, which also gives the peak memory. FLOPs are two for each multiply-add of "
    "the deployed graph; the peak is this runtime's own large matrix product at the same precision and threads; bytes are "
    "the least that one run must move: input, weights, activations between layers and outputs, once each. Noise is the "
    "spread of a fixed piece of work that was timed once in each round: 90th less 10th percentile, over the median."
)


def bench_report(records: Sequence[Record], unavailable: Sequence[Record] = (), *, warning: str | None = None) -> str:
    """The whole page as HTML, from the records of what was measured and of what could not be.

    `warning` is the line of a machine that was too busy (`Noise.warning`).
    """
    colours = figures.colours_of(records)
    batches = list(dict.fromkeys(record["batch"] for record in records))
    sections = [
        heading("nextvit bench", lead(records)),
        busy_line(records, warning),
        summary(records, unavailable),
        *(speed([record for record in records if record["batch"] == batch], batch, colours) for batch in batches),
        *fronts(records),
        costs(records),
        limit(records),
        end_to_end(records),
        not_available(unavailable),
        section("How it was measured", *how(records), *provenance(records)) if records else None,
    ]
    return page("nextvit bench", [each for each in sections if each])


def lead(records: Sequence[Record]) -> str:
    """Machine, threads and sizes in a sentence."""
    if not records:
        return "nothing could be measured"
    machine = records[0]["environment"]
    memory = f", {machine['memory_gib']} GiB" if machine.get("memory_gib") else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{memory}, {machine['system']}; device: {each_of(records, 'device')}; threads: "
        f"{each_of(records, 'threads')}; {', '.join(dict.fromkeys(map(size_of, records)))} px; {machine['time'][:10]}"
    )


def is_backbone(record: Record) -> bool:
    """Whether it is of the backbone of a detector alone."""
    return record.get("part") == "backbone"


def how(records: Sequence[Record]) -> list[Markup]:
    """The protocol, and what is different of detectors."""
    return [paragraph(HOW), *([paragraph(BACKBONES)] if any(map(is_backbone, records)) else [])]


def each_of(records: Sequence[Record], name: str) -> str:
    """All values of a field, with commas."""
    return ", ".join(dict.fromkeys(str(record.get(name, "?")) for record in records))


def size_of(record: Record) -> str:
    height, width = record["image_size"]
    return f"{width}x{height}"


def busy_line(records: Sequence[Record], warning: str | None) -> Markup | None:
    if warning is None and any(record.get("busy") for record in records):
        warning = "this machine was too busy to trust small differences"
    return paragraph(f"{warning[0].upper()}{warning[1:]}.", tone="warn") if warning else None


def summary(records: Sequence[Record], unavailable: Sequence[Record]) -> Markup | None:
    """The few numbers that matter most."""
    if not records:
        return None
    facts: list[tuple[str, str]] = []
    whole = [record for record in records if not is_backbone(record)] or records
    least = min(record["batch"] for record in whole)
    fastest = min((record for record in whole if record["batch"] == least), key=lambda record: record["p50_ms"])
    facts.append((f"{number(fastest['p50_ms'])} ms", f"fastest at batch {least}: {fastest['name']}"))
    most = max(whole, key=lambda record: record["images_per_second"])
    facts.append((f"{number(most['images_per_second'])} images/s", f"most: {most['name']}, batch {most['batch']}"))
    noises = [record["noise"] for record in records if record.get("noise") is not None]
    if noises:
        facts.append((f"{max(noises):.0%}", "noise of the machine meanwhile"))
    told = f"configurations measured, {len(unavailable)} not available" if unavailable else "configurations measured"
    return tiles([*facts, (str(len(records)), told)])


def speed(records: Sequence[Record], batch: int, colours: Mapping[str, str]) -> Markup:
    """The bars and the numbers of one batch."""
    extra = varying(records)
    columns = ["configuration", *extra, "least", "p50 ms", "p90", "p99", "images/s", "ratio (95 %)", "verdict"]
    rows = [
        [
            record["name"],
            *(extra_cell(record, name) for name in extra),
            *(figure(record[name]) for name in ("least_ms", "p50_ms", "p90_ms", "p99_ms", "images_per_second")),
            ratio_of(record),
            Markup(f'<span class="{TONES.get(record["verdict"], "soft")}">{unbroken(record["verdict"]).text}</span>'),
        ]
        for record in records
    ]
    return section(f"Latency, batch {batch}", Markup(figures.latency_bars(records, colours)), table(columns, rows))


def varying(records: Sequence[Record]) -> list[str]:
    """What the rows must tell besides the name."""
    return [name for name in ("threads", "image_size") if len({str(record[name]) for record in records}) > 1]


def extra_cell(record: Record, name: str) -> Cell:
    return size_of(record) if name == "image_size" else record[name]


def figure(value: float | None) -> Markup:
    """A number with three digits that count; nothing where there is none."""
    return unbroken("" if value is None else number(value))


def unbroken(text: str) -> Markup:
    """Text that stays on one line."""
    return Markup(f'<span style="white-space:nowrap">{escape(text)}</span>')


def ratio_of(record: Record) -> Markup:
    interval = record.get("ratio_interval_95")
    if record["verdict"] == "first":
        return Markup("1")
    text = f"{record['ratio']:.2f}" + (
        f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else " (too few rounds)"
    )
    return unbroken(text)


def fronts(records: Sequence[Record]) -> list[Markup]:
    """Accuracy against latency: by what was measured, and by what was published; each where it has two points or more.

    Of the batches, the smallest: the time of one image.
    """
    found: list[Markup] = []
    batch = min((record["batch"] for record in records), default=1)
    single = [record for record in records if record["batch"] == batch]
    measured: dict[tuple[str, int], list[Record]] = {}
    for record in single:
        if record.get("score"):
            measured.setdefault((record["score"]["name"], record["score"].get("images", 0)), []).append(record)
    for (name, images), group in measured.items():
        if different(group):
            told = f"{spoken(name)} measured here on {images} images, %"
            values, intervals = (
                [each["score"]["value"] for each in group],
                [each["score"].get("interval_95") for each in group],
            )
            drawn = Markup(figures.front(group, values, name=told, intervals=intervals))
            found.append(section(f"{spoken(name)} against latency, measured, batch {batch}", drawn))
    published = [record for record in single if record.get("published_top1") is not None]
    if different(published):
        values = [record["published_top1"] for record in published]
        drawn = Markup(figures.front(published, values, name="published ImageNet-1k top-1, %"))
        note = "Scores as published for the full-precision networks: int8 and bf16 may lose some of it, and training differs."
        found.append(section(f"Published accuracy against latency, batch {batch}", drawn, paragraph(note, tone="soft")))
    return found


def different(records: Sequence[Record]) -> bool:
    return len({record["name"] for record in records}) > 1


def costs(records: Sequence[Record]) -> Markup | None:
    """What is paid besides time, and what is got for it; a column that nothing was measured for is left out."""
    if not records:
        return None
    extra = varying(records)
    values = {
        "size MiB": [figure(record.get("size_mib")) for record in records],
        "memory MiB": [figure(record.get("peak_memory_mib")) for record in records],
        "cold start ms": [figure(record.get("cold_start_ms")) for record in records],
        "score": [score_of(record) for record in records],
        "published": [figure(record.get("published_top1")) for record in records],
    }
    held = {name: column for name, column in values.items() if any(cell.text for cell in column)}
    rows = [
        [record["name"], record["batch"], *(extra_cell(record, name) for name in extra), *cells]
        for record, *cells in zip(records, *held.values(), strict=True)
    ]
    return section("What it costs", table(["configuration", "batch", *extra, *held], rows))


def scaled(record: Record, name: str, factor: float) -> float | None:
    value = record.get(name)
    return None if value is None else value * factor


def runtime_of(record: Record) -> str:
    """The runtime with its version and precision, and what computes where that is not what the name says."""
    computes = {"f32": "fp32", "f16": "fp16"}.get(record.get("computes_in", ""), record.get("computes_in"))
    rest = f" (what is not quantised in {computes})" if record["precision"] == "int8" else f" (in {computes})"
    return f"{record['runtime']} {record['precision']}" + (rest if computes and computes != record["precision"] else "")


def score_of(record: Record) -> Markup:
    """What was measured here, with its interval."""
    score = record.get("score")
    if not score:
        return Markup("")
    interval = score.get("interval_95")
    return unbroken(f"{score['value']:.2f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""))


def limit(records: Sequence[Record]) -> Markup | None:
    """The roofline where the machine's limits are known, and how near each comes to its peak."""
    computed = [record for record in records if record.get("gflops_per_second")]
    if not computed:
        return None
    needed = ("macs", "bytes", "peak_gflops_per_second", "bandwidth_gb_per_second")
    known = [record for record in computed if all(record.get(name) for name in needed)]
    extra = varying(records)
    rows = [
        [
            record["name"],
            record["batch"],
            *(extra_cell(record, name) for name in extra),
            figure(scaled(record, "parameters", 1e-6)),
            figure(scaled(record, "macs", 1e-9)),
            *(figure(record.get(name)) for name in ("gflops_per_second", "peak_gflops_per_second")),
            unbroken("" if record.get("peak_share") is None else f"{record['peak_share']:.0%}"),
        ]
        for record in computed
    ]
    note = (
        "A point can lie no higher than its flat roof; above the slope it lies where data stays in a cache. Far below both, "
        "time goes into something other than arithmetic or memory: calls, layout changes, operators that use the units badly."
    )
    drawn = [Markup(figures.roofline(known)), paragraph(note, tone="soft")] if known else []
    return section(
        "The limit",
        *drawn,
        table(["configuration", "batch", *extra, "M params", "GMACs", "GFLOP/s", "the peak", "share"], rows),
    )


def end_to_end(records: Sequence[Record]) -> Markup | None:
    known = [record for record in records if record.get("end_to_end")]
    if not known:
        return None
    counts = ", ".join(dict.fromkeys(f"{record['end_to_end']['images']}" for record in known))
    note = f"Median time of one image from its file to its answer, over {counts} images, and what it goes into."
    return section("End to end", Markup(figures.shares(known)), paragraph(note, tone="soft"))


def not_available(unavailable: Sequence[Record]) -> Markup | None:
    """What could not be measured, those with the same reason in one row."""
    if not unavailable:
        return None
    names: dict[str, dict[str, None]] = {}
    for record in unavailable:
        names.setdefault(record["unavailable"], {})[record["name"]] = None
    rows = [[", ".join(each), why] for why, each in names.items()]
    return section("Not available here", table(["configuration", "why"], rows))


def provenance(records: Sequence[Record]) -> list[Markup]:
    """The command, and what ran where."""
    machine = records[0]["environment"]
    affinity = "; ".join(
        dict.fromkeys(
            "cores " + ", ".join(map(str, record["affinity"])) for record in records if record.get("affinity")
        )
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("versions", {}).items())
    facts = [
        f"ran: {', '.join(dict.fromkeys(map(runtime_of, records)))}",
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
