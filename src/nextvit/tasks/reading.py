"""Read a dataset from a path: recognise the task of its layout, and collect what is wrong with it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nextvit.data.class_folders import check_layout
from nextvit.data.class_names import find_similar_names
from nextvit.data.dataset import Dataset
from nextvit.data.findings import KINDS, Finding, describe_left_out
from nextvit.data.left_out import UNREAD, find_left_out
from nextvit.data.shards import CONTENTS
from nextvit.data.split_names import SPLITS
from nextvit.errors import InputError
from nextvit.tasks.task import TASKS, Task, get_task

FOR_TRAINING = ("train", "val")


def find_task(root: Path, wanted: Sequence[str] = FOR_TRAINING) -> Task:
    """The task of a dataset's layout; of a path without a dataset that of class folders, whose reader says what is
    expected.

    Raises:
        InputError: the layout is a wrong one that is known. Settings are judged by the task, and those of a detector
            would otherwise be refused before its missing annotations are.
    """
    # The first row of the table is the task of what no other recognises.
    *others, general = (get_task(name) for name in reversed(TASKS))
    found = next((task for task in others if task.recognises(root)), None)
    if found is None and root.is_dir() and not (root / CONTENTS).is_file():
        check_layout(root, wanted)
    return found or general


def read_with_findings(
    root: str | Path, *, task: str | None = None, wanted: Sequence[str] = SPLITS
) -> tuple[Dataset, list[Finding]]:
    """Read a dataset, and collect everything that is wrong with it instead of raising an error.

    Args:
        root: a folder, a CSV list or a folder of shards.
        task: the task to read it for; None: that of its layout. Annotated objects with masks can be read for
            segmentation, and images without labels for distillation.
        wanted: the splits to read: several, with train and val, or one alone to score it.

    Raises:
        InputError: this is not a dataset, or it cannot be read for that task.
    """
    root = Path(root)
    asked = get_task(task) if task else None
    own = asked if asked and not asked.needs_labels else find_task(root, wanted)
    dataset, findings = own.read(root, wanted)
    findings += find_similar_names(dataset.classes)
    if len(wanted) > 1:
        left_out = find_left_out(dataset, wanted)
        if any(finding.kind == UNREAD for finding in left_out):  # it counts what readers found in some folders, too
            findings = [finding for finding in findings if finding.kind != UNREAD]
        findings += left_out
    if task is None or task == own.name:
        return dataset, findings
    adapted = get_task(task).adapt(dataset)
    if adapted is None:
        raise InputError(f"{root}: is a dataset for {own.name}, not for {task}; {get_task(task).needs}")
    return adapted, findings


def read_dataset(
    root: str | Path,
    *,
    task: str | None = None,
    wanted: Sequence[str] = FOR_TRAINING,
    allow_errors: bool = False,
    flag: str = "",
    say: Callable[[str], object] = lambda _: None,
) -> Dataset:
    """`read_with_findings` that raises the first finding that is an error.

    Args:
        root: as there.
        task: as there.
        wanted: as there; the split test is not trained on.
        allow_errors: leave out what cannot be used, such as an image that is missing, instead of raising its error.
        flag: the name of the command's flag that sets `allow_errors`, for messages.
        say: called with a line on what is left out or not used.

    Raises:
        InputError: there is no dataset, it has no images, an empty class, a class in `val` that `train` lacks, an
            annotation that cannot be used, or it is for another task.
    """
    dataset, findings = read_with_findings(root, task=task, wanted=wanted)
    errors = [finding for finding in findings if finding.severity == "error"]
    remaining = [finding for finding in errors if not (allow_errors and KINDS[finding.kind].left_out)]
    if remaining:
        helps = flag and all(KINDS[finding.kind].left_out for finding in remaining)
        advice = f"; to leave out what cannot be used, pass {flag}" if helps else ""
        raise InputError(remaining[0].message + advice)
    if summary := describe_left_out(errors):
        say(f"{summary}; nextvit check {root} lists them")
    for finding in findings:
        if finding.kind in ("left_out", UNREAD):
            say(f"not used: {finding.message}")
    return dataset


def read_split(
    root: str | Path,
    split: str,
    *,
    allow_errors: bool = False,
    flag: str = "",
    say: Callable[[str], object] = lambda _: None,
) -> Dataset:
    """Read one split alone, to score it; the dataset may have no other, and need not even have folders of splits.

    Args:
        root: a folder, a CSV list or a folder of shards.
        split: "train", "val" or "test"; without a split val, a tenth of train is val.
        allow_errors: as of `read_dataset`.
        flag: as of `read_dataset`.
        say: as of `read_dataset`.

    Raises:
        InputError: there is no such split, or it has errors.
    """
    if split not in SPLITS:
        raise InputError(f"the splits are {', '.join(SPLITS)}, got {split!r}")
    return read_dataset(root, wanted=(split,), allow_errors=allow_errors, flag=flag, say=say)
