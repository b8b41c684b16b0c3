"""Every backend, precision and kind of input size, exported and proven: docs/support.md.

    python benchmarks/support.py DATASET RUN...

DATASET is the labelled dataset on which the runs were trained. Each combination is an ordinary `nextvit export` on all
validation images; one JSON line for each is appended to benchmarks/results/support.jsonl, and docs/support.md is
rewritten from the lines of this call. A combination that is not possible is in the table with the message of `nextvit
export`.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from commands import call

from nextvit.bundle.manifest import CARD_PAGE, GOLDEN, MANIFEST, SUFFIX
from nextvit.export.targets import TARGETS
from nextvit.loading import load_trained
from nextvit.machine.environment import describe_environment

ROOT = Path(__file__).parent
RESULTS = ROOT / "results" / "support.jsonl"
PAGE = ROOT.parent / "docs" / "support.md"
HEAD = """# What is supported

Written by `python benchmarks/support.py` from what `nextvit export` measured; do not edit. Every line is an export
that was run on all validation images of signdigits10 and compared with PyTorch, or the reason why there is none.
"Largest" and "mean" are errors of the logits over their standard deviation; the drop is in points of top-1, with its
95 % interval (paired bootstrap over the images). "Any" size is `--dynamic-size`. The networks were trained from scratch
at 64 px: `nextvit train signdigits10 --image-size 64 --weights none` with `--model nextvit_nano --epochs 30` and
`--model nextvit_small --epochs 8`.
"""
COLUMNS = "| backend | precision | size | proven by | same answer | largest | mean | drop (95 %) | MB |"


def attempt(run: Path, dataset: str, backend: str, precision: str, *, any_size: bool) -> dict[str, Any]:
    """One export, as a record."""
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / f"bundle{SUFFIX}"
        options = ["--dynamic-size"] if any_size else []
        done = call(
            "export",
            str(run),
            "--to",
            backend,
            "--precision",
            precision,
            "--data",
            dataset,
            "--out",
            str(bundle),
            *options,
        )
        explaining = {GOLDEN, MANIFEST, CARD_PAGE}
        size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file() and file.name not in explaining)
    variant = load_trained(run)[1].variant
    return {
        "variant": variant,
        "backend": backend,
        "precision": precision,
        "any_size": any_size,
        "code": done.code,
        "seconds": done.seconds,
        "bytes": size,
        "verification": done.document.get("verification"),
        "reason": done.message if done.code else None,
        "environment": describe_environment(),
        "command": f"nextvit export {run.name} --to {backend} --precision {precision} {' '.join(options)}".strip(),
    }


def row(record: dict[str, Any]) -> str:
    """One line of the table."""
    size = "any" if record["any_size"] else "fixed"
    start = f"| {record['backend']} | {record['precision']} | {size} |"
    if record["code"]:
        kind = {1: "refused", 2: "no", 3: "not here"}.get(record["code"], "failed")
        reason = record["reason"].replace("|", "/")
        return f"{start} {kind}: {reason} | | | | | |"
    proven = record["verification"]
    low, high = proven["drop_interval_95"]
    runtime = proven["runtime"]
    rest = "the rest " if record["precision"] == "int8" else ""
    by = runtime["runtime"] + (f", {rest}in {runtime['computes_in']}" if "computes_in" in runtime else "")
    return (
        f"{start} {by} | {proven['agreement']:.2%} | {proven['max_error']:.1e} | {proven['mean_error']:.1e} | "
        f"{proven['drop']:.2f} ({low:.2f} to {high:.2f}) | {record['bytes'] / 1e6:.1f} |"
    )


def page(records: list[dict[str, Any]]) -> str:
    """docs/support.md."""
    parts = [HEAD]
    for variant in dict.fromkeys(record["variant"] for record in records):
        lines = [row(record) for record in records if record["variant"] == variant]
        score = next(each["verification"]["before"] for each in records if each["variant"] == variant)
        title = f"## {variant}: top-1 {score['score']:.2f} % on {score['images']} images in PyTorch\n"
        parts.append("\n".join([title, COLUMNS, "| --- " * 9 + "|", *lines]) + "\n")
    machine = records[0]["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts.append(f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; {versions}.\n")
    return "\n".join(parts)


def main(dataset: str, *runs: str) -> None:
    records: list[dict[str, Any]] = []
    for run in runs:
        for backend, target in TARGETS.items():
            for precision in target.writers:
                for any_size in (False, True):
                    record = attempt(Path(run), dataset, backend, precision, any_size=any_size)
                    print(row(record), flush=True)
                    records.append(record)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    PAGE.write_text(page(records), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
