"""Detection: any number of objects on each image, as boxes and perhaps masks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import DetectionFacts, DetectionLimits, Facts
from nextvit.bundle.manifest import Arrays
from nextvit.check.check import Checked, Watch, check_annotated, unwatched
from nextvit.data.annotations import Annotations
from nextvit.data.coco_layouts import is_coco
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.objects import Targets
from nextvit.data.reading import read_objects
from nextvit.data.samples import Samples
from nextvit.errors import InputError
from nextvit.files.records import to_plain
from nextvit.image.canvas import canvas_size
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.predictions.kind import output_names
from nextvit.tasks.detection_evaluation import DetectionEvaluator
from nextvit.tasks.settings import DetectionSettings, require
from nextvit.tasks.task import Evaluation, Evaluator, Objective
from nextvit.views.flips import exchanged_by_flips

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nextvit.models.detection import MaskRCNN
    from nextvit.models.network import Network
    from nextvit.views.annotated_source import AnnotatedSource, ObjectTargets

PUBLISHED_ANCHOR_SCALE, SMALL_PX = 8.0, 20
MANY_OBJECTS = 30


class DetectionTask:
    """Mask R-CNN, or Faster R-CNN where there are no masks."""

    name = model_task = "detection"
    settings = DetectionSettings
    recipe = "finetune_detection"
    class_score = "box AP"
    images_seen = 20_000
    has_comparable_layers = False
    is_fp32_only, times_backbone_separately = True, True
    needs_labels = True
    needs = "it takes annotations in COCO's format"

    # Data

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and is_coco(root)

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        findings: list[Finding] = []
        return read_objects(root, findings, wanted), findings

    adapts: tuple[str, ...] = ()

    def adapt(self, dataset: Dataset) -> Dataset | None:
        return None

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        return check_annotated(dataset, watch=watch)

    # Model

    def complete(self, dataset: Dataset, settings: Any, device: "torch.device") -> Dataset:
        return dataset

    def facts(self, dataset: Dataset) -> Facts:
        return DetectionFacts(category_ids=dataset.category_ids)

    def head(self, variant: str, settings: DetectionSettings, dataset: Dataset) -> dict[str, Any]:
        from nextvit.models.detection import LIGHT_MASK_RCNN, PUBLISHED_MASK_RCNN, default_detector_config

        heads, sizes = settings.heads, {"light": LIGHT_MASK_RCNN, "published": PUBLISHED_MASK_RCNN}
        config = default_detector_config(variant) if heads.size == "auto" else sizes[heads.size]
        has_masks = dataset.annotations["train"].has_masks
        if heads.masks == "on" and not has_masks:
            raise InputError(f"heads.masks on needs masks, and {dataset.root} has none, only boxes; leave it out")
        assert heads.anchor_scale != "auto", "resolve the recipe first"
        masks = has_masks and heads.masks != "off"
        return to_plain(replace(config, masks=masks, anchor_scale=heads.anchor_scale))

    def build(self, card: ModelCard) -> "MaskRCNN":
        from nextvit.models.detection import build_detector

        return build_detector(card)

    def deploy(self, model: "Network", card: ModelCard, *, dtype: "torch.dtype") -> "nn.Module":
        import torch

        from nextvit.models.deployed import DeployedDetector
        from nextvit.models.detection import MaskRCNN

        assert dtype == torch.float32, "detectors are deployed in fp32"
        assert isinstance(model, MaskRCNN)
        return DeployedDetector(model, card.input)

    def training_inputs(self, card: ModelCard) -> "tuple[Tensor, ...]":
        import torch

        canvas = canvas_size(np.array([card.input.image_size]))
        return torch.empty(1, 3, *canvas), torch.empty(1, 2, dtype=torch.int64)

    def reference_outputs(self, model: "Network", card: ModelCard, inputs: Arrays) -> Arrays:
        import torch

        from nextvit.models.deployed import normalise, zero_padding

        with torch.inference_mode():
            images_NCHW = torch.from_numpy(inputs[INPUT_NAME]).permute(0, 3, 1, 2).contiguous()
            sizes_N2 = torch.from_numpy(inputs[SIZES_NAME])
            outputs = model(zero_padding(normalise(images_NCHW, card.input), sizes_N2), sizes_N2)
        return {name: each.numpy() for name, each in zip(output_names(card), outputs, strict=True)}

    # Training

    def resolve(self, settings: DetectionSettings, dataset: Dataset, *, image_size: int) -> DetectionSettings:
        annotations = dataset.annotations["train"]
        require(
            settings.objects.copy_paste == 0 or annotations.has_masks,
            f"objects.copy_paste needs masks, and {dataset.root} has none, only boxes; set it to 0",
        )
        heads = settings.heads
        if heads.anchor_scale == "auto":
            heads = replace(
                heads, anchor_scale=anchor_scale_for(annotations, settings.preprocess(image_size).image_size)
            )
        return replace(settings, heads=heads, data=replace(settings.data, resize="pad"))

    def describe_data(self, dataset: Dataset, settings: DetectionSettings) -> str:
        annotations = dataset.annotations["train"]
        what = "with masks" if annotations.has_masks and settings.heads.masks != "off" else "with boxes"
        return f", {int((~annotations.crowd).sum())} objects {what} to learn from"

    def training_samples(self, dataset: Dataset, settings: DetectionSettings) -> tuple[Dataset, Samples]:
        if settings.data.leave_out_empty:
            dataset = leave_out_empty(dataset)
        return dataset, dataset.split("train")

    def sampling_weights(self, dataset: Dataset, settings: DetectionSettings) -> None:
        return None

    def training_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: DetectionSettings
    ) -> "AnnotatedSource":
        from nextvit.views.annotated_source import AnnotatedSource
        from nextvit.views.detection_view import DetectionView

        view = DetectionView(
            settings.objects, card.input.image_size, exchanged_by_flips(settings.objects, card.classes)
        )
        return AnnotatedSource(samples, dataset.annotations["train"], view)

    def objective(
        self, dataset: Dataset, card: ModelCard, settings: DetectionSettings, device: "torch.device"
    ) -> Objective:
        from nextvit.tasks.detection_objective import DetectionObjective

        return DetectionObjective(card, settings)

    def random_batch(
        self, card: ModelCard, settings: DetectionSettings, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, ObjectTargets]":
        """The largest batch: canvases for wide and high images, each with many objects."""
        import torch

        from nextvit.views.annotated_source import ObjectTargets

        side = max(canvas_size(np.array([card.input.image_size])))
        pixels = torch.randint(0, 256, (images, 3, side, side), device=device).float()
        corners = np.random.default_rng(0).uniform(0, side / 2, (MANY_OBJECTS, 2))
        objects = Targets(
            boxes=np.concatenate([corners, corners + side / 4], axis=1).astype(np.float32),
            labels=np.zeros(MANY_OBJECTS, np.int64),
            masks=np.ones((MANY_OBJECTS, side, side), np.bool_) if DetectionLimits.of(card.head).masks else None,
        )
        return pixels, ObjectTargets(torch.full((images, 2), side), [objects] * images)

    # Scores

    def evaluator(self, dataset: Dataset, card: ModelCard) -> Evaluator:
        return DetectionEvaluator(dataset, card)

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        return card

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: Evaluation) -> None:
        """Write nothing: boxes already show the evidence."""

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        from nextvit.report.detection_sections import SECTIONS

        return [show(details) for show in SECTIONS]


def anchor_scale_for(annotations: Annotations, limits: tuple[int, int]) -> float:
    """The published anchor scale, or half of it where many objects are too small for any anchor of that scale.

    Args:
        limits: of the shorter and the longer side of the network's input, in pixels.
    """
    sizes_wh = annotations.sizes_wh[annotations.object_images()[~annotations.crowd]]
    scales = np.minimum(limits[0] / sizes_wh.min(axis=1), limits[1] / sizes_wh.max(axis=1))
    boxes = annotations.boxes[~annotations.crowd]
    sides_px = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)) * scales
    has_small = len(sides_px) > 0 and np.quantile(sides_px, 0.25) < SMALL_PX
    return PUBLISHED_ANCHOR_SCALE / 2 if has_small else PUBLISHED_ANCHOR_SCALE


def leave_out_empty(dataset: Dataset) -> Dataset:
    """The dataset without training images that have no annotations; images with only crowds stay."""
    annotations = dataset.annotations["train"]
    chosen = np.diff(annotations.offsets) > 0
    return replace(
        dataset,
        splits={**dataset.splits, "train": dataset.split("train").select(chosen)},
        annotations={**dataset.annotations, "train": annotations.select(chosen)},
    )
