"""What is wrong with a dataset, by content: from a survey to findings."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvit.check.masks import MaskSurvey, check_masks, count_images_per_class, get_mask_survey
from nextvit.check.objects import check_objects
from nextvit.check.sides import check_sides
from nextvit.check.similar import find_similar_pairs, select_spanning
from nextvit.check.survey import FORMAT_OF, Survey, Trait, count_images, list_names, name_first, survey_images
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding, in_order
from nextvit.image.reading import FORMATS, MAX_PIXELS
from nextvit.image.resizing import Preprocess, size_before_crop

Integers = NDArray[np.integer[Any]]

FEW_IMAGES = 10
TINY_PX = 32
MAX_RATIO = 10
"""Of the largest class to the smallest."""
ELONGATED = 4
"""Sides in such a ratio lose three quarters of the image to the crop."""
GREY_DIFFERENCE = 0.5
"""Shares of grey images that are so far apart tell the classes apart."""
REACHES = ("_across_classes", "_across_splits", "")
"""The ends of the names of kinds about several images, the worst first."""
AT_224 = Preprocess(image_size=(224, 224))


Watch = Callable[[str, int, int], None]
"""Called with what is read, how many files are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What reading a dataset whole found."""

    survey: Survey
    findings: list[Finding]
    """Errors first."""
    class_counts: Mapping[str, Integers]
    """For each split, the number (classes,) of images of each class, or of objects where they are annotated."""
    masks: MaskSurvey | None = None


def unwatched(what: str, done: int, total: int) -> None:
    """Nobody looks."""


def check_labelled(dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
    """Check a dataset whose images have labels; every image is read."""
    survey = watched_survey(dataset, watch)
    own = [*check_classes(dataset), *check_sides(dataset.classes), *check_grey(survey), *check_shapes(survey)]
    findings = in_order([*check_images(survey), *find_similar(survey, across_classes=True), *own])
    counts = {split: samples.counts(len(dataset.classes)) for split, samples in dataset.splits.items()}
    return Checked(survey=survey, findings=findings, class_counts=counts)


def check_unlabelled(dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
    """Check images without labels; every image is read. Copies cannot give an answer away, wherever they are."""
    survey = watched_survey(dataset, watch)
    found = [*check_images(survey), *find_similar(survey, across_classes=True), *check_shapes(survey)]
    harmless = [
        replace(finding, kind=finding.kind.removesuffix("_across_splits")) if "duplicate" in finding.kind else finding
        for finding in found
    ]
    counts = {split: np.zeros(0, np.int64) for split in dataset.splits}
    return Checked(survey=survey, findings=in_order(harmless), class_counts=counts)


def check_annotated(dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
    """Check a dataset with annotated objects; every image is read. Images of one scene may show other objects."""
    survey = watched_survey(dataset, watch)
    similar = find_similar(survey, across_classes=False)
    found = [*check_images(survey), *similar, *check_objects(survey), *check_sides(dataset.classes)]
    counts = {split: dataset.annotations[split].counts(len(dataset.classes)) for split in dataset.splits}
    return Checked(survey=survey, findings=in_order(found), class_counts=counts)


def check_masked(dataset: Dataset, *, watch: Watch = unwatched) -> Checked:
    """Check a dataset with masks; every image and every mask is read."""
    survey = watched_survey(dataset, watch)
    total = sum(map(len, dataset.masks.values()))
    masks = get_mask_survey(dataset, watch=lambda done: watch("masks", done, total))
    similar = find_similar(survey, across_classes=True)
    found = [*check_images(survey), *similar, *check_masks(survey, masks), *check_sides(dataset.classes)]
    return Checked(
        survey=survey, findings=in_order(found), class_counts=count_images_per_class(dataset, masks), masks=masks
    )


def watched_survey(dataset: Dataset, watch: Watch) -> Survey:
    """The survey of a dataset's images."""
    total = sum(map(len, dataset.splits.values()))
    return survey_images(dataset, watch=lambda done: watch("images", done, total))


