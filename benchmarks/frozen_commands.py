"""The commands that benchmarks/frozen.py runs on what benchmarks/frozen_inputs.py draws, by name.

Paths are relative to the folder of the inputs; every command gets --json besides.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Training:
    """A run, and how it is trained."""

    dataset: str
    options: str
    run: str
    """Its folder in runs/."""


SHORT = (
    "--compute.threads 1 --compute.precision fp32 --compute.device cpu --data.workers 0 --schedule.patience 0"
    " --model nextvit_nano"
)
MANY_CHANGES = (
    "--weights runs/classification --teacher runs/classification --optim.accumulate 2 --optim.layer-decay 0.8"
    " --data.balance on --augment.rand-augment 9 --mix.mixup 0.8 --mix.cutmix 1 --mix.erase 0.25 --schedule.shape poly"
)
TRAININGS: dict[str, Training] = {
    "classification": Training(
        "classes",
        "--weights none --epochs 8 --image-size 64 --batch-size 6 --optim.lr 2e-3 --ema.decay 0.9",
        "classification",
    ),
    "classification, many settings": Training(
        "classes", f"{MANY_CHANGES} --epochs 1 --image-size 64 --batch-size 8", "many_settings"
    ),
    "classification, resumed": Training(
        "classes", f"{MANY_CHANGES} --epochs 2 --image-size 64 --batch-size 8 --resume", "many_settings"
    ),
    "multilabel": Training(
        "labels.csv",
        "--weights none --epochs 6 --image-size 32 --batch-size 4 --optim.lr 2e-3 --ema.decay 0.9",
        "multilabel",
    ),
    "detection": Training("objects", "--weights none --epochs 2 --image-size 64 --batch-size 3", "detection"),
    "detection, many settings": Training(
        "objects",
        "--weights runs/classification --epochs 1 --image-size 64 --batch-size 3 --objects.jitter 0.5"
        " --objects.copy-paste 1 --objects.photometric 1 --model.frozen-stages 1 --model.frozen-norms --ema.decay 0",
        "detection_many_settings",
    ),
    "segmentation": Training(
        "masks",
        "--weights runs/classification --epochs 6 --image-size 64 --batch-size 3 --optim.lr 5e-3 --ema.decay 0.5"
        " --optim.layer-decay 1 --masks.scale 0.9 1.1 --masks.photometric 0",
        "segmentation",
    ),
    "segmentation, many settings": Training(
        "objects",
        "--weights none --task segmentation --epochs 1 --image-size 64 --batch-size 3 --heads.decoder uper"
        " --heads.standardise --loss.dice 1 --loss.tversky 1 --loss.balance 0.4 --masks.rare-crops 0.5",
        "segmentation_many_settings",
    ),
}
"""Each may start from those before it."""

NO_LIMIT = "--max-drop 100"
"""A young network's score says nothing, and a refusal is followed by a long search for layers to keep in float."""
EXPORTS: dict[str, dict[str, str]] = {
    "classification": {
        "onnx fp32": "--to onnx",
        "onnx fp32, any size": "--to onnx --dynamic-size",
        "onnx fp16": "--to onnx --precision fp16",
        "onnx int8": f"--to onnx --precision int8 {NO_LIMIT}",
        "openvino fp32": "--to openvino",
        "openvino bf16": "--to openvino --precision bf16",
        "openvino int8": f"--to openvino --precision int8 {NO_LIMIT}",
        "coreml fp32": "--to coreml",
        "coreml fp16": "--to coreml --precision fp16",
        "coreml w8": f"--to coreml --precision w8 {NO_LIMIT}",
        "executorch fp32": "--to executorch",
        "torch fp32": "--to torch",
        "torch bf16": "--to torch --precision bf16",
        "tensorrt fp16": "--to tensorrt --precision fp16",
    },
    "multilabel": {
        "onnx fp32": "--to onnx",
        "openvino fp32": "--to openvino",
        "coreml fp32": "--to coreml",
        "torch fp32": "--to torch",
    },
    "detection": {"onnx fp32": "--to onnx", "openvino fp32": "--to openvino"},
    "segmentation": {
        "onnx fp32": "--to onnx --scores --out runs/segmentation/exports/segmentation-onnx-fp32.nextvit",
        "openvino fp32": "--to openvino",
        "coreml fp32": "--to coreml --fixed-size 64x96",
        "coreml fp16": "--to coreml --precision fp16 --fixed-size 64x96",
    },
}
"""Of the run of the same name: options of `nextvit export`."""

