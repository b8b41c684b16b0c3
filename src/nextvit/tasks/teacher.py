"""Teachers for distillation: any classifier whose predictions become targets."""

from collections.abc import Callable
from dataclasses import dataclass
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
from nextvit.tasks.settings import OnnxTeacher
from nextvit.views.resized_views import resize_views

Outputs = Callable[[Tensor], Tensor]
"""From pixels (N, 3, H, W), float, 0..255, on the student's device, to a row of values for each image, there."""

TIMM = "timm:"
ONNX = ".onnx"
WITH_LOGITS = ("classification", "multilabel")
"""Tasks whose models have a logit for each class of an image."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained classifier, wherever it comes from. It sees the student's views, resized to its own input size."""

    source: str
    device: torch.device
    """Where it takes pixels: the student's."""
    logits: Outputs
    """Its logits (N, classes), float32, without a gradient."""
    num_classes: int
    classes: tuple[str, ...] | None = None
    """Their names; None: they are not known."""
    task: str | None = None
    """The task on its card; None: it has no card."""


def open_teacher(source: str, stated: OnnxTeacher, device: torch.device) -> Teacher:
    """Load a teacher.

    Args:
        source: a run, a checkpoint file, a bundle, an ONNX file, or "timm:NAME".
        stated: what is known of the input and the output of an ONNX file.
        device: of the student.

    Raises:
        InputError: there is no such model, or it is no classifier, or what an ONNX file takes is not known.
        MissingDependency: timm or ONNX Runtime is not installed.
    """
    if source.startswith(TIMM):
        return open_timm_model(source, device)
    path = Path(source)
    if path.suffix == ONNX and path.is_file():
        from nextvit.tasks.onnx_teacher import OnnxNetwork

        network = OnnxNetwork(path, stated, device)
        return Teacher(
            source=source,
            device=device,
            logits=network.logits,
            num_classes=network.num_classes,
            classes=network.class_names(),
        )
    if is_bundle(path):
        predictor = load_bundle(path)
        card, logits = predictor.card, logits_of_session(predictor.session, predictor.card.input)
    else:
        trained, card = load_trained(path)
        logits = logits_of_module(fuse(trained).to(device).eval(), card.input)
    if card.task not in WITH_LOGITS:
        raise InputError(f"the teacher {source} is a model for {card.task}; take one for {' or '.join(WITH_LOGITS)}")
    return Teacher(
        source=source, device=device, logits=logits, num_classes=len(card.classes), classes=card.classes, task=card.task
    )


def load_teacher(
    source: str,
    card: ModelCard,
    probabilities: Outputs,
    device: torch.device,
    stated: OnnxTeacher = OnnxTeacher(),  # noqa: B008 (frozen)
) -> Outputs:
    """The probabilities (N, classes) that a teacher gives the classes of a student with labels.

    Args:
        source: as of `open_teacher`.
        card: the student's.
        probabilities: from logits (N, classes) to probabilities.
        device: of the student.
        stated: as of `open_teacher`.

    Raises:
        InputError: as `open_teacher`, or its classes are not the student's.
        MissingDependency: as `open_teacher`.
    """
    teacher = open_teacher(source, stated, device)
    check_classes(teacher, card)
    return lambda pixels_NCHW: probabilities(teacher.logits(pixels_NCHW))


def check_classes(teacher: Teacher, students: ModelCard) -> None:
    """Raise InputError where a teacher's classes are not the student's; of unnamed ones the number is compared."""
    if teacher.task not in (None, students.task) or teacher.classes not in (None, students.classes):
        task = f" ({teacher.task})" if teacher.task else ""
        raise InputError(
            f"the teacher {teacher.source} has {teacher.num_classes} classes{task} that are not the dataset's "
            f"{len(students.classes)} ({students.task}); train one on the same classes"
        )
    if teacher.num_classes != len(students.classes):
        raise InputError(
            f"the teacher {teacher.source} has {teacher.num_classes} classes, the dataset {len(students.classes)}"
        )


def logits_of_module(model: nn.Module, spec: Preprocess) -> Outputs:
    """The logits of a torch model."""

    @torch.no_grad()
    def logits(pixels_NCHW: Tensor) -> Tensor:
        return model(normalise(resize_views(pixels_NCHW, spec.image_size), spec)).float()

    return logits


def logits_of_session(session: Session, spec: Preprocess) -> Outputs:
    """The logits of an exported file, whose inputs are uint8."""

    def logits(pixels_NCHW: Tensor) -> Tensor:
        resized_NCHW = resize_views(pixels_NCHW, spec.image_size)
        pixels_NHWC = resized_NCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        found = session.run({INPUT_NAME: pixels_NHWC.contiguous().cpu().numpy()})["logits"]
        return torch.from_numpy(found).float().to(pixels_NCHW.device)

    return logits


def wait_for(device: torch.device) -> None:
    """Return when a device has computed what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def open_timm_model(source: str, device: torch.device) -> Teacher:
    """A pretrained timm model.

    Raises:
        InputError: timm cannot load it.
        MissingDependency: timm is not installed.
    """
    try:
        import timm
        from timm.data.config import resolve_data_config
    except ModuleNotFoundError:
        raise MissingDependency("timm", extra="timm") from None
    name = source.removeprefix(TIMM)
    try:
        model: Any = timm.create_model(name, pretrained=True)
    except Exception as error:  # noqa: BLE001 (its hub client raises many: no such model, no weights, no network)
        raise InputError(f"timm cannot load {name!r} ({str(error).partition(chr(10))[0]})") from None
    config = resolve_data_config({}, model=model)
    height, width = config["input_size"][1:]
    spec = Preprocess(image_size=(height, width), mean=tuple(config["mean"]), std=tuple(config["std"]))
    logits = logits_of_module(model.to(device).eval(), spec)
    return Teacher(source=source, device=device, logits=logits, num_classes=model.num_classes)
