"""What all tasks have in common whose network is a classifier: the network, and views of one size."""

from typing import TYPE_CHECKING, Any

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays
from nextvit.data.dataset import Dataset
from nextvit.image.resizing import INPUT_NAME

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from nextvit.models.classification import Classifier
    from nextvit.models.network import Network
    from nextvit.views.labelled_source import LabelTargets


class ClassifierTask:
    """Common base of classification, multi-label classification and distillation."""

    images_seen = 100_000
    has_comparable_layers = True
    is_fp32_only, times_backbone_separately = False, False

    adapts: tuple[str, ...] = ()

    def adapt(self, dataset: Dataset) -> Dataset | None:
        return None

    def complete(self, dataset: Dataset, settings: Any, device: "torch.device") -> Dataset:
        return dataset

    def head(self, variant: str, settings: Any, dataset: Dataset) -> dict[str, Any]:
        return {}

    def build(self, card: ModelCard) -> "Classifier":
        from nextvit.models.classification import build_classifier

        return build_classifier(card)

    def deploy(self, model: "Network", card: ModelCard, *, dtype: "torch.dtype") -> "nn.Module":
        from nextvit.models.deployed import Deployed

        return Deployed(model, card.input, dtype=dtype)

    def training_inputs(self, card: ModelCard) -> "tuple[Tensor, ...]":
        import torch

        return (torch.empty(1, 3, *card.input.image_size),)

    def reference_outputs(self, model: "Network", card: ModelCard, inputs: Arrays) -> Arrays:
        import torch

        from nextvit.models.deployed import normalise

        with torch.inference_mode():
            images_NCHW = torch.from_numpy(inputs[INPUT_NAME]).permute(0, 3, 1, 2).contiguous()
            return {"logits": model(normalise(images_NCHW, card.input)).numpy()}

    def random_batch(
        self, card: ModelCard, settings: Any, *, images: int, device: "torch.device"
    ) -> "tuple[Tensor, LabelTargets]":
        import torch

        from nextvit.views.labelled_source import LabelTargets

        pixels = torch.randint(0, 256, (images, 3, *card.input.image_size), device=device).float()
        rows = torch.full((images, len(card.classes)), 1 / len(card.classes), device=device)
        return pixels, LabelTargets(rows, torch.ones(images, 1, device=device))

    def evaluation_card(self, card: ModelCard) -> ModelCard:
        return card
