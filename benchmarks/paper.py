"""The paper's comparison, repeated on this machine: Next-ViT S, B and L, the paper's other networks, and newer ones.

    python benchmarks/paper.py [--only timm:resnet101,cswin_tiny] [--group heavy,light] [--threads 1] [--fresh]
    python benchmarks/paper.py --runs 3 --results tried.jsonl
    python benchmarks/paper.py --page

Runtimes are ONNX Runtime in fp32, and OpenVINO in fp32, bf16 and int8. Whole classifiers are measured at 224 px, batch
1 and 8; backbones at 512 px, batch 1, as for the paper's latencies of detection and segmentation. All networks go
through the same exporters and sessions, with random weights; int8 is calibrated on the bundled photographs, which is
enough to measure latency. Each group of networks is measured in rounds together with nextvit_small, and ratios to it
are of the same rounds.

Each measured cell (a group in one runtime and precision at one batch size) is appended to
benchmarks/results/paper.jsonl as one JSON line for each network. A second call measures what is missing on this machine
with these versions, has too few runs, or ran out of memory. The page docs/paper.md is written from the file at the end
(--page does only that); the page of another file is written beside it.
"""

import argparse
import gc
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paper_networks import ANCHOR, BY_NAME, CSWIN, GROUPS, members
from paper_page import page

