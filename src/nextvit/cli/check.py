"""nextvit check"""

from pathlib import Path

from nextvit.cli.console import AsJson, make_table, show

SHOWN = 20


def check(dataset: Path, /, *, as_json: AsJson = False) -> int:
    """Read a dataset whole and say what is wrong with it, before any training.

    Example: nextvit check photos

    Exits with 1 if it found errors; warnings alone give 0.

    Parameters
    ----------
    dataset: Path
        Folder with train/<class>/*, or a CSV file with the columns path,label (or path,labels).
    """
    from nextvit.data.check import check_dataset
    from nextvit.data.folder import read_dataset

    data = read_dataset(dataset)
    findings = check_dataset(data)
    counts = [data.splits[split].counts(len(data.classes)) for split in ("train", "val")]
    rows = [(name, str(train), str(val)) for name, train, val in zip(data.classes, *counts, strict=True)]
    errors = [finding for finding in findings if finding.severity == "error"]
    show(
        as_json,
        make_table(["class", "train", "val"], rows),
        *(f"{finding.severity}: {finding.message}" for finding in findings[:SHOWN]),
        *([f"... and {len(findings) - SHOWN} more; --json lists them all"] if len(findings) > SHOWN else []),
        f"{len(errors)} errors, {len(findings) - len(errors)} warnings",
        document={
            "verb": "check",
            "classes": list(data.classes),
            "images": {name: len(samples) for name, samples in data.splits.items()},
            "findings": [vars(finding) for finding in findings],
        },
    )
    return int(bool(errors))
