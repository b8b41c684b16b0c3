"""Read and write checkpoints: official ones, timm's, MMDetection's detectors, MMSegmentation's models, and our own.

Layouts differ only in names, so every key is mapped by name, and every key is used or left over for a stated reason.
A merged official checkpoint (saved after its `merge_bn()`) has the same names as an unmerged one and cannot be
distinguished from it; load the published files, not a model that the official evaluation script has merged.
"""

import argparse
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard, card_from_plain
from nextvit.errors import InputError, first_line, shorten, suggest_path
from nextvit.files.records import to_plain
from nextvit.files.regular import require_regular
from nextvit.files.structured_text import parse_json
from nextvit.models.backbone import NextViT
from nextvit.models.detection import MaskRCNN
from nextvit.models.segmentation import Segmenter

State = dict[str, Tensor]
Layout = Literal["nextvit", "official", "timm"]

CARD_KEY = "nextvit_card"  # in the metadata of our own safetensors files
MAX_CHECKPOINT_BYTES = 2**32
"""Ten times the largest published checkpoint, which contains the optimizer."""
OTHER_TASKS_KEYS = {
    "neck.": "neck of a detection or segmentation model",
    "rpn_head.": "region proposals of a detection model",
    "roi_head.": "box and mask heads of a detection model",
    "decode_head.": "head of a segmentation model",
    "auxiliary_head.": "auxiliary head of a segmentation model",
    "backbone.extra_norm_list.": "extra norms of a segmentation model",
}
CLASS_LAYERS = (
    "head.",
    "roi_head.bbox_head.fc_cls.",
    "roi_head.bbox_head.fc_reg.",
    "roi_head.mask_head.conv_logits.",
    "decode_head.conv_seg.",
    "auxiliary_head.conv_seg.",
)
"""Prefixes of layers with outputs for each class: other classes need newly initialised ones."""
PARTS = (
    "norm.",
    "neck.",
    "rpn_head.",
    "roi_head.bbox_head.",
    "roi_head.mask_head.",
    "backbone.norm.",
    "backbone.extra_norm_list.",
    "decode_head.",
    "auxiliary_head.",
)
"""Prefixes of parts that a checkpoint has completely or not at all: one with only the backbone is valid, too."""
UNUSED_CLASSIFIER = {
    NextViT: "norm and head of a classifier, which a bare backbone does not have",
    MaskRCNN: "norm and head of a classifier, which a detector does not use, though MMDetection's files keep them",
}
UNUSED_SEGMENTER = {
    "head.": "head of a classifier, which a segmentation model does not use, though MMSegmentation's files keep it",
    "backbone.extra_norm_list.3.": (
        "a norm that MMSegmentation's files keep and nothing uses: the classifier's norm is used instead"
    ),
}


@dataclass
class LoadReport:
    """What was done with every key of a checkpoint, and with every tensor of the model."""

    source: str
    layout: Layout
    loaded: int = 0
    fresh: list[str] = field(default_factory=list)
    """Tensors of the model that keep their random initialisation."""
    left_over: dict[str, str] = field(default_factory=dict)
    """Keys of the checkpoint that the model does not use, each with the reason."""

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.loaded} tensors loaded from {self.layout} layout"]
        if self.fresh:
            lines.append(f"{len(self.fresh)} start fresh: {', '.join(self.fresh)}")
        for reason in sorted(set(self.left_over.values())):
            keys = [key for key, why in self.left_over.items() if why == reason]
            lines.append(f"{len(keys)} left over ({reason}): {keys[0]}{', ...' if len(keys) > 1 else ''}")
        return "; ".join(lines)


