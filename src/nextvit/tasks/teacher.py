"""Teachers for distillation: any classifier whose predictions become targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import is_bundle
from nextvit.errors import InputError, MissingDependency
from nextvit.image.resizing import INPUT_NAME, Preprocess
from nextvit.models.deployed import normalise
from nextvit.models.fuse import fuse
from nextvit.runtime.predictor import load_bundle
from nextvit.runtime.session import Session
from nextvit.tasks.network import load_trained

Teacher = Callable[[Tensor], Tensor]
"""From pixels (N, 3, H, W), float, 0..255, on the student's device, to probabilities (N, classes)."""

TIMM = "timm:"


def load_teacher(
    source: str, card: ModelCard, probabilities: Callable[[Tensor], Tensor], device: torch.device
) -> Teacher:
    """Load the teacher of a recipe. It sees the student's views, resized to its own input size.

    Args:
        source: a run, a checkpoint file, a bundle, or "timm:NAME".
        card: the student's.
        probabilities: from logits (N, classes) to probabilities.
        device: of the student.

    Raises:
        InputError: there is no such model, or its classes are not the student's.
        MissingDependency: timm is not installed.
    """
    if source.startswith(TIMM):
        model, spec = timm_model(source.removeprefix(TIMM), num_classes=len(card.classes))
        return teacher_from_module(model.to(device).eval(), spec, probabilities)
    path = Path(source)
    if is_bundle(path):
        predictor = load_bundle(path)
        check_classes(predictor.card, card, source)
        return teacher_from_session(predictor.session, predictor.card.input, probabilities)
    trained, teachers = load_trained(path)
    check_classes(teachers, card, source)
    return teacher_from_module(fuse(trained).to(device).eval(), teachers.input, probabilities)


def check_classes(teachers: ModelCard, students: ModelCard, source: str) -> None:
    if (teachers.task, teachers.classes) != (students.task, students.classes):
        raise InputError(
            f"the teacher {source} has {len(teachers.classes)} classes ({teachers.task}) that are not the dataset's "
            f"{len(students.classes)} ({students.task}); train one on the same classes"
        )


def teacher_from_module(model: nn.Module, spec: Preprocess, probabilities: Callable[[Tensor], Tensor]) -> Teacher:
    """A teacher from a torch model."""

    @torch.no_grad()
    def teacher(pixels_NCHW: Tensor) -> Tensor:
        return probabilities(model(normalise(resize_views(pixels_NCHW, spec), spec)).float())

    return teacher


def teacher_from_session(session: Session, spec: Preprocess, probabilities: Callable[[Tensor], Tensor]) -> Teacher:
    """A teacher from an exported file, whose inputs are uint8."""

    def teacher(pixels_NCHW: Tensor) -> Tensor:
        pixels_NHWC = resize_views(pixels_NCHW, spec).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        logits = session.run({INPUT_NAME: pixels_NHWC.contiguous().cpu().numpy()})["logits"]
        return probabilities(torch.from_numpy(logits).float()).to(pixels_NCHW.device)

    return teacher


def resize_views(pixels_NCHW: Tensor, spec: Preprocess) -> Tensor:
    """The same views at another network's input size."""
    if tuple(pixels_NCHW.shape[2:]) == spec.image_size:
        return pixels_NCHW
    return nn.functional.interpolate(pixels_NCHW, size=spec.image_size, mode="bilinear", antialias=True)


def timm_model(name: str, *, num_classes: int) -> tuple[nn.Module, Preprocess]:
    """A pretrained timm model whose outputs are the dataset's classes, in the same order.

    Raises:
        InputError: timm cannot load it, or it has another number of classes.
        MissingDependency: timm is not installed.
    """
    try:
        import timm
        from timm.data.config import resolve_data_config
    except ModuleNotFoundError:
        raise MissingDependency("timm", extra="timm") from None
    try:
        model: Any = timm.create_model(name, pretrained=True)
    except Exception as error:  # noqa: BLE001 (its hub client raises many: no such model, no weights, no network)
        raise InputError(f"timm cannot load {name!r} ({str(error).partition(chr(10))[0]})") from None
    if model.num_classes != num_classes:
        raise InputError(f"the teacher timm:{name} has {model.num_classes} classes, the dataset {num_classes}")
    config = resolve_data_config({}, model=model)
    height, width = config["input_size"][1:]
    return model, Preprocess(image_size=(height, width), mean=tuple(config["mean"]), std=tuple(config["std"]))