ONNX = {run: f"runs/{run}/exports/{run}-onnx-fp32.nextvit" for run in EXPORTS}
"""The bundles that documents and refusals need."""
BRIEF = "--runs 2 --seconds 0 --threads 1"
IMAGES = "images/objects.png images/rotated.jpg images/sixteen_bits.png images/transparent.png"
DATASETS = {"classification": "classes", "multilabel": "labels.csv", "detection": "objects", "segmentation": "masks"}
DOCUMENTS: dict[str, str] = {
    "models": "models",
    **{f"check {task}": f"check {dataset}" for task, dataset in DATASETS.items()},
    "check objects as masks": "check objects --task segmentation",
    "check copies": "check faulty/copies --report check.html",
    "check faulty objects": "check faulty/objects",
    "check faulty masks": "check faulty/masks",
    "convert VOC": "convert voc --out converted_voc",
    "convert YOLO": "convert yolo --out converted_yolo",
    "shard folders": "shard classes --out shards",
    "shard several labels": "shard labels.csv --out shards_of_labels",
    "check shards": "check shards",
    "report one": "report runs/classification --out one.html",
    "report two": "report runs/classification runs/many_settings --out two.html",
    **{f"info of a run, {task}": f"info runs/{task}" for task in DATASETS},
    **{f"info of a bundle, {task}": f"info {ONNX[task]}" for task in DATASETS},
    "info of a checkpoint": "info runs/classification/checkpoints/last/ema.safetensors",
    **{f"eval of a run, {task}": f"eval runs/{task} {dataset}" for task, dataset in DATASETS.items()},
    **{f"eval of a bundle, {task}": f"eval {ONNX[task]} {dataset}" for task, dataset in DATASETS.items()},
    "eval of shards, training split": "eval runs/classification shards --split train",
    "eval of defects": "eval runs/segmentation masks --false-alarms 10",
    "eval of defects with a bundle": f"eval {ONNX['segmentation']} masks --false-alarms 10",
    "eval in windows": "eval runs/segmentation masks --windows 32",
    "eval at several scales": "eval runs/segmentation masks --scales 0.5,1 --flip",
    **{f"predict with a run, {task}": f"predict runs/{task} {IMAGES} --out predicted/{task}" for task in DATASETS},
    **{f"predict with a bundle, {task}": f"predict {ONNX[task]} {IMAGES}" for task in DATASETS},
    "predict in windows": f"predict runs/segmentation {IMAGES} --windows 32",
    "predict unreadable": "predict runs/classification images faulty/image.jpg",
    "export signed": "export runs/multilabel --sign keys/signer.pem --out signed.nextvit --data labels.csv",
    **{f"verify {task}": f"verify {ONNX[task]}" for task in DATASETS},
    **{f"verify against a run, {task}": f"verify {ONNX[task]} --against runs/{task}" for task in DATASETS},
    "verify signed, with data": "verify signed.nextvit --key keys/signer.pub.pem --data labels.csv",
    "bench": f"bench runs/multilabel {ONNX['multilabel']} --runtimes torch,onnx --quick {BRIEF}",
}
"""Commands that succeed, or whose negative result is a document; later ones may read what earlier ones wrote."""
WRITTEN_IMAGES = "predicted/segmentation/*.png"
"""Label maps that one of them writes."""
SLOW_EXPORTS = {
    "classification": {
        "onnx int8, layers kept in float": "--to onnx --precision int8 --max-drop 0 --out kept_in_float.nextvit",
        "openvino fp16": "--to openvino --precision fp16",
        "coreml w6": f"--to coreml --precision w6 {NO_LIMIT}",
        "executorch int8": f"--to executorch --precision int8 {NO_LIMIT}",
    },
    "multilabel": {
        "onnx int8": f"--to onnx --precision int8 {NO_LIMIT}",
        "executorch fp32": "--to executorch",
    },
    "segmentation": {
        "onnx fp16": "--to onnx --precision fp16",
        "openvino fp16": "--to openvino --precision fp16",
        "openvino bf16": "--to openvino --precision bf16",
    },
}
SLOW_DOCUMENTS = {
    "export explained": "export runs/multilabel --to onnx --explain --out explained.nextvit",
    "quickstart": "quickstart --out quickstart",
    "bench in full": (
        f"bench {ONNX['multilabel']} --data labels.csv --profile --page bench.html --save bench.jsonl {BRIEF}"
        " --fail-if p50>1000000ms"
    ),
}

