"""Real photographs, from folder to proven bundle: 2,062 images of ten hand signs, nextvit_nano from scratch.

    python benchmarks/signdigits10.py FOLDER

FOLDER is the Sign Language Digits dataset (github.com/ardamavi/Sign-Language-Digits-Dataset, Apache-2.0) as
train/<class>/*.jpg and val/<class>/*.jpg. Each step is an ordinary nextvit command; one JSON line with the commands,
their documents and the seconds that they took is appended to benchmarks/results/signdigits10.jsonl.
"""

import json
import sys
import tempfile
from pathlib import Path

from commands import nextvit

RESULTS = Path(__file__).parent / "results" / "signdigits10.jsonl"


def predict_labels(model: str, folder: str) -> dict[str, str]:
    """The top-1 class of every image of a folder, by path."""
    predictions = nextvit("predict", model, folder)["predictions"]
    return {each["path"]: each["top"][0]["label"] for each in predictions}


def main(folder: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        run = f"{temporary}/signs"
        train = nextvit(
            "train", folder, "--out", run, "--model", "nextvit_nano", "--image-size", "64", "--epochs", "30"
        )
        epochs = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
        export = nextvit("export", run, "--to", "onnx")
        bench = nextvit("bench", run, "--batch", "1,8")
        by_torch, by_onnx = (predict_labels(model, f"{folder}/val") for model in (run, export["bundle"]))
    record = {
        "train": train,
        "epochs": epochs,
        "export": export,
        "bench": bench,
        "pictures": len(by_torch),
        "same_answers": sum(by_torch[path] == by_onnx[path] for path in by_torch),
    }
    text = json.dumps(record, ensure_ascii=False).replace(temporary, "runs").replace(folder, "signdigits10")
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(
        f"top-1 {train['scores']['top1_score']:.2f} % in {train['seconds']:.0f} s; "
        f"{record['same_answers']} of {record['pictures']} equal predictions"
    )


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
