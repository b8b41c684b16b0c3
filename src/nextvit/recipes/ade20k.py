"""The paper's trainings on ADE20K (arXiv:2207.05501, section 4.2), with the details of the official configuration.

Not reproduced here: the figures below are those of the official logs. DATA is the folder of the scene parsing
challenge, with images/{training,validation}/, annotations/{training,validation}/ and objectInfo150.txt. Both recipes
count steps, not passes over the images; an epoch of a run is the time between two evaluations.

Two things differ from the official training: images are shrunk with antialiasing, and the weights of the best
evaluation are kept, while the figures of the logs are those of the last.
"""

from dataclasses import replace

from nextvit.tasks.settings import SegmentationData, SegmentationHeads, SegmentationLoss, SegmentationSettings
from nextvit.train.recipe import Compute, Data, Ema, Model, Optim, Recipe, Schedule
from nextvit.views.settings import SegmentationAugment


def ade20k_fpn_80k() -> Recipe:
    """Semantic FPN, 40,000 steps of 32 images at 512 px, from a classifier's weights.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/ade20k --recipe ade20k_fpn_80k --weights bd_in1k

    The name is that of the published models: they saw as many images as 80,000 steps of 16. Official logs, on 8 GPUs, 4
    images each, fp32, hours without evaluation; mIoU (whole images, one scale) after steps:

                     hours   GiB a GPU    4,000    8,000   16,000   24,000   32,000   40,000
    nextvit_small      2.3          67    30.61    38.52    42.18    44.18    45.42    46.53
    nextvit_base       3.0          67    33.05    39.21    43.89    46.83    47.73    48.61
    nextvit_large      3.4          67    33.63    41.47    44.79    47.32    47.93    49.11

    From the weights bd_ssld_6m_in1k they end at 48.82, 50.20 and 50.50. Weight decay applies to norms and biases, too,
    and there is no warm-up.
    """
    return Recipe(
        model=Model(name="nextvit_small", weights="given", drop_path=0.2),
        data=Data(image_size=512, batch_size=32, workers=4),
        task=published_settings(SegmentationHeads(size="published", decoder="fpn")),
        optim=Optim(lr=1e-4, weight_decay=1e-4, decay_biases=True, decay_norms=True, clip_norm=0.0),
        schedule=Schedule(epochs=10, epoch_steps=4000, shape="poly", power=0.9, final_lr_ratio=0.01),
        ema=Ema(decay=0.0),
        compute=Compute(precision="fp32"),
    )


def ade20k_upernet_160k() -> Recipe:
    """UperNet, 160,000 steps of 16 images at 512 px, from a classifier's weights.

    torchrun --nproc-per-node 8 --module nextvit train DATA --out runs/ade20k --recipe ade20k_upernet_160k --weights
    bd_in1k

    Official logs, on 8 GPUs, 2 images each, fp32, hours without evaluation (to judge by time and memory, nextvit_small
    was trained on other GPUs than the rest); mIoU (whole images, one scale) after steps:

                     hours   GiB a GPU   16,000   32,000   64,000   96,000  128,000  160,000
    nextvit_small      9.4          39    38.67    42.94    45.80    46.70    47.26    48.08
    nextvit_base      19.9          20    39.95    43.86    47.85    48.27    49.50    50.38
    nextvit_large     22.8          20    41.14    44.94    47.12    48.05    49.65    50.14

    From the weights bd_ssld_6m_in1k they end at 49.77, 51.83 and 51.45; over six scales and their mirror images at
    49.0, 51.1 and 50.8, and from those weights at 50.8, 52.8 and 52.0. Weight decay applies to all but norms. The
    auxiliary head on stage 3 has a loss weight of 0.4.
    """
    recipe = ade20k_fpn_80k()
    return replace(
        recipe,
        data=replace(recipe.data, batch_size=16),
        task=published_settings(SegmentationHeads(size="published", decoder="uper")),
        optim=replace(recipe.optim, lr=6e-5, weight_decay=0.01, decay_norms=False),
        schedule=Schedule(
            epochs=10, epoch_steps=16_000, shape="poly", power=1.0, warmup_steps=1500, final_lr_ratio=0.0
        ),
    )


def published_settings(heads: SegmentationHeads) -> SegmentationSettings:
    """The settings that both networks have in common."""
    return SegmentationSettings(
        data=SegmentationData(longer_side=2048),
        heads=heads,
        masks=SegmentationAugment(colours="published"),
        loss=SegmentationLoss(mean_over="all"),
    )
