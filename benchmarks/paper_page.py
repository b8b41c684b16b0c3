"""docs/paper.md: the tables of the paper's comparison, and whether each of its claims holds in the measurements."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from paper_networks import ANCHOR, BY_NAME, CSWIN, NETWORKS, Network

Record = Mapping[str, Any]
Cell = tuple[str, str, str, int]
"""Backend, precision, part ("classifier" or "backbone"), batch."""
Verdict = Literal["holds", "does not hold", "not shown", "not measured"]

SIMILAR = 1.1
"""Latencies are similar if neither is more than this many times the other."""
CSWIN_FACTOR = 3.6
"""The speedup over CSWin that the paper's abstract claims."""
TITLES = {
    ("onnx", "fp32"): "ONNX Runtime, fp32",
    ("openvino", "fp32"): "OpenVINO, fp32",
    ("openvino", "bf16"): "OpenVINO, bf16",
    ("openvino", "int8"): "OpenVINO, int8",
}
HEAD = """# The paper's comparison, repeated

Written by `make bench-paper` (`python benchmarks/paper.py`) from `benchmarks/results/paper.jsonl`; do not edit. The
paper (Next-ViT, arXiv:2207.05501) measures with TensorRT on a T4 at batch 8 and with Core ML on an iPhone at batch 1.
Here its networks, those that it compares with, and stronger newer ones are measured on a CPU, all through the same
exporters, with random weights. Latency is that of the graph alone, from uint8 pixels to the output. A ratio is the
median latency over that of Next-ViT-S in the same rounds, with its 95 % bootstrap interval over rounds: below 1 is
faster than Next-ViT-S.

"""
METHOD = """
Other networks come from timm, reparameterized where timm can, with its exportable attention; CSWin-T, which timm lacks,
is implemented from its paper (`benchmarks/cswin.py`). int8 is NNCF's post-training quantisation by our own writer, the
same for all; its effect on accuracy is not measured here. A backbone is a network without its head, up to its last
features. MACs are of the deployed graph, counted at the measured size. Accuracy is ImageNet-1k top-1 as published, at
224 px and from training on ImageNet-1k alone (a teacher that was trained on no more is allowed). Recipes differ between
authors, so differences of tenths of a point mean little; networks without a published accuracy are not compared by it.
"""
CLAIMS_TEXT = """A claim holds if the whole interval supports it, does not hold if the whole interval contradicts
it, and is not shown otherwise. The ratio is the other network's latency over ours."""
WINNERS_TEXT = """Networks that are both faster, by the whole interval, and more accurate, as published, than the
Next-ViT of that row, with the ratio of their latency to its latency. Those that are newer than the paper are in bold.
The last column counts, among the networks with a published accuracy, those that are both slower and less accurate."""


@dataclass(frozen=True)
class Ratio:
    """The ratio of two latencies, with its 95 % interval."""

    value: float
    low: float
    high: float

    def inverse(self) -> "Ratio":
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low)

    def over(self, other: "Ratio") -> "Ratio":
        """The ratio of two ratios to the same anchor; their errors are combined as independent ones."""
        value = self.value / other.value
        below = math.hypot(math.log(self.value / self.low), math.log(other.high / other.value))
        above = math.hypot(math.log(self.high / self.value), math.log(other.value / other.low))
        return Ratio(value, value * math.exp(-below), value * math.exp(above))

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Measurements:
    """The last record of each network in each cell, of one machine, one set of versions and one number of threads."""

    def __init__(self, records: Iterable[Record]) -> None:
        records = list(records)
        last = records[-1]
        self.machine: dict[str, Any] = last["environment"]
        self.threads: int = last["threads"]
        self.cells: dict[Cell, dict[str, Record]] = {}
        self.anchors: dict[Cell, dict[str, Record]] = {}
        for record in records:
            if self.matches(record):
                cell = (record["backend"], record["precision"], record["part"], record["batch"])
                self.cells.setdefault(cell, {})[record["model"]] = record
                if record["model"] == ANCHOR:
                    self.anchors.setdefault(cell, {})[record["group"]] = record

    def matches(self, record: Record) -> bool:
        place = ("cpu", "cores", "versions")
        same = all(record["environment"][key] == self.machine[key] for key in place)
        return same and record["threads"] == self.threads

    def record(self, cell: Cell, name: str) -> Record | None:
        """The record of a network in a cell; None if it was not or could not be measured."""
        found = self.cells.get(cell, {}).get(name)
        return found if found and "unavailable" not in found else None

    def ratio_to_anchor(self, cell: Cell, name: str) -> Ratio | None:
        """A network's latency over the anchor's; None if it was not measured."""
        if name == ANCHOR:
            return Ratio(1, 1, 1) if self.record(cell, name) else None
        found = self.record(cell, name)
        return Ratio(found["ratio"], *found["ratio_interval_95"]) if found and found.get("ratio_interval_95") else None

    def ratio(self, cell: Cell, name: str, to: str) -> Ratio | None:
        """A network's latency over that of the network `to`; None if one was not measured."""
        mine, others = self.ratio_to_anchor(cell, name), self.ratio_to_anchor(cell, to)
        if mine is None or others is None:
            return None
        if to == ANCHOR:
            return mine
        return others.inverse() if name == ANCHOR else mine.over(others)


