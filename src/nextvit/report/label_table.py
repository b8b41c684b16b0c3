"""The classes of a multi-label model, in a table: several may be right at once, so none is taken for another."""

from typing import Any

from nextvit.report.classification_sections import percent
from nextvit.report.page import Markup, section, table


def label_table(details: dict[str, Any]) -> Markup | None:
    """Average precision, and precision and recall at the threshold, of each class, worst first."""
    if "class_recalls" not in details:
        return None
    columns = ("classes", "class_images", "class_scores", "class_precisions", "class_recalls")
    rows = [
        (name, images, percent(score, "no images"), percent(precision, "never answered"), percent(recall))
        for name, images, score, precision, recall in sorted(
            zip(*(details[column] for column in columns), strict=True), key=lambda row: row[2] or 0.0
        )
    ]
    return section("Classes", table(["class", "images", "average precision", "precision", "recall"], rows))
