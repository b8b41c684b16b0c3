"""The default recipes for a user's own images, by task."""

from nextvit.tasks.settings import DetectionLoss, DetectionSettings, SegmentationSettings
from nextvit.train.recipe import Data, Model, Optim, Recipe, Schedule
from nextvit.views.settings import DetectionAugment, SegmentationAugment


def finetune() -> Recipe:
    """A few hundred to some ten thousand images, from published weights where the variant has them, else from scratch.

    nextvit train DATA --out runs/mine --weights bd_ssld_6m_in1k

    Fields that are "auto" are resolved by the dataset and the initial weights, printed, and written into the run's
    recipe.yaml. From pretrained weights, early blocks learn more slowly than late ones. The average of the weights is
    evaluated; training ends when it has not improved for 15 epochs.

    Measured from scratch, on two CPU cores: nextvit_nano at 64 px on 1,628 photographs of ten hand signs passes 90 %
    top-1 within a minute and reaches 98.85 % in 30 epochs and 212 s, at a rate of 1e-3
    (benchmarks/results/signdigits10.jsonl); at 96 px on 3,067 photographs of ten kinds of clothes it reaches 78.8 % in
    25 epochs and 320 s (benchmarks/results/yardstick.jsonl).
    """
    return Recipe(
        model=Model(weights="published"),
        optim=Optim(lr="auto", layer_decay="auto"),
        schedule=Schedule(epochs="auto", patience=15),
    )


def finetune_detection() -> Recipe:
    """A few dozen to some thousand images with boxes or masks, from published weights where the variant has them.

    nextvit train DATA --out runs/mine --image-size 480

    "auto" and the average of the weights are as in `finetune`. Images are not cropped in evaluation, with up to 800 px
    of the longer side for 480 of the shorter; training views vary in scale, crop, flip and colour.
    """
    return Recipe(
        model=Model(weights="published"),
        data=Data(image_size=480, batch_size=8),
        task=DetectionSettings(objects=DetectionAugment(photometric=0.5), loss=DetectionLoss(region_samples=128)),
        optim=Optim(lr="auto", layer_decay="auto"),
        schedule=Schedule(epochs="auto", warmup_epochs=1, patience=15),
    )


def finetune_segmentation() -> Recipe:
    """A few dozen to some thousand images with masks, from published weights where the variant has them.

    nextvit train DATA --out runs/mine --image-size 384

    "auto" and the average of the weights are as in `finetune`. Training views are square crops of images at half to
    twice their size. Where classes have very few pixels, --loss.balance 0.4 gives them more weight, and
    --masks.rare-crops 0.5 shows them more often; where images differ more in illumination than objects differ from
    their surroundings, --heads.standardise removes the difference.

    Measured from scratch: nextvit_nano reaches 51.0 % mIoU on 367 images of streets in 60 epochs at 224 px and 18
    minutes on one CPU core, and with all three of these and views of 128 px 40.4 % on 411 magnetic tiles with defects
    of a few pixels, in 4,500 steps and 13 minutes on two (benchmarks/results/segmentation.jsonl).
    """
    return Recipe(
        model=Model(weights="published"),
        data=Data(image_size=384, batch_size=8),
        task=SegmentationSettings(masks=SegmentationAugment(photometric=0.5)),
        optim=Optim(lr="auto", layer_decay="auto"),
        schedule=Schedule(epochs="auto", warmup_epochs=1, patience=15),
    )
