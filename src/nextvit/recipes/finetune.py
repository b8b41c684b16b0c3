"""The default for a user's own folder of images."""

from nextvit.data.augment import Augment
from nextvit.train.recipe import Data, Ema, Model, Optim, Recipe, Schedule


def finetune() -> Recipe:
    """A few hundred to a few thousand images, from published weights or from scratch.

    nextvit train DATA --out runs/mine --weights bd_ssld_6m_in1k
    """
    return Recipe(
        model=Model(name="nextvit_small"),
        data=Data(image_size=224, batch_size=32),
        augment=Augment(crop_scale=(0.35, 1.0)),
        optim=Optim(lr=1e-3, weight_decay=0.05),
        schedule=Schedule(epochs=30, warmup_epochs=2.0),
        ema=Ema(decay=0.99),
    )
