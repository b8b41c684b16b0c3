"""nextvit_nano from scratch against timm's most similar network with timm's recipe, in equal minutes.

    python benchmarks/yardstick.py FOLDER [--minutes 5] [--image-size 96] [--subjects ours,usual,light]

FOLDER is clothing10: the small clothing dataset (github.com/alexeygrigorev/clothing-dataset-small, CC0) as
train/<class>/*.jpg and val/<class>/*.jpg. The yardstick is edgenext_x_small, a hybrid of convolution and attention
with as many parameters (2.15 M; nextvit_nano 2.18 M), trained by the components of timm's train.py: its loader, label
smoothing, AdamW without decay of one-dimensional weights, cosine with warm-up, ModelEmaV3; bf16 autocast and channels
last, as for ours. "usual" is a common recipe for small networks: 1e-3 with rand-m9-mstd0.5-inc1, mixup 0.2 and random
erasing 0.25; "light", which suits a few minutes better, is 5e-4 with only the crops (0.35 to 1 of the area) and flips
of ours. Ours is `nextvit train` with its default recipe. Each is first timed for two epochs and then gets as many
epochs as fill the minutes, evaluation included, so that both learning rates decay fully; our seconds include the start
of the process and the check of the dataset, timm's do not. One JSON line for each subject is appended to
benchmarks/results/yardstick.jsonl, and docs/images/yardstick.svg is drawn from the last record of each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import timm.data.auto_augment
import torch
from PIL import ImageOps
from timm.data import Mixup, create_dataset, create_loader, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn

from nextvit.files.run_folder import read_json_lines
from nextvit.machine.environment import describe_environment
from nextvit.report.figures import BLUE, GREY, ORANGE, STYLE, to_svg

RESULTS = Path(__file__).parent / "results" / "yardstick.jsonl"
FIGURE = Path(__file__).parents[1] / "docs" / "images" / "yardstick.svg"
YARDSTICK = "edgenext_x_small"
SUBJECTS = {"ours": BLUE, "usual": GREY, "light": ORANGE}
BATCH = 32
posterize = ImageOps.posterize


def timm_epochs(folder: str, *, epochs: int, size: int, light: bool, only: int | None = None) -> list[dict[str, float]]:
    """Train the yardstick with a schedule of `epochs`, but stop after `only`. Returns a record for each epoch."""
    torch.manual_seed(0)
    # timm 1.0.31 asks Pillow 13 to posterize to 0 bits, which it refuses; 1 bit is the nearest that works.
    timm.data.auto_augment.ImageOps.posterize = lambda image, bits: posterize(image, max(1, bits))

    # 1. Build
    model: nn.Module = timm.create_model(YARDSTICK, num_classes=10, drop_path_rate=0.1)
    model = model.to(memory_format=torch.channels_last)
    config = resolve_data_config({"input_size": (3, size, size)}, model=model)
    common = {"input_size": config["input_size"], "batch_size": BATCH, "device": torch.device("cpu"), "num_workers": 2}
    common |= {"mean": config["mean"], "std": config["std"], "interpolation": config["interpolation"]}
    loader = create_loader(
        create_dataset("", root=folder, split="train", is_training=True),
        is_training=True,
        scale=(0.35, 1.0) if light else None,
        color_jitter=None,
        auto_augment=None if light else "rand-m9-mstd0.5-inc1",
        re_prob=0.0 if light else 0.25,
        re_mode="pixel",
        **common,
    )
    val = create_loader(create_dataset("", root=folder, split="val"), is_training=False, crop_pct=1.0, **common)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-4 if light else 1e-3, weight_decay=0.05)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=epochs, lr_min=1e-5, warmup_t=min(5, epochs // 4), warmup_lr_init=1e-5, warmup_prefix=True
    )
    ema = ModelEmaV3(model, decay=0.99, use_warmup=True)
    mixup, criterion = (
        Mixup(mixup_alpha=0.2, prob=0.0 if light else 1.0, label_smoothing=0.1, num_classes=10),
        SoftTargetCrossEntropy(),
    )

    # 2. Train and evaluate
    records, started = [], time.perf_counter()
    for epoch in range(epochs if only is None else only):
        model.train()
        scheduler.step(epoch)
        for images, labels in loader:
            images, targets = mixup(images, labels)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images.contiguous(memory_format=torch.channels_last))
            criterion(logits.float(), targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            ema.update(model)
        correct = images_seen = 0
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for images, labels in val:
                correct += int((ema.module.eval()(images).argmax(1) == labels).sum())
                images_seen += len(labels)
        seconds = time.perf_counter() - started
        records.append(
            {"epoch": epoch + 1, "seconds": round(seconds, 1), "top1_score": round(100 * correct / images_seen, 2)}
        )
        print(YARDSTICK, records[-1], flush=True)
    return records


def our_epochs(folder: str, out: Path, *, epochs: int, size: int) -> list[dict[str, float]]:
    """Run `nextvit train`. Returns a record for each epoch."""
    command = ["nextvit", "train", folder, "--out", str(out), "--model", "nextvit_nano", "--image-size", str(size)]
    command += ["--epochs", str(epochs), "--batch-size", str(BATCH), "--schedule.patience", "0"]
    started, seconds = time.perf_counter(), []
    with subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            print(line, end="", flush=True)
            if line.startswith("epoch ") and "top-1" in line:
                seconds.append(round(time.perf_counter() - started, 1))
    assert process.returncode == 0
    lines = read_json_lines(out / "metrics.jsonl")
    return [
        {"epoch": line["epoch"], "seconds": second, "top1_score": line["val_top1_score"]}
        for line, second in zip(lines, seconds, strict=True)
    ]


def draw() -> None:
    """Draw the last record of each subject: top-1 over minutes."""
    last = {line["subject"]: line for line in read_json_lines(RESULTS)}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        for subject, colour in SUBJECTS.items():
            if subject not in last:
                continue
            epochs = last[subject]["epochs"]
            minutes = [each["seconds"] / 60 for each in epochs]
            name = "nextvit_nano" if subject == "ours" else f"{YARDSTICK} (timm), {subject}"
            axes.plot(minutes, [each["top1_score"] for each in epochs], color=colour, label=name)
        axes.set(title="clothing10 from scratch, 96 px", xlabel="minutes on two CPU cores", ylabel="top-1, %")
        axes.legend(frameon=False, loc="lower right")
    FIGURE.write_text(to_svg(figure), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--subjects", default=",".join(SUBJECTS))
    arguments = parser.parse_args()
    size = arguments.image_size

    def epochs_for(two_epochs: list[dict[str, float]]) -> int:
        """Epochs that fill the minutes; the first includes the start, the second is as long as each further one."""
        start, each = two_epochs[0]["seconds"], two_epochs[1]["seconds"] - two_epochs[0]["seconds"]
        return max(2, round((60 * arguments.minutes - start) / each + 1))

    def train(subject: str, epochs: int, *, only: int | None = None) -> list[dict[str, float]]:
        if subject != "ours":
            return timm_epochs(arguments.folder, epochs=epochs, size=size, light=subject == "light", only=only)
        with tempfile.TemporaryDirectory() as temporary:
            return our_epochs(arguments.folder, Path(temporary, "run"), epochs=only or epochs, size=size)

    for subject in arguments.subjects.split(","):
        epochs = train(subject, epochs_for(train(subject, 100, only=2)))
        command = f"python benchmarks/yardstick.py clothing10 --minutes {arguments.minutes:g} --image-size {size}"
        facts = {**describe_environment(), "command": f"{command} --subjects {subject}"}
        record = {
            "subject": subject,
            "minutes": arguments.minutes,
            "image_size": size,
            "epochs": epochs,
            "environment": facts,
        }
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        best = max(each["top1_score"] for each in epochs)
        print(f"{subject}: {len(epochs)} epochs in {epochs[-1]['seconds']:.0f} s, best {best:.2f} %")
    draw()


if __name__ == "__main__":
    main()
