"""What each group of layers costs when it alone is quantised, and so which to leave in float first."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nextvit.backends.layers import layer_groups
from nextvit.backends.program import Source
from nextvit.bundle.manifest import Manifest
from nextvit.export.targets import Target
from nextvit.image.resizing import INPUT_NAME
from nextvit.predictions.kind import kind_of
from nextvit.tasks.task import get_task

IMAGES = 64


@dataclass(frozen=True, kw_only=True)
class GroupCost:
    """One group quantised, all others in float."""

    group: str
    mean_error: float
    """Mean difference of the logits from PyTorch's, relative to their standard deviation."""
    agreement: float


def sensitivity(source: Source, target: Target, manifest: Manifest, pixels_NHWC: NDArray[np.uint8]) -> list[GroupCost]:
    """The cost of every group, in the order of computation, on at most 64 images."""
    pixels = pixels_NHWC[:: max(1, len(pixels_NHWC) // IMAGES)][:IMAGES]
    inputs = {INPUT_NAME: pixels}
    expected = get_task(source.card.task).reference_outputs(source.classifier, source.card, inputs)["logits"]
    names = layer_groups(source.classifier)
    costs: list[GroupCost] = []
    for group in names:
        alone = replace(source, float_layers=tuple(name for name in names if name != group))
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            model_file = target.writer(source.precision)(alone, folder)
            session = target.session(folder, replace(manifest, model_file=model_file))
            got = session.run(inputs)["logits"]
        parity = kind_of(source.card).compare(expected, got)
        costs.append(GroupCost(group=group, mean_error=parity.mean_error, agreement=parity.agreement))
    return costs


def float_layer_candidates(costs: list[GroupCost]) -> list[tuple[str, ...]]:
    """What to leave in float, in the order to try: the one, two, four, eight ... most costly groups."""
    ranked = [each.group for each in sorted(costs, key=lambda each: -each.mean_error)]
    counts = [1 << power for power in range(len(ranked).bit_length()) if 1 << power < len(ranked)]
    return [tuple(ranked[:count]) for count in counts]
