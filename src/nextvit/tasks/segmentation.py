"""Semantic segmentation: a class for each pixel."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nextvit.bundle.card import ModelCard
from nextvit.bundle.facts import Facts, SegmentationFacts
from nextvit.bundle.manifest import Arrays
from nextvit.check.check import Checked, Watch, check_masked, unwatched
from nextvit.check.masks import count_training_pixels
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.masks_folder import is_masks_folder
from nextvit.data.reading import convert_objects_to_masks, read_segmented
from nextvit.data.samples import Samples
from nextvit.files.records import to_plain
from nextvit.image.canvas import canvas_size
from nextvit.image.masks import IGNORE_INDEX
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.predictions.kind import output_names
from nextvit.predictions.segmentation import with_scores
from nextvit.tasks.segmentation_evaluation import SegmentationEvaluator
from nextvit.tasks.settings import SegmentationSettings
from nextvit.tasks.task import Evaluation, Evaluator, Objective
from nextvit.views.flips import exchanged_by_flips

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nextvit.models.network import Network
    from nextvit.models.segmentation import Segmenter
    from nextvit.views.masked_source import MaskedSource, MaskTargets
    from nextvit.views.segmentation_view import SegmentationView


class SegmentationTask:
    """Semantic FPN or UperNet."""

    name = model_task = "segmentation"
    settings = SegmentationSettings
    recipe = "finetune_segmentation"
    class_score = "IoU"
    images_seen = 20_000
    has_comparable_layers = False
    is_fp32_only, times_backbone_separately = False, False
    needs_labels = True
    needs = "it takes masks, or annotated objects with masks"

    # Data

    def recognises(self, root: Path) -> bool:
        return root.is_dir() and is_masks_folder(root)

    def read(self, root: Path, wanted: Sequence[str]) -> tuple[Dataset, list[Finding]]:
        findings: list[Finding] = []
        return read_segmented(root, findings, wanted), findings

    adapts: tuple[str, ...] = ("detection",)

    def adapt(self, dataset: Dataset) -> Dataset | None:
        return convert_objects_to_masks(dataset) if dataset.annotations else None

    def check(self, dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
        return check_masked(dataset, watch=watch)

    # Model

    def complete(self, dataset: Dataset, settings: Any, device: "torch.device") -> Dataset:
        return dataset

    def facts(self, dataset: Dataset) -> Facts:
        return SegmentationFacts()

    def head(self, variant: str, settings: SegmentationSettings, dataset: Dataset) -> dict[str, Any]:
        from nextvit.models.segmentation import LIGHT_FPN, PUBLISHED_FPN, PUBLISHED_UPER, default_segmenter_config

        heads = settings.heads
        published = {"fpn": PUBLISHED_FPN, "uper": PUBLISHED_UPER}[heads.decoder]
        is_light = heads.size == "light" or (heads.size == "auto" and default_segmenter_config(variant) == LIGHT_FPN)
        config = replace(LIGHT_FPN, head=heads.decoder) if is_light else published
        return to_plain(replace(config, standardise=heads.standardise))

    def build(self, card: ModelCard) -> "Segmenter":
        from nextvit.models.segmentation import build_segmenter

        return build_segmenter(card)

    def deploy(self, model: "Network", card: ModelCard, *, dtype: "torch.dtype") -> "nn.Module":
        from nextvit.models.deployed import DeployedSegmenter
        from nextvit.models.segmentation import Segmenter

        assert isinstance(model, Segmenter)
        return DeployedSegmenter(model, card.input, scores="logits" in output_names(card), dtype=dtype)

    def training_inputs(self, card: ModelCard) -> "tuple[Tensor, ...]":
        import torch

        size = canvas_size(np.array([card.input.image_size])) if card.input.padded else card.input.image_size
        return (torch.empty(1, 3, *size),)

    def reference_outputs(self, model: "Network", card: ModelCard, inputs: Arrays) -> Arrays:
        import torch

        from nextvit.models.deployed import is_inside, normalise
        from nextvit.models.segmentation import Segmenter, class_map_from_logits, standardise_images

        assert isinstance(model, Segmenter)
        with torch.inference_mode():
            images_NCHW = normalise(torch.from_numpy(inputs[INPUT_NAME]).permute(0, 3, 1, 2).contiguous(), card.input)
            inside_N1HW = None
            if SIZES_NAME in inputs:
                inside_N1HW = is_inside(images_NCHW, torch.from_numpy(inputs[SIZES_NAME]))
                images_NCHW = torch.where(inside_N1HW, images_NCHW, 0.0)
            if model.segmenter.standardise:
                images_NCHW = standardise_images(images_NCHW, inside_N1HW)
            logits_NCHW = model(images_NCHW)
            classes_NHW = class_map_from_logits(logits_NCHW, images_NCHW.shape[2:]).numpy()
        for classes_HW, (height, width) in zip(classes_NHW, inputs.get(SIZES_NAME, ()), strict=False):
            classes_HW[height:] = IGNORE_INDEX
            classes_HW[:, width:] = IGNORE_INDEX
        outputs: Arrays = {"classes": classes_NHW, "logits": logits_NCHW.numpy()}
        return {name: outputs[name] for name in output_names(card)}

    # Training

    def resolve(self, settings: SegmentationSettings, dataset: Dataset, *, image_size: int) -> SegmentationSettings:
        resize = "pad" if settings.data.resize == "auto" else settings.data.resize
        return replace(settings, data=replace(settings.data, resize=resize))

    def describe_data(self, dataset: Dataset, settings: SegmentationSettings) -> str:
        return ""

    def training_samples(self, dataset: Dataset, settings: SegmentationSettings) -> tuple[Dataset, Samples]:
        return dataset, dataset.split("train")

    def sampling_weights(self, dataset: Dataset, settings: SegmentationSettings) -> None:
        return None

    def training_source(
        self, samples: Samples, dataset: Dataset, card: ModelCard, settings: SegmentationSettings
    ) -> "MaskedSource":
        from nextvit.views.masked_source import MaskedSource
        from nextvit.views.segmentation_view import compute_class_rarity

        rarity = compute_class_rarity(count_training_pixels(dataset)) if settings.masks.rare_crops else None
        return MaskedSource(samples, dataset.masks["train"], self.view(card, settings, rarity))

    def view(self, card: ModelCard, settings: SegmentationSettings, rarity: Any) -> "SegmentationView":
        """The view that the settings describe."""
        from nextvit.views.segmentation_view import SegmentationView

        spec = card.input
        return SegmentationView(
            settings.masks,
            spec.image_size,
            spec.padded,
            rarity,
            spec.mean,
            mirrored=settings.heads.standardise,
            exchanged=exchanged_by_flips(settings.masks, card.classes),
        )

    def objective(
        self, dataset: Dataset, card: ModelCard, settings: SegmentationSettings, device: "torch.device"
    ) -> Objective:
        from nextvit.tasks.segmentation_objective import SegmentationObjective

        pixels = count_training_pixels(dataset) if settings.loss.balance else None
        return SegmentationObjective(card, settings, pixels)

    def random_batch(
        self, card: ModelCard, settings: SegmentationSettings, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, MaskTargets]":
        import torch

        from nextvit.views.masked_source import MaskTargets

        size = self.view(card, replace(settings, masks=replace(settings.masks, rare_crops=0.0)), None).size
        pixels = torch.randint(0, 256, (images, 3, *size), device=device).float()
        return pixels, MaskTargets(torch.randint(0, len(card.classes), (images, *size), device=device))

    # Scores

    def evaluator(self, dataset: Dataset, card: ModelCard) -> Evaluator:
        return SegmentationEvaluator(dataset, card)

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        """The card with logits where there are two classes, normal and defect; logits of more classes would need too
        much memory."""
        return with_scores(card, len(card.classes) == 2)

    def write_evidence(self, run: Path, model: "Network", card: ModelCard, evaluation: Evaluation) -> None:
        """Write nothing: class maps already show the evidence."""

    def report_sections(self, details: dict[str, Any]) -> list[Any]:
        from nextvit.report.segmentation_sections import SECTIONS

        return [show(details) for show in SECTIONS]
