"""Grids of numbers as SVG that takes its colours from the page's style sheet."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape

CELL = 40  # pixels of a cell's side
Place = tuple[int, int]
Caption = tuple[str, ...]  # lines, the first of which is the title


def grid(
    values: Sequence[Sequence[object]],
    at: tuple[float, float] = (0, 0),
    marked: Collection[Place] = (),
    notes: Mapping[Place, str] | None = None,
    shades: Mapping[Place, int] | None = None,
    cell: float = CELL,
) -> str:
    """Cells with a value each.

    Parameters
    ----------
    values
        Rows of what is written in the cells.
    at
        The upper left corner.
    marked
        Places (row, column) that stand out.
    notes
        What is written small in a cell's lower right corner, by place.
    shades
        One of four tints, by place, for cells that are of several kinds.
    cell
        Pixels of a cell's side.
    """
    parts = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            left, top = at[0] + j * cell, at[1] + i * cell
            kind = "marked" if (i, j) in marked else f"shade{(shades or {}).get((i, j), '')}"
            side = f'width="{cell:g}" height="{cell:g}"'
            parts.append(f'<rect class="{kind}" x="{left:g}" y="{top:g}" {side}/>')
            note = (notes or {}).get((i, j), "")
            up = cell * (0.42 if note else 0.5)
            parts.append(text(str(value), left + cell / 2, top + up))
            if note:
                parts.append(text(note, left + cell - 4, top + cell - 8, "note", "end"))
    return "".join(parts)


def text(words: str, x: float, y: float, kind: str = "value", anchor: str = "middle") -> str:
    """Words centred on a height, at, before or after a place."""
    return (
        f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{escape(words)}</text>'
    )


def panel(content: Iterable[str], width: float, height: float, caption: Caption) -> str:
    """Drawn content of a size in pixels, with its caption, which also tells it in words."""
    edge = 1  # so that the outer lines are whole
    box = f"{-edge} {-edge} {width + 2 * edge:g} {height + 2 * edge:g}"
    size = f'width="{width + 2 * edge:g}" height="{height + 2 * edge:g}"'
    title, *more = map(escape, caption)
    lines = "<br>".join((f"<strong>{title}</strong>", *more)) if more else title
    return (
        f'<figure><svg role="img" aria-label="{title}" viewBox="{box}" {size}>'
        f"{''.join(content)}</svg><figcaption>{lines}</figcaption></figure>"
    )


def panels(members: Iterable[str]) -> str:
    """Panels side by side, as many as the page has room for."""
    return f'<div class="panels">{"".join(members)}</div>'
