"""Refuse a request for an export that cannot succeed, before any work is done. Loads no torch."""

from pathlib import Path

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MIN_DYNAMIC_SIDE_PX, SUFFIX, is_bundle
from nextvit.errors import InputError
from nextvit.export.targets import TARGETS
from nextvit.tasks.task import get_task


def check_request(
    card: ModelCard, out: Path, *, backend: str, dynamic_size: bool, max_drop: float | None, explain_layers: bool
) -> None:
    """Refuse what cannot succeed before any work is done."""
    if explain_layers and not get_task(card.task).has_comparable_layers:
        raise InputError("--explain is for classifiers, whose layers can be watched one by one; leave it out")
    if max_drop is not None and not 0 <= max_drop <= 100:
        raise InputError(f"--max-drop must be between 0 and 100 points, got {max_drop:g}")
    check_size(card, backend, dynamic_size=dynamic_size)
    if dynamic_size and min(card.input.image_size) < MIN_DYNAMIC_SIDE_PX:
        raise InputError(f"--dynamic-size takes sides from {MIN_DYNAMIC_SIDE_PX} px, and the model is one for 32 px")
    if out.suffix != SUFFIX:
        raise InputError(f"{out}: a bundle is a folder whose name ends in {SUFFIX}; choose another --out")
    if out.exists() and not is_bundle(out):
        raise InputError(f"{out}: exists and is not a bundle; choose another --out")


def check_size(card: ModelCard, backend: str, *, dynamic_size: bool) -> None:
    """Refuse a size that a model or its backend does not take."""
    padded = card.input.padded
    if dynamic_size and padded:
        raise InputError(
            "this model keeps aspect ratios and pads (data.resize pad), and so takes any size without --dynamic-size"
        )
    if card.task in TARGETS[backend].one_size and (dynamic_size or padded):
        raise InputError(f"{backend} takes models for {card.task} of one size alone; pass --fixed-size HEIGHTxWIDTH")
