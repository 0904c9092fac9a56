"""Planning: loops, tables and tile sizes of a kernel, from geometry alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.views import View
from fastconv.lowering import Correlation

UNITS = 64  #: work is cut into at least so many units where it can be, whatever the machine
_REGISTERS = 32 if simd.VECTOR_BITS == 512 else 16
_LATENCY = 4  #: cycles of one multiply-add; two start each cycle


class Axis(NamedTuple):
    """A loop over ``length`` targets; byte steps in source and target."""

    length: int
    x_step: int
    y_step: int


class Loops(NamedTuple):
    """The targets of a part: tables of image rows, and the pixels along each."""

    x_rows: np.ndarray
    y_rows: np.ndarray
    pixels: Axis


def loops(
    part: Correlation, N: int, x: View, y: View, any_axis: bool, longest: int | None = None
) -> Loops:
    """The loops of ``part``, neighbouring axes merged where both arrays allow it.

    ``any_axis`` lets another axis be the pixels where the last is very short; rows beyond
    ``longest`` are cut into equal pieces where their length has a fitting divisor.
    """
    axes, origin = _axes(part, N, x, y)
    merged = _merged(axes, keep_last=not any_axis)
    if any_axis and merged[-1].length < 4:
        merged.sort(key=lambda axis: axis.length)
    if longest is not None and merged[-1].length > longest:
        merged[-1:] = _cut_row(merged[-1], longest)
    return _tabled(merged, origin)


def row_loops(part: Correlation, N: int, x: View, y: View) -> Loops:
    """The loops of ``part`` with every axis but the last in the row tables."""
    return _tabled(*_axes(part, N, x, y))


def target_loops(part: Correlation, N: int, y: View) -> Loops:
    """The loops of ``part`` over its target alone, merged into rows as long as they can be."""
    axes, origin = _axes(part, N, y, y)
    targets = [Axis(a.length, a.y_step, a.y_step) for a in axes]
    return _tabled(_merged(targets, keep_last=False), origin)


def source_loops(part: Correlation, N: int, x: View) -> Loops:
    """The loops of ``part`` over what it reads alone, merged but for the last axis."""
    axes, _ = _axes(part, N, x, x)
    return _tabled(_merged([Axis(a.length, a.x_step, a.x_step) for a in axes], keep_last=True), 0)


def merged_loops(axes: list[Axis]) -> Loops:
    """The loops over ``axes`` in the order of the target's memory, merged as far as they can be."""
    ordered = sorted(axes, key=lambda axis: -abs(axis.y_step))
    return _tabled(_merged(ordered, keep_last=False), 0)


def _axes(part: Correlation, N: int, x: View, y: View) -> tuple[list[Axis], int]:
    """The loops over images and each spatial axis, and the byte offset of the first target."""
    axes, origin = [Axis(N, x.image, y.image)], 0
    for axis, x_pitch, y_pitch in zip(part.axes, x.spatial, y.spatial, strict=True):
        axes.append(Axis(axis.length, axis.move * x_pitch, axis.step * y_pitch))
        origin += axis.start * y_pitch
    return axes, origin


def _merged(axes: list[Axis], keep_last: bool) -> list[Axis]:
    merged = [axes[-1]]
    for axis in reversed(axes[:-1]):
        inner = merged[0]
        if axis.length == 1:
            continue
        if inner.length == 1 and not keep_last:
            merged[0] = axis
        elif axis[1:] == (inner.length * inner.x_step, inner.length * inner.y_step):
            merged[0] = Axis(axis.length * inner.length, inner.x_step, inner.y_step)
        else:
            merged.insert(0, axis)
    return merged


