"""Read a dataset from a path: recognise the task of its layout, and collect what is wrong with it."""

from pathlib import Path

from nextvit.data.class_folders import check_layout
from nextvit.data.dataset import Dataset
from nextvit.data.findings import Finding
from nextvit.data.shards import CONTENTS
from nextvit.errors import InputError
from nextvit.tasks.task import TASKS, Task, get_task


def find_task(root: Path) -> Task:
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
        check_layout(root)
    return found or general


def read_with_findings(root: str | Path, *, task: str | None = None) -> tuple[Dataset, list[Finding]]:
    """Read a dataset, and collect everything that is wrong with it instead of raising an error.

    Args:
        root: a folder, a CSV list or a folder of shards.
        task: the task to read it for; None: that of its layout. Annotated objects with masks can be read for
            segmentation.

    Raises:
        InputError: this is not a dataset, or it cannot be read for that task.
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
    """`read_with_findings` that raises the first finding that is an error.

    Raises:
        InputError: there is no dataset, it has no images, an empty class, a class in `val` that `train` lacks, an
            annotation that cannot be used, or it is for another task.
    """
    dataset, findings = read_with_findings(root, task=task)
    if errors := [finding for finding in findings if finding.severity == "error"]:
        raise InputError(errors[0].message)
    return dataset
