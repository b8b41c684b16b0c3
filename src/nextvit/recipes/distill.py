"""Learning from a teacher on images without labels."""

from nextvit.tasks.settings import DistillationSettings
from nextvit.train.recipe import Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.views.mix import Mix
from nextvit.views.settings import Augment


def distill() -> Recipe:
    """A start for later trainings: the student predicts what the teacher predicts for the same view of any image.

    nextvit train IMAGES --recipe distill --teacher runs/large --out runs/start

    Views are crops of a tenth to all of an image, half of the batches are mixed, and there are no labels. How well it
    went is the agreement with the teacher on held-out images, and the KL divergence from its probabilities. The run is
    a source of --weights for every task.

    How much it is worth as a start has not been measured yet.
    """
    return Recipe(
        model=Model(name="nextvit_nano"),
        data=Data(image_size=96, batch_size=128),
        task=DistillationSettings(augment=Augment(crop_scale=(0.1, 1.0)), mix=Mix(mixup=1.0, cutmix=1.0, batches=0.5)),
        optim=Optim(lr=1.5e-3),
        schedule=Schedule(epochs=30, warmup_epochs=1.0),
        ema=Ema(decay=0.99),
    )
