"""From a recipe that leaves things open ("auto") to one that does not, by looking at the dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from nextvit.data.annotations import Annotations
from nextvit.data.reading import Dataset
from nextvit.errors import InputError
from nextvit.models.cost import cost
from nextvit.models.create import variant
from nextvit.models.published import best_tag, downloaded
from nextvit.tasks.task import UNSMOOTHED, Loss
from nextvit.train.recipe import Heads, Recipe, require
from nextvit.views.mix import Mix
from nextvit.views.settings import Augment, DetectionAugment, SegmentationAugment

SEEN_PICTURES, SEEN_WHOLE, FEWEST_EPOCHS, MOST_EPOCHS = 100_000, 20_000, 10, 100
LR_FROM_SCRATCH, LR_FROM_WEIGHTS, LAYER_DECAY_FROM_WEIGHTS = 5e-4, 2e-4, 0.8
PUBLISHED_ANCHOR_SCALE, SMALL_PX = 8.0, 20
UNEVEN = 10
"""Largest over smallest class from which "auto" balances; `nextvit check` warns from there on."""


def settled(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with epochs, balance, weights and learning rates decided; the batch size is left to the device.

    Raises:
        InputError: its fields contradict each other, the published weights that it asks for were not downloaded yet, or
            its data cannot be balanced.
    """
    # What concerns several fields is judged here, when all flags have had their say.
    require(
        recipe.distill.unlabelled == "none" or recipe.distill.teacher != "none",
        "distill.unlabelled needs a teacher to label it; pass --teacher",
    )
    counted = recipe.schedule.epoch_steps == 0 or recipe.schedule.epochs != "auto"
    require(counted, "schedule.epoch_steps needs a number of epochs, got auto; pass one with --epochs")
    check_data_and_mix(recipe, dataset)
    finds_objects, takes_whole = dataset.task == "detection", dataset.task in ("detection", "segmentation")
    counts = dataset.split("train").counts(len(dataset.classes))
    epochs, balance, resize = recipe.schedule.epochs, recipe.data.balance, recipe.data.resize
    if epochs == "auto":
        seen = SEEN_WHOLE if takes_whole else SEEN_PICTURES
        epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(seen / len(dataset.split("train")))))
    if resize == "auto":
        resize = "fit" if takes_whole else "crop"
    if balance == "auto":
        balance = "on" if dataset.task == "classification" and counts.max() >= UNEVEN * max(1, counts.min()) else "off"
    if balance == "on" and dataset.task != "classification":
        instead = "; classes of few pixels are sought by masks.rare_crops" if dataset.task == "segmentation" else ""
        raise InputError(
            f"data.balance needs one class for each image; those of {dataset.root} have several, set it to off{instead}"
        )
    weights = settled_weights(recipe)
    lr, layer_decay = recipe.optim.lr, recipe.optim.layer_decay
    if lr == "auto":
        lr = LR_FROM_SCRATCH if weights == "none" else LR_FROM_WEIGHTS
    if layer_decay == "auto":
        layer_decay = 1.0 if weights == "none" else LAYER_DECAY_FROM_WEIGHTS
    heads = recipe.heads
    if finds_objects and heads.anchor_scale == "auto":
        longest = replace(recipe.data, resize=resize).preprocess().image_size
        heads = replace(heads, anchor_scale=settled_anchor_scale(dataset.annotations["train"], longest))
    return replace(
        recipe,
        model=replace(recipe.model, weights=weights),
        heads=heads,
        optim=replace(recipe.optim, lr=lr, layer_decay=layer_decay),
        schedule=replace(recipe.schedule, epochs=epochs),
        data=replace(recipe.data, balance=balance, resize=resize),
    )


def settled_anchor_scale(annotations: Annotations, limits: tuple[int, int]) -> float:
    """The published scale, or half of it where many objects would be too small to overlap any reference box enough."""
    sizes_wh = annotations.sizes_wh[annotations.pictures()[~annotations.crowd]]
    scales = np.minimum(limits[0] / sizes_wh.min(axis=1), limits[1] / sizes_wh.max(axis=1))
    boxes = annotations.boxes[~annotations.crowd]
    sides_px = np.sqrt((boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)) * scales
    is_small = len(sides_px) > 0 and np.quantile(sides_px, 0.25) < SMALL_PX
    return PUBLISHED_ANCHOR_SCALE / 2 if is_small else PUBLISHED_ANCHOR_SCALE


