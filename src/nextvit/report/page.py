"""A self-contained HTML page: without scripts and external files, readable on a phone and on paper."""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CSS = """
:root { color-scheme: light; --ink: #0f172a; --soft: #64748b; --line: #e2e8f0; --good: #15803d; --bad: #b91c1c; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 920px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.lead { color: var(--soft); margin: .2rem 0 1.2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; } .tile span { color: var(--soft); font-size: .85rem;
overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; } td.number, th.number { text-align: right; }
.scroll { overflow-x: auto; }
img { max-width: 100%; } td img { max-width: none; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(120px, 1fr)); gap: .8rem; }
.pictures figure { margin: 0; } .pictures img { width: 100%; border-radius: 6px; image-rendering: auto; }
.pictures.wide { grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); }
td img { height: 48px; border-radius: 4px; }
.pictures figcaption { font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .soft { color: var(--soft); }
svg { max-width: 100%; height: auto; } pre { background: #f8fafc; border: 1px solid var(--line); border-radius: 8px;
padding: .8rem; overflow-x: auto; font-size: .82rem; } details summary { cursor: pointer; color: var(--soft); }
.warn { color: #b45309; } a { color: #2563eb; text-decoration: none; } a:hover { text-decoration: underline; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; break-inside: avoid; }
.card.wide { grid-column: 1 / -1; } .card p { margin: 0 0 .5rem; font-size: .82rem; overflow-wrap: anywhere; }
.bar { min-width: 12rem; height: .8rem; margin-top: .35rem; }
.bar i { display: block; height: 100%; background: #2563eb; border-radius: 2px; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .35em; }
.legend span { display: inline-block; margin-right: .9em; overflow-wrap: anywhere; }
"""


SEPARATORS = re.compile(r"[/_.\-]+(?=\w)")
"""In names of files; the entities of escaped HTML have none of them."""


@dataclass(frozen=True)
class Markup:
    """HTML that is not escaped again."""

    text: str


Cell = str | int | float | Markup


def render_page(title: str, sections: Sequence[Markup]) -> str:
    """The whole HTML document."""
    body = "\n".join(section.text for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>'
        f"<body>\n{body}\n</body></html>\n"
    )


def escape(text: object) -> str:
    return html.escape(str(text))


def breakable(text: object) -> Markup:
    """Text with names of files in it, which may be broken after the separators of their parts."""
    return Markup(SEPARATORS.sub(r"\g<0><wbr>", escape(text)))


def points(value: float, digits: int = 2) -> str:
    """A number with so many digits; one that rounds to zero has no sign."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def heading(title: str, lead: str) -> Markup:
    return Markup(f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>')


def section(title: str, *content: Markup) -> Markup:
    return Markup(f"<h2>{escape(title)}</h2>" + "".join(each.text for each in content))


def paragraph(text: str, *, tone: str = "") -> Markup:
    """Text; `tone` is one of the CSS classes good, bad, warn and soft."""
    return Markup(f'<p class="{tone}">{escape(text)}</p>')


def tiles(facts: Sequence[tuple[str, str]]) -> Markup:
    """Large values, each over its meaning.

    Args:
        facts: pairs of a value and its meaning.
    """
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in facts
    )
    return Markup(f'<div class="tiles">{cells}</div>')


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """Rows of cells; columns of numbers are aligned to the right. A table wider than the page scrolls by itself."""

    def cell(value: Cell, tag: str, *, number: bool) -> str:
        text = value.text if isinstance(value, Markup) else escape(value)
        return f"<{tag}{' class=number' if number else ''}>{text}</{tag}>"

    numeric = [all(isinstance(row[index], int | float) for row in rows) for index in range(len(columns))]
    head = "".join(cell(name, "th", number=number) for name, number in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(cell(each, "td", number=number) for each, number in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    return Markup(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def bar(fraction: float) -> Markup:
    """A bar that fills a fraction, 0 to 1, of its cell."""
    return Markup(f'<div class="bar"><i style="width:{fraction:.1%}"></i></div>')


def cards(items: Sequence[tuple[bool, Sequence[Markup]]]) -> Markup:
    """Boxes beside each other; a wide one (True) takes a row alone."""
    boxes = "".join(
        f'<div class="card{" wide" if wide else ""}">{"".join(each.text for each in content)}</div>'
        for wide, content in items
    )
    return Markup(f'<div class="cards">{boxes}</div>')


def image_element(pixels: NDArray[np.uint8], *, side_px: int, quality: int = 88) -> Markup:
    """An image (H, W, 3), its longer side at most `side_px`; `quality` is JPEG's, up to 95."""
    return Markup(f'<img src="{data_uri(pixels, side_px=side_px, quality=quality)}" alt="">')


def image_grid(items: Sequence[tuple[NDArray[np.uint8], Markup]], *, wide: bool = False) -> Markup:
    """A grid of images (H, W, 3) with captions; `wide` is for two or three images side by side in one."""
    figures = "".join(
        f"<figure>{image_element(pixels, side_px=480 if wide else 160).text}"
        f"<figcaption>{caption.text}</figcaption></figure>"
        for pixels, caption in items
    )
    return Markup(f'<div class="pictures{" wide" if wide else ""}">{figures}</div>')


def data_uri(pixels: NDArray[np.uint8], *, side_px: int, quality: int) -> str:
    """An image as a JPEG inside the page, its longer side at most `side_px`."""
    image = Image.fromarray(pixels)
    if max(image.size) > side_px:
        image.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def folded_text(summary: str, text: str) -> Markup:
    """Preformatted text behind a line to click on."""
    return Markup(f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>")
