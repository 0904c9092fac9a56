"""The register tile of the ordinary cores: 8 rows x 8 columns a thread, from shared memory.

A warp's lanes stand 8 rows apart x 4 columns apart. Each has two quads of rows and two of columns,
half a warp tile apart, so that the lanes of one load read neighbouring quads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ptx import KINDS, inline

ROWS = 64  #: of a warp's tile
COLUMNS = 32
_SECOND_ROWS = 32  # where the second quad of rows begins
_SECOND_COLUMNS = 16


@inline
def own_row(lane: Any) -> Any:
    """The first row of a lane's first quad in its warp's tile."""
    return lane % 8 * 4


@inline
def own_column(lane: Any) -> Any:
    """The first column of a lane's first quad."""
    return lane // 8 * 4


@inline
def row_of(i: Any) -> Any:
    """Row i of the tile, counted from the lane's first."""
    return i // 4 * _SECOND_ROWS + i % 4


@inline
def column_of(j: Any) -> Any:
    """Column j of the tile, counted from the lane's first."""
    return j // 4 * _SECOND_COLUMNS + j % 4


def contract(kind: str, depth: int, pitch_a: int, pitch_b: int) -> Callable[..., None]:
    """``total[i, j] += sum over k < depth of a[k, row_of(i)] * b[k, column_of(j)]``.

    The slices lie in shared memory as [k][row] and [k][column], rows of ``pitch`` bytes apart.
    """
    load4, size = KINDS[kind].load4_shared, KINDS[kind].compute_size

    @inline
    def one(total, a, b, a_at, b_at):
        a[0], a[1], a[2], a[3] = load4(a_at)
        a[4], a[5], a[6], a[7] = load4(a_at + _SECOND_ROWS * size)
        b[0], b[1], b[2], b[3] = load4(b_at)
        b[4], b[5], b[6], b[7] = load4(b_at + _SECOND_COLUMNS * size)
        for i in range(8):
            for j in range(8):
                total[i, j] += a[i] * b[j]

    def doubled(body: Callable[..., None], steps: int) -> Callable[..., None]:
        @inline
        def twice(total, a, b, a_at, b_at):
            body(total, a, b, a_at, b_at)
            body(total, a, b, a_at + steps * pitch_a, b_at + steps * pitch_b)

        return twice

    # Written out, not looped: the loads of one step pass under the products of the one before.
    body, steps = one, 1
    while steps < depth:
        body, steps = doubled(body, steps), 2 * steps
    if steps != depth:
        raise ValueError(f"depth must be a power of two, got {depth}")
    return body


def clear(compute: Any) -> Callable[..., None]:
    """Set all totals to zero."""

    @inline
    def zero(total):
        for i in range(8):
            for j in range(8):
                total[i, j] = compute(0)

    return zero


def resident(threads: int, kind: str) -> int:
    """Blocks to fit on one multiprocessor: 128 registers a thread, 168 for smaller blocks."""
    if KINDS[kind].compute_size == 8:
        return 1
    return 2 if threads == 256 else 384 // threads