from nextvit.benchmark.noise import CpuTimes, Noise, run_fixed_work
from nextvit.benchmark.ratio import compare_latencies
from nextvit.benchmark.suite import cpu_affinity
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Manifest, Precision
from nextvit.errors import InputError, MissingDependency, did_you_mean
from nextvit.files.run_folder import read_json_lines
from nextvit.image.resizing import INPUT_NAME
from nextvit.machine.environment import describe_environment
from nextvit.machine.timing import Latency, Turns, measure_interleaved, time_run
from nextvit.runtime.session import Session, open_session

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results" / "paper.jsonl"
PAGE = ROOT.parent / "docs" / "paper.md"
RUNTIMES: tuple[tuple[str, Precision], ...] = (
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
WRITERS: dict[str, str] = {
    # Folder of a file: the module that writes it. OpenVINO's bf16 is its fp32 file, computed in bf16.
    "onnx-fp32": "nextvit.backends.onnx",
    "openvino-fp32": "nextvit.backends.openvino",
    "openvino-int8": "nextvit.backends.openvino_int8",
}
MAX_ERROR = 1e-2
"""Of ONNX Runtime's output against PyTorch's, over its standard deviation; a larger error means another network."""
THREADS = 1
"""With two, the latency of a session on the machine of the results depends for minutes on its memory placement."""
MINUTES = 60.0
"""Time limit of one call; the next one continues."""
MIB = 2**20
OUT_OF_MEMORY = re.compile(
    r"out.of.memory|MemoryError|bad_alloc|not enough memory|alloc\w* memory|memory alloc", re.IGNORECASE
)
"""Matches reasons of unavailable networks that may not hold in the next call."""


@dataclass(frozen=True)
class Setting:
    """What is measured of a network, and for how long."""

    part: str
    """"classifier" or "backbone"."""
    image_size_px: int
    batch: int
    runs: int
    seconds: float
    warmup: int


# With 50 runs everywhere, slow cells would take hours: they have fewer runs, and the records say how many.
SETTINGS = (
    Setting("classifier", 224, 1, runs=50, seconds=2.0, warmup=5),
    Setting("classifier", 224, 8, runs=11, seconds=1.0, warmup=1),
    Setting("backbone", 512, 1, runs=15, seconds=1.0, warmup=1),
)


RuntimeSetting = tuple[str, Precision, Setting]
"""A cell of a group: backend, precision and setting."""
Key = tuple[str, str]
"""Name of a network, and part of it."""


@dataclass(frozen=True)
class NetworkFiles:
    """The files of one network at one size, or why there are none."""

    card: ModelCard | None = None
    images_NHWC: NDArray[np.uint8] | None = None
    """Photographs at its input size; its batch norms have their statistics."""
    output: str = ""
    parameters: int = 0
    macs: int = 0
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """By the name of WRITERS: folder and model file."""
    faults: Mapping[str, str] = field(default_factory=dict[str, str])
    """By the name of WRITERS, or "" for all: one line that says why there is no file."""


def make_source(name: str, part: str, image_size_px: int) -> Any:
    """The network as a source of the exporters."""
    from cswin import cswin_tiny

    from nextvit.benchmark.networks import network_source
    from nextvit.benchmark.peers import FEATURES, FeatureExtractor, backbone_source, module_source
    from nextvit.image.resizing import Preprocess

    size = (image_size_px, image_size_px)
    if name == CSWIN:
        model = cswin_tiny() if part == "classifier" else FeatureExtractor(cswin_tiny())
        output = {} if part == "classifier" else {"output": FEATURES}
        return module_source(model, name=name, spec=Preprocess(image_size=size), precision="fp32", **output)
    if part == "backbone":
        return backbone_source(name, image_size=size, precision="fp32")
    return network_source(name, size)


def prepare(name: str, part: str, image_size_px: int, folder: Path) -> NetworkFiles:
    """Write all files of a network below `folder`. It runs in its own process, which frees its memory at the end."""
    from importlib import import_module

    import torch

    from nextvit.benchmark.peers import source_cost

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        source = make_source(name, part, image_size_px)
        cost = source_cost(source)
    except (InputError, MissingDependency) as error:
        return NetworkFiles(faults={"": str(error)})
    files: dict[str, tuple[str, str]] = {}
    faults: dict[str, str] = {}
    for kind, module in WRITERS.items():
        target = folder / f"{name.replace(':', '-')}-{part}" / kind
        target.mkdir(parents=True)
        precision: Any = kind.partition("-")[2]
        try:
            files[kind] = (str(target), import_module(module).export(replace(source, precision=precision), target))
            if kind == "onnx-fp32":
                check_output(source, target / files[kind][1])
        except Exception as error:  # noqa: BLE001 (an exporter may raise anything; its failure is a result)
            files.pop(kind, None)
            faults[kind] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    return NetworkFiles(
        card=source.card,
        images_NHWC=source.calibration,
        output=source.outputs[0],
        parameters=cost.parameters,
        macs=cost.macs,
        files=files,
        faults=faults,
    )


def check_output(source: Any, file: Path) -> None:
    """Raise InputError if the outputs of ONNX Runtime and PyTorch differ, for one image or a batch of three."""
    import onnxruntime
    import torch

    session: Any = onnxruntime.InferenceSession(file)
    deployed = source.build_deployed()
    for images_NHWC in (source.calibration[:1], source.calibration[:3]):
        with torch.no_grad():
            expected = deployed(torch.from_numpy(images_NHWC)).numpy()
        error = np.abs(session.run(None, {INPUT_NAME: images_NHWC})[0] - expected).max() / expected.std()
        if not error <= MAX_ERROR:
            raise InputError(f"the outputs of ONNX Runtime and PyTorch differ by {error:.1g} of the standard deviation")


def open_file(prepared: NetworkFiles, backend: str, precision: Precision, *, threads: int) -> tuple[Session, float]:
    """A session for a network's file, and the size of the file in MiB.

    Raises:
        InputError: there is no such file, or the runtime does not take it.
    """
    kind = "openvino-fp32" if precision == "bf16" else f"{backend}-{precision}"
    if fault := prepared.faults.get("") or prepared.faults.get(kind):
        raise InputError(fault)
    assert prepared.card is not None
    folder, model_file = prepared.files[kind]
    manifest = Manifest(
        card=prepared.card,
        backend=backend,
        precision=precision,
        model_file=model_file,
        outputs={prepared.output: prepared.output},
        made_with={},
    )
    size = sum(file.stat().st_size for file in Path(folder).iterdir()) / MIB
    return open_session(Path(folder), manifest, threads=threads), size


def measure_cell(
    group: str,
    prepared: Mapping[str, NetworkFiles],
    backend: str,
    precision: Precision,
    setting: Setting,
    *,
    threads: int,
    machine: dict[str, Any],
) -> list[dict[str, Any]]:
    """Measure a group in one runtime, precision and setting. Ratios are to the first network of `prepared`.

    Returns:
        A record for each network.
    """
    side = setting.image_size_px
    common = {"group": group, "part": setting.part, "image_size": [side, side], "batch": setting.batch}
    common |= {"backend": backend, "precision": precision, "threads": threads}
    # 1. Load
    sessions: dict[str, Session] = {}
    candidates: dict[str, Callable[[], object]] = {}
    sizes: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name, files in prepared.items():
        try:
            session, sizes[name] = open_file(files, backend, precision, threads=threads)
            run = partial(session.run, {INPUT_NAME: pixels(files, setting.batch)})
            run()
            sessions[name], candidates[name] = session, run
        except (InputError, MissingDependency, RuntimeError) as error:
            missing[name] = strip_folders(str(error).strip().partition("\n")[0], files)

    # 2. Measure
    turns: dict[str, Turns] = {}
    work: list[float] = []
    before = CpuTimes.now()
    if candidates:  # there are none if the precision is not supported
        turns = measure_interleaved(
            candidates,
            runs=setting.runs,
            min_seconds=setting.seconds,
            warmup=setting.warmup,
            each_round=lambda: work.append(time_run(run_fixed_work)),
        )
    noise = Noise.from_times(work, before, CpuTimes.now(), cores=os.cpu_count() or 1)

    # 3. Write the records
    first = next(iter(prepared))
    records: list[dict[str, Any]] = []
    for name in prepared:
        about = {"name": f"{name} {setting.part} {backend} {precision} batch {setting.batch}", "model": name}
        about |= {"variant": name, "kind": network_kind(name), **common}
        if name in missing:
            records.append({**about, "unavailable": missing[name], "environment": machine})
            continue
        facts = {key: value for key, value in sessions[name].facts().items() if key not in ("operators", "provider")}
        record = {**about, **facts, **latency_record(name, turns, first, setting.batch, noise)}
        record |= {"size_mib": round(sizes[name], 2), "parameters": prepared[name].parameters}
        record |= {"macs": prepared[name].macs, "affinity": cpu_affinity(), "environment": machine}
        record["gflops_per_second"] = round(2 * record["macs"] * setting.batch / record["p50_ms"] / 1e6, 1)
        record["published_top1"] = BY_NAME[name].top1 if setting.part == "classifier" else None
        records.append(record)
    return records


def strip_folders(message: str, prepared: NetworkFiles) -> str:
    """A runtime's message without the temporary folder of the files."""
    for folder, _ in prepared.files.values():
        message = message.replace(f"{folder}/", "")
    return message


def pixels(prepared: NetworkFiles, batch: int) -> NDArray[np.uint8]:
    """A batch of photographs, repeated if there are too few."""
    assert prepared.images_NHWC is not None
    return np.ascontiguousarray(np.resize(prepared.images_NHWC, (batch, *prepared.images_NHWC.shape[1:])))


def latency_record(name: str, turns: Mapping[str, Turns], first: str, batch: int, noise: Noise) -> dict[str, Any]:
    """Latency, noise and ratio of one network of a cell."""
    latency = Latency.of(turns[name])
    record: dict[str, Any] = {key: round(value, 4) for key, value in asdict(latency).items()}
    record |= {
        "images_per_second": round(1000 * batch / latency.p50_ms, 2),
        "noise": noise.interdecile_range,
        "busy": noise.busy,
    }
    if first in turns:
        ratio = compare_latencies(turns[name], turns[first])
        record |= {
            "ratio": round(ratio.value, 4),
            "ratio_interval_95": [round(bound, 4) for bound in (ratio.low, ratio.high) if bound is not None] or None,
            "verdict": "first" if name == first else ratio.verdict,
        }
    return record


def network_kind(name: str) -> str:
    return "timm" if name.startswith("timm:") else "variant" if BY_NAME[name].is_ours else "peer"


def describe_call() -> dict[str, Any]:
    """The environment and the command of this call."""
    return {**describe_environment(), "command": "python benchmarks/paper.py"}


def is_same_environment(record: dict[str, Any], machine: dict[str, Any], *, threads: int) -> bool:
    """Whether a record is of this machine and these versions, with as many threads."""
    about = record["environment"]
    return record["threads"] == threads and all(about[key] == machine[key] for key in ("cpu", "cores", "versions"))


def is_done(
    done: Iterable[dict[str, Any]], group: str, names: Iterable[str], backend: str, precision: str, setting: Setting
) -> bool:
    """Whether there are final records of all these networks for this cell."""
    cell = (group, backend, precision, setting.part, setting.batch)
    keys = ("group", "backend", "precision", "part", "batch")
    own = [each for each in done if tuple(each[key] for key in keys) == cell]
    return set(names) <= {each["model"] for each in own if is_final(each, setting.runs)}


def is_final(record: dict[str, Any], runs: int) -> bool:
    """Whether a record is final: measured with enough runs, or refused by its exporter or runtime."""
    if "unavailable" in record:
        return not OUT_OF_MEMORY.search(record["unavailable"])
    return record["runs"] >= runs


class Clock:
    """Measures the elapsed time and estimates the rest."""

    def __init__(self, work: float, minutes: float) -> None:
        self.started, self.work, self.finished, self.limit = time.monotonic(), work, 0.0, 60 * minutes

    def allows(self, work: float) -> bool:
        """Whether this work would be finished within the limit, at the speed so far."""
        spent = time.monotonic() - self.started
        return not self.finished or spent * (1 + work / self.finished) <= self.limit

    def report_done(self, what: str, work: float) -> None:
        """Count this work as finished, and print the progress."""
        self.finished += work
        spent = time.monotonic() - self.started
        left = spent * (self.work - self.finished) / self.finished
        print(f"{spent / 60:5.1f} min spent, about {left / 60:4.1f} min left: {what}", flush=True)


# Rough seconds for each network: only their proportions matter, for the estimate of the rest.
EXPORT_SECONDS = {"classifier": 15.0, "backbone": 25.0}
MEASURE_SECONDS = {("classifier", 1): 10.0, ("classifier", 8): 13.0, ("backbone", 1): 10.0}


def export_seconds(cells: list[RuntimeSetting]) -> float:
    """Expected seconds to export one network for these cells."""
    return sum(EXPORT_SECONDS[part] for part in {setting.part for _, _, setting in cells})


def cell_seconds(cell: RuntimeSetting) -> float:
    """Expected seconds to measure one network in a cell."""
    return MEASURE_SECONDS[cell[2].part, cell[2].batch]


def prepare_all(
    names: list[str], cells: list[RuntimeSetting], folder: Path, *, processes: int
) -> dict[Key, NetworkFiles]:
    """Write the files of these networks for all parts that are measured; by name and part."""
    sizes = {setting.part: setting.image_size_px for _, _, setting in cells}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        keys = [(name, part) for name in names for part in sizes]
        futures = {key: pool.submit(prepare, *key, sizes[key[1]], folder) for key in keys}
        return {key: each.result() for key, each in futures.items()}


def measure(
    groups: Mapping[str, list[str]],
    results: Path,
    *,
    threads: int,
    fresh: bool,
    settings: Sequence[Setting],
    minutes: float = MINUTES,
) -> None:
    """Measure the cells of these groups that are not in the file of results yet, until the minutes are over."""
    machine = describe_call()
    records = [] if fresh else read_json_lines(results)
    done = [each for each in records if is_same_environment(each, machine, threads=threads)]
    cells: list[RuntimeSetting] = [(*runtime, setting) for setting in settings for runtime in RUNTIMES]
    todo = {
        group: [cell for cell in cells if not is_done(done, group, names, *cell)] for group, names in groups.items()
    }
    clock = Clock(
        sum(len(groups[each]) * (export_seconds(todo[each]) + sum(map(cell_seconds, todo[each]))) for each in todo),
        minutes,
    )
    for group, missing in todo.items():
        if not missing:
            continue
        names = groups[group]
        with tempfile.TemporaryDirectory() as temporary:
            prepared = prepare_all(names, missing, Path(temporary), processes=os.cpu_count() or 1)
            clock.report_done(f"{group}: {len(names)} networks exported", len(names) * export_seconds(missing))
            for cell in missing:
                if not clock.allows(len(names) * cell_seconds(cell)):
                    print(f"{minutes:g} min are over; the same call again measures the rest")
                    return
                backend, precision, setting = cell
                files = {name: prepared[name, setting.part] for name in names}
                append(results, measure_cell(group, files, *cell, threads=threads, machine=machine))
                gc.collect()  # the sessions of several networks take gigabytes
                what = f"{group}: {backend} {precision}, {setting.part}s, batch {setting.batch}"
                clock.report_done(what, len(names) * cell_seconds(cell))


def append(results: Path, records: list[dict[str, Any]]) -> None:
    """Append the records of a cell in one write, so that a kill never leaves a part of a cell."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with results.open("a", encoding="utf-8") as file:
        file.write(lines)


def select_groups(only: str | None, group: str | None) -> dict[str, list[str]]:
    """The selected groups, each with the anchor as its first network.

    Raises:
        InputError: an unknown group or network.
    """
    selected_groups, selected = group.split(",") if group else GROUPS, only.split(",") if only else list(BY_NAME)
    for name, known in [*((each, GROUPS) for each in selected_groups), *((each, BY_NAME) for each in selected)]:
        if name not in known:
            raise InputError(f"no {name!r} among them; {did_you_mean(name, known)}")
    groups = {each: [one.name for one in members(each) if one.name in (ANCHOR, *selected)] for each in selected_groups}
    return {group: names for group, names in groups.items() if len(names) > 1}


def settings_for(runs: int | None, results: Path | None) -> Sequence[Setting]:
    """The settings; with `runs`, the number of runs everywhere, without a least time.

    Raises:
        InputError: `runs` is given without another file of results: so few runs must not be among the committed ones.
    """
    if runs is None:
        return SETTINGS
    if runs < 1:
        raise InputError(f"--runs must be at least 1, got {runs}")
    if results is None or results.resolve() == RESULTS:
        raise InputError("--runs is for a quick try; name another file of results with --results FILE")
    return tuple(replace(each, runs=runs, seconds=0.0, warmup=1) for each in SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write docs/paper.md from the results, measure nothing")
    parser.add_argument("--only", help="networks, with commas; nextvit_small is always included")
    parser.add_argument("--group", help=f"groups, with commas: {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit; the next call continues")
    parser.add_argument(
        "--runs", type=int, help="timed runs everywhere, without a least time: a quick try, with --results"
    )
    parser.add_argument("--fresh", action="store_true", help="measure everything again")
    parser.add_argument("--results", type=Path, help="the file of results; default: benchmarks/results/paper.jsonl")
    parser.add_argument("--out", type=Path, help="the page; default: docs/paper.md, or beside another file of results")
    arguments = parser.parse_args()
    try:
        settings = settings_for(arguments.runs, arguments.results)
        groups = select_groups(arguments.only, arguments.group)
    except InputError as error:
        parser.error(str(error))
    results: Path = arguments.results or RESULTS
    out: Path = arguments.out or (PAGE if results.resolve() == RESULTS else results.with_suffix(".md"))
    if not arguments.page:
        measure(
            groups,
            results,
            threads=arguments.threads,
            fresh=arguments.fresh,
            settings=settings,
            minutes=arguments.minutes,
        )
    out.write_text(page(read_json_lines(results)), encoding="utf-8")


if __name__ == "__main__":
    main()
