"""The cost and gain of quantisation: accuracy with interval, latency ratio, size; the table of docs/quantization.md.

    python benchmarks/quantization.py RUN=DATASET ...

Each run is exported in every precision for ONNX Runtime, OpenVINO, ExecuTorch and torch, proven on the validation
images of its dataset, and all its bundles are timed side by side by `nextvit bench` on one thread at batch 1. One JSON
line for each run is appended to benchmarks/results/quantization.jsonl; docs/quantization.md gets the table of this
call.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from commands import call, nextvit

from nextvit.bundle.manifest import SUFFIX
from nextvit.export.targets import TARGETS

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "quantization.jsonl"
PAGE = ROOT.parent / "docs" / "quantization.md"
START, END = "<!-- benchmarks/quantization.py writes from here -->\n", "<!-- to here -->"
BACKENDS = ("onnx", "openvino", "executorch", "torch")
COLUMNS = "| runtime | precision | top-1 (95 %) | drop (95 %) | same answer | p50 ms | time | MB |"


def measure(run: str, dataset: str) -> dict[str, Any]:
    """All exports of a run and their latencies."""
    with tempfile.TemporaryDirectory() as temporary:
        exports: list[dict[str, Any]] = []
        for backend in BACKENDS:
            for precision in TARGETS[backend].writers:
                bundle = Path(temporary) / f"{backend}-{precision}{SUFFIX}"
                # ExecuTorch needs half a minute to quantise each group alone, and its arithmetic is the same.
                options = ["--explain"] if precision == "int8" and backend != "executorch" else []
                done = call(
                    *("export", run, "--to", backend, "--precision", precision),
                    *("--data", dataset, "--out", str(bundle), *options),
                )
                exports.append(
                    {
                        "backend": backend,
                        "precision": precision,
                        "code": done.code,
                        "message": done.message,
                        **done.record(),
                        "bundle": bundle.name,
                    }
                )
                print(backend, precision, done.code, done.message if done.code else "", flush=True)
        bundles = [str(path) for path in sorted(Path(temporary).glob(f"*{SUFFIX}"))]
        bench = nextvit("bench", *bundles, "--threads", "1", "--batch", "1")
    latencies = {each["name"]: each for each in bench["results"]}
    return {"run": Path(run).name, "dataset": Path(dataset).name, "exports": exports, "latencies": latencies}


def table(record: dict[str, Any]) -> str:
    """The part of the page for one run."""
    latencies = record["latencies"]
    first = latencies["onnx-fp32"]
    size = "x".join(map(str, first["image_size"]))
    images = record["exports"][0]["verification"]["images"]
    lines = [f"### {first['variant']} on {record['dataset']}, {size} px, {images} validation images\n", COLUMNS]
    lines.append("| --- " * 8 + "|")
    for each in record["exports"]:
        name = f"{each['backend']}-{each['precision']}"
        if each["code"]:
            reason = each["message"].replace("|", "/")
            lines.append(f"| {each['backend']} | {each['precision']} | refused: {reason} | | | | | |")
            continue
        proven, latency = each["verification"], latencies[name]
        after, (low, high) = proven["after"], proven["drop_interval_95"]
        lines.append(
            f"| {latency['runtime']} | {each['precision']} | "
            f"{after['score']:.2f} ({after['interval_95'][0]:.1f} to {after['interval_95'][1]:.1f}) | "
            f"{proven['drop']:.2f} ({low:.2f} to {high:.2f}) | {proven['agreement']:.2%} | {latency['p50_ms']:.2f} | "
            f"{latency['p50_ms'] / first['p50_ms']:.2f} | {latency['size_mib'] * 2**20 / 1e6:.1f} |"
        )
    lines.append(sensitivity(record["exports"]))
    machine = first["environment"]
    lines.append(
        f"\n{machine['cpu']}, one thread, batch 1; time is relative to ONNX Runtime fp32 in the same rounds.\n"
    )
    return "\n".join(lines)


def sensitivity(exports: list[dict[str, Any]]) -> str:
    """Sensitivity: the mean error of the logits over their standard deviation, with one group of layers quantised."""
    costs = {
        each["backend"]: {cost["group"]: cost["mean_error"] for cost in each["verification"]["sensitivity"]}
        for each in exports
        if "sensitivity" in (each.get("verification") or {})
    }
    groups = list(next(iter(costs.values())))
    lines = [f"\n| quantised alone | {' | '.join(costs)} |", "| --- " * (1 + len(costs)) + "|"]
    lines += [f"| {group} | {' | '.join(f'{each[group]:.1e}' for each in costs.values())} |" for group in groups]
    return "\n".join(lines)


def main(*pairs: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    tables: list[str] = []
    for pair in pairs:
        run, _, dataset = pair.partition("=")
        record = measure(run, dataset)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        tables.append(table(record))
    head, _, rest = text.partition(START)
    PAGE.write_text(head + START + "\n" + "\n".join(tables) + "\n" + END + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
