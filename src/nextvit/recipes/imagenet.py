"""The paper's training on ImageNet-1k (arXiv:2207.05501, section 4.1), with the details of the official code and logs.

Not reproduced here: the figures below are those of the official logs. DATA contains train/<wnid>/*.JPEG and
val/<wnid>/*.JPEG; a batch of 2048 needs several GPUs, or --optim.accumulate on one.
"""

from dataclasses import replace

from nextvit.tasks.settings import LabelData, LabelLoss, LabelSettings
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.views.mix import Mix
from nextvit.views.settings import Augment


def imagenet() -> Recipe:
    """From scratch at 224 px, 300 epochs.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/small --recipe imagenet --model nextvit_small

    Official logs, on 8 GPUs of 80 GB (their type is not named), 256 images each, fp16:

                     hours   GiB a GPU   top-1 after epoch 5     10     50    100    200    300   best
    nextvit_small     19.6          20                 19.83  48.11  69.73  72.45  78.65  82.47  82.49
    nextvit_base      25.2          24                 19.74  47.75  70.21  72.94  79.11  83.15  83.21
    nextvit_large     31.3          28                 14.85  45.06  68.96  72.86  79.11  83.47  83.58

    Two things differ from these logs: the learning rate follows its schedule at every step, and its cosine begins after
    the warm-up; and the precision is bf16 where the GPU has it. `imagenet_published` follows the logs.
    """
    return Recipe(
        model=Model(name="nextvit_small"),
        data=Data(image_size=224, batch_size=2048, workers=8),
        task=LabelSettings(
            data=LabelData(crop_ratio=0.875, balance="off"),
            augment=Augment(crop_scale=(0.08, 1.0), rand_augment=9.0),
            mix=Mix(mixup=0.8, cutmix=1.0, switch=0.5, erase=0.25),
            loss=LabelLoss(label_smoothing=0.1),
        ),
        optim=Optim(lr=2e-3, weight_decay=0.1, clip_norm=5.0),
        schedule=Schedule(epochs=300, warmup_epochs=20, final_lr_ratio=0.005),
        ema=Ema(decay=0.0),
        compute=Compute(sync_batch_norm=False),
    )


def imagenet_published() -> Recipe:
    """As `imagenet`, with the learning rate as it was when the published weights were trained.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/small --recipe imagenet_published

    The official code sets the rate of an epoch after the epoch: each runs at the rate that was intended for the one
    before, the first two at 1e-6 (`nextvit.train.schedule.published_lr`, equal to the logs). Expected: the table of
    `imagenet`.
    """
    recipe = imagenet()
    schedule, compute = replace(recipe.schedule, shape="published"), replace(recipe.compute, precision="fp16")
    return replace(recipe, schedule=schedule, compute=compute)


def imagenet_384() -> Recipe:
    """30 more epochs at 384 px and a constant rate, from a run of `imagenet`.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/small384 --recipe imagenet_384 --weights
    runs/small

    Official logs, on 8 GPUs of 80 GB, 128 images each, fp16; for nextvit_base --optim.lr 3e-6:

                     hours   GiB a GPU   top-1 after epoch 1      5     10     20     30   best
    nextvit_small      5.5          29                 83.27  83.42  83.45  83.48  83.49  83.58
    nextvit_base       6.9          36                 83.74  84.10  84.24  84.21  84.13  84.27
    nextvit_large      8.4          43                 84.32  84.44  84.51  84.54  84.57  84.68
    """
    recipe = imagenet()
    return replace(
        recipe,
        model=replace(recipe.model, weights="given"),
        data=replace(recipe.data, image_size=384, batch_size=1024),
        optim=replace(recipe.optim, lr=1e-5, weight_decay=1e-8),
        schedule=Schedule(epochs=30, warmup_epochs=0, shape="constant"),
    )