def load_weights(model: nn.Module, path: str | Path, *, classes: tuple[str, ...] | None = None) -> LoadReport:
    """Fill an unfused `Classifier`, `MaskRCNN`, `Segmenter` or `NextViT` from a checkpoint file of any known layout.

    A head for other classes keeps its initialisation and is reported: other in number, or in name where `classes` is
    given and the checkpoint lists its own. The same holds for everything that a detector or a segmentation model has
    beyond a classifier's checkpoint.

    Args:
        classes: the model's classes, to compare with those of the checkpoint's card; None: compare their number alone.

    Raises:
        InputError: the file is missing, damaged, holds code or fused weights, or differs in a key or a shape; the
            message names the first that does.
    """
    state, card = read_state(Path(path))
    if any(is_true(tensor, key, path) for key, tensor in state.items() if key.endswith("_extra_state")):
        raise InputError(f"{path}: fused (batch norms folded, for deployment); training needs the unfused checkpoint")
    report = LoadReport(source=str(path), layout=detect_layout(state, path))
    bare = isinstance(model, NextViT)
    backbone = model if isinstance(model, NextViT) else model.get_submodule("backbone")
    assert isinstance(backbone, NextViT)
    expected = model.state_dict()
    own = tuple(prefix for prefix in OTHER_TASKS_KEYS if any(name.startswith(prefix) for name in expected))

    found = State()
    for key, tensor in state.items():
        name = key if key.startswith(own) else map_key(key, layout=report.layout, depths=backbone.config.depths)
        name = rename_last_norm(name, model)
        if reason := reason_unused(key, name, model, own):
            report.left_over[key] = reason
        elif is_other_head(name, tensor, expected, renamed_classes=bool(card and classes and card.classes != classes)):
            report.left_over[key] = "head for other classes"
        elif (name := name.removeprefix("backbone.") if bare else name) not in expected:
            hint = "its heads are of another kind" if key.startswith(own) else describe_mismatch(state, backbone)
            raise InputError(f"{path}: the model has no place for key {shorten(repr(key))}; {hint}")
        elif tensor.shape != expected[name].shape:
            hint = "its heads have other widths" if key.startswith(own) else describe_mismatch(state, backbone)
            raise InputError(
                f"{path}: {key!r} has shape {tuple(tensor.shape)}, the model expects {tuple(expected[name].shape)}; "
                f"{hint}"
            )
        elif not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: {shorten(repr(key))} has values that are NaN or infinite")
        else:
            found[name] = tensor

    if missing := find_missing(found, expected):
        raise InputError(f"{path}: the checkpoint lacks {missing!r}; {describe_mismatch(state, backbone)}")
    tensors = {name for name in expected if not name.endswith("_extra_state")}
    report.fresh = [name for name in expected if name in tensors - found.keys()]
    report.loaded = len(tensors & found.keys())
    model.load_state_dict(found, strict=False)
    return report


def reason_unused(key: str, name: str, model: nn.Module, own: tuple[str, ...]) -> str | None:
    """Why the model does not use a key of a checkpoint; None where it does, or should.

    Args:
        key: as the checkpoint has it.
        name: as the model has it.
        own: the prefixes of `OTHER_TASKS_KEYS` that belong to this model's task.
    """
    if not key.startswith(own):
        for prefix, reason in OTHER_TASKS_KEYS.items():
            if key.startswith(prefix):
                return reason
    if type(model) in UNUSED_CLASSIFIER and name.startswith(("norm.", "head.")):
        return UNUSED_CLASSIFIER[type(model)]
    if isinstance(model, MaskRCNN) and not model.detector.masks and name.startswith("roi_head.mask_head."):
        return "mask head, which a detector of boxes alone does not have"
    if isinstance(model, Segmenter):
        return next((reason for prefix, reason in UNUSED_SEGMENTER.items() if name.startswith(prefix)), None)
    return None


def rename_last_norm(name: str, model: nn.Module) -> str:
    """The name in this model of a tensor that may belong to the last norm, which in segmentation models is part of the
    backbone."""
    last_norm = "backbone.norm." if isinstance(model, Segmenter) else "norm."
    return re.sub(r"^(backbone\.)?norm\.", last_norm, name)


def find_missing(found: State, expected: State) -> str | None:
    """The first tensor that the checkpoint lacks, if any; only whole parts and class layers may be missing."""
    absent = tuple(part for part in PARTS if not any(name.startswith(part) for name in found))
    may_lack = (*CLASS_LAYERS, *absent)
    needed = (name for name in expected if not name.endswith("_extra_state") and not name.startswith(may_lack))
    return next((name for name in needed if name not in found), None)


def map_key(key: str, *, layout: Layout, depths: tuple[int, ...]) -> str:
    """The name of a checkpoint's key in a `Classifier`; a key of unknown form is returned unchanged."""
    if layout == "nextvit":
        return key if key.startswith(("backbone.", "norm.", "head.")) else f"backbone.{key}"
    key = key.removeprefix("backbone.")
    if layout == "timm":
        key = key.replace("head.fc.", "head.")
    else:
        key = key.replace("proj_head.0.", "head.")
        key = key.replace(".mlp.conv1.", ".mlp.fc1.").replace(".mlp.conv2.", ".mlp.fc2.")
        if match := re.match(r"features\.(\d+)\.(.*)", key):
            stage, position = stage_and_position(int(match[1]), depths)
            key = f"stages.{stage}.blocks.{position}.{match[2]}"
    return key if key.startswith(("norm.", "head.")) else f"backbone.{key}"


def stage_and_position(block: int, depths: tuple[int, ...]) -> tuple[int, int]:
    """Stage and position of a block of the official flat list; a block beyond the last stage gets a position beyond the
    stage's end."""
    for stage, depth in enumerate(depths[:-1]):
        if block < depth:
            return stage, block
        block -= depth
    return len(depths) - 1, block


def is_other_head(name: str, tensor: Tensor, expected: State, *, renamed_classes: bool) -> bool:
    """Whether this tensor belongs to a layer for other classes, which the model cannot or should not load."""
    if not name.startswith(CLASS_LAYERS) or name not in expected:
        return False
    other_number = tensor.shape[:1] != expected[name].shape[:1] and tensor.shape[1:] == expected[name].shape[1:]
    return renamed_classes or other_number


