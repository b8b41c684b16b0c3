"""report.html of a run, with the sections of its task."""

from pathlib import Path

from nextvit.errors import InputError, first_line, shorten
from nextvit.files.run_folder import BENCHMARK, EVALUATION, find_best_weights, is_run


def write_report(run: Path, *, out: Path | None = None) -> Path:
    """Write the page of a run anew, and return its path.

    Raises:
        InputError: there is no run, or its records are damaged.
    """
    from nextvit.report.contents import read_run_contents
    from nextvit.report.run_report import write_run_report
    from nextvit.tasks.task import get_task

    contents = read_run_contents(run)
    name = contents.facts.get("task") or task_of_checkpoint(run)
    details = contents.evaluation.get("details", {})
    try:
        return write_run_report(run, sections=get_task(name).report_sections(details) if name else [], out=out)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # The details of an evaluation and the records of a benchmark are as deep as their tasks make them.
        raise InputError(
            f"{run}: the details of {EVALUATION} or the records of {BENCHMARK} are damaged, or of another version "
            f"({type(error).__name__}: {shorten(first_line(error))}); evaluate and measure again"
        ) from error


def task_of_checkpoint(run: Path) -> str | None:
    """The task of a run whose records do not say it, as those of the first format; None where it has no checkpoint."""
    from nextvit.models.weights import read_state

    try:
        card = read_state(find_best_weights(run))[1] if is_run(run) else None
    except InputError:
        return None
    return card.task if card else None
