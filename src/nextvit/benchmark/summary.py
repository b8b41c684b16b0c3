"""The records of a benchmark as text: the table, the notes below it, and warnings."""

from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

COLUMNS = ("model", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "time, first = 1", "95 %", "of peak")


def table_row(record: Record) -> tuple[str, ...]:
    """One record as a row of the table, under `COLUMNS`."""
    interval = record["ratio_interval_95"]
    return (
        record["name"],
        str(record["batch"]),
        *(f"{record[name]:.2f}" for name in ("p50_ms", "p90_ms", "p99_ms")),
        f"{record['images_per_second']:.0f}",
        f"{record['ratio']:.3f}",
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        f"{record['peak_share']:.0%}" if record.get("peak_share") else "",
    )


def summary_notes(done: Sequence[Record], missing: Sequence[Record], warnings: Sequence[str]) -> list[str]:
    """The lines below the table: the runtimes, the fastest, what could not be measured, and the warnings."""
    lines = [
        *map(describe_run, done),
        *fastest_notes(done),
        *(f"not available: {each['name']}: {each['unavailable']}" for each in missing),
        *(f"warning: {each}" for each in warnings),
    ]
    return list(dict.fromkeys(lines))


def describe_run(record: Record) -> str:
    """One configuration: its runtime as the session reports it, its cold start, and its score."""
    facts = f"{record['name']}: {record['runtime']}, {record['precision']}, threads {record['threads']}"
    facts += f", {format_size(record)}"
    start = f"; first prediction after {record['cold_start_ms']:.0f} ms" if record.get("cold_start_ms") else ""
    failed = f"; no first prediction: {record['cold_start_failed']}" if record.get("cold_start_failed") else ""
    memory = f", {record['peak_memory_mib']:.0f} MiB" if record.get("peak_memory_mib") else ""
    score = f"; {record['score']['name']} {record['score']['value']:.2f} %" if record.get("score") else ""
    return f"{facts}{start}{failed}{memory}{score}"


def format_size(record: Record) -> str:
    height, width = record["image_size"]
    return f"{width}x{height} px"


def is_whole_network(record: Record) -> bool:
    """Whether a record is of a whole network, not of a detector's backbone alone."""
    return record.get("part", "whole") == "whole"


def fastest_notes(done: Sequence[Record]) -> list[str]:
    """For each batch size the fastest of the configurations that are faster than the first."""
    lines: list[str] = []
    for batch in dict.fromkeys(each["batch"] for each in done):
        faster = [each for each in done if each["batch"] == batch and each["verdict"] == "faster"]
        if faster:
            best = min(faster, key=lambda each: each["ratio"])
            lines.append(f"fastest at batch {batch}: {best['name']}, {best['ratio']:.2f} of the first's time")
    return lines


def comparability_warnings(done: Sequence[Record]) -> list[str]:
    """Warnings that times are hard to compare: the machine was busy, or image sizes differ."""
    sizes = list(dict.fromkeys(format_size(each) for each in done if is_whole_network(each)))
    differ = (
        [f"image sizes differ ({', '.join(sizes)}): these times are not of the same work"] if len(sizes) > 1 else []
    )
    busy = dict.fromkeys(each["warning"] for each in done if each.get("warning"))
    return [*busy, *differ]
