"""The captured program: what every backend is made from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import Dim, ExportedProgram

from nextvit.backends.layers import Tapped
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MAX_SIDE_PX, MIN_DYNAMIC_SIDE_PX, Precision
from nextvit.image.resizing import STRIDE_PX
from nextvit.models.classification import Classifier
from nextvit.models.fuse import for_any_size
from nextvit.models.network import Network, deployed_form

Made = TypeVar("Made")

MAX_BATCH = 4096


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a backend's file is made from."""

    model: Network
    """As it was trained, on the CPU and in eval mode. Folding the batch norms is part of the capture."""
    card: ModelCard
    precision: Precision
    dynamic_size: bool = False
    calibration: NDArray[np.uint8] | None = None
    """Real images (N, H, W, 3) at the card's size, where something is quantised."""
    calibration_source: str | None = None
    """Where they are from, for people."""
    float_layers: tuple[str, ...] = ()
    """Groups of `layers.group_of` that an int8 file computes in fp32 all the same."""
    taps: tuple[str, ...] = ()
    """Names of `layers.tap_points` whose tensors are outputs, too, behind the logits; they have those names."""

    made: dict[Any, Any] = field(default_factory=dict[Any, Any], repr=False, compare=False)
    """What `once` has made, shared by all that `dataclasses.replace` derives from this source."""

    def once(self, what: str, make: Callable[[], Made]) -> Made:
        """What `make` returns for this graph, made only once: int8 takes the same graph again and again, with other
        layers left in float."""
        key = (what, id(self.model), self.precision, self.dynamic_size, self.taps)
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    @property
    def classifier(self) -> Classifier:
        """The model of a source that is one: layers are watched and quantised of classifiers alone."""
        assert isinstance(self.model, Classifier)
        return self.model

    @property
    def outputs(self) -> list[str]:
        """The outputs of the graph, in order."""
        return [*self.card.outputs, *self.taps]

    def deployed(self, *, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The deployment form as a module: from the card's inputs to its outputs, and with taps to a tuple that begins with
        them."""
        model = for_any_size(self.model) if self.dynamic_size else self.model
        deployed = deployed_form(model, self.card, dtype=dtype)
        return Tapped(deployed, self.taps) if self.taps else deployed

    def program(self, *, dtype: torch.dtype = torch.float32, max_batch: int = MAX_BATCH) -> ExportedProgram:
        """The deployment form as a graph, for any N, and with `dynamic_size` any H and W from 33 px to 4096 px; where pictures
        lie in frames for any H and W that are multiples of 32."""
        if self.card.input.resize == "fit":
            return capture_framed(self.deployed(dtype=dtype), max_batch=max_batch)
        return capture(
            self.deployed(dtype=dtype), self.card.input.image_size, dynamic_size=self.dynamic_size, max_batch=max_batch
        )


def capture(
    deployed: nn.Module, image_size: tuple[int, int], *, dynamic_size: bool = False, max_batch: int = MAX_BATCH
) -> ExportedProgram:
    """A module that takes uint8 images (N, H, W, 3) as a graph for any N up to `max_batch`."""
    height, width = image_size
    dynamic = {0: Dim("batch", min=1, max=max_batch)}
    if dynamic_size:
        # Two different sides, so that nothing takes them for equal.
        height, width = 64, 96
        dynamic |= {axis: Dim(name, min=MIN_DYNAMIC_SIDE_PX, max=MAX_SIDE_PX) for axis, name in ((1, "h"), (2, "w"))}
    example_NHWC = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(deployed, (example_NHWC,), dynamic_shapes=(dynamic,))


def capture_framed(deployed: nn.Module, *, max_batch: int = MAX_BATCH) -> ExportedProgram:
    """A module that takes uint8 images (N, H, W, 3) and sizes (N, 2) as a graph for any N up to `max_batch`, and sides that are
    multiples of 32 px up to 4096 px."""
    batch = Dim("batch", min=1, max=max_batch)
    steps = [Dim(name, min=1, max=MAX_SIDE_PX // STRIDE_PX) for name in ("rows", "columns")]
    # Two different sides, so that nothing takes them for equal.
    images_NHWC = torch.zeros(2, 3 * STRIDE_PX, 4 * STRIDE_PX, 3, dtype=torch.uint8)
    sizes_N2 = torch.tensor([[80, 100], [96, 128]])
    dynamic_shapes = ({0: batch, 1: STRIDE_PX * steps[0], 2: STRIDE_PX * steps[1]}, {0: batch})
    with torch.no_grad():
        return torch.export.export(deployed, (images_NHWC, sizes_N2), dynamic_shapes=dynamic_shapes)
