"""Whether a small network learns more from a teacher: nextvit_nano with and without one, at equal epochs.

    python benchmarks/distillation.py FOLDER [--work DIR]

FOLDER is clothing10: the small clothing dataset (github.com/alexeygrigorev/clothing-dataset-small, CC0) as
train/<class>/*.jpg and val/<class>/*.jpg. A nextvit_tiny is trained on it as the teacher; then nextvit_nano three
times without and three times with the teacher, each pair with one seed. All commands are ordinary ones. Runs that
exist in DIR are not repeated. One JSON line is appended to benchmarks/results/distillation.jsonl.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nextvit.files.run_folder import read_json_lines
from nextvit.machine.environment import describe_environment

RESULTS = Path(__file__).parent / "results" / "distillation.jsonl"
SEEDS = (0, 1, 2)
COMMON = ("--image-size", "64", "--compute.threads", "1")
TEACHER = ("--model", "nextvit_tiny", "--epochs", "30", "--loss.label-smoothing", "0", "--optim.lr", "3e-4")
STUDENT = ("--model", "nextvit_nano", "--epochs", "20", "--optim.lr", "5e-4")


def train(folder: str, out: Path, *arguments: str) -> dict[str, Any]:
    """Train unless the run exists. Returns its command and the scores of its best checkpoint."""
    command = ["nextvit", "train", folder, "--out", str(out), *arguments, *COMMON]
    if not (out / "evaluation.json").is_file():
        resume = ["--resume"] if (out / "recipe.yaml").is_file() else []
        subprocess.run([sys.executable, "-m", *command, *resume], check=True)
    scores = json.loads((out / "evaluation.json").read_text())["scores"]
    assert len(read_json_lines(out / "metrics.jsonl")) == int(arguments[arguments.index("--epochs") + 1])
    print(f"{out.name}: {scores['top1_score']:.2f} %", flush=True)
    return {"command": " ".join(command), "scores": scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--work", default=tempfile.mkdtemp())
    arguments = parser.parse_args()
    work = Path(arguments.work)
    teacher = train(arguments.folder, work / "teacher", *TEACHER)
    teacher_options = ("--teacher", str(work / "teacher"), "--distill.weight", "0.7")
    alone, distilled = [], []
    for seed in SEEDS:
        with_seed = (*STUDENT, "--compute.seed", str(seed))
        alone.append(train(arguments.folder, work / f"alone-{seed}", *with_seed))
        distilled.append(train(arguments.folder, work / f"distilled-{seed}", *with_seed, *teacher_options))
    gains = [
        one["scores"]["top1_score"] - other["scores"]["top1_score"] for one, other in zip(distilled, alone, strict=True)
    ]
    record = {
        "teacher": teacher,
        "alone": alone,
        "distilled": distilled,
        "gain_points": [round(gain, 2) for gain in gains],
        "mean_gain_points": round(statistics.mean(gains), 2),
        "environment": {**describe_environment(), "command": "python benchmarks/distillation.py clothing10"},
    }
    text = json.dumps(record, ensure_ascii=False).replace(str(work), "runs").replace(arguments.folder, "clothing10")
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(f"gains: {record['gain_points']} points, mean {record['mean_gain_points']}")


if __name__ == "__main__":
    main()
