"""The table of the classes of a multi-label model, which has no confusion matrix: several classes may be true
together."""

from typing import Any

from nextvit.report.classification_sections import percent
from nextvit.report.page import Markup, section, table


def label_section(details: dict[str, Any]) -> Markup | None:
    """Average precision, and precision and recall at the threshold, of each class, worst first.

    None for the details of another task.
    """
    if "class_recalls" not in details:
        return None
    columns = ("classes", "class_images", "class_scores", "class_precisions", "class_recalls")
    rows = [
        (name, images, percent(score, "no images"), percent(precision, "never predicted"), percent(recall))
        for name, images, score, precision, recall in sorted(
            zip(*(details[column] for column in columns), strict=True), key=lambda row: row[2] or 0.0
        )
    ]
    return section("Classes", table(["class", "images", "average precision", "precision", "recall"], rows))
