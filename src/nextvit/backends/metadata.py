"""What a file says of itself in its own metadata: the card, and what its inputs and outputs mean, as JSON."""

import json

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MIN_DYNAMIC_SIDE_PX
from nextvit.files.records import to_plain
from nextvit.image.canvas import STRIDE_PX
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.predictions.kind import kind_of


def file_metadata(card: ModelCard, *, dynamic_size: bool) -> dict[str, str]:
    """The entries of a file's metadata, by name."""
    entries = {
        "nextvit_card": to_plain(card),
        "nextvit_inputs": describe_inputs(card, dynamic_size=dynamic_size),
        "nextvit_outputs": kind_of(card).output_meanings(),
    }
    return {name: json.dumps(values, ensure_ascii=False) for name, values in entries.items()}


def describe_inputs(card: ModelCard, *, dynamic_size: bool) -> dict[str, str]:
    """The inputs of the graph in their order, each with its type, shape and meaning in a line."""
    spec = card.input
    if not spec.padded:
        others = f", or any other size from {MIN_DYNAMIC_SIDE_PX} px" if dynamic_size else ""
        return {INPUT_NAME: f"(N, height, width, 3) uint8: RGB, made {spec.words} (resize {spec.resize}){others}"}
    canvas = f"canvas whose sides are multiples of {STRIDE_PX} px; the padding may hold anything"
    return {
        INPUT_NAME: "(N, H, W, 3) uint8: RGB, each "
        f"scaled to {spec.words} (resize {spec.resize}), at the top left of a {canvas}",
        SIZES_NAME: "(N, 2) int64: height and width of each scaled image on its canvas",
    }
