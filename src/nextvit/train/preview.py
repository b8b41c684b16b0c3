"""RUN/augmented.png: augmented training images, as the network will see them."""

from pathlib import Path

import numpy as np
import torch

from nextvit.files.run_folder import AUGMENTED
from nextvit.train.recipe import Recipe
from nextvit.train.state import Training
from nextvit.views.contact_sheet import write_contact_sheet
from nextvit.views.training_batches import TrainingSet, combine_seeds


def write_preview(run: Path, training: Training, recipe: Recipe) -> None:
    """Augment and mix the first images of the first epoch, draw their targets on them, and show them side by side."""
    dataset = training.batches.dataset
    assert isinstance(dataset, TrainingSet)
    source = dataset.source
    batch = dataset.__getitems__(next(iter(training.sampler))[: source.sheet.images])
    if batch.targets is None:  # the first step will report why
        return
    torch.manual_seed(combine_seeds(recipe.compute.seed))
    rng = np.random.default_rng(recipe.compute.seed)
    pixels, targets = training.objective.mix(batch.images.float(), batch.targets, rng)
    images_NHWC = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    drawn = source.draw(images_NHWC, targets, training.card.classes)
    write_contact_sheet(run / AUGMENTED, drawn, source.sheet)
