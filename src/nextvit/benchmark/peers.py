"""Networks of other libraries as sources of the same exporters, so that a comparison compares only the networks.

They have random weights, which is enough to measure latency. Their batch norms get the statistics of the bundled
photographs, because freshly initialised some of these networks produce activations too large to compare or quantise.
"""

import copy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nextvit.backends.program import Source
from nextvit.benchmark.configurations import TIMM_PREFIX
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Precision
from nextvit.errors import InputError, MissingDependency, did_you_mean
from nextvit.export.proof_images import SAMPLE_IMAGES
from nextvit.files.records import from_plain, to_plain
from nextvit.image.resizing import Preprocess
from nextvit.models.backbone import NextViT
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS, NextViTConfig
from nextvit.models.cost import Cost, module_cost
from nextvit.models.create import find_variant
from nextvit.models.deployed import Deployed, Normalise

LOGITS, FEATURES = "logits", "features"
SEED = 0
NUM_CLASSES = 1000
"""ImageNet-1k's, also for networks whose default in timm is another number."""


class Peer(nn.Module):
    """`models.deployed.Deployed` for other networks: uint8 (N, H, W, 3), RGB -> the network's output in float32."""

    def __init__(self, model: nn.Module, spec: Preprocess, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.normalise = Normalise(spec)
        self.model = copy.deepcopy(model).requires_grad_(False).to(dtype)
        self.dtype = dtype
        self.eval()

    def forward(self, images_NHWC: Tensor) -> Tensor:
        return self.model(self.normalise(images_NHWC.permute(0, 3, 1, 2)).to(self.dtype)).float()


class FeatureExtractor(nn.Module):
    """A timm network without its head: (N, 3, H, W) -> its last features, (N, C, H', W') or (N, tokens, C)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return cast(Any, self.model).forward_features(images_NCHW)


class LastFeatureMap(nn.Module):
    """A Next-ViT backbone that returns only its last feature map: (N, 3, H, W) -> (N, C, H / 32, W / 32)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.backbone(images_NCHW)[-1]


@dataclass(frozen=True, kw_only=True)
class PeerSource(Source):
    """A source of a network that is not a Next-ViT classifier."""

    output: str = LOGITS
    """Name of the graph's only output."""

    @property
    def outputs(self) -> list[str]:
        return [self.output]

    def build_deployed(self, *, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The network behind our normalisation: uint8 (N, H, W, 3) -> its output. A Next-ViT backbone is fused."""
        form = Deployed if isinstance(self.model, LastFeatureMap) else Peer
        return form(self.model, self.card.input, dtype=dtype)


def module_source(
    model: nn.Module, *, name: str, spec: Preprocess, precision: Precision, output: str = LOGITS
) -> PeerSource:
    """A source of any module (N, 3, H, W) -> one tensor. Sets the batch-norm statistics of `model` in place.

    Args:
        name: becomes the card's variant.
        output: name of the graph's output.
    """
    images_NHWC = load_photographs(spec)
    calibrated = set_batch_norm_statistics(model.eval(), images_NHWC, spec)
    return PeerSource(
        model=cast(Classifier, calibrated),  # only `build_deployed` uses it, and a PeerSource has its own
        card=make_numbered_card(name, spec),
        precision=precision,
        calibration=images_NHWC,
        calibration_source="bundled photographs",
        output=output,
    )


def make_numbered_card(variant: str, spec: Preprocess) -> ModelCard:
    """The card of a classifier of `NUM_CLASSES` classes whose names are numbers."""
    return ModelCard(
        task="classification",
        classes=tuple(str(index) for index in range(NUM_CLASSES)),
        input=spec,
        variant=variant,
        architecture=to_plain(VARIANTS[variant]) if variant in VARIANTS else {},
    )


def timm_source(name: str, *, image_size: tuple[int, int] | None = None, precision: Precision) -> PeerSource:
    """A classifier of timm, reparameterized, behind timm's own normalisation.

    Args:
        name: as in timm, without the prefix "timm:".
        image_size: height and width in pixels; None: timm's own for this name.

    Raises:
        MissingDependency: timm is not installed.
        InputError: timm has no such network, or it does not take this size.
    """
    model, spec = timm_model(name, image_size=image_size)
    return module_source(model, name=TIMM_PREFIX + name, spec=spec, precision=precision)


def backbone_source(name: str, *, image_size: tuple[int, int], precision: Precision) -> PeerSource:
    """A network without its head: a Next-ViT variant, or a timm network with the prefix "timm:".

    Raises:
        MissingDependency: timm is not installed.
        InputError: there is no such network, or it does not take this size.
    """
    if not name.startswith(TIMM_PREFIX):
        return nextvit_backbone_source(find_variant(name), name=name, image_size=image_size, precision=precision)
    model, spec = timm_model(name.removeprefix(TIMM_PREFIX), image_size=image_size)
    return module_source(FeatureExtractor(model), name=name, spec=spec, precision=precision, output=FEATURES)


def card_backbone_source(card: ModelCard, *, image_size: tuple[int, int]) -> PeerSource:
    """The backbone of a card's architecture, in fp32.

    Raises:
        InputError: the card has no architecture.
    """
    config = from_plain(NextViTConfig, card.architecture, what=card.variant)
    return nextvit_backbone_source(config, name=card.variant, image_size=image_size, precision="fp32")


def nextvit_backbone_source(
    config: NextViTConfig, *, name: str, image_size: tuple[int, int], precision: Precision
) -> PeerSource:
    """A Next-ViT backbone with random weights, up to its last feature map."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        inner = LastFeatureMap(NextViT(config))
    spec = Preprocess(image_size=image_size)
    return module_source(inner, name=name, spec=spec, precision=precision, output=FEATURES)


def timm_model(name: str, *, image_size: tuple[int, int] | None = None) -> tuple[nn.Module, Preprocess]:
    """A timm network in its deployment form, with random weights, and its preprocessing.

    Raises:
        MissingDependency: timm is not installed.
        InputError: timm has no such network, or it does not take this size.
    """
    try:
        import timm
        from timm.data.config import resolve_data_config
        from timm.utils.model import reparameterize_model
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingDependency("timm", extra="timm") from None
    if not timm.is_model(name):
        raise InputError(f"timm {timm.__version__} has no network {name!r}; {suggest_name(name, timm.list_models())}")
    own = timm.get_pretrained_cfg(name)
    size = image_size or (own.input_size[1:] if own else (224, 224))
    sized: dict[str, Any] = {}
    if own and own.fixed_input_size and size != own.input_size[1:]:
        sized["img_size"] = size  # position embeddings of a fixed number need one size; other networks take any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        try:
            # `exportable` makes timm write attention as plain matrix products, which every exporter supports.
            model: nn.Module = timm.create_model(name, num_classes=NUM_CLASSES, exportable=True, **sized).eval()
            if sized:  # some accept the size and fail only in the forward pass
                with torch.no_grad():
                    model(torch.zeros(1, 3, *size))
        except (TypeError, AssertionError, RuntimeError):
            if not sized or own is None:
                raise
            accepted = "x".join(str(side) for side in own.input_size[1:])
            raise InputError(f"timm's {name} takes only images of {accepted} px") from None
    config: dict[str, Any] = resolve_data_config({"input_size": (3, *size)}, model=model)
    spec = Preprocess(
        image_size=(int(size[0]), int(size[1])), crop_ratio=config["crop_pct"], mean=config["mean"], std=config["std"]
    )
    return reparameterize_model(model), spec


def suggest_name(name: str, known: list[str]) -> str:
    """A hint for an error message: the nearest name, because timm has too many names to list them."""
    hint = did_you_mean(name.partition(".")[0], known)
    return hint if hint.startswith("did you mean") else "timm.list_models() has them all"


def load_photographs(spec: Preprocess) -> NDArray[np.uint8]:
    """The bundled photographs, preprocessed: uint8 (N, H, W, 3)."""
    return np.stack([spec(path) for path in sorted(SAMPLE_IMAGES.glob("*.jpg"))])


def set_batch_norm_statistics(model: nn.Module, images_NHWC: NDArray[np.uint8], spec: Preprocess) -> nn.Module:
    """Set the running statistics of a model's batch norms, in place, to those of these images.

    Args:
        model: in eval mode, in which everything else stays.
        images_NHWC: one batch, uint8.

    Returns:
        The model itself.
    """
    batch_norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]
    for norm in batch_norms:
        norm.train()
        norm.momentum = 1.0  # the statistics of this batch replace the old ones
    if batch_norms:
        with torch.no_grad():
            model(Normalise(spec)(torch.from_numpy(images_NHWC).permute(0, 3, 1, 2)))
    return model.eval()


def source_cost(source: Source) -> Cost:
    """The cost of one image in the deployed form, counted alike for all networks."""
    return module_cost(source.build_deployed(), torch.zeros(1, *source.card.input.image_size, 3, dtype=torch.uint8))
