"""What each input and output of a file means, in a line: for its manifest, and in its own metadata."""

import json

from nextvit.backends.program import Source
from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import MIN_DYNAMIC_SIDE_PX
from nextvit.files.records import to_plain
from nextvit.image.masks import IGNORED, MASK_THRESHOLD
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME, STRIDE_PX
from nextvit.models.regions import MASK_SIDE

PROBABILITIES = {
    "classification": "softmax gives probabilities",
    "multilabel": "sigmoid gives each one's probability, and those that reach the card's thresholds are answered",
}


def description(source: Source) -> dict[str, str]:
    """What a file says of itself in its own metadata: by name, as JSON."""
    said = {
        "nextvit_card": to_plain(source.card),
        "nextvit_inputs": input_meanings(source.card, dynamic_size=source.dynamic_size),
        "nextvit_outputs": output_meanings(source.card, classes_type="uint8"),
    }
    return {name: json.dumps(values, ensure_ascii=False) for name, values in said.items()}


def input_meanings(card: ModelCard, *, dynamic_size: bool) -> dict[str, str]:
    """What the graph takes, by name, in its order."""
    if card.input.resize != "fit":
        others = f", or any other size from {MIN_DYNAMIC_SIDE_PX} px" if dynamic_size else ""
        made = f"made {card.input.words} (resize {card.input.resize}){others}"
        return {INPUT_NAME: f"(N, height, width, 3) uint8: RGB, {made}"}
    return {
        INPUT_NAME: f"(N, H, W, 3) uint8: RGB, each scaled to {card.input.words} (resize fit), at the top left of a frame "
        f"whose sides are multiples of {STRIDE_PX} px; what lies beyond a picture may be anything",
        SIZES_NAME: "(N, 2) int64: height and width of each scaled picture in its frame",
    }


def output_meanings(card: ModelCard, *, classes_type: str) -> dict[str, str]:
    """What the graph answers, by name, in its order. `classes_type` is that of a map of classes."""
    if card.task == "segmentation":
        beyond = f", and {IGNORED} beyond the picture" if card.input.resize == "fit" else ""
        meanings = {
            "classes": f"(N, H, W) {classes_type}: the class of each pixel, as its place in the card's classes{beyond}",
            "logits": "(N, classes, H / 4, W / 4), rounded up, float32: one value for each class at each fourth place, in the "
            "card's order; enlarged to H and W (bilinear, corners not aligned), the largest gives the class, and softmax "
            "probabilities",
        }
        return {name: meanings[name] for name in card.outputs}
    if card.task != "detection":
        return {
            "logits": f"(N, classes) float32: one value for each class, in the card's order; {PROBABILITIES[card.task]}"
        }
    most, threshold = card.head["detections"], card.head["score_threshold"]
    side = 2 * MASK_SIDE
    meanings = {
        "boxes": f"(N, {most}, 4) float32: x1, y1, x2, y2 of at most {most} objects, in pixels of the scaled picture; 0 where "
        "there is no further object",
        "scores": f"(N, {most}) float32: probability of each object's class, above {threshold:g} and falling; 0 where there "
        "is no further object",
        "labels": f"(N, {most}) int64: class of each object, as its place in the card's classes",
        "masks": f"(N, {most}, {side}, {side}) float32: probability that each part of the object's box belongs to it, which it "
        f"does from {MASK_THRESHOLD:g} on",
    }
    return {name: meanings[name] for name in card.outputs}
