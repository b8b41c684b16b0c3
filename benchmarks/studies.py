"""Shared by the benchmarks that train a model on each of several datasets: the command line and contact sheets."""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

TILE_PX, COLUMNS = 320, 3

Record = dict[str, Any]


def run_studies(
    description: str | None,
    names: Iterable[str],
    study: Callable[[str, Path, Path], Record],
    *,
    results: Path,
    describe: Callable[[Record], str],
) -> None:
    """Run the studies that the command line names, and append a line for each to `results`.

    Args:
        description: for --help.
        names: all datasets.
        study: takes a name, the folder of the datasets and a temporary folder; returns the record.
        results: a file of JSON lines.
        describe: returns the line that is printed for a record.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(names), help="names, with commas between")
    arguments = parser.parse_args()
    for name in arguments.only.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            record = study(name, arguments.folder, Path(temporary))
            text = json.dumps(record, ensure_ascii=False)
        with results.open("a", encoding="utf-8") as file:
            file.write(text.replace(temporary, "runs").replace(str(arguments.folder), "FOLDER") + "\n")
        print(describe(record), flush=True)


def contact_sheet(paths: list[Path]) -> Image.Image:
    """The images of these files side by side, in rows of `COLUMNS`."""
    tiles = [Image.open(path) for path in paths]
    for tile in tiles:
        tile.thumbnail((TILE_PX, TILE_PX))
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (COLUMNS * TILE_PX, -(-len(tiles) // COLUMNS) * height), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * TILE_PX, index // COLUMNS * height))
    return sheet
