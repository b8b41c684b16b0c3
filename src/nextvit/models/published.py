"""The published Next-ViT weights: which ones exist, their accuracy, and how to download one by name."""

from dataclasses import dataclass
from pathlib import Path

from nextvit.errors import InputError, MissingDependency

LICENCE = "Apache-2.0 (bytedance/Next-ViT)"


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published checkpoint, in timm's repositories on the Hugging Face hub."""

    variant: str
    tag: str
    """timm's name of the weights of a variant, for example "bd_in1k"."""
    image_size_px: int
    """Height and width of the images that it was trained on."""
    top1: float
    """ImageNet-1k top-1 accuracy in percent, from the official README (Resize to size / 0.875, CenterCrop)."""

    @property
    def repository(self) -> str:
        return f"timm/{self.variant}.{self.tag}"


PUBLISHED = tuple(
    Published(variant=variant, tag=tag, image_size_px=size, top1=top1)
    for variant, scores in {
        "nextvit_small": (82.5, 83.6, 84.8, 85.8),
        "nextvit_base": (83.2, 84.3, 85.1, 86.1),
        "nextvit_large": (83.6, 84.7, 85.4, 86.4),
    }.items()
    for (tag, size), top1 in zip(
        (("bd_in1k", 224), ("bd_in1k_384", 384), ("bd_ssld_6m_in1k", 224), ("bd_ssld_6m_in1k_384", 384)),
        scores,
        strict=True,
    )
)
TAGS = tuple(dict.fromkeys(each.tag for each in PUBLISHED))


def best_tag(variant: str) -> str | None:
    """Tag of the published weights with the highest top-1 accuracy at 224 px; None for a variant without weights."""
    known = [each for each in PUBLISHED if each.variant == variant and each.image_size_px == 224]
    return max(known, key=lambda each: each.top1).tag if known else None


def is_downloaded(variant: str, tag: str) -> bool:
    """Whether a published checkpoint is in the cache of the Hugging Face hub.

    Raises:
        MissingDependency: huggingface-hub is not installed.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ModuleNotFoundError:
        raise MissingDependency("huggingface-hub", extra="train") from None
    return isinstance(try_to_load_from_cache(f"timm/{variant}.{tag}", "model.safetensors"), str)


def download(variant: str, tag: str) -> Path:
    """Path of a published checkpoint, downloaded unless it is in the cache; nothing else here uses the network.

    Raises:
        InputError: there are no such weights, or they could not be downloaded.
        MissingDependency: huggingface-hub is not installed.
    """
    if not any(each.variant == variant and each.tag == tag for each in PUBLISHED):
        tags = [each.tag for each in PUBLISHED if each.variant == variant]
        what = f"choose one of {', '.join(tags)}" if tags else "there are none; train from scratch with --weights none"
        raise InputError(f"no published weights {tag!r} for {variant}; {what}")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    except ModuleNotFoundError:
        raise MissingDependency("huggingface-hub", extra="train") from None
    repository = f"timm/{variant}.{tag}"
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            f"could not download {tag!r} for {variant} ({type(error).__name__}); fetch model.safetensors from "
            f"huggingface.co/{repository} on a connected machine and pass its path instead"
        ) from None
