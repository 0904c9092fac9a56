"""The pictures: every number is taken from the worked example, and the sums are checked."""

from collections.abc import Callable, Iterable
from itertools import product

import numpy as np
from svg import CELL, Caption, Place, grid, panel, panels, text

import fastconv
from fastconv.worked_example import INPUT, KERNEL, run

TIMES = "\N{MULTIPLICATION SIGN}"
_EXAMPLE = run()
_SIZE, _TAPS = len(INPUT), len(KERNEL)
_PIXELS = list(product(range(_SIZE), repeat=2))
_WINDOW = list(product(range(_TAPS), repeat=2))  # taps of the kernel, and as many outputs


def _number(value: float) -> str:
    return f"{value:g}"


def _sum(name: str, place: Place, pairs: Iterable[tuple[float, float]], total: float) -> Caption:
    """What an element is, and the sum of products that it is: checked to be one."""
    pairs = list(pairs)
    if sum(a * b for a, b in pairs) != total:
        raise ValueError(f"{name}{list(place)} is {total}, and not the sum of {pairs}")
    terms = " + ".join(f"{_number(a)}·{_number(b)}" for a, b in pairs)
    return f"{name}[{place[0]}, {place[1]}] = {_number(total)}", f"= {terms}"


def outputs() -> str:
    """The window of the input under each position of the kernel."""
    made = []
    for p, q in _WINDOW:
        weights = {(p + r, q + s): KERNEL[r][s] for r, s in _WINDOW}
        pairs = [(w, INPUT[i][j]) for (i, j), w in weights.items()]
        caption = _sum("y", (p, q), pairs, float(_EXAMPLE.output[p, q]))
        notes = {place: f"{TIMES}{w}" for place, w in weights.items()}
        cells = grid(INPUT, marked=weights, notes=notes)
        made.append(panel([cells], _SIZE * CELL, _SIZE * CELL, caption))
    return panels(made)


def kernel_gradient() -> str:
    """The window of the input that each kernel element has met, times the output's gradient."""
    made = []
    for r, s in _WINDOW:
        gradients = {(p + r, q + s): float(_EXAMPLE.grad_output[p, q]) for p, q in _WINDOW}
        pairs = [(dy, INPUT[i][j]) for (i, j), dy in gradients.items()]
        caption = _sum("dw", (r, s), pairs, float(_EXAMPLE.kernel_gradient[r, s]))
        notes = {place: f"{TIMES}{_number(dy)}" for place, dy in gradients.items()}
        cells = grid(INPUT, marked=gradients, notes=notes)
        made.append(panel([cells], _SIZE * CELL, _SIZE * CELL, caption))
    return panels(made)


def input_gradient() -> str:
    """Each pixel, and the kernel elements that lie on it at some position."""
    made = []
    gap = CELL / 2
    for i, j in _PIXELS:
        reached = [(r, s) for r, s in _WINDOW if 0 <= i - r < _TAPS and 0 <= j - s < _TAPS]
        pairs = [(KERNEL[r][s], float(_EXAMPLE.grad_output[i - r, j - s])) for r, s in reached]
        caption = _sum("dx", (i, j), pairs, float(_EXAMPLE.input_gradient[i, j]))
        cells = grid(INPUT, marked={(i, j)})
        kernel = grid(KERNEL, at=(_SIZE * CELL + gap, CELL / 2), marked=reached)
        width = (_SIZE + _TAPS) * CELL + gap
        made.append(panel([cells, kernel], width, _SIZE * CELL, caption))
    return panels(made)


def columns() -> str:
    """The column matrix of the worked example, and the kernel as a row."""
    image = np.array(INPUT, np.float32)[None, None]
    matrix = fastconv.unfold(image, _TAPS)[0]
    row = np.array(KERNEL).reshape(1, -1)
    result = row @ matrix
    gap = CELL
    parts = [
        grid([[_number(v) for v in row[0]]], at=(0, 1.5 * CELL)),
        text(TIMES, 4 * CELL + gap / 2, 2 * CELL),
        grid([[_number(v) for v in line] for line in matrix], at=(4 * CELL + gap, 0)),
        text("=", 8 * CELL + 1.5 * gap, 2 * CELL),
        grid([[_number(v) for v in result[0]]], at=(8 * CELL + 2 * gap, 1.5 * CELL)),
    ]
    told = "The kernel as a row, times the matrix of columns, is the output as a row."
    return panels([panel(parts, 12 * CELL + 2 * gap, 4 * CELL, (told,))])


def tile() -> str:
    """A register tile: broadcast scalars down the side, vectors along the top."""
    rows, vectors, cell = 6, 2, 30.0
    gap = cell / 2
    places = list(product(range(rows), range(vectors)))
    marked = {(2, 0)}
    left = cell + gap
    wide = 3 * cell  # a vector
    parts = [grid([[f"x{i}"] for i in range(rows)], at=(0, cell + gap), cell=cell, marked={(2, 0)})]
    for v in range(vectors):
        kind = "marked" if v == 0 else "shade"
        parts.append(_vector(kind, f"w{v} …", left + v * wide, 0, wide, cell))
    for i, v in places:
        kind = "marked" if (i, v) in marked else "shade"
        top = (i + 1) * cell + gap
        parts.append(_vector(kind, f"+= x{i}·w{v}", left + v * wide, top, wide, cell))
    width, height = left + vectors * wide, (rows + 1) * cell + gap
    told = (
        f"One step of a tile of {rows} by {vectors} vectors: {rows} scalars and {vectors} vectors "
        f"are loaded, {rows * vectors} vectors of sums stay in registers."
    )
    return panels([panel(parts, width, height, (told,))])


def _vector(kind: str, words: str, x: float, y: float, width: float, height: float) -> str:
    frame = f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
    return frame + text(words, x + width / 2, y + height / 2, "small")


def phases() -> str:
    """An image of 4x4 pixels, and its four phases for a stride of 2."""
    size, stride = 4, 2
    image = np.arange(1, size * size + 1).reshape(size, size)
    shades = {(i, j): i % stride * stride + j % stride for i, j in np.ndindex(size, size)}
    whole = grid(image.tolist(), shades=shades)
    made = [panel([whole], size * CELL, size * CELL, ("the image",))]
    parts = []
    for i, j in product(range(stride), repeat=2):
        phase = image[i::stride, j::stride]
        shade = dict.fromkeys(np.ndindex(*phase.shape), i * stride + j)
        at = j * (phase.shape[1] + 0.5) * CELL, i * (phase.shape[0] + 0.5) * CELL
        parts.append(grid(phase.tolist(), at=at, shades=shade))
    side = (size + 0.5) * CELL
    made.append(panel(parts, side, side, ("its four phases",)))
    return panels(made)


PICTURES: dict[str, Callable[[], str]] = {
    draw.__name__: draw
    for draw in (outputs, kernel_gradient, input_gradient, columns, tile, phases)
}
