"""Pictures side by side in one, for the benchmarks that show what a model answers."""

from pathlib import Path

from PIL import Image

TILE_PX, COLUMNS = 320, 3


def contact_sheet(pictures: list[Path]) -> Image.Image:
    """Pictures side by side."""
    tiles = [Image.open(path) for path in pictures]
    for tile in tiles:
        tile.thumbnail((TILE_PX, TILE_PX))
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (COLUMNS * TILE_PX, -(-len(tiles) // COLUMNS) * height), "white")
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % COLUMNS * TILE_PX, index // COLUMNS * height))
    return sheet
