"""What is wrong with a dataset: every image is read once."""

import hashlib
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from nextvit.data.folder import Dataset
from nextvit.data.samples import Sample
from nextvit.preprocess import DecodeError, Encoded, read_image

FEW_IMAGES = 10
TINY_PX = 32


@dataclass(frozen=True)
class Finding:
    """One thing to mend, or to know."""

    severity: Literal["error", "warning"]
    message: str


@dataclass(frozen=True)
class Picture:
    """What reading one file gave."""

    sample: Sample
    split: str
    digest: str
    size_wh: tuple[int, int] | None
    error: str | None


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Errors first: unreadable images, the same picture under two classes or in both splits; then warnings."""
    listed = [(split, sample) for split, samples in dataset.splits.items() for sample in samples]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pictures = list(pool.map(look_at, listed))
    findings = [Finding("error", f"cannot be read: {picture.error}") for picture in pictures if picture.error]
    findings += check_copies(pictures, dataset.classes)
    findings += check_balance(dataset)
    tiny = [picture for picture in pictures if picture.size_wh and min(picture.size_wh) < TINY_PX]
    if tiny:
        first = tiny[0].sample.path
        findings.append(Finding("warning", f"{len(tiny)} images have a side below {TINY_PX} px, first: {first}"))
    return sorted(findings, key=lambda finding: finding.severity)


def look_at(listed: tuple[str, Sample]) -> Picture:
    """Read one file whole."""
    split, sample = listed
    try:
        content = sample.read()
        size_wh = read_image(Encoded(content, sample.path)).size
    except DecodeError as error:
        return Picture(sample, split, "", None, str(error))
    return Picture(sample, split, hashlib.sha256(content).hexdigest(), size_wh, None)


def check_copies(pictures: list[Picture], classes: tuple[str, ...]) -> list[Finding]:
    """Files with the same bytes: fatal between classes, a leak between splits, a waste within one."""
    copies: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if not picture.error:
            copies[picture.digest].append(picture)
    findings: list[Finding] = []
    for same in copies.values():
        if len(same) < 2:
            continue
        names = f"{same[0].sample.path} and {same[1].sample.path}"
        labels = {"|".join(classes[label] for label in sorted(picture.sample.labels)) for picture in same}
        if len(labels) > 1:
            listed = ", ".join(each or "none" for each in sorted(labels))
            findings.append(Finding("error", f"the same picture has the classes {listed}: {names}"))
        elif len({picture.split for picture in same}) > 1:
            findings.append(Finding("error", f"the same picture is in train and in val: {names}"))
        else:
            findings.append(Finding("warning", f"the same picture {len(same)} times: {names}"))
    return findings


def check_balance(dataset: Dataset) -> list[Finding]:
    """Classes with few images, or none to validate on."""
    counts = {name: samples.counts(len(dataset.classes)).tolist() for name, samples in dataset.splits.items()}
    findings: list[Finding] = []
    for label, name in enumerate(dataset.classes):
        if counts["train"][label] < FEW_IMAGES:
            findings.append(Finding("warning", f"class {name!r} has only {counts['train'][label]} training images"))
        if not counts["val"][label]:
            findings.append(Finding("warning", f"class {name!r} has no validation images"))
    most, least = max(counts["train"]), min(counts["train"])
    if most > 10 * least:
        findings.append(
            Finding("warning", f"classes are uneven: {most} training images in the largest, {least} in the smallest")
        )
    return findings
