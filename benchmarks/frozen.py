"""What a restructuring must not change, recorded from two versions of the source and compared.

    python benchmarks/frozen.py record OUT.json [--source SRC] [--only trainings,exports,documents,refusals,slow]
    python benchmarks/frozen.py compare [--base e2b2401] [--before FILE] [--only ...]

`record` draws small inputs with fixed seeds (frozen_inputs.py), runs the commands of frozen_commands.py on them, and
keeps (frozen_values.py)

    trainings   SHA-256 of weights, averaged weights and optimizer state; metrics, evaluation and resolved recipe
    exports     the document, the manifest, SHA-256 of the golden examples, and the predictions of `nextvit.load`
    documents   what each verb prints with --json
    refusals    exit code and number of lines on stderr for wrong inputs
    slow        the exports and verbs that take longest; only when asked for

without what differs from run to run: times, versions, the machine, what was measured on it, and temporary folders.
`compare` records the base commit in a temporary worktree and then this checkout, on the same machine, because rounding
differs between processors. It prints each difference, exits with 1 if one is not in `WANTED`, and ends with a line of
JSON for benchmarks/results/frozen.jsonl.

Only the command line, `nextvit.load` and files are used, so modules may move. For speed all commands are forked from
one process that has imported third-party packages, and nothing of nextvit.
"""

import argparse
import json
import os
import resource
import runpy
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import frozen_inputs
import numpy as np
from frozen_commands import (
    DOCUMENTS,
    EXPORTS,
    IMAGES,
    ONNX,
    REFUSALS,
    SHORT,
    SLOW_DOCUMENTS,
    SLOW_EXPORTS,
    TRAININGS,
    WRITTEN_IMAGES,
    Training,
)
from frozen_values import (
    BUNDLE_FILES,
    RUN_FILES,
    Json,
    flatten,
    hash_array,
    normalise,
    read_files,
    read_pixels,
)

ONE_TASK, FACTS = "a recipe holds the settings of its task alone", "what a task alone knows of a model are typed facts"
TERMS, BY_NAME = "the field's terms: images, predictions, canvases, stretch and pad", "losses are logged by name"
EARLIER, FURTHER = "refused before the images are checked", "all main scores are bounded, those of masks, too"
WANTED: dict[str, str] = {
    **dict.fromkeys(("trainings/*/recipe.yaml/task", "trainings/*/environment.json/task"), ONE_TASK),
    **{
        f"trainings/*/recipe.yaml/{field}": ONE_TASK
        for field in (
            *("augment/*", "distill/*", "heads/*", "loss/*", "masks/*", "mix/*", "objects/*"),
            *(
                "data/task",
                "data/resize",
                "data/crop_ratio",
                "data/balance",
                "data/longer_side",
                "data/leave_out_empty",
            ),
        )
    },
    "trainings/*/recipe.yaml/schedule/warmup_epochs": "the same number, as it was given",
    "trainings/*/metrics.jsonl/*/train_*": BY_NAME,
    "trainings/*/state.pt/others/progress/losses": BY_NAME,
    **{f"*/manifest.json/card/{field}": FACTS for field in ("thresholds", "category_ids", "scores", "facts*")},
    **dict.fromkeys(
        (
            "trainings/*/environment.json/resize",
            "*/manifest.json/card/input/resize",
            "*/manifest.json/inputs/*",
            "*/manifest.json/outputs/*",
            "documents/check *message",
            "documents/info *",
        ),
        TERMS,
    ),
    "*coreml*/program/bytes": "the card in the file is shorter",
    **dict.fromkeys(("*/masks_before", "*/masks_after", "*/further/*"), FURTHER),
    **{
        f"refusals/train {options}/lines on stderr": EARLIER
        for options in (
            "*--teacher nowhere",
            "*--weights nowhere.safetensors",
            "*--weights bd_in1",
            "faulty/masks *",
        )
    },
}
"""Differences that are wanted: pattern of the path as fnmatch takes it (its * matches slashes, too), and the reason."""