def describe_mismatch(state: State, backbone: NextViT) -> str:
    """A hint for a checkpoint of another variant: the number of blocks of each side."""
    blocks = {match[0] for key in state if (match := re.search(r"features\.\d+|stages\.\d+\.blocks\.\d+", key))}
    return f"the checkpoint has {len(blocks)} blocks, the model {sum(backbone.config.depths)}"


def detect_layout(state: State, path: str | Path) -> Layout:
    """Recognise the layout by the names of its keys."""
    if any(key.removeprefix("backbone.").startswith("features.") for key in state):
        return "official"
    if any(key.startswith(("stages.", "backbone.stages.")) for key in state):
        return "timm" if any(key.startswith("head.fc.") for key in state) else "nextvit"
    raise InputError(f"{path}: holds no Next-ViT weights (first key: {shorten(repr(next(iter(state), None)))})")


def read_state(path: Path) -> tuple[State, ModelCard | None]:
    """Read the tensors of a checkpoint file, and its card if it is one of ours. Never runs code from a file.

    Raises:
        InputError: the file is missing, damaged, or contains more than tensors.
    """
    if not path.exists():
        raise InputError(
            f"{path}: no such file; pass a checkpoint file, a published tag, or 'none'{suggest_path(path)}"
        )
    require_regular(path, max_bytes=MAX_CHECKPOINT_BYTES)
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return read_safetensors(path)
    if not head.startswith((b"PK", b"\x80")):
        raise InputError(f"{path}: no checkpoint (neither safetensors nor written by torch.save)")
    content = read_pickle(path, allowed=[argparse.Namespace])  # official checkpoints contain the training arguments
    if isinstance(content, dict):
        content = content.get("model", content.get("state_dict", content))
    if not isinstance(content, dict) or not content or not all(map(is_named_tensor, content.items())):
        raise InputError(f"{path}: expected a state dict, bare or under 'model' or 'state_dict'")
    return content, None


def read_pickle(path: Path, *, allowed: Sequence[type] = ()) -> Any:
    """What torch.save wrote: tensors, numbers, texts and collections, and no code.

    Args:
        allowed: further types that may occur.

    Raises:
        InputError: the file is damaged, packed, larger than `MAX_CHECKPOINT_BYTES`, or holds something else.
    """
    try:
        size = require_regular(path, max_bytes=MAX_CHECKPOINT_BYTES)
        if zipfile.is_zipfile(path):  # torch.save packs nothing, so that more comes out of none of its files
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > size:
                raise ValueError(f"unpacks to {unpacked:,} bytes")
        with torch.serialization.safe_globals([*allowed]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or odd pickles: what they hold is looked at next
            return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(f"{path}: refused, it is damaged or holds more than tensors and could run code") from None
    except Exception as error:  # noqa: BLE001 (what a damaged pickle raises is listed nowhere)
        raise InputError(f"{path}: damaged or no checkpoint ({shorten(first_line(error))})") from None


def is_named_tensor(item: tuple[Any, Any]) -> bool:
    """Whether a key is a text, and its value a plain tensor of numbers in memory."""
    key, value = item
    return (
        isinstance(key, str)
        and type(value) in (Tensor, nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )


def is_true(flag: Tensor, key: str, path: str | Path) -> bool:
    """A flag of a state dict; InputError where it is something else."""
    if flag.numel() != 1:
        raise InputError(f"{path}: damaged ({key!r} is a flag, and has {flag.numel()} values)")
    return bool(flag)


def check_state_dict(state: State, model: nn.Module, *, what: Path) -> None:
    """Compare a state dict with a model of the same architecture.

    Raises:
        InputError: a name, a shape or a type differs, or a value is NaN or infinite; the message names the first.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ state.keys()):
        raise InputError(f"{what}: {'lacks' if name in expected else 'has a tensor too many,'} {name!r}")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise InputError(
                f"{what}: {name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}, the model expects "
                f"{expected[name].dtype} of shape {tuple(expected[name].shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{what}: {name!r} has values that are NaN or infinite")


def read_safetensors(path: Path) -> tuple[State, ModelCard | None]:
    """Read the tensors of a safetensors file, and the card in its metadata where there is one.

    Raises:
        InputError: there is no such file, it is damaged, or larger than `MAX_CHECKPOINT_BYTES`.
    """
    try:
        require_regular(path, max_bytes=MAX_CHECKPOINT_BYTES)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 (the format knows types of numbers that torch does not)
        raise InputError(f"{path}: damaged safetensors file ({shorten(first_line(error))})") from None
    if CARD_KEY not in metadata:
        return state, None
    values = parse_json(metadata[CARD_KEY], what=f"{path}: its description")
    return state, card_from_plain(values, what=str(path))


def save_model(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Write weights and card as one safetensors file.

    Raises:
        OSError: the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    try:
        save_file(state, path, metadata={CARD_KEY: json.dumps(to_plain(card))})
    except SafetensorError as error:  # of a full disk, among others
        raise OSError(str(error)) from None
