"""nextvit report"""

from pathlib import Path

from nextvit.cli.console import AsJson, show
from nextvit.errors import InputError

COMPARISON = "comparison.html"


def report(*runs: Path, out: Path | None = None, as_json: AsJson = False) -> None:
    """Write the page of a run anew, or one page on several runs side by side.

    Example: nextvit report runs/photos runs/photos-2 --out comparison.html

    Parameters
    ----------
    runs: Path
        One run, or up to eight to compare.
    out: Path
        The HTML file. Default: the run's report.html, or comparison.html here for several runs.
    """
    chosen = list(dict.fromkeys(runs))
    if not chosen:
        raise InputError("no run given; pass one or more folders that nextvit train wrote")
    if len(chosen) == 1:
        from nextvit.cli.run_report import write_report

        path = write_report(chosen[0], out=out)
        show(as_json, f"report: {path}", document={"verb": "report", "report": str(path), "runs": [str(chosen[0])]})
        return
    from nextvit.report.compare import write_comparison

    path = out or Path(COMPARISON)
    found = write_comparison(chosen, path)
    show(as_json, f"report: {path}", document={"verb": "report", "report": str(path), **found})
