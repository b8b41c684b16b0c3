"""Trained network and card -> Source, from which every backend captures a program and writes its file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim, ExportedProgram

from nextvit.backends.layers import NetworkWithTaps
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Precision
from nextvit.image.canvas import STRIDE_PX
from nextvit.models.classification import Classifier
from nextvit.models.fuse import adapt_to_any_size
from nextvit.models.network import Network
from nextvit.predictions.kind import output_names
from nextvit.tasks.network import deploy_network

T = TypeVar("T")

MAX_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class Source:
    """Everything that a backend's file is made from."""

    model: Network
    """The trained network, on the CPU and in eval mode. The capture folds its batch norms."""
    card: ModelCard
    precision: Precision
    dynamic_size: bool = False
    calibration: NDArray[np.uint8] | None = None
    """Real images, uint8 (N, H, W, 3) at the card's size, for static quantisation; None for float files."""
    calibration_source: str | None = None
    """Where the calibration images come from, for people."""
    float_layers: tuple[str, ...] = ()
    """Groups of `layers.group_of` that an int8 file computes in fp32."""
    taps: tuple[str, ...] = ()
    """Names of `layers.tap_points` whose tensors are further outputs, after the logits and under these names."""

    cache: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False, compare=False)
    """Results of `cached`, shared by all sources that `dataclasses.replace` derives from this one."""

    def cached(self, kind: str, make: Callable[[], T]) -> T:
        """Call `make` once per graph and keep its result: int8 exports reuse one graph with other float layers.

        Args:
            kind: what `make` returns, as a part of the key.
        """
        key = (kind, id(self.model), self.precision, self.dynamic_size, self.taps)
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    @property
    def classifier(self) -> Classifier:
        """The model as a classifier; taps and int8 exist for classifiers only."""
        assert isinstance(self.model, Classifier)
        return self.model

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs, in order."""
        return [*output_names(self.card), *self.taps]

    def build_deployed(self, *, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Build the deployment form as a module: from the card's inputs to its outputs, then the taps' tensors."""
        model = adapt_to_any_size(self.model) if self.dynamic_size else self.model
        deployed = deploy_network(model, self.card, dtype=dtype)
        return NetworkWithTaps(deployed, self.taps) if self.taps else deployed

    def capture_program(self, *, dtype: torch.dtype = torch.float32, max_batch: int = MAX_BATCH) -> ExportedProgram:
        """Capture the deployment form as a graph for any N up to `max_batch`.

        H and W are fixed, or with `dynamic_size` from 33 px to 4096 px. For a card that pads images to a common canvas
        they are any multiples of 32 px.
        """
        if self.card.input.padded:
            return capture_padded(self.build_deployed(dtype=dtype), max_batch=max_batch)
        return capture(
            self.build_deployed(dtype=dtype),
            self.card.input.image_size,
            dynamic_size=self.dynamic_size,
            max_batch=max_batch,
        )


def capture(
    deployed: nn.Module, image_size: tuple[int, int], *, dynamic_size: bool = False, max_batch: int = MAX_BATCH
) -> ExportedProgram:
    """Capture a module that takes uint8 images (N, H, W, 3) as a graph for any N up to `max_batch`."""
    height, width = image_size
    dynamic = {0: Dim("batch", min=1, max=max_batch)}
    if dynamic_size:
        # Two different sides, so that torch.export does not specialise on equal ones.
        height, width = 64, 96
        dynamic |= {axis: Dim(name, min=MIN_DYNAMIC_SIDE_PX, max=MAX_SIDE_PX) for axis, name in ((1, "h"), (2, "w"))}
    example_NHWC = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(deployed, (example_NHWC,), dynamic_shapes=(dynamic,))


def capture_padded(deployed: nn.Module, *, max_batch: int = MAX_BATCH) -> ExportedProgram:
    """Capture a module that takes a padded batch as a graph for any N up to `max_batch`.

    Its inputs are uint8 images (N, H, W, 3), whose sides are multiples of 32 px up to 4096 px, and the int64 height and
    width (N, 2) of each image within them.
    """
    batch = Dim("batch", min=1, max=max_batch)
    steps = [Dim(name, min=1, max=MAX_SIDE_PX // STRIDE_PX) for name in ("rows", "columns")]
    # Two different sides, so that torch.export does not specialise on equal ones.
    images_NHWC = torch.zeros(2, 3 * STRIDE_PX, 4 * STRIDE_PX, 3, dtype=torch.uint8)
    sizes_N2 = torch.tensor([[80, 100], [96, 128]])
    dynamic_shapes = ({0: batch, 1: STRIDE_PX * steps[0], 2: STRIDE_PX * steps[1]}, {0: batch})
    with torch.no_grad():
        return torch.export.export(deployed, (images_NHWC, sizes_N2), dynamic_shapes=dynamic_shapes)