ROOT = Path(__file__).resolve().parents[1]
BASE = "e2b2401"
DEFAULT = ("trainings", "exports", "documents", "refusals")
SECTIONS = (*DEFAULT, "slow")
SETTINGS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "COLUMNS": "200",  # lines on stderr are counted
    "HF_HUB_OFFLINE": "1",
    "PYTHONHASHSEED": "0",
}
"""Environment variables of all processes."""
PRELOADED = (
    *("torch", "torchvision", "safetensors.numpy", "safetensors.torch", "onnx", "onnxscript", "faster_coco_eval"),
    *("matplotlib.pyplot", "sklearn.datasets", "cyclopts", "rich.progress", "yaml", "coremltools"),
)
SHOWN = 100
"""Characters of a value that is printed."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    cpu_seconds: float

    @property
    def document(self) -> Json:
        """What it printed, if that is JSON."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            return f"no JSON document: {self.stdout[:200]!r}"


# 1. Run: each command in a forked process


def prepare(source: Path) -> None:
    """Let this process and those it starts import nextvit from `source`, and import what is slow to import."""
    sys.path[0] = str(source)  # in place of benchmarks/, whose modules have names such as `profile`
    os.environ["PYTHONPATH"] = str(source)
    for name in PRELOADED:
        import_module(name)


def fork(work: Callable[[], object]) -> Outcome:
    """Run `work` in a forked process; an exception gives code 1, as in Python itself."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(error.fileno(), 2)
            code = 0
            try:
                work()
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            except BaseException:  # noqa: BLE001 (the forked process must not return)
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        out.seek(0)
        error.seek(0)
        return Outcome(
            code=os.waitstatus_to_exitcode(status),
            stdout=out.read().decode(),
            stderr=error.read().decode(),
            cpu_seconds=used.ru_utime + used.ru_stime,
        )


def run_verb(arguments: list[str]) -> None:
    """`python -m nextvit ARGUMENTS`."""
    sys.argv = ["nextvit", *arguments]
    if arguments[0] == "quickstart":
        use_few_digits()
    runpy.run_module("nextvit", run_name="__main__", alter_sys=True)


def use_few_digits() -> None:
    """Let scikit-learn's dataset of digits have 200 images, which are enough here."""
    datasets: Any = import_module("sklearn.datasets")
    digits = datasets.load_digits()
    digits.images, digits.target = digits.images[:200], digits.target[:200]
    datasets.load_digits = lambda: digits


def nextvit(command: str) -> Outcome:
    """Run a verb with --json."""
    outcome = fork(partial(run_verb, [*shlex.split(command), "--json"]))
    print(f"{outcome.cpu_seconds:6.1f} s  exit code {outcome.code}  {command[:120]}", file=sys.stderr, flush=True)
    return outcome


def print_predictions(bundle: str, images: list[str]) -> None:
    """The predictions of a bundle as JSON, with all digits, and label maps as hashes."""
    predictions = import_module("nextvit").load(bundle)(images)
    found = [
        {**each.to_dict(), **{name: value for name, value in vars(each).items() if isinstance(value, np.ndarray)}}
        for each in predictions
    ]
    print(json.dumps(found, default=hash_array))


# 2. Record: one section after the other


def record_trainings(trainings: Mapping[str, Training]) -> Iterator[tuple[str, Json]]:
    for name, each in trainings.items():
        outcome = nextvit(f"train {each.dataset} --out runs/{each.run} {SHORT} {each.options}")
        files = read_files(Path("runs", each.run), RUN_FILES)
        yield f"trainings/{name}", {"exit code": outcome.code, "document": outcome.document, **files}


def record_exports(
    section: str, exports: Mapping[str, Mapping[str, str]], images: list[str]
) -> Iterator[tuple[str, Json]]:
    for run, options in exports.items():
        for name, each in options.items():
            outcome = nextvit(f"export runs/{run} {each}")
            yield f"{section}/{run}, {name}", export_facts(outcome, images)


