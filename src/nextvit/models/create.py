"""Create a model by name, with or without weights."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from nextvit.errors import InputError, did_you_mean, suggest_path
from nextvit.files.run_folder import find_best_weights, is_run
from nextvit.models.backbone import NextViT
from nextvit.models.classification import Classifier
from nextvit.models.config import VARIANTS, NextViTConfig
from nextvit.models.published import TAGS, download
from nextvit.models.weights import load_weights


def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
    drop_path: float | None = None,
    features_only: bool = False,
) -> nn.Module:
    """A classifier (N, in_chans, H, W) -> (N, num_classes), or with `features_only` a backbone -> four feature maps.

    Args:
        name: one of `nextvit.models.config.VARIANTS`, as in timm.
        weights: None, a published tag such as "bd_ssld_6m_in1k" (downloaded on first use), a checkpoint file, or a run.
        num_classes: outputs of the head; if the checkpoint has another number, the head is initialised at random.
        in_chans: channels of the input image.
        drop_path: stochastic depth rate of the last block; None: that of the variant.
        features_only: leave out the last norm and the head.

    Raises:
        InputError: there is no such model or no such weights, or the weights do not fit the model.
    """
    config = replace(find_variant(name), in_chans=in_chans)
    if drop_path is not None:
        config = replace(config, drop_path=drop_path)
    model = NextViT(config) if features_only else Classifier(config, num_classes=num_classes)
    if weights is not None:
        load_weights(model, find_weights(name, weights))
    return model


def find_variant(name: str) -> NextViTConfig:
    """The configuration of a named variant.

    Raises:
        InputError: there is no variant of that name.
    """
    if name not in VARIANTS:
        raise InputError(f"no model {name!r}; {did_you_mean(name, VARIANTS)}")
    return VARIANTS[name]


def find_weights(name: str, weights: str | Path) -> Path:
    """Path of the weights: a file, the best checkpoint of a run, or published weights, downloaded on first use.

    Raises:
        InputError: there are no such weights.
    """
    if str(weights) in TAGS:
        return download(name, str(weights))
    path = find_best_weights(Path(weights)) if is_run(Path(weights)) else Path(weights)
    if not path.is_file():
        raise InputError(
            f"no weights {str(weights)!r}: no file, no run and no published tag ({', '.join(TAGS)}){suggest_path(path)}"
        )
    return path