def check_images(survey: Survey) -> list[Finding]:
    """What can be wrong with images, whatever is known of them."""
    unreadable = [Finding("unreadable", f"{survey.name(at)}: {why}", (at,)) for at, why in survey.unreadable.items()]
    return [*unreadable, *find_copies(survey), *check_tiny(survey), *check_traits(survey)]


def find_copies(survey: Survey) -> list[Finding]:
    """Files with the same bytes: fatal between classes, a leak between splits, a waste within one."""
    readable = survey.readable()
    _, group = np.unique(survey.rows["digest"][readable], axis=0, return_inverse=True)
    group = group.reshape(-1)
    repeated = np.flatnonzero(np.bincount(group)[group] > 1)
    copies: dict[int, list[int]] = defaultdict(list)
    for index in repeated.tolist():
        copies[int(group[index])].append(int(readable[index]))
    return [
        Finding("duplicate" + reach(survey, same), list_names(survey, same), tuple(same)) for same in copies.values()
    ]


def find_similar(survey: Survey, *, across_classes: bool) -> list[Finding]:
    """Pairs of different files that show nearly the same; with `across_classes` other labels count."""
    readable = survey.readable()
    # Of exact copies the first stands for all: they have a finding of their own.
    _, first = np.unique(survey.rows["digest"][readable], axis=0, return_index=True)
    single = readable[np.sort(first)]
    pairs = single[find_similar_pairs(survey.rows["hash"][single], survey.rows["thumbnail"][single])]
    ends = [similarity_reach(survey, pair, across_classes=across_classes) for pair in pairs.tolist()]
    worst_first = np.argsort([REACHES.index(end) for end in ends], kind="stable")
    chosen = sorted(select_spanning(pairs[worst_first]))
    return [
        Finding(
            "near_duplicate" + similarity_reach(survey, pair, across_classes=across_classes),
            list_names(survey, list(pair)),
            pair,
        )
        for pair in chosen
    ]


def similarity_reach(survey: Survey, pair: Sequence[int], *, across_classes: bool) -> str:
    """`reach` of two similar images, or where other labels are no error that of their splits alone."""
    return reach(survey, pair) if across_classes else reach_of_splits(survey, pair)


def reach(survey: Survey, positions: Iterable[int]) -> str:
    """The end of a kind's name: whether images are spread over classes or splits."""
    positions = list(positions)
    if len({survey.sample(position).labels for position in positions}) > 1:
        return "_across_classes"
    return reach_of_splits(survey, positions)


def reach_of_splits(survey: Survey, positions: Iterable[int]) -> str:
    """The same for splits alone."""
    return "_across_splits" if len({survey.locate(position)[0] for position in positions}) > 1 else ""


def check_classes(dataset: Dataset) -> list[Finding]:
    """Classes with few images, or none to validate on, and how uneven they are."""
    train, val = (dataset.splits[split].counts(len(dataset.classes)) for split in ("train", "val"))
    findings: list[Finding] = []
    for name, learnt, judged in zip(dataset.classes, train.tolist(), val.tolist(), strict=True):
        if 0 < learnt < FEW_IMAGES:
            findings.append(Finding("tiny_class", f"class {name!r} has only {learnt} training images"))
        if learnt and not judged and val.any():
            findings.append(Finding("class_only_in_train", f"class {name!r} has no validation images"))
    present = train[train > 0]
    if len(present) and present.max() > MAX_RATIO * present.min():
        most, least = (dataset.classes[int(np.flatnonzero(train == end)[0])] for end in (present.max(), present.min()))
        message = f"{present.max()} training images of {most!r}, {present.min()} of {least!r}"
        findings.append(Finding("imbalance", message))
    return findings