def check_data_and_mix(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse what is meant for another task than the dataset's."""
    if dataset.task != "segmentation":
        of_masks = "is for pictures with masks, which these have none of; leave it out, or choose another --recipe"
        if dataset.task == "detection":
            of_masks += ", or make masks of the objects with --task segmentation"
        require(recipe.masks == SegmentationAugment(), f"the section masks {of_masks}")
        require(recipe.heads.decoder == "fpn", f"heads.decoder {of_masks}")
        require(not recipe.heads.standardise, f"heads.standardise {of_masks}")
        for name in ("cross_entropy", "dice", "tversky", "missed", "auxiliary", "balance", "mean_over"):
            require(getattr(recipe.loss, name) == getattr(UNSMOOTHED, name), f"loss.{name} {of_masks}")
    if dataset.task == "segmentation":
        check_for_masks(recipe)
        return
    if dataset.task != "detection":
        require(
            recipe.data.resize != "fit", "data.resize fit is for detectors and pictures with masks; use crop or squash"
        )
        require(
            recipe.data.longer_side == "auto", "data.longer_side is for detectors and pictures with masks; leave it out"
        )
        require(not recipe.data.leave_out_empty, "data.leave_out_empty is for detectors; leave it out")
        of_detectors = "is for pictures with annotated objects, which these have none of; choose another --recipe"
        require(recipe.objects == DetectionAugment(), f"the section objects {of_detectors}, or use augment")
        require(recipe.heads == Heads(), f"the section heads {of_detectors}, or leave it out")
        require(
            replace(recipe.loss, label_smoothing=0.0) == UNSMOOTHED,
            "loss.proposal_samples and loss.region_samples are for detectors; leave them out",
        )
        return
    require(recipe.data.resize in ("auto", "fit"), "a detector takes whole pictures; leave out data.resize, or use fit")
    require(recipe.mix == Mix(), "pictures with objects cannot be mixed; leave out the settings of mix")
    require(
        recipe.loss.label_smoothing == Loss().label_smoothing,
        "loss.label_smoothing is for pictures with labels alone; leave it out",
    )
    require(recipe.distill.teacher == "none", "a detector cannot be taught by another model; leave out --teacher")
    require(
        recipe.augment == Augment(),
        "the section augment is for pictures with labels alone; for these use objects, or choose another --recipe",
    )
    require(
        recipe.objects.copy_paste == 0 or dataset.annotations["train"].has_masks,
        f"objects.copy_paste needs masks, and {dataset.root} has none, only boxes; set it to 0",
    )


def check_for_masks(recipe: Recipe) -> None:
    """Refuse what is not meant for pictures with masks."""
    require(recipe.data.resize != "crop", "every pixel of a picture has a class; use data.resize fit or squash")
    require(recipe.mix == Mix(), "pictures with masks cannot be mixed; leave out the settings of mix")
    require(recipe.distill.teacher == "none", "a segmentation model cannot be taught by another; leave out --teacher")
    instead = "these have masks; use the section masks, or choose another --recipe"
    require(recipe.augment == Augment(), f"the section augment is for pictures with labels alone, and {instead}")
    require(recipe.objects == DetectionAugment(), f"the section objects is for annotated objects, and {instead}")
    of_detectors = "is for detectors; leave it out"
    require(recipe.heads.masks == "auto", f"heads.masks {of_detectors}")
    require(recipe.heads.anchor_scale == "auto", f"heads.anchor_scale {of_detectors}")


def settled_weights(recipe: Recipe) -> str:
    """The tag that "published" stands for; nothing is downloaded unless a tag is asked for by its name."""
    name, weights = recipe.model.name, recipe.model.weights
    require(
        weights != "given", "this recipe goes on from weights; pass a run, a file or a published tag with --weights"
    )
    if weights != "published":
        return weights
    tag = best_tag(name)
    if tag is None:
        return "none"
    if not downloaded(name, tag):
        raise InputError(
            f"the published weights of {name} are not on this machine yet; add --weights {tag} to download them "
            f"({4e-6 * cost(variant(name)).parameters:.0f} MB), or --weights none to start from scratch"
        )
    return tag


def described(recipe: Recipe, dataset: Dataset) -> str:
    """What was decided, for people."""
    counts = {name: len(samples) for name, samples in dataset.splits.items()}
    start = "from scratch" if recipe.model.weights == "none" else f"from {Path(recipe.model.weights).name}"
    balanced = ", classes balanced" if recipe.data.balance == "on" else ""
    objects = ""
    if dataset.task == "detection":
        annotations = dataset.annotations["train"]
        what = "with masks" if annotations.has_masks and recipe.heads.masks != "off" else "with boxes"
        objects = f", {int((~annotations.crowd).sum())} objects {what} to learn from"
    steps = f" of {recipe.schedule.epoch_steps} steps" if recipe.schedule.epoch_steps else ""
    return (
        f"{counts['train']} training and {counts['val']} validation images{objects}, {len(dataset.classes)} classes; "
        f"{recipe.model.name} {start}, {recipe.epochs} epochs{steps} in batches of {recipe.batch_size}{balanced}"
    )
