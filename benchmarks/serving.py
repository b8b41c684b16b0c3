"""The cost of serving: size of the installed packages, time to import, to load a bundle and to the first prediction.

    python -m venv server && server/bin/pip install '.[onnx]'
    server/bin/python benchmarks/serving.py photos-onnx-fp32.nextvit

Counts the installed files of nextvit, of the requirements of it and its extra "onnx", and of their requirements in
turn, in the environment of the Python that runs this; says which of them are imported while serving. Times are medians
over fresh processes with one thread. One JSON line is appended to benchmarks/results/serving.jsonl.
"""

import json
import re
import shlex
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from nextvit.machine.environment import describe_environment, strip_folder

RESULTS = Path(__file__).parent / "results" / "serving.jsonl"
PROCESSES = 10
SERVE = """
import json, sys, time
times = {}
def lap(name, since):
    times[name] = 1000 * (time.perf_counter() - since)
    return time.perf_counter()
start = began = time.perf_counter()
import nextvit
start = lap("import_nextvit_ms", start)
import numpy, PIL.Image
start = lap("import_numpy_and_pillow_ms", start)
import onnxruntime
start = lap("import_onnxruntime_ms", start)
import nextvit.runtime.predictor, nextvit.runtime.onnx_session
start = lap("import_rest_ms", start)
predictor = nextvit.load(sys.argv[1], threads=1)
start = lap("load_ms", start)
image = numpy.zeros((480, 640, 3), numpy.uint8)
predictor([image])
start = lap("first_answer_ms", start)
lap("import_to_first_answer_ms", began)
start = time.perf_counter()
predictor([image])
lap("second_answer_ms", start)
try:
    import resource
    times["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
except ImportError:
    pass
print(json.dumps({"times": times, "imported": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def installed_sizes(name: str, extra: str = "", *, found: dict[str, int] | None = None) -> dict[str, int]:
    """Bytes on the disk of a package and of all its installed requirements, by name."""
    found = {} if found is None else found
    package = metadata.distribution(name)
    found[name] = sum(Path(str(file.locate())).stat().st_size for file in package.files or [] if file.locate().exists())
    if extra or name == "nextvit":
        found[name] = sum(file.stat().st_size for file in source_files())
    for line in package.requires or []:
        needed = re.split(r"[^\w.-]", line)[0].lower()
        of_extra = re.search(r"extra *== *['\"]([\w-]+)", line)
        if needed in found or (of_extra and of_extra[1] != extra):
            continue
        try:
            installed_sizes(needed, found=found)
        except metadata.PackageNotFoundError:  # for another system or another Python
            continue
    return found


def source_files() -> list[Path]:
    """The source files of nextvit, which may be an editable install."""
    import nextvit

    return list(Path(nextvit.__file__).parent.rglob("*.py"))


def main() -> None:
    [bundle] = sys.argv[1:]
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", SERVE, bundle], check=True, capture_output=True).stdout)
        for _ in range(PROCESSES)
    ]
    times = {name: round(statistics.median(run["times"][name] for run in runs), 1) for name in runs[0]["times"]}
    mib = {name: round(size / 2**20, 1) for name, size in installed_sizes("nextvit", "onnx").items()}
    imported = {name: package for package in mib for name in import_names(package)}
    used = [imported[name] for name in runs[0]["imported"] if name in imported]
    record = {
        "processes": PROCESSES,
        **times,
        "installed_mib": round(sum(mib.values()), 1),
        "imported_mib": round(sum(mib[package] for package in {"nextvit", *used}), 1),
        "packages_mib": dict(sorted(mib.items(), key=lambda each: -each[1])),
        "environment": {**describe_environment(), "command": shlex.join(["python", *map(strip_folder, sys.argv)])},
    }
    print(json.dumps(record, indent=2))
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def import_names(package: str) -> list[str]:
    """Names of the modules of a package."""
    return [name for name, owners in metadata.packages_distributions().items() if package in map(str.lower, owners)]


if __name__ == "__main__":
    main()