def grey_fractions(survey: Survey) -> NDArray[np.float64]:
    """The fraction of grey images in each class, over all splits: (classes,); 0 for a class without images."""
    classes = len(survey.dataset.classes)
    grey = Counter(label for at in survey.positions_with(Trait.GREY).tolist() for label in survey.sample(at).labels)
    counts = sum((samples.counts(classes) for samples in survey.dataset.splits.values()), np.zeros(classes))
    return np.array([grey[label] for label in range(classes)]) / np.maximum(counts, 1)


def check_grey(survey: Survey) -> list[Finding]:
    """Whether the lack of colour tells classes apart. Small classes do not count."""
    dataset, fractions = survey.dataset, grey_fractions(survey)
    large = np.flatnonzero(dataset.splits["train"].counts(len(dataset.classes)) >= FEW_IMAGES)
    if not len(large) or np.ptp(fractions[large]) < GREY_DIFFERENCE:
        return []
    most, least = large[fractions[large].argmax()], large[fractions[large].argmin()]
    message = (
        f"{fractions[most]:.0%} of the images of {dataset.classes[most]!r} are grey, "
        f"{fractions[least]:.0%} of {dataset.classes[least]!r}"
    )
    return [Finding("grey_share", message)]


def check_tiny(survey: Survey) -> list[Finding]:
    """Tiny images."""
    readable = survey.readable()
    shorter = survey.rows["size_wh"][readable].min(axis=1)
    if not len(tiny := readable[shorter < TINY_PX].tolist()):
        return []
    message = f"{count_images(tiny)} with a side below {TINY_PX} px, first: {sized(survey, tiny[0])}"
    return [Finding("tiny", message, tuple(tiny))]


def check_shapes(survey: Survey) -> list[Finding]:
    """Elongated images, of which a crop leaves little."""
    readable = survey.readable()
    shorter, longer = np.sort(survey.rows["size_wh"][readable], axis=1).T
    long = readable[longer > ELONGATED * shorter].tolist()
    refused = [at for at in long if is_refused(survey, at)]
    findings = [Finding("too_elongated", sized(survey, at), (at,)) for at in refused]
    if passable := sorted(set(long) - set(refused)):
        message = f"{count_images(passable)} longer than {ELONGATED}:1, first: {sized(survey, passable[0])}"
        findings.append(Finding("elongated", message, tuple(passable)))
    return findings


def is_refused(survey: Survey, position: int) -> bool:
    """Whether an image is too elongated for an input of 224x224."""
    width, height = survey.rows["size_wh"][position].tolist()
    scaled_height, scaled_width = size_before_crop((width, height), AT_224)
    return scaled_height * scaled_width > MAX_PIXELS


def sized(survey: Survey, position: int) -> str:
    width, height = survey.rows["size_wh"][position]
    return f"{survey.name(position)} ({width}x{height})"


def check_traits(survey: Survey) -> list[Finding]:
    """What images are besides their pixels, each with its count."""
    findings: list[Finding] = []
    for trait, kind, what in (
        (Trait.ONE_COLOUR, "one_colour", "of a single colour"),
        (Trait.TURNED, "turned", "turned by EXIF"),
        (Trait.CMYK, "cmyk", "in CMYK"),
        (Trait.DEEP, "deep", "of more than 8 bits"),
        (Trait.ANIMATED, "animated", "of several frames"),
    ):
        if positions := survey.positions_with(trait).tolist():
            message = f"{count_images(positions)} {what}, first: {name_first(survey, positions)}"
            findings.append(Finding(kind, message, tuple(positions)))
    # By format, for a file name alone does not say what is in it.
    lying: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position in survey.positions_with(Trait.WRONG_SUFFIX).tolist():
        claimed = FORMAT_OF[survey.sample(position).path.suffix.lower()]
        lying[claimed, FORMATS[survey.rows["format"][position]]].append(position)
    for (claimed, actual), positions in lying.items():
        message = f"{count_images(positions)} in {actual}, named as {claimed}, first: {name_first(survey, positions)}"
        findings.append(Finding("wrong_suffix", message, tuple(positions)))
    return findings
