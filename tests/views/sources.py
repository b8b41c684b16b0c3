"""Sources of training images, as a task makes them."""

from nextvit.data.samples import Samples
from nextvit.views.label_view import build_view
from nextvit.views.labelled_source import LabelledSource
from nextvit.views.settings import Augment


def labelled_source(samples: Samples, *, num_classes: int = 3, side_px: int = 32) -> LabelledSource:
    """Square views with rows of 0 and 1."""
    view = build_view(Augment(), image_size=(side_px, side_px))
    return LabelledSource(samples, view, num_classes, lambda rows: rows, num_labelled=len(samples))