def _cut_row(row: Axis, longest: int) -> list[Axis]:
    fitting = (d for d in range(longest, longest // 8, -1) if row.length % d == 0)
    piece = next(fitting, row.length)
    outer = Axis(row.length // piece, row.x_step * piece, row.y_step * piece)
    return [outer, Axis(piece, row.x_step, row.y_step)]


def _tabled(axes: list[Axis], origin: int) -> Loops:
    *rows, pixels = axes
    x_rows, y_rows = np.zeros(1, np.int64), np.full(1, origin, np.int64)
    for axis in rows:
        index = np.arange(axis.length, dtype=np.int64)
        x_rows = (x_rows[:, None] + index * axis.x_step).ravel()
        y_rows = (y_rows[:, None] + index * axis.y_step).ravel()
    return Loops(x_rows, y_rows, pixels)


class TileShape(NamedTuple):
    """``rho`` image rows x ``m`` scalars by ``vectors`` vectors, and its cycles for a pass."""

    rho: int
    m: int
    vectors: int
    cycles: float

    @property
    def registers(self) -> int:
        """Vectors held in registers."""
        return self.rho * self.m * self.vectors


def _fits(count: int, others: int) -> bool:
    return count + others <= _REGISTERS


# The tile sizes that exist: each costs a fraction of a second to compile, so no more than pay off.
_PIXELS = dict.fromkeys(range(14, 3, -1), 1) | {3: 2, 2: 2, 1: 4}  # m: image rows
_LINES = (14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
_PANELS = (  # (output channels, vectors)
    *((8, 3), (9, 3), (12, 2), (14, 2), (6, 4), (4, 3), (6, 2), (4, 2), (12, 1), (4, 1)),
    *((2, 3), (2, 1), (1, 4), (1, 1)),
)
_MOST_LINES = 14  # of a tile of columns
_ADD, _FOLD = 4.0, 0.7  # cycles to add a vector to one in memory, or to one beside it
_WINDOWS = ((1, 3), (1, 2), (1, 1), (2, 1), (2, 2), (4, 1))  # (image rows, vectors)


def channel_tile(rows: int, length: int, channels: int, lanes: int) -> TileShape:
    """The best tile with lanes over ``channels``: fewest cycles for each (input channel, tap)."""

    def candidates() -> Iterator[TileShape]:
        for vectors in (2, 1, 3):
            blocks = -(-channels // (vectors * lanes))
            for m, rho in _PIXELS.items():
                # One register beyond the vectors: broadcasts come straight from memory.
                if m <= length and _fits(rho * m * vectors, vectors + 1):
                    step = _step_cycles(rho * m * vectors, rho * m + vectors)
                    tiles = -(-rows // rho) * -(-length // m)
                    yield TileShape(rho, m, vectors, blocks * tiles * step)

    return min(candidates(), key=lambda shape: shape.cycles)


def column_tile(channels: int, lanes: int) -> TileShape:
    """The best tile with lanes over ``channels`` whose ``m`` scalars may hang over: per scalar."""

    def candidates() -> Iterator[TileShape]:
        for vectors in (2, 1, 3):
            blocks = -(-channels // (vectors * lanes))
            m = next(m for m in _LINES if _fits(m * vectors, vectors + 1))
            yield TileShape(1, m, vectors, blocks * _step_cycles(m * vectors, m + vectors) / m)

    return min(candidates(), key=lambda shape: shape.cycles)


def panel_tile(pixels: int, channels: int, lanes: int) -> TileShape:
    """The best tile of ``m`` output channels by a panel of pixels: cycles for each of its lines."""

    def candidates() -> Iterator[TileShape]:
        for m, vectors in _PANELS:
            if m <= channels and _fits(m * vectors, vectors + 1):
                step = _step_cycles(m * vectors, m + vectors)
                panels = -(-pixels // (vectors * lanes))
                yield TileShape(1, m, vectors, -(-channels // m) * panels * step)

    return min(candidates(), key=lambda shape: shape.cycles)


class FoldShape(NamedTuple):
    """``m`` lines by ``vectors`` vectors, of which each ``taps`` are summed in registers."""

    m: int
    vectors: int
    taps: int
    cycles: float


def fold_tile(
    lines: int, folds: Sequence[tuple[int, int]], places: int, channels: int, lanes: int
) -> FoldShape:
    """The best tile of columns' lines by a panel of places, and the cycles for all lines.

    Each of ``folds`` is how many lines may be summed in registers, and to how many sums.
    """

    def candidates() -> Iterator[FoldShape]:
        for taps, sums in folds:
            for m, vectors in product(range(taps, _MOST_LINES + 1, taps), range(1, 6)):
                if _fits(m * vectors, vectors + 1):
                    tiles = -(-lines // m) * -(-places // (vectors * lanes))
                    step = _step_cycles(m * vectors, m + vectors)
                    reach = vectors + (taps > sums)
                    added = m // taps * sums * reach
                    moved = (m - m // taps * sums) * reach
                    tile = channels * step + _ADD * added + _FOLD * moved
                    yield FoldShape(m, vectors, taps, tiles * tile)

    return min(candidates(), key=lambda shape: shape.cycles)


def run_tile(elements: int, taps: int, channels: int, lanes: int) -> TileShape:
    """The best tile of ``m`` elements by vectors of taps: cycles for one input channel."""

    def candidates() -> Iterator[TileShape]:
        for m, vectors in product(_LINES, range(1, 6)):
            if m <= elements and _fits(m * vectors, vectors + 1):
                step = _step_cycles(m * vectors, m + vectors)
                count = -(-elements // m) * -(-taps // (vectors * lanes))
                yield TileShape(1, m, vectors, count * (channels * step + 2 * m * vectors))

    return min(candidates(), key=lambda shape: shape.cycles)


def window_tile(rows: int, length: int, channels: int, lanes: int) -> TileShape:
    """The best tile with lanes over pixels: ``m`` output channels by rho x vectors of pixels."""

    def candidates() -> Iterator[TileShape]:
        for m in (8, 6, 4, 3, 2, 1):
            for rho, vectors in _WINDOWS:
                columns = rho * vectors
                if m <= channels and rho <= rows and _fits(m * columns, columns + 1):
                    # A window rarely starts on a cache line, so each of its loads counts twice.
                    step = _step_cycles(m * columns, m + 2 * columns)
                    tiles = -(-rows // rho) * -(-length // (vectors * lanes))
                    yield TileShape(rho, m, vectors, -(-channels // m) * tiles * step)

    return min(candidates(), key=lambda shape: shape.cycles)


def pieces(length: int) -> int:
    """Into what size to cut ``length`` for a tile: least overhang, then most."""
    fitting = [m for m in _LINES if m <= length and _fits(m * 2, 3)]
    return min(fitting, key=lambda m: (-(-length // m) * (m + 1), -m))


def line_tile(lines: int, m: int, channels: int, lanes: int) -> TileShape:
    """The best weight-gradient tile with lanes over ``channels``: cycles for each pixel."""

    def candidates() -> Iterator[TileShape]:
        for vectors in (2, 3, 4, 1):
            blocks = -(-channels // (vectors * lanes))
            for rho in (4, 3, 2, 1):
                if _fits(rho * m * vectors, vectors + 1):
                    step = _step_cycles(rho * m * vectors, rho * m + vectors)
                    yield TileShape(rho, m, vectors, blocks * -(-lines // rho) * step)

    # Of equals, the one that loads least.
    return min(candidates(), key=lambda s: (s.cycles, s.rho * s.m + s.vectors))


def dot_tile(entries: int, channels: int) -> TileShape:
    """The best weight-gradient tile with lanes over pixels: ``rho`` channels by ``m`` entries."""

    def candidates() -> Iterator[TileShape]:
        for rho in (4, 2, 1):
            for m in (6, 9, 4, 2, 1):
                if rho <= channels and _fits(rho * m, rho + m):
                    step = _step_cycles(rho * m, rho + 2 * m)
                    tiles = -(-channels // rho) * -(-entries // m)
                    yield TileShape(rho, m, 1, tiles * step)

    return min(candidates(), key=lambda shape: shape.cycles)


def _step_cycles(multiply_adds: int, loads: int) -> float:
    """Cycles of one step of a tile: two multiply-adds and two loads a cycle, and the latency."""
    return max(multiply_adds / 2, loads / 2, _LATENCY) + 0.5


def parts_for(units: int, most: int) -> int:
    """Into how many parts to cut ``most`` things so that ``units`` other cuts make UNITS in all."""
    return max(1, min(most, -(-UNITS // max(units, 1))))


class Blocks(NamedTuple):
    """Channels cut into blocks, group by group; one entry a block in each table."""

    group: np.ndarray
    first: np.ndarray  #: the block's first channel within its group
    present: np.ndarray  #: channels in the block
    repeated: np.ndarray  #: of those, how many the block before has too


def block_table(groups: int, per_group: int, width: int, overlap: bool) -> Blocks:
    """Blocks of ``width`` channels; with ``overlap`` a last one that hangs over moves back."""
    firsts = np.arange(0, per_group, width, dtype=np.int64)
    moved = np.minimum(firsts, max(per_group - width, 0)) if overlap else firsts
    first = np.tile(moved, groups)
    return Blocks(
        group=np.repeat(np.arange(groups, dtype=np.int64), len(firsts)),
        first=first,
        present=np.minimum(per_group - first, width),
        repeated=np.tile(firsts - moved, groups),
    )
