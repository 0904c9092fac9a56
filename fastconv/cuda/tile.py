"""The register tile of the ordinary cores: 8 rows x 8 columns a thread, from shared memory.

A warp's lanes stand side by side in some columns and in rows: 8 x 4 lanes share what they load most
evenly, 32 x 1 suit products of few columns. Each lane has two quads of rows and two of columns,
half a warp's tile apart, so that the lanes of one load read neighbouring quads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .ptx import KINDS, inline

EVEN = 4  #: columns of lanes that share evenly


class Places(NamedTuple):
    """Where a lane's part of its warp's tile lies."""

    own_row: Callable[[Any], Any]  #: of a lane, the first of its first quad
    own_column: Callable[[Any], Any]
    row_of: Callable[[Any], Any]  #: of row i of the part, counted from the lane's first
    column_of: Callable[[Any], Any]


def places(lane_columns: int) -> Places:
    """The places of lanes that stand in so many columns."""
    lane_rows = 32 // lane_columns
    second_row, second_column = 4 * lane_rows, 4 * lane_columns

    @inline
    def own_row(lane):
        return lane % lane_rows * 4

    @inline
    def own_column(lane):
        return lane // lane_rows * 4

    @inline
    def row_of(i):
        return i // 4 * second_row + i % 4

    @inline
    def column_of(j):
        return j // 4 * second_column + j % 4

    return Places(own_row, own_column, row_of, column_of)


def contract(
    kind: str, depth: int, pitch_a: int, pitch_b: int, lane_columns: int = EVEN
) -> Callable[..., None]:
    """``total[i, j] += sum over k < depth of a[k, row_of(i)] * b[k, column_of(j)]``.

    The slices lie in shared memory as [k][row] and [k][column], rows of ``pitch`` bytes apart.
    """
    load4, size = KINDS[kind].load4_shared, KINDS[kind].compute_size
    second_row, second_column = 128 // lane_columns * size, 4 * lane_columns * size

    @inline
    def one(total, a, b, a_at, b_at):
        a[0], a[1], a[2], a[3] = load4(a_at)
        a[4], a[5], a[6], a[7] = load4(a_at + second_row)
        b[0], b[1], b[2], b[3] = load4(b_at)
        b[4], b[5], b[6], b[7] = load4(b_at + second_column)
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


def resident(threads: int, kind: str, lane_columns: int = EVEN) -> int:
    """Blocks to fit on one multiprocessor, which bounds the registers of a thread.

    128 registers, 168 for smaller blocks, and as many as there can be where lanes stand unevenly:
    each then gathers more.
    """
    if KINDS[kind].compute_size == 8:
        return 1
    if lane_columns != EVEN:
        return 256 // threads
    return 2 if threads == 256 else 384 // threads
