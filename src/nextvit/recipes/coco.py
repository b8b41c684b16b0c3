"""The paper's training of Mask R-CNN on COCO (arXiv:2207.05501, section 4.3), with the details of the official
configuration.

Not reproduced here: the figures below are those of the official logs. DATA is COCO's own folder, with train2017/,
val2017/ and annotations/instances_{train,val}2017.json.
"""

from dataclasses import replace

from nextvit.tasks.settings import DetectionData, DetectionHeads, DetectionSettings
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.views.settings import DetectionAugment


def coco_1x() -> Recipe:
    """12 epochs at up to 1333x800 px, from a classifier's weights.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/coco --recipe coco_1x --weights bd_in1k

    Official logs, on 8 GPUs, 2 images each, fp16, hours without evaluation; box AP / mask AP after epochs:

                     hours   GiB a GPU             1             8            12
    nextvit_small      6.7           7   30.0 / 29.5   41.0 / 38.4   45.9 / 41.8
    nextvit_base       8.0           9   30.5 / 30.3   42.4 / 39.1   47.2 / 42.8
    nextvit_large      9.1          12   31.0 / 30.6   43.2 / 40.0   48.0 / 43.2

    The stem and the first stage are frozen, and so are the statistics of all batch norms. Weight decay applies to all
    but norms. Images without objects, about 1 %, are left out.
    """
    return Recipe(
        model=Model(name="nextvit_small", weights="given", frozen_stages=1, frozen_norms=True),
        data=Data(image_size=800, batch_size=16, workers=4),
        task=published_settings(DetectionAugment(scales=(1.0,), crop=0.0, tighten=False)),
        optim=Optim(lr=1e-4, weight_decay=0.05, decay_biases=True, clip_norm=0.0),
        schedule=Schedule(epochs=12, shape="steps", milestones=(8, 11), warmup_steps=500),
        ema=Ema(decay=0.0),
        compute=Compute(sync_batch_norm=False),
    )


def coco_3x() -> Recipe:
    """36 epochs with images of many sizes.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/coco --recipe coco_3x --weights bd_in1k

    Official logs as those of `coco_1x`; box AP / mask AP at the end: nextvit_small 48.0 / 43.2 after 16.3 hours and 13
    GiB a GPU, nextvit_base 49.5 / 44.4 (20.1 hours, 17 GiB), nextvit_large 50.2 / 44.8 (23.5 hours, 22 GiB).
    """
    recipe = coco_1x()
    return replace(
        recipe,
        task=published_settings(DetectionAugment(tighten=False)),
        schedule=replace(recipe.schedule, epochs=36, milestones=(27, 33)),
    )


def published_settings(objects: DetectionAugment) -> DetectionSettings:
    """The settings that both schedules have in common; augmentation differs."""
    return DetectionSettings(
        data=DetectionData(longer_side=1333, leave_out_empty=True),
        heads=DetectionHeads(size="published", masks="on", anchor_scale=8.0),
        objects=objects,
    )
