"""A recipe for tiny images, to try everything in minutes."""

from nextvit.tasks.settings import LabelLoss, LabelSettings
from nextvit.train.recipe import Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.views.settings import Augment


def smoke() -> Recipe:
    """scikit-learn's handwritten digits, nextvit_nano from scratch at 32 px on a CPU.

    nextvit train digits --out runs/digits --recipe smoke
    """
    return Recipe(
        model=Model(name="nextvit_nano"),
        data=Data(image_size=32, batch_size=32, workers=0),
        task=LabelSettings(
            # A mirrored 2 is no digit.
            augment=Augment(crop_scale=(0.7, 1.0), crop_aspect=(0.85, 1.2), flip=0.0),
            loss=LabelLoss(label_smoothing=0.05),
        ),
        optim=Optim(lr=2e-3, weight_decay=0.05),
        schedule=Schedule(epochs=12, warmup_epochs=1.0),
        ema=Ema(decay=0.98),
    )
