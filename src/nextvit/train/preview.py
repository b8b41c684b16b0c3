"""RUN/augmented.png: some pictures as the network is going to see them."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nextvit.data.contact_sheet import MOST_SHOWN, write_contact_sheet
from nextvit.data.loader import TrainingSet, mixed_seed
from nextvit.data.mix import mixed
from nextvit.runs import AUGMENTED
from nextvit.train.recipe import Recipe

if TYPE_CHECKING:
    from nextvit.train.loop import Training


def write_preview(run: Path, training: "Training", recipe: Recipe) -> None:
    """Augment and mix the first images of the first epoch, and show them side by side."""
    dataset = training.batches.dataset
    assert isinstance(dataset, TrainingSet)
    batch = dataset.__getitems__(next(iter(training.sampler))[:MOST_SHOWN])
    pixels = batch.images.float()
    if batch.framed is None:
        targets = torch.from_numpy(training.targets(batch.indices))
        torch.manual_seed(mixed_seed(recipe.compute.seed))
        pixels, _ = mixed(pixels, targets, recipe.mix, np.random.default_rng(recipe.compute.seed))
    shown = pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    write_contact_sheet(run / AUGMENTED, shown.numpy())
