"""Tiles of planes: which rows and vectors of sums stay in registers, chosen by estimated cycles.

Lanes are pixels side by side, or channels where those are contiguous, in memory or once the planes
of a block of channels have been gathered by transposes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from fastconv.cpu import simd
from fastconv.cpu.bands import gatherable, progression, three_axes
from fastconv.cpu.operands import Operands
from fastconv.lowering import AxisPart, Lowered

_TAPS = (1, 2, 3, 5, 7)  # of a kernel's column that are emitted together
_ROWS = (1, 2, 4, 6, 7, 8)  # of a tile
_SUMS = 24 if simd.VECTOR_BITS == 512 else 10  # vectors of a tile
_VECTORS = (1, 2, 4)  # of pixels that a tile may have
_STRIDED = 2  # rows of a tile at most that a stride moves over an image read where it lies
_STREAM = 0.04  # what each row of such an image beyond six costs, as they are fetched together
_CROWDED = 4096  # bytes between pixels that fall into the same cache lines
_BLOCKS = (2, 1)  # vectors of channels, in the order of preference

#: what lanes are: pixels, channels, channels of gathered planes, channels read where they lie
PIXELS, CHANNELS, GATHERED, OPEN = range(4)


class Tile(NamedTuple):
    """What lanes are, ``rho`` rows by ``vectors`` vectors, and the cycles of all tiles."""

    lanes: int
    rho: int
    vectors: int
    cycles: float


GATHER = 5  # cycles to gather or scatter a vector of pixels by a transpose
_STAGED, _SPLIT, _WOVEN = 4, 9, 16  # cycles of a short row of pixels
GATHERED_BYTES = 1 << 18  # of a block's planes: they stay in the second-level cache


class Column(NamedTuple):
    """How many taps of a kernel's column at a time, and by what stride; see `planes.slide_rows`."""

    taps: int
    move: int


def column(axis: AxisPart) -> Column:
    """All taps at a time where that code exists, else row by row, else tap by tap."""
    R, gap = len(axis.taps), progression(axis.taps)[3]
    if gap == 1 and axis.move <= 2 and R in _TAPS:
        return Column(R, axis.move if R > 1 else 1)
    return Column(0, 1) if gap == axis.move == 1 else Column(1, 1)


def best_tile(low: Lowered, arrays: Operands) -> Tile:
    """The tile of fewest cycles, for all units together."""
    parts = [three_axes(part) for part in low.parts]
    channels = low.groups * low.target_channels
    shortest = min(rows.length for _, rows, _ in parts)
    by_row = [len(rows.taps) for _, rows, _ in parts if not column(rows).taps]

    def cycles(lanes: int, rho: int, vectors: int) -> float:
        total = 0.0
        for depth, rows, columns in parts:
            across = columns.length if lanes else -(-columns.length // (vectors * arrays.lanes))
            tiles = depth.length * -(-rows.length // rho) * across
            steps = low.source_channels * len(depth.taps) * len(columns.taps)
            step = _column_cycles(rows, rho, vectors, bool(lanes))
            if lanes == OPEN:
                step *= 1 + _STREAM * max(0, (rho - 1) * rows.move + len(rows.taps) - 6)
            elif lanes:
                step *= _crowding(rows, len(columns.taps), rho, vectors)
            total += tiles * (steps * step + 2 * rho * vectors + 8)
        if lanes == PIXELS:
            total += staging_cycles(low)
            total += _WOVEN * prod(extents(low)[:-1]) if len(parts) > 1 else 0
        elif lanes == GATHERED:
            moved = prod(low.source) + sum(prod(part.counts) for part in low.parts)
            total += vectors * moved * GATHER
        units = -(-channels // (vectors * arrays.lanes)) if lanes else channels
        return low.N * units * total

    def candidates() -> Iterator[Tile]:
        ways = [(PIXELS, vectors) for vectors in _VECTORS]
        if arrays.channels_last:
            blocks = [v for v in _BLOCKS if (v - 1) * arrays.lanes < channels]
            ways = [(CHANNELS, vectors) for vectors in blocks]
            if opens(arrays, arrays.y, low.groups, _CROWDED):
                ways = [(OPEN, v) for v in blocks if v * arrays.lanes <= channels]
        if _gathers(low, arrays):
            ways.append((GATHERED, 1))
        for lanes, vectors in ways:
            for rho in _ROWS:
                # Low tiles of a strided open image: fewer rows to fetch at a time.
                most = _STRIDED if lanes == OPEN and parts[0][1].move > 1 else _SUMS // vectors
                if rho <= min(shortest, *by_row, most):
                    yield Tile(lanes, rho, vectors, cycles(lanes, rho, vectors))

    return min(candidates(), key=lambda tile: tile.cycles)


def staging_cycles(low: Lowered) -> float:
    """Cycles to stage a plane's rows of pixels, as they are or split into phases of a stride."""
    return (_STAGED if low.parts[-1].axes[-1].move == 1 else _SPLIT) * prod(low.source[:-1])


def opens(arrays: Operands, other: tuple[int, ...], channels: int, crowded: int) -> bool:
    """Whether channels last can be read where they lie, and ``other`` has its channels so, too.

    Pixels a multiple of ``crowded`` bytes apart are staged, as they share a set of the first cache.
    """
    return (
        arrays.x[1] == other[1] == arrays.size
        and channels >= arrays.lanes
        and arrays.x[-1] % crowded != 0
    )


def _gathers(low: Lowered, arrays: Operands) -> bool:
    """Whether planes may be gathered with channels contiguous: small ones, and contiguous."""
    target = extents(low)
    small = (prod(low.source) + prod(low.padded) + prod(target)) * simd.VECTOR_BITS // 8
    return (
        low.source_channels == low.target_channels == 1
        and not arrays.channels_last
        and small <= GATHERED_BYTES
        and gatherable(arrays.x, low.source, arrays.size)
        and gatherable(arrays.y, target, arrays.size)
    )


def extents(low: Lowered) -> tuple[int, ...]:
    """The target's spatial extents."""
    axes = zip(*(part.axes for part in low.parts), strict=True)
    return tuple(max(a.start + (a.length - 1) * a.step + 1 for a in axis) for axis in axes)


def _column_cycles(rows: AxisPart, rho: int, vectors: int, channels: bool) -> float:
    """Cycles of a tile for one column of taps."""
    R = len(rows.taps)
    taps = column(rows).taps or R
    met = {j * rows.move + r for j in range(rho) for r in range(taps)}
    loads = len(met) * vectors * R / taps
    # Windows of pixels start anywhere: most of them take two cache lines.
    loads = loads + R * vectors if channels else 1.6 * loads
    # A sum waits four cycles for its last product.
    return max(max(rho * vectors, 4) * R, loads) + 3


def _crowding(rows: AxisPart, S: int, rho: int, vectors: int) -> float:
    """How much longer a tile of channels takes whose weights and windows crowd the first cache."""
    windows = ((rho - 1) * rows.move + 2 * len(rows.taps)) * S
    held = windows * vectors * simd.VECTOR_BITS // 8
    # One vector of each pixel is little to fetch at a time.
    return (1.15 if vectors == 1 else 1.0) * (1 + max(0, held - 8192) / 16384)
