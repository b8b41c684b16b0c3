"""What helps where a class has few of the pixels: losses and crops, each learnt from scratch for as many epochs.

    python benchmarks/imbalance.py FOLDER [--epochs 25] [--seeds 0,1] [--only dice]

FOLDER is a set with images/ and masks/; it was written for magnetic tiles, 94 % of whose pixels are background and 0.04 % blow
holes. One JSON line for each way and seed is appended to benchmarks/results/imbalance.jsonl.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from commands import nextvit

RESULTS = Path(__file__).parent / "results" / "imbalance.jsonl"
WAYS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "dice": ("--loss.dice", "1"),
    "tversky": ("--loss.tversky", "1"),
    "rare crops": ("--masks.rare-crops", "0.5"),
    "dice, rare crops": ("--loss.dice", "1", "--masks.rare-crops", "0.5"),
}


def learnt(way: str, data: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    """Train one way, and what its best weights reach."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        train = nextvit(
            *("train", str(data), "--out", str(run), "--model", "nextvit_nano", "--weights", "none"),
            *("--image-size", "224", "--epochs", str(epochs), "--schedule.patience", "0"),
            *("--compute.seed", str(seed), *WAYS[way]),
        )
        exam = nextvit("eval", str(run), str(data))
    scores, details = exam["scores"], exam["details"]
    return {
        "way": way,
        "options": WAYS[way],
        "data": data.name,
        "epochs": epochs,
        "seed": seed,
        "seconds": train["seconds"],
        "scores": scores,
        "interval_95": exam["interval_95"],
        "classes": dict(zip(details["classes"], details["class_scores"], strict=True)),
        "recall": dict(zip(details["classes"], details["segmentation"]["class_recall"], strict=True)),
        "pixels": dict(zip(details["classes"], details["segmentation"]["class_pixels"], strict=True)),
        "environment": exam["environment"],
        "command": f"python benchmarks/imbalance.py FOLDER --epochs {epochs}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seeds", default="0", help="numbers, with commas between")
    parser.add_argument("--only", action="append", choices=WAYS, help="a way; give it again for more. Default: all")
    arguments = parser.parse_args()
    for seed in map(int, arguments.seeds.split(",")):
        for way in arguments.only or WAYS:
            record = learnt(way, arguments.folder, epochs=arguments.epochs, seed=seed)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
            print(f"{way}, seed {seed}: mean IoU {record['scores']['mean_iou_score']:.2f} %, {record['seconds']:.0f} s")


if __name__ == "__main__":
    main()
