"""nextvit quickstart"""

import json
import shlex
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from nextvit.cli.console import AsJson, progress, show
from nextvit.errors import InputError
from nextvit.files.run_folder import EVALUATION


def quickstart(*, out: Path = Path("runs/quickstart"), as_json: AsJson = False) -> None:
    """The whole way on small real images, offline, on a CPU, in minutes.

    Writes scikit-learn's 1,797 handwritten digits as an image folder, then trains, evaluates, exports, verifies and
    measures with the ordinary verbs, each of which is shown as you would type it.

    Example: nextvit quickstart --out runs/quickstart

    Parameters
    ----------
    out: Path
        Folder for the images and the run; a number is added if it exists.
    """
    from nextvit.cli.main import run

    folder = unused(out)
    started = time.perf_counter()
    count = write_digits(folder / "digits")
    progress.print(f"wrote {count} images of handwritten digits to {folder / 'digits'}", markup=False)
    digits, run_folder = str(folder / "digits"), str(folder / "run")
    bundle = f"{run_folder}/exports/run-onnx-fp32.nextvit"
    for command in (
        ["check", digits],
        ["train", digits, "--out", run_folder, "--recipe", "smoke"],
        ["eval", run_folder, digits],
        ["export", run_folder, "--to", "onnx"],
        ["verify", bundle, "--against", run_folder],
        ["bench", run_folder, "--batch", "1,8", "--seconds", "2"],
        ["predict", bundle, f"{digits}/train/7/0007.png"],
    ):
        progress.print(f"\n$ nextvit {shlex.join(command)}", markup=False, style="bold", soft_wrap=True)
        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            code = run(command)
        if code:
            sys.exit(code)
    progress.print(
        f"\nDone in {time.perf_counter() - started:.0f} s. Look at {run_folder}/report.html\n\n"
        "Your own images, in folders train/<class>/ (and val/<class>/, if you like):\n\n"
        "  nextvit check photos\n"
        "  nextvit train photos --out runs/photos --model nextvit_nano --image-size 96\n"
        "  nextvit export runs/photos --to onnx\n"
        "  nextvit bench runs/photos\n",
        markup=False,
        soft_wrap=True,
    )
    if as_json:
        scores = json.loads((Path(run_folder) / EVALUATION).read_text(encoding="utf-8"))["scores"]
        document = {"verb": "quickstart", "run": run_folder, "bundle": bundle, "scores": scores}
        show(as_json, document=document)


def unused(out: Path) -> Path:
    """The folder, or the first of its numbered siblings that does not exist."""
    out = out.resolve().relative_to(Path.cwd()) if out.resolve().is_relative_to(Path.cwd()) else out.resolve()
    if not out.name:
        raise InputError("--out must name a folder of its own, such as runs/quickstart")
    candidates = (out if number == 1 else out.with_name(f"{out.name}-{number}") for number in range(1, 1000))
    for folder in candidates:
        if not folder.exists():
            return folder
    raise InputError(f"{out} and its numbered siblings all exist; remove some, or choose another --out")


def write_digits(folder: Path) -> int:
    """Write scikit-learn's digits, 8x8 scans of handwriting, as 32x32 PNGs in train/<digit>/; returns how many."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    for index, (scan, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / "train" / str(digit) / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.asarray(scan * (255 / 16), np.uint8)  # ink counts 0..16
        Image.fromarray(grey).resize((32, 32), Image.Resampling.BICUBIC).save(path)
    return len(digits.images)