def export_facts(outcome: Outcome, images: list[str]) -> Json:
    """What an export printed and wrote, and what the bundle predicts; of a refusal what `refusal_facts` gives."""
    document = outcome.document
    if outcome.code:
        return refusal_facts(outcome)
    bundle = document.get("bundle", "") if isinstance(document, dict) else ""
    predicted = fork(partial(print_predictions, bundle, images))
    return {
        "document": document,
        **read_files(Path(bundle), BUNDLE_FILES),
        "predictions": "none on this system" if predicted.code else predicted.document,
    }


def record_documents(section: str, commands: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    for name, command in commands.items():
        outcome = nextvit(command)
        yield f"{section}/{name}", {"exit code": outcome.code, "document": outcome.document}


def record_refusals(commands: Iterable[str]) -> Iterator[tuple[str, Json]]:
    for command in commands:
        yield f"refusals/{command}", refusal_facts(nextvit(command))


def refusal_facts(outcome: Outcome) -> Json:
    document = outcome.document
    lines = "a traceback" if "Traceback" in outcome.stderr else len(outcome.stderr.splitlines())
    keys = ", ".join(document) if isinstance(document, dict) else document
    return {"exit code": outcome.code, "lines on stderr": lines, "keys on stdout": keys}


def record_all(only: Iterable[str]) -> Iterator[tuple[str, Json]]:
    """All sections, in the working folder; also those that are not asked for, as far as others need what they write."""
    frozen_inputs.draw(Path())
    images = shlex.split(IMAGES)
    yield from record_trainings(TRAININGS)
    if "exports" in only:
        yield from record_exports("exports", EXPORTS, images)
    elif set(only) != {"trainings"}:
        needed = {run: {"onnx fp32": options["onnx fp32"]} for run, options in EXPORTS.items()}
        yield from record_exports("exports", needed, images)
    if "documents" in only or "refusals" in only:
        yield from record_documents("documents", DOCUMENTS)
        for path in sorted(Path().glob(WRITTEN_IMAGES)):
            yield f"documents/pixels of {path.name}", read_pixels(path)
    if "refusals" in only:
        frozen_inputs.damage(Path(ONNX["classification"]), Path("runs/classification"), Path("damaged"))
        yield from record_refusals(REFUSALS)
    if "slow" in only:
        yield from record_exports("slow", SLOW_EXPORTS, images)
        yield from record_documents("slow", SLOW_DOCUMENTS)


def record(out: Path, source: Path, only: Iterable[str]) -> None:
    """Write what the source does as JSON: a line for each value, by its path."""
    prepare(source)
    items, machine, before = dict[str, Json](), dict[str, Json](), Path.cwd()
    with tempfile.TemporaryDirectory() as temporary:
        places = {str(Path(temporary).resolve()): "<root>", str(source): "<source>"}
        os.environ["HF_HOME"] = f"{temporary}/hub"
        # Forked processes end without Python's clean-up, so what they leave goes with the folder.
        os.environ["TMPDIR"] = tempfile.tempdir = f"{temporary}/left"
        os.chdir(temporary)
        Path("left").mkdir()
        for path, value in record_all(only):
            if path.partition("/")[0] in only:
                items |= flatten(normalise(value, path, places), path)
            machine = machine or machine_of(value)
        os.chdir(before)
        tempfile.tempdir = None
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    content = {"commit": commit_of(source), "machine": machine, "only": list(only), "items": items}
    out.write_text(json.dumps(content, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(items)} values in {used:.0f} s of processor time: {out}", file=sys.stderr)


def machine_of(value: Json) -> dict[str, Json]:
    """The processor and the versions of packages, where a document has them."""
    document = value.get("document") if isinstance(value, dict) else None
    environment = document.get("environment", {}) if isinstance(document, dict) else {}
    return {name: environment[name] for name in ("cpu", "versions") if name in environment}


# 3. Compare: the base commit and this checkout


def compare(base: str, before_file: Path | None, only: Iterable[str]) -> int:
    """Print each difference and a line of JSON; 1 if a difference is not wanted."""
    with tempfile.TemporaryDirectory() as temporary:
        before_file = before_file or record_commit(base, Path(temporary), only)
        before = json.loads(before_file.read_text(encoding="utf-8"))
        after_file = Path(temporary, "after.json")
        start_recording(after_file, ROOT / "src", only)
        after = json.loads(after_file.read_text(encoding="utf-8"))
    if missing := set(only) - set(before["only"]):
        sys.exit(f"{before_file}: has no section {', '.join(missing)}; record it anew, or choose others with --only")
    if before["machine"] != after["machine"]:
        sys.exit(f"{before_file}: recorded on another processor or with other packages; record it anew")
    counts = {"items": 0, "same": 0, "wanted": 0, "unwanted": 0}
    for path, (old, new) in pairs(before["items"], after["items"], only).items():
        kind = kind_of(path, old, new)
        counts["items"] += 1
        counts[kind] += 1
        if kind != "same":
            reason = f"  wanted: {reason_for(path)}" if kind == "wanted" else ""
            print(f"{path}: {shortened(old)} -> {shortened(new)}{reason}")
    command = shlex.join(["python", "benchmarks/frozen.py", *sys.argv[1:]])
    print(json.dumps({**counts, "before": before["commit"], "after": after["commit"], "command": command}))
    return int(counts["unwanted"] > 0)


def pairs(before: Mapping[str, Json], after: Mapping[str, Json], only: Iterable[str]) -> dict[str, tuple[Json, Json]]:
    """The values of both by their paths, in order."""
    paths = [path for path in {**before, **after} if path.partition("/")[0] in only]
    return {path: (before.get(path, "(nothing)"), after.get(path, "(nothing)")) for path in paths}


def kind_of(path: str, old: Json, new: Json) -> str:
    """ "same", "wanted" or "unwanted"; values are compared as text, so that 1 is not 1.0, and nan is nan."""
    if json.dumps(old) == json.dumps(new):
        return "same"
    return "wanted" if reason_for(path) else "unwanted"


def reason_for(path: str) -> str | None:
    """Why a difference at this path is wanted, if it is."""
    return next((reason for pattern, reason in WANTED.items() if fnmatchcase(path, pattern)), None)


def shortened(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def record_commit(commit: str, folder: Path, only: Iterable[str]) -> Path:
    """Record a commit of this repository from a temporary worktree."""
    git = ("git", "-C", str(ROOT), "worktree")
    tree, out = folder / "base", folder / "before.json"
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        start_recording(out, tree / "src", only)
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    return out


def start_recording(out: Path, source: Path, only: Iterable[str]) -> None:
    """Record in a process of its own, which imports nextvit from `source`."""
    command = [sys.executable, __file__, "record", str(out), "--source", str(source), "--only", ",".join(only)]
    subprocess.run(command, check=True)


def commit_of(source: Path) -> str:
    """The commit of a source, with "-dirty" behind it where files were changed since."""
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--exclude", "*", "--abbrev=40"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def sections(text: str) -> tuple[str, ...]:
    """ "exports,trainings" -> ("trainings", "exports")"""
    if unknown := set(text.split(",")) - set(SECTIONS):
        raise argparse.ArgumentTypeError(f"no section {', '.join(sorted(unknown))}; accepted: {', '.join(SECTIONS)}")
    return tuple(name for name in SECTIONS if name in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recorder, comparer = commands.add_parser("record"), commands.add_parser("compare")
    recorder.add_argument("out", type=Path)
    recorder.add_argument("--source", type=Path, default=ROOT / "src", help="folder that holds the package nextvit")
    comparer.add_argument("--base", default=BASE, help="commit to compare with")
    comparer.add_argument("--before", type=Path, help="what `record` wrote of it on this machine, to save time")
    for each in (recorder, comparer):
        each.add_argument("--only", type=sections, default=DEFAULT, help=f"with commas, of {', '.join(SECTIONS)}")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        sys.exit(compare(arguments.base, arguments.before, arguments.only))
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **SETTINGS})  # some are read when Python starts
    record(arguments.out.resolve(), arguments.source.resolve(), arguments.only)


if __name__ == "__main__":
    main()
