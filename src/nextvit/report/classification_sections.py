"""Sections on what an evaluation found. Each takes the evaluation's details, and is None where they lack what it
shows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.image.reading import DecodeError
from nextvit.image.resizing import Preprocess
from nextvit.report import figures
from nextvit.report.page import Markup, breakable, escape, image_element, image_grid, paragraph, section, table

THUMBNAIL = Preprocess(image_size=(160, 160))
MOST_CLASSES = 60

Details = dict[str, Any]
Shown = tuple[NDArray[np.uint8], Markup]
"""Pixels (H, W, 3) and what stands below them."""


def examples(details: Details) -> Markup | None:
    """The first image of each class."""
    if not details.get("examples"):
        return None
    return section("One image of each class", predicted_images(details["examples"]))


def mistakes(details: Details) -> Markup | None:
    """The images that the model got wrong."""
    if "mistakes" not in details:
        return None
    none = paragraph("None on the validation images.", tone="good")
    return section(
        "Mistakes, the most confident first", predicted_images(details["mistakes"]) if details["mistakes"] else none
    )


def predicted_images(listed: list[Details]) -> Markup:
    """Images with the prediction and, where it is wrong, the truth; an image that is gone since is left out."""
    return image_grid(readable(listed, labelled_image))


def labelled_image(shown: Details) -> Shown:
    """One image with its prediction."""
    right = shown["guess"] == shown["label"]
    truth = "" if right else f"<br>truth: {escape(shown['label'])}"
    tone, probability = "good" if right else "bad", f"{shown['probability']:.0%}"
    said = f'<span class="{tone}">{escape(shown["guess"])}</span> {probability}{truth}'
    return THUMBNAIL(shown["path"]), captioned(said, shown["path"])


def confused_pairs(details: Details) -> Markup | None:
    """Which class is taken for which, with an example where one is among the shown mistakes."""
    if not details.get("confused_pairs"):
        return None
    rows = [
        (
            pair["label"],
            pair["guess"],
            pair["count"],
            Markup(f"{pair['share']:.1f} %"),
            example_of(pair, details.get("mistakes", [])),
        )
        for pair in details["confused_pairs"]
    ]
    columns = ["true class", "taken for", "times", "of the class's images", "example"]
    return section("Most confused pairs", table(columns, rows))


def example_of(pair: Details, listed: list[Details]) -> Markup:
    """The most confident mistake of a pair, small."""
    for shown in listed:
        if (shown["label"], shown["guess"]) == (pair["label"], pair["guess"]):
            try:
                return image_element(THUMBNAIL(shown["path"]), side_px=64)
            except DecodeError:
                continue
    return Markup("")


def confusion(details: Details) -> Markup | None:
    """The confusion matrix."""
    if "confusion" not in details:
        return None
    return section("Confusion", Markup(figures.draw_confusion(details["confusion"], details["classes"])))


def calibration(details: Details) -> Markup | None:
    """Whether the model is right as often as it is sure."""
    if "calibration" not in details:
        return None
    bins = details["calibration"]
    counts, sure, right = (np.array(bins[name]) for name in ("counts", "confidence", "accuracy"))
    total = max(1, counts.sum())
    ece = float((counts * abs(right - sure)).sum() / total)
    excess = float((counts * (sure - right)).sum() / total)
    tendency = "more sure than right" if excess > 0 else "less sure than right"
    text = (
        f"Expected calibration error {ece:.1%} over {len(counts)} bins (Guo et al., 2017). "
        f"On average the model is {tendency} by {abs(excess):.1%}; on the diagonal it would be right as often as it "
        "says."
    )
    return section("Calibration", Markup(figures.draw_reliability(counts, sure, right)), paragraph(text, tone="soft"))


def class_table(details: Details) -> Markup | None:
    """Images, accuracy and precision of each class, worst first."""
    if not {"class_intervals", "class_precisions", "confusion"} <= details.keys():
        return None
    scores = details["class_scores"]
    order = sorted(range(len(scores)), key=lambda label: scores[label] or 0.0)
    rows: list[tuple[str, int, int, str, str, str]] = []
    for label in order[:MOST_CLASSES]:
        low, high = details["class_intervals"][label]
        precision = details["class_precisions"][label]
        rows.append(
            (
                details["classes"][label],
                details["class_training_images"][label],
                details["class_images"][label],
                "no images" if scores[label] is None else f"{scores[label]:.1f} % ({low:.0f} to {high:.0f})",
                "never predicted" if precision is None else f"{precision:.1f} %",
                taken_for(details, label),
            )
        )
    columns = ["class", "training images", "evaluated", "accuracy (95 %)", "precision", "most often taken for"]
    left_out = len(order) - len(rows)
    note = paragraph(f"{left_out} better classes are left out.", tone="soft") if left_out else Markup("")
    return section("Classes", table(columns, rows), note)


def taken_for(details: Details, label: int) -> str:
    """The class that a class is most often mistaken for."""
    wrong = np.array(details["confusion"][label])
    wrong[label] = 0
    return f"{details['classes'][int(wrong.argmax())]} ({wrong.max()}x)" if wrong.any() else ""


def readable(listed: list[Details], show: Callable[[Details], Shown]) -> list[Shown]:
    """What can be shown; an image that is gone since is left out."""
    shown: list[Shown] = []
    for each in listed:
        try:
            shown.append(show(each))
        except DecodeError:
            continue
    return shown


def captioned(text: str, path: str) -> Markup:
    """Text that is HTML already, and the file's name."""
    return Markup(f'{text}<br><span class="soft">{breakable(Path(path).name).text}</span>')


def percent(share: float | None, otherwise: str = "", *, digits: int = 1) -> str:
    """A share in percent, on one line."""
    return otherwise if share is None else f"{share:.{digits}f}\N{NO-BREAK SPACE}%"
