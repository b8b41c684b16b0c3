"""From a path to a dataset: which task its layout is for, and what is wrong with it."""

from pathlib import Path

from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.errors import InputError
from nextvit.tasks.task import TASKS, Task, get_task


def find_task(root: Path) -> Task:
    """The task that the layout of a dataset is for; a path that holds none is left to the reader of class folders,
    which says what is expected."""
    # The first row of the table takes what no other recognises.
    *others, general = (get_task(name) for name in reversed(TASKS))
    return next((task for task in others if task.recognises(root)), general)


def read_with_findings(root: str | Path, *, task: str | None = None) -> tuple[Dataset, list[Finding]]:
    """What can be read of a dataset, and everything for which `read_dataset` would refuse it.

    Args:
        root: a folder, a CSV list or a folder of shards.
        task: of which the dataset shall be; None: the one that its layout is for. Annotated objects with masks can be
            read for segmentation.

    Raises:
        InputError: this is no dataset at all, or none of that task.
    """
    root = Path(root)
    own = find_task(root)
    dataset, findings = own.read(root)
    if task is None or task == own.name:
        return dataset, findings
    adapted = get_task(task).adapt(dataset)
    if adapted is None:
        raise InputError(f"{root}: is a dataset for {own.name}, not for {task}; {get_task(task).needs}")
    return adapted, findings


def read_dataset(root: str | Path, *, task: str | None = None) -> Dataset:
    """`read_with_findings`, refused where a finding is an error.

    Raises:
        InputError: nothing there, no images, an empty class, a class in `val` that `train` lacks, or an annotation that
            cannot be used, or a dataset of another task.
    """
    dataset, findings = read_with_findings(root, task=task)
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise InputError(errors[0].message)
    return dataset
