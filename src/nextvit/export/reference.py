"""The proof: trained network and exported file answer the same real images, and the difference is measured."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nextvit.bundle.card import ModelCard
from nextvit.bundle.manifest import Arrays, Precision
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.export.proof_images import ProofImages
from nextvit.image.masks import IGNORED
from nextvit.image.resizing import INPUT_NAME, SIZES_NAME
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.models.classification import Classifier
from nextvit.models.deployed import blank_outside, inside, normalise
from nextvit.models.network import Network
from nextvit.models.segmentation import Segmenter, class_map, standardised
from nextvit.proof.parity import AnyParity, compare_answers
from nextvit.proof.segmentation_parity import LogitsDifference
from nextvit.proof.tolerances import TOLERANCES
from nextvit.runtime.session import Session
from nextvit.tasks.answers import Answers, batches, joined, judged_part
from nextvit.tasks.task import Task

MAX_DROP = 0.5
"""Points of the score that a precision without bounds on its outputs may cost, where the user says nothing."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What both sides answered."""

    samples: list[Sample]
    expected: Answers
    """Those of PyTorch."""
    got: Answers
    parity: AnyParity
    unreadable: list[str]
    source: str

    def record(self, task: Task | None) -> dict[str, Any]:
        """What a manifest says of the proof: differences, and with labels the scores with 95 % intervals."""
        record: dict[str, Any] = {"source": self.source, **asdict(self.parity)}
        if self.unreadable:
            record["unreadable"] = {"images": len(self.unreadable), "first": self.unreadable[:3]}
        if task:
            before, after = (task.judge(self.samples, answers) for answers in (self.expected, self.got))
            counts = resample_counts(len(self.samples))
            drops = task.resampled(self.samples, self.expected, counts) - task.resampled(self.samples, self.got, counts)
            for name, evaluation in (("before", before), ("after", after)):
                record[name] = {
                    "metric": evaluation.main_score,
                    "score": evaluation.scores[evaluation.main_score],
                    "interval_95": evaluation.interval_95,
                    "images": evaluation.images,
                }
            record["drop"] = record["before"]["score"] - record["after"]["score"]
            record["drop_interval_95"] = interval_95(drops)
            if "mask_ap_score" in before.scores:
                record["masks_before"], record["masks_after"] = (
                    each.scores["mask_ap_score"] for each in (before, after)
                )
        return record


def prove(model: Network, card: ModelCard, session: Session, images: ProofImages) -> Proof:
    """Run both sides on the same images, from the files on disk to the answers; each file is read once.

    Raises:
        InputError: none of the images can be read.
    """
    samples: list[Sample] = []
    unreadable: list[str] = []
    expected: list[Answers] = []
    got: list[Answers] = []
    logits = LogitsDifference()
    for batch in batches(images.samples, card):
        unreadable += batch.unreadable
        if batch.samples:
            samples += batch.samples
            outputs = (reference_outputs(model, card, batch.inputs), session.run(batch.inputs))
            for answers, each in zip((expected, got), outputs, strict=True):
                answers.append(judged_part(each, batch.images, card))
            if card.scores:
                logits.add(*(each["logits"] for each in outputs))
    if not samples:
        raise InputError(f"{images.source}: no image can be read; first: {unreadable[0]}")
    before, after = joined(expected), joined(got)
    return Proof(
        samples=samples,
        expected=before,
        got=after,
        parity=compare_answers(before, after, card, logits_error=logits.error),
        unreadable=unreadable,
        source=images.source,
    )


def reference_outputs(model: Network, card: ModelCard, inputs: Arrays) -> Arrays:
    """What PyTorch answers, by the path of training: unfused, with the normalisation outside."""
    if isinstance(model, Classifier):
        return {"logits": reference_logits(model, card, inputs[INPUT_NAME])}
    if isinstance(model, Segmenter):
        outputs: Arrays = dict(zip(("classes", "logits"), reference_classes(model, card, inputs), strict=True))
        return {name: outputs[name] for name in card.outputs}
    with torch.inference_mode():
        images_NCHW = torch.from_numpy(inputs[INPUT_NAME]).permute(0, 3, 1, 2).contiguous()
        sizes_N2 = torch.from_numpy(inputs[SIZES_NAME])
        given = model(blank_outside(normalise(images_NCHW, card.input), sizes_N2), sizes_N2)
    return {name: each.numpy() for name, each in zip(card.outputs, given, strict=True)}


def reference_classes(
    model: Segmenter, card: ModelCard, inputs: Arrays
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The same of a segmentation model: the class (N, H, W) of each pixel, IGNORED beyond the pictures, and the logits
    (N, C, H / 4, W / 4)."""
    with torch.inference_mode():
        images_NCHW = normalise(torch.from_numpy(inputs[INPUT_NAME]).permute(0, 3, 1, 2).contiguous(), card.input)
        inside_N1HW = None
        if SIZES_NAME in inputs:
            inside_N1HW = inside(images_NCHW, torch.from_numpy(inputs[SIZES_NAME]))
            images_NCHW = torch.where(inside_N1HW, images_NCHW, 0.0)
        if model.segmenter.standardise:
            images_NCHW = standardised(images_NCHW, inside_N1HW)
        logits_NCHW = model(images_NCHW)
        assert isinstance(logits_NCHW, torch.Tensor)
        classes_NHW = class_map(logits_NCHW, images_NCHW.shape[2:]).numpy()
    for classes_HW, (height, width) in zip(classes_NHW, inputs.get(SIZES_NAME, ()), strict=False):
        classes_HW[height:] = IGNORED
        classes_HW[:, width:] = IGNORED
    return classes_NHW, logits_NCHW.numpy()


def reference_logits(model: Classifier, card: ModelCard, pixels_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same of a classifier: logits (N, classes) for images (N, H, W, 3)."""
    with torch.inference_mode():
        images_NCHW = torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2).contiguous()
        return model(normalise(images_NCHW, card.input)).numpy()


def allowed_drop(precision: Precision, asked: float | None) -> float | None:
    """Most points that the score may fall; None: it is not bounded, the outputs are."""
    return MAX_DROP if asked is None and precision not in TOLERANCES else asked


def failures(record: dict[str, Any], parity: AnyParity, precision: Precision, max_drop: float | None) -> list[str]:
    """One line for each bound that a proof does not keep.

    A precision without bounds on its outputs is judged by the drop of the score. Without labels its answers count as
    worse wherever they differ from PyTorch's: they cannot be worse than that. Pictures on which nothing is found prove
    nothing of a detector.
    """
    if record.get("objects") == 0:
        return ["no object was found on these images, so nothing was compared; pass pictures with objects with --data"]
    found = parity.failures(precision) if precision in TOLERANCES else []
    max_drop = allowed_drop(precision, max_drop)
    if max_drop is None:
        return found
    if not np.isfinite(parity.max_error):
        return [*found, "it answers values that are no numbers"]
    if "drop" in record:
        before, after = (record[name]["score"] for name in ("before", "after"))
        if not record["drop"] <= max_drop:
            found.append(f"the score fell from {before:.2f} to {after:.2f}, more than --max-drop {max_drop:g}")
    elif (differing := 100 * (1 - parity.agreement)) > max_drop:
        found.append(f"{differing:.2f} % of the answers differ, more than --max-drop {max_drop:g}")
    return found
