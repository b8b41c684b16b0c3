"""Sections on how near a student is to its teacher. Each takes the evaluation's details."""

from typing import Any

from nextvit.report.classification_sections import THUMBNAIL, Details, Shown, captioned, readable
from nextvit.report.page import Markup, escape, image_grid, paragraph, section, table


def divergence(details: Details) -> Markup | None:
    """The divergence in numbers, beside what it is without a look at the images."""
    if "divergence_of_mean" not in details:
        return None
    low, middle, high = details["divergence_quartiles"]
    rows: list[tuple[str, Any]] = [
        ("mean", f"{details['divergence']:.3f}"),
        ("a quarter, half, three quarters of the images are below", f"{low:.3f}, {middle:.3f}, {high:.3f}"),
        ("of a student that predicts the teacher's mean for every image", f"{details['divergence_of_mean']:.3f}"),
    ]
    note = "Kullback-Leibler divergence of the student's probabilities from the teacher's, in nats; 0: the same."
    return section("Divergence from the teacher", table(["on held-out images", ""], rows), paragraph(note, tone="soft"))


def differences(details: Details) -> Markup | None:
    """The images on which the two differ most."""
    if not details.get("differences"):
        return None
    return section("Where they differ most", image_grid(readable(details["differences"], compared_image)))


def compared_image(shown: Details) -> Shown:
    """One image with both predictions."""
    tone = "good" if shown["teacher"] == shown["student"] else "bad"
    said = (
        f'<span class="{tone}">{escape(shown["student"])}</span> {shown["student_probability"]:.0%}<br>'
        f"teacher: {escape(shown['teacher'])} {shown['teacher_probability']:.0%}"
    )
    return THUMBNAIL(shown["path"]), captioned(said, shown["path"])
