"""What helps against class imbalance and changing light: one option added after the other, with equal numbers of steps.

    python benchmarks/imbalance.py FOLDER [--epochs 10] [--only plain]

FOLDER is a dataset with images/ and masks/; the options are for magnetic tiles, of whose pixels 94 % are background and
0.04 % blow holes. Training is from scratch; an epoch is 100 steps. One JSON line for each variant is appended to
benchmarks/results/imbalance.jsonl.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from commands import nextvit

RESULTS = Path(__file__).parent / "results" / "imbalance.jsonl"
COMMON = (
    *("--model", "nextvit_nano", "--weights", "none", "--image-size", "160", "--batch-size", "16"),
    *("--optim.lr", "0.001", "--schedule.epoch-steps", "100", "--schedule.patience", "0", "--masks.crop", "0.8"),
    *("--masks.scale", "0.75", "1.5", "--masks.most-of-one-class", "1", "--masks.photometric", "0"),
)
STANDARDISED = ("--heads.standardise",)
BALANCED = (*STANDARDISED, "--loss.balance", "0.4")
RARE_CROPS = (*BALANCED, "--masks.rare-crops", "0.5")
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "dice": ("--loss.dice", "1"),
    "standardised": STANDARDISED,
    "standardised, balance": BALANCED,
    "standardised, balance, rare crops": RARE_CROPS,
    "standardised, balance, rare crops, dice": (*RARE_CROPS, "--loss.dice", "1"),
    "standardised, balance, rare crops, tversky": (*RARE_CROPS, "--loss.tversky", "1"),
}


def train_and_evaluate(way: str, data: Path, *, epochs: int) -> dict[str, Any]:
    """Train with the options of one variant, and evaluate its best weights."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        train = nextvit("train", str(data), "--out", str(run), *COMMON, "--epochs", str(epochs), *WAYS[way])
        evaluation = nextvit("eval", str(run), str(data))
    scores, details = evaluation["scores"], evaluation["details"]
    return {
        "way": way,
        "options": (*COMMON, *WAYS[way]),
        "data": data.name,
        "epochs": epochs,
        "seconds": train["seconds"],
        "scores": scores,
        "interval_95": evaluation["interval_95"],
        "classes": dict(zip(details["classes"], details["class_scores"], strict=True)),
        "recall": dict(zip(details["classes"], details["segmentation"]["class_recall"], strict=True)),
        "pixels": dict(zip(details["classes"], details["segmentation"]["class_pixels"], strict=True)),
        "environment": evaluation["environment"],
        "command": f"python benchmarks/imbalance.py FOLDER --epochs {epochs}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", action="append", choices=WAYS, help="a variant; repeat it for more. Default: all")
    arguments = parser.parse_args()
    for way in arguments.only or WAYS:
        record = train_and_evaluate(way, arguments.folder, epochs=arguments.epochs)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        print(f"{way}: mean IoU {record['scores']['mean_iou_score']:.2f} %, {record['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
