"""Names of scores for people."""

from collections.abc import Iterable

DISPLAY_NAMES = {
    "top1_score": "top-1",
    "top5_score": "top-5",
    "agreement_score": "agreement with the teacher",
    "mean_class_score": "mean class accuracy",
    "mean_ap_score": "mean AP",
    "micro_f1_score": "micro F1",
    "mean_iou_score": "mIoU",
    "mean_dice_score": "mean Dice",
    "pixel_accuracy_score": "pixel accuracy",
    **{
        f"{kind}_ap{part}_score": f"{kind} AP{part.replace('_', ', ')}"
        for kind in ("box", "mask")
        for part in ("", "50", "75", "_small", "_medium", "_large")
    },
}


def display_name(score: str) -> str:
    """A score's name for people: "mean_ap_score" -> "mean AP"."""
    return DISPLAY_NAMES.get(score, score.removesuffix("_score").replace("_", " "))


def main_score(record: Iterable[str]) -> str:
    """The main score, which is the first in a record of an evaluation or (there prefixed with "val_") of an epoch."""
    return next(name.removeprefix("val_") for name in record if name.endswith("_score"))
