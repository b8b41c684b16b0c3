"""`nextvit report`, as a user types it."""

from pathlib import Path

import pytest

from tests.report.conftest import write_run


def test_the_page_of_a_run_is_written_anew_or_elsewhere(call, tmp_path: Path):
    run = write_run(tmp_path / "run")
    assert call("report", run).out == f"report: {run / 'report.html'}\n"
    assert call("report", run, "--out", tmp_path / "page.html", "--json").document == {
        "verb": "report",
        "report": str(tmp_path / "page.html"),
        "runs": [str(run)],
    }
    assert all(
        "<title>nextvit: run</title>" in page.read_text() for page in (tmp_path / "page.html", run / "report.html")
    )


def test_several_runs_are_compared_and_a_run_that_is_named_twice_counts_once(
    call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    runs = [write_run(tmp_path / name, recipe=f"optim: {{lr: {lr}}}\n") for name, lr in (("a", 0.1), ("b", 0.2))]
    document = call("report", *runs, runs[0], "--json").document
    assert document["report"] == "comparison.html" and Path("comparison.html").is_file()
    assert [each["run"] for each in document["runs"]] == [str(run) for run in runs]
    assert document["different_settings"] == {"optim.lr": [0.1, 0.2]}
