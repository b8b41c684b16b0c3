"""The networks of the paper's comparison, their published accuracies and the sources of these."""

from dataclasses import dataclass

from nextvit.models.published import PUBLISHED

ANCHOR = "nextvit_small"
CSWIN = "cswin_tiny"
TIMM_TABLE = "timm's table of results (results/results-imagenet.csv at 0173a13)"
FIGURE = "the accuracy axis of the Next-ViT paper's figure"
OTHER_SIZE = "published at larger images alone"


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network under test."""

    name: str
    """A variant of ours, CSWIN, or a name of timm with the prefix "timm:"."""
    title: str
    group: str
    """Networks of similar latency are measured together, so that their turns are of similar length."""
    is_newer: bool = False
    """Whether it is newer than the paper, or at least not among the networks that it compares."""
    top1: float | None = None
    """ImageNet-1k top-1 in percent at 224 px, trained on ImageNet-1k alone; None: not published."""
    source: str = ""
    """Where it is published, or why there is none."""

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("nextvit_")


def nextvit_network(name: str, title: str, group: str) -> Network:
    top1 = next(each.top1 for each in PUBLISHED if (each.variant, each.tag) == (name, "bd_in1k"))
    return Network(name=name, title=title, group=group, top1=top1, source="the README of bytedance/Next-ViT")


def timm_network(
    name: str, title: str, group: str, top1: float | None, source: str = TIMM_TABLE, *, is_newer: bool = False
) -> Network:
    return Network(name=f"timm:{name}", title=title, group=group, top1=top1, source=source, is_newer=is_newer)


ANCHOR_NETWORK = nextvit_network(ANCHOR, "Next-ViT-S", "every")

NETWORKS = (
    ANCHOR_NETWORK,
    timm_network("poolformer_s24", "PoolFormer-S24", "light", 80.296),
    timm_network("efficientnet_b3", "EfficientNet-B3", "light", None, OTHER_SIZE),
    timm_network(
        "efficientvit_b2",
        "EfficientViT-B2",
        "light",
        82.1,
        "mit-han-lab/efficientvit, evaluation script",
        is_newer=True,
    ),
    timm_network("fastvit_sa24", "FastViT-SA24", "light", None, OTHER_SIZE, is_newer=True),
    timm_network("mobilenetv4_conv_large", "MobileNetV4-Conv-L", "light", None, OTHER_SIZE, is_newer=True),
    timm_network(
        "hgnetv2_b4",
        "HGNetV2-B4",
        "light",
        None,
        "published with training on more than ImageNet-1k alone",
        is_newer=True,
    ),
    timm_network("resnet50", "ResNet50", "middle", 80.85),
    timm_network("pvt_v2_b2", "PVTv2-B2", "middle", 82.086),
    timm_network("twins_svt_small", "Twins-SVT-S", "middle", 81.678),
    timm_network("efficientformer_l3", "EfficientFormer-L3", "middle", 82.55),
    timm_network(
        "tiny_vit_21m_224", "TinyViT-21M", "middle", 83.08, "mmpretrain's table, trained from scratch", is_newer=True
    ),
    timm_network("caformer_s18", "CAFormer-S18", "middle", 83.656, is_newer=True),
    timm_network("deit_small_patch16_224", "DeiT-S", "tokens", 79.844),
    timm_network("swin_tiny_patch4_window7_224", "Swin-T", "tokens", 81.376),
    timm_network("coatnet_0_rw_224", "CoAtNet-0", "tokens", 82.39),
    timm_network("convnext_tiny", "ConvNeXt-T", "tokens", 82.1, FIGURE),
    timm_network(
        "repvit_m2_3", "RepViT-M2.3", "tokens", 83.7, "the RepViT paper, 450 epochs with a teacher", is_newer=True
    ),
    nextvit_network("nextvit_base", "Next-ViT-B", "heavy"),
    Network(name=CSWIN, title="CSWin-T", group="heavy", top1=82.7, source=FIGURE),
    timm_network("resnet101", "ResNet101", "heavy", 81.89),
    timm_network("resnext101_32x4d", "ResNeXt101-32x4d", "heavy", 80.34),
    timm_network("regnety_080", "RegNetY-8G", "heavy", 81.7, FIGURE),
    timm_network("convnext_small", "ConvNeXt-S", "heaviest", 83.1, FIGURE),
    nextvit_network("nextvit_large", "Next-ViT-L", "heaviest"),
    timm_network("resnet152", "ResNet152", "heaviest", 82.288),
    timm_network("efficientformer_l7", "EfficientFormer-L7", "heaviest", 83.382),
)
BY_NAME = {each.name: each for each in NETWORKS}
GROUPS = tuple(dict.fromkeys(each.group for each in NETWORKS if each.name != ANCHOR))


def members(group: str) -> list[Network]:
    """The networks that are measured together; the anchor, to which the ratios are, is the first of every group."""
    return [ANCHOR_NETWORK, *(each for each in NETWORKS if each.group == group)]
