"""nextvit check"""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.progress import Progress, TaskID

from nextvit.cli.console import AsJson, make_table, progress, show
from nextvit.errors import InputError

if TYPE_CHECKING:
    from nextvit.data.findings import Finding

SHOWN_OF_A_KIND = 3
SHOWN_CLASSES = 40


def check(
    dataset: Path,
    /,
    *,
    task: Literal["segmentation", "distillation"] | None = None,
    report: Annotated[Path | None, Parameter(name="--report")] = None,
    as_json: AsJson = False,
) -> int:
    """Read a dataset whole and say what is wrong with it, before any training.

    Example: nextvit check photos --report check.html

    Finds unreadable files, copies and near copies within and between classes and splits, small and uneven classes,
    and odd images; in data with objects or masks, boxes, masks and classes that cannot be right. Exits with 1 if it
    found errors; warnings alone give 0.

    Parameters
    ----------
    dataset: Path
        Folder with train/<class>/*, with annotations in COCO's format, or with images/<split>, masks/<split> and
        classes.txt, or a CSV file with the columns path,label (or path,labels).
    task: str
        segmentation: look at COCO's objects as the masks that `nextvit train --task segmentation` makes of them;
        distillation: look at images without labels, as the recipe distill takes them.
    report: Path
        Write a page that shows the images of each finding.
    """
    from nextvit.data.findings import in_order
    from nextvit.tasks.reading import read_with_findings
    from nextvit.tasks.task import get_task

    if report and not report.parent.is_dir():
        raise InputError(f"{report}: there is no folder {report.parent} to write the page into")
    data, faults = read_with_findings(dataset, task=task)
    with Progress(console=progress, transient=True) as bar:
        lines: dict[str, TaskID] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in lines:
                lines[what] = bar.add_task(f"reading {what}", total=total)
            bar.update(lines[what], completed=done)

        checked = get_task(data.task).check(data, watch=watch)
    survey, masks = checked.survey, checked.masks
    findings = in_order([*faults, *checked.findings])
    counts = zip(data.classes, *(each.tolist() for each in checked.class_counts.values()), strict=True)
    counts_of = {name: list(row) for name, *row in counts}
    if report:
        from nextvit.report.check_report import write_check_report

        write_check_report(report, survey, findings, masks)
    severities = [finding.severity for finding in findings]
    by_severity = {severity: severities.count(severity) for severity in ("error", "warning", "note")}
    rows = [row for _, same in groupby(findings, key=lambda each: each.kind) for row in finding_rows(list(same))]
    show(
        as_json,
        make_table(["objects" if data.annotations else "class", *data.splits], class_rows(counts_of)),
        *(["", make_table(["", "finding", ""], rows, left=3)] if rows else []),
        "",
        f"{len(survey.rows)} images: "
        + ", ".join(f"{count} {severity}{'s' * (count != 1)}" for severity, count in by_severity.items()),
        *([f"the images of each finding: {report}"] if report else []),
        document={
            "verb": "check",
            "classes": {name: dict(zip(data.splits, row, strict=True)) for name, row in counts_of.items()},
            "images": {name: len(samples) for name, samples in data.splits.items()},
            **{f"{severity}s": count for severity, count in by_severity.items()},
            "report": str(report) if report else None,
            "findings": [
                {
                    "severity": finding.severity,
                    "kind": finding.kind,
                    "message": finding.message,
                    "files": [str(survey.sample(position).path) for position in dict.fromkeys(finding.positions)],
                }
                for finding in findings
            ],
        },
    )
    return int(by_severity["error"] > 0)


def finding_rows(same: "list[Finding]") -> list[tuple[str, str, str]]:
    """The first findings of one kind, and how many more there are."""
    rows = [(finding.severity, finding.kind, finding.message) for finding in same[:SHOWN_OF_A_KIND]]
    more = len(same) - SHOWN_OF_A_KIND
    return [*rows, ("", "", f"... and {more} more")] if more > 0 else rows


def class_rows(counts: dict[str, list[int]]) -> list[tuple[str, ...]]:
    """A table of classes; of very many, the largest and the smallest."""
    rows = [(name, *map(str, row)) for name, row in counts.items()]
    if len(rows) <= SHOWN_CLASSES:
        return rows
    rows.sort(key=lambda row: -int(row[1]))
    between = (f"... {len(rows) - SHOWN_CLASSES} classes between ...", *[""] * (len(rows[0]) - 1))
    return [*rows[: SHOWN_CLASSES // 2], between, *rows[-SHOWN_CLASSES // 2 :]]
