"""Generated tables inside hand-written pages."""

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def write_table(page: str, script: str, table: str) -> None:
    """Replace the table between a script's two marks in a page of docs/.

    Raises:
        ValueError: the page lacks the marks.
    """
    path = DOCS / page
    start, end = f"<!-- benchmarks/{script} writes from here -->", f"<!-- benchmarks/{script} writes to here -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{path} lacks the marks {start} and {end}")
    path.write_text(f"{before}{start}\n\n{table}\n{end}{after}", encoding="utf-8")