TRAIN = "train classes --out runs/refused --model nextvit_nano --weights none"
RUN, BUNDLE = "runs/classification", ONNX["classification"]
REFUSALS: tuple[str, ...] = (
    "trian classes --out runs/refused",
    "train classes",
    f"{TRAIN} --epoch 2",
    f"{TRAIN} --epochs many",
    f"{TRAIN} --batch-size 1",
    f"{TRAIN} --image-size 0",
    f"{TRAIN} --optim.lr -1",
    f"{TRAIN} --optim.momentum 0.9",
    f"{TRAIN} --heads.decoder none",
    f"{TRAIN} --recipe finetun",
    f"{TRAIN} --config nowhere.yaml",
    f"{TRAIN} --config faulty/broken.yaml",
    f"{TRAIN} --config faulty/unknown.yaml",
    f"{TRAIN} --config faulty/wrong_type.yaml",
    f"{TRAIN} --task segmentation",
    f"{TRAIN} --teacher nowhere",
    f"{TRAIN} --watch nowhere:factory",
    f"{TRAIN} --compute.device nowhere",
    "train classes --out runs/refused --model nextvit_nan",
    "train classes --out runs/refused --model nextvit_nano --weights nowhere.safetensors",
    "train classes --out runs/refused --model nextvit_nano --weights faulty/weights.safetensors",
    "train classes --out runs/refused --model nextvit_small --weights bd_in1",
    "train classes --out runs/refused --resume",
    f"train classes --out {RUN}",
    f"train classes --out {RUN} --resume --model nextvit_tiny",
    f"train masks --out {RUN} --resume",
    "train nowhere --out runs/refused",
    "train faulty/empty --out runs/refused",
    "train faulty/empty_class --out runs/refused",
    "train faulty/columns.csv --out runs/refused",
    "train faulty/missing.csv --out runs/refused",
    "train faulty/objects --out runs/refused",
    "train faulty/masks --out runs/refused --model nextvit_nano --image-size 64 --epochs 1",
    "train objects --out runs/refused --model nextvit_nano --teacher runs/detection",
    "check nowhere",
    "check faulty/empty",
    "check classes --task detection",
    "check classes --report nowhere/check.html",
    "convert nowhere --out refused",
    "convert classes --out refused",
    "convert voc",
    "convert voc --out classes",
    "shard nowhere --out refused",
    "shard objects --out refused",
    "shard classes --out refused --shard-size 0",
    "shard classes --out classes",
    "report",
    "report nowhere",
    "report faulty/empty",
    "report runs/classification runs/detection --out nowhere/two.html",
    "eval nowhere classes",
    "eval runs/classification nowhere",
    "eval runs/classification masks",
    "eval runs/classification classes --split test",
    "eval runs/classification classes --windows 64",
    "eval runs/classification classes --false-alarms 1",
    "eval runs/segmentation masks --false-alarms 101",
    "eval damaged/changed.nextvit classes",
    "eval damaged/run classes",
    f"predict {RUN}",
    f"predict {RUN} nowhere.jpg",
    f"predict {RUN} faulty/empty",
    f"predict {RUN} {IMAGES} --min-score 2",
    f"predict {RUN} {IMAGES} --scales one",
    f"predict {RUN} {IMAGES} --out labels.csv",
    f"predict {BUNDLE} {IMAGES} --device nowhere",
    f"predict nowhere {IMAGES}",
    f"predict damaged/lacks_a_file.nextvit {IMAGES}",
    f"predict damaged/no_checkpoint {IMAGES}",
    f"predict runs/segmentation {IMAGES} --windows 50",
    "export nowhere",
    f"export {BUNDLE}",
    f"export {RUN} --to onxx",
    f"export {RUN} --precision int4",
    f"export {RUN} --precision bf16",
    f"export {RUN} --images 10",
    f"export {RUN} --max-drop 101",
    f"export {RUN} --calibration-images 0 --precision int8",
    f"export {RUN} --out refused",
    f"export {RUN} --fixed-size 64x64",
    f"export {RUN} --sign nowhere.pem",
    f"export {RUN} --sign keys/signer.pub.pem",
    f"export {RUN} --data masks",
    f"export {RUN} --data faulty/empty",
    f"export {RUN} --to executorch --dynamic-size",
    f"export {RUN} --to tensorrt --precision fp16",
    "export runs/multilabel --dynamic-size",
    "export runs/detection --to coreml",
    "export runs/detection --explain",
    "export runs/segmentation --to coreml",
    "export runs/segmentation --fixed-size 64",
    "verify nowhere",
    f"verify {RUN}",
    "verify damaged/changed.nextvit",
    "verify damaged/lacks_a_file.nextvit",
    "verify damaged/has_a_file_more.nextvit",
    "verify damaged/no_json.nextvit",
    "verify damaged/other_format.nextvit",
    "verify damaged/no_golden.nextvit",
    f"verify {BUNDLE} --against runs/multilabel",
    f"verify {BUNDLE} --against runs/many_settings",
    f"verify {BUNDLE} --key keys/signer.pub.pem",
    "verify signed.nextvit --key keys/other.pub.pem",
    "bench",
    "bench nowhere",
    f"bench {RUN} --runs 0",
    f"bench {RUN} --batch one",
    f"bench {RUN} --runtimes onxx",
    f"bench {RUN} --precisions int4",
    f"bench {RUN} --baseline faulty/lines.jsonl",
    f"bench {RUN} --baseline faulty/lines.jsonl --fail-if p50>+5%",
    f"bench {RUN} --fail-if slow",
    f"bench {RUN} --fail-if p50>+5%",
    f"bench {RUN} --page nowhere/page.html",
    "info nowhere",
    "info classes",
    "info faulty/weights.safetensors",
    "info damaged/no_json.nextvit",
    "info damaged/run",
    "models nextvit_small",
    "quickstart --out .",
    "quickstart --folder x",
)
"""Commands with something wrong in them, in the order of the verbs."""