def check_bound(ratio: Ratio | None, bound: float) -> Verdict:
    """Whether the whole interval of a ratio is at least `bound`, or below it."""
    if ratio is None:
        return "not measured"
    return "holds" if ratio.low >= bound else "does not hold" if ratio.high < bound else "not shown"


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims: `slower` takes at least `bound` times as long as `ours`, and is no more accurate."""

    title: str
    slower: str
    ours: str
    bound: float
    in_paper: str
    """The latencies in the paper."""
    parts: tuple[str, ...]

    def verdict(self, measured: Measurements, cell: Cell) -> tuple[Verdict, Ratio | None]:
        ratio = measured.ratio(cell, self.slower, self.ours)
        return check_bound(ratio, self.bound), ratio


CLAIMS = (
    Claim(
        title=f"Next-ViT-S is more accurate than ResNet101 at similar latency (at most {SIMILAR:g} times its time)",
        slower="timm:resnet101",
        ours="nextvit_small",
        bound=1 / SIMILAR,
        in_paper="TensorRT 7.8 ms against 7.7 ms, Core ML 4.0 ms against 3.5 ms",
        parts=("classifier", "backbone"),
    ),
    Claim(
        title=f"Next-ViT-S is {CSWIN_FACTOR} times as fast as CSWin-T at comparable accuracy",
        slower=CSWIN,
        ours="nextvit_small",
        bound=CSWIN_FACTOR,
        in_paper="TensorRT 29.5 ms against 7.7 ms",
        parts=("classifier",),
    ),
    Claim(
        title=f"as a backbone at 512 px, Next-ViT-B is {CSWIN_FACTOR} times as fast as CSWin-T",
        slower=CSWIN,
        ours="nextvit_base",
        bound=CSWIN_FACTOR,
        in_paper="TensorRT 182.3 ms against 51.6 ms, at 48.2 and 48.6 mIoU on ADE20K",
        parts=("backbone",),
    ),
    Claim(
        title="Next-ViT-L is faster than EfficientFormer-L7, and more accurate",
        slower="timm:efficientformer_l7",
        ours="nextvit_large",
        bound=1.0,
        in_paper="TensorRT 17.4 ms against 13.0 ms, Core ML 6.9 ms against 5.5 ms",
        parts=("classifier", "backbone"),
    ),
)


def find_better(measured: Measurements, cell: Cell, ours: str) -> list[tuple[Network, Ratio]]:
    """Other networks that are both faster than ours, by the whole interval, and more accurate as published."""
    return [
        (each, ratio)
        for each, ratio in compare_others(measured, cell, ours)
        if ratio.high < 1 and is_more_accurate(each, ours)
    ]


def find_worse(measured: Measurements, cell: Cell, ours: str) -> list[tuple[Network, Ratio]]:
    """Other networks that are both slower than ours, by the whole interval, and less accurate as published."""
    return [
        (each, ratio)
        for each, ratio in compare_others(measured, cell, ours)
        if ratio.low > 1 and is_more_accurate(ours, each)
    ]


def compare_others(measured: Measurements, cell: Cell, ours: str) -> list[tuple[Network, Ratio]]:
    """All other networks and the ratio of their latency to ours, the fastest first."""
    found = [(each, measured.ratio(cell, each.name, ours)) for each in NETWORKS if not each.is_ours]
    return sorted(((each, ratio) for each, ratio in found if ratio), key=lambda pair: pair[1].value)


def is_more_accurate(one: Network | str, other: Network | str) -> bool:
    """Whether one network is more accurate than the other; False if an accuracy is not published."""
    first, second = (BY_NAME[each] if isinstance(each, str) else each for each in (one, other))
    return first.top1 is not None and second.top1 is not None and first.top1 > second.top1


def page(records: Iterable[Record]) -> str:
    """The whole page, for the machine and the versions of the last record."""
    records = list(records)
    if not records:
        return HEAD + "Nothing is measured yet.\n"
    measured = Measurements(records)
    parts = [
        HEAD.rstrip("\n"),
        machine_line(measured),
        protocol_line(measured),
        claims_section(measured),
        winners_section(measured),
    ]
    parts += [classifiers_section(measured, *runtime) for runtime in TITLES]
    parts += [
        backbones_section(measured),
        sources_section(),
        "## How\n" + METHOD.rstrip("\n"),
        unavailable_section(measured),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine_line(measured: Measurements) -> str:
    machine = measured.machine
    names = ("nextvit", "torch", "timm", "onnx", "onnxruntime", "openvino", "nncf")
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in names if name in machine["versions"])
    threads = "one thread" if measured.threads == 1 else f"{measured.threads} threads"
    return f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; {threads}. {versions}."


def protocol_line(measured: Measurements) -> str:
    """The numbers of timed runs, and the noise of the machine."""
    lines: list[str] = []
    for part, batch in sorted({cell[2:] for cell in measured.cells}, reverse=True):
        found = [each for cell, group in measured.cells.items() if cell[2:] == (part, batch) for each in group.values()]
        runs = [each["runs"] for each in found if "runs" in each]
        if runs:
            lines.append(f"{part}s at batch {batch}: {min(runs)} to {max(runs)} timed runs of each")
    noise = [
        each["noise"] for group in measured.cells.values() for each in group.values() if each.get("noise") is not None
    ]
    steady = (
        f" A fixed workload, run once in each round, varied by {max(noise):.0%} at most (the 90th less the 10th "
        "percentile of its time, over the median)."
        if noise
        else ""
    )
    return f"{'; '.join(lines)}.{steady}"


def claims_section(measured: Measurements) -> str:
    """Each claim with its verdict in every cell to which it applies."""
    lines = ["## The paper's claims", CLAIMS_TEXT]
    for claim in CLAIMS:
        other, own = BY_NAME[claim.slower], BY_NAME[claim.ours]
        lines += [f"### {claim.title}", f"In the paper: {claim.in_paper}. {accuracy_line(own, other)}"]
        rows = ["| runtime | measured | ratio (95 %) | verdict |", "| --- | --- | --- | --- |"]
        for cell in measured.cells:
            if cell[2] in claim.parts:
                verdict, ratio = claim.verdict(measured, cell)
                rows.append(f"| {TITLES[cell[:2]]} | {cell[2]}, batch {cell[3]} | {ratio or ''} | {verdict} |")
        lines += ["\n".join(rows), summary(measured, claim)]
    return "\n\n".join(lines)


def accuracy_line(own: Network, other: Network) -> str:
    if own.top1 is None or other.top1 is None:
        return "There is no published top-1 of both to compare."
    words = "more" if own.top1 > other.top1 else "less" if own.top1 < other.top1 else "as"
    comparison = "as accurate as" if words == "as" else f"{words} accurate than"
    top1 = f"{own.top1:.1f} against {other.top1:.1f} % top-1 on ImageNet-1k"
    return f"As published, {own.title} is {comparison} {other.title} ({top1})."


def summary(measured: Measurements, claim: Claim) -> str:
    """How often a claim holds."""
    verdicts = [claim.verdict(measured, cell)[0] for cell in measured.cells if cell[2] in claim.parts]
    counts = {each: verdicts.count(each) for each in ("holds", "does not hold", "not shown", "not measured")}
    text = ", ".join(f"{name}: {count}" for name, count in counts.items() if count)
    return f"Of {len(verdicts)} comparisons, {text}."


def winners_section(measured: Measurements) -> str:
    """The networks that are better than each Next-ViT, and how many are worse."""
    lines = ["## Where others win", WINNERS_TEXT]
    rows = [
        "| runtime, batch | Next-ViT | faster and more accurate | slower and less accurate |",
        "| --- | --- | --- | --- |",
    ]
    for cell in measured.cells:
        for own in (each for each in NETWORKS if each.is_ours):
            if cell[2] != "classifier" or not measured.record(cell, own.name):
                continue
            winners = ", ".join(
                f"{f'**{each.title}**' if each.is_newer else each.title} {ratio.value:.2f}"
                for each, ratio in find_better(measured, cell, own.name)
            )
            losers = find_worse(measured, cell, own.name)
            known = [each for each, _ in compare_others(measured, cell, own.name) if each.top1 is not None]
            rows.append(
                f"| {TITLES[cell[:2]]}, {cell[3]} | {own.title} | {winners or 'none'} | {len(losers)} of {len(known)} |"
            )
    return "\n\n".join([*lines, "\n".join(rows)])


def classifiers_section(measured: Measurements, backend: str, precision: str) -> str:
    """The table of one runtime: whole networks at 224 px."""
    batches = sorted({cell[3] for cell in measured.cells if cell[:3] == (backend, precision, "classifier")})
    if not batches:
        return ""
    columns = ["network", *(f"batch {each}: p50 ms | to Next-ViT-S (95 %)" for each in batches)]
    head = "| " + " | ".join([*columns, "parameters", "MACs", "top-1"]) + " |"
    rows = [head, "| --- " * (head.count("|") - 1) + "|"]
    cells: list[Cell] = [(backend, precision, "classifier", each) for each in batches]
    for network in sort_by_time(measured, cells[0]):
        found = next((each for cell in cells if (each := measured.record(cell, network.name))), None)
        if found:
            figures = " | ".join(time_and_ratio(measured, cell, network.name) for cell in cells)
            top1 = f"{network.top1:.1f}" if network.top1 is not None else "-"
            size = f"{found['parameters'] / 1e6:.1f} M | {found['macs'] / 1e9:.2f} G"
            rows.append(f"| {format_title(network)} | {figures} | {size} | {top1} |")
    return f"## {TITLES[backend, precision]}, 224 px\n\n" + "\n".join(rows)


def backbones_section(measured: Measurements) -> str:
    """One table of all runtimes: networks without their heads at 512 px."""
    cells = [cell for cell in measured.cells if cell[2] == "backbone"]
    if not cells:
        return ""
    columns = " | ".join(f"{TITLES[cell[:2]]}: p50 ms | to Next-ViT-S (95 %)" for cell in cells)
    rows = [f"| network | {columns} | MACs |", "| --- " * (2 + 2 * len(cells)) + "|"]
    for network in sort_by_time(measured, cells[0]):
        found = next((each for cell in cells if (each := measured.record(cell, network.name))), None)
        if found:
            figures = " | ".join(time_and_ratio(measured, cell, network.name) for cell in cells)
            rows.append(f"| {format_title(network)} | {figures} | {found['macs'] / 1e9:.1f} G |")
    return "## Backbones, 512 px, batch 1\n\n" + "\n".join(rows)


def sort_by_time(measured: Measurements, cell: Cell) -> list[Network]:
    """All networks, the fastest first; those that were not measured come last."""

    def key(network: Network) -> float:
        ratio = measured.ratio_to_anchor(cell, network.name)
        return ratio.value if ratio else math.inf

    return sorted(NETWORKS, key=key)


def format_title(network: Network) -> str:
    return f"**{network.title}**" if network.is_ours else network.title


def time_and_ratio(measured: Measurements, cell: Cell, name: str) -> str:
    """Two columns: the median, and the ratio. The anchor is in every group; its column is the median over them."""
    if name == ANCHOR:
        medians = sorted(each["p50_ms"] for each in measured.anchors.get(cell, {}).values() if "p50_ms" in each)
        return f"{medians[len(medians) // 2]:.1f} | 1" if medians else " | "
    record, ratio = measured.record(cell, name), measured.ratio_to_anchor(cell, name)
    return f"{record['p50_ms']:.1f} | {ratio or ''}" if record else " | "


def sources_section() -> str:
    """The source of each accuracy."""
    rows = ["| network | top-1 | from |", "| --- | --- | --- |"]
    for each in NETWORKS:
        rows.append(f"| {format_title(each)} | {'-' if each.top1 is None else f'{each.top1:.1f}'} | {each.source} |")
    return "## Published accuracy\n\n" + "\n".join(rows)


def unavailable_section(measured: Measurements) -> str:
    """The networks that could not be measured, and why."""
    lines = [
        f"- {BY_NAME[name].title}, {TITLES[cell[:2]]}, {cell[2]}, batch {cell[3]}: {record['unavailable']}"
        for cell, group in measured.cells.items()
        for name, record in group.items()
        if "unavailable" in record
    ]
    return "## Not measured\n\n" + "\n".join(lines) if lines else ""
