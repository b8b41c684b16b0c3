"""Large images in windows: time and memory of a whole `nextvit predict`, from the file to overlay and index image.

    python benchmarks/large_image.py MODEL [--windows 512] [--sizes 1000x750,4000x3000,8000x6000]

MODEL is a segmentation model: a bundle that was exported with --scores, or a run. An image is a mosaic of the bundled
photographs. Each size is measured in its own process, whose peak resident size the system reports. One JSON line for
each is appended to benchmarks/results/segmentation_large.jsonl.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from nextvit.data.image_files import list_images
from nextvit.export.proof_images import SAMPLE_IMAGES
from nextvit.machine.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "segmentation_large.jsonl"
MIB = 2**20


def make_mosaic(size_wh: tuple[int, int]) -> Image.Image:
    """A mosaic of the bundled photographs, in rows; each row begins with the next photograph."""
    photographs = [Image.open(path).convert("RGB") for path in list_images(SAMPLE_IMAGES)]
    sheet = Image.new("RGB", size_wh)
    top, row = 0, 0
    while top < sheet.height:
        left, number = 0, row
        while left < sheet.width:
            photograph = photographs[number % len(photographs)]
            sheet.paste(photograph, (left, top))
            left, number = left + photograph.width, number + 1
        top, row = top + min(each.height for each in photographs), row + 1
    return sheet


def measure_predict(model: Path, image: Path, windows: int, out: Path) -> dict[str, Any]:
    """Predict one image in its own process. Returns the seconds and the peak memory."""
    command = [sys.executable, "-m", "nextvit", "predict", str(model), str(image), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--windows", str(windows)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"nextvit predict ended with {process.returncode}")
    kib = used.ru_maxrss // 1024 if sys.platform == "darwin" else used.ru_maxrss
    return {"seconds": round(seconds, 1), "peak_mib": round(kib * 1024 / MIB)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--windows", type=int, default=512)
    parser.add_argument("--sizes", default="1000x750,4000x3000,8000x6000", help="width x height")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    for size in arguments.sizes.split(","):
        width, height = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "image.jpg"
            make_mosaic((width, height)).save(image, quality=92)
            found = measure_predict(arguments.model, image, arguments.windows, Path(folder) / "predictions")
            [mask] = (Path(folder) / "predictions").glob("*.png")
            with Image.open(mask) as indices:
                assert indices.size == (width, height)
        command = (
            f"python benchmarks/large_image.py {arguments.model.name} --windows {arguments.windows} --sizes {size}"
        )
        record = {
            "model": arguments.model.name,
            "size": [height, width],
            "window_px": arguments.windows,
            **found,
            "environment": {**describe_environment(), "command": command},
        }
        print(f"{size}: {found['seconds']} s, {found['peak_mib']} MiB")
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
