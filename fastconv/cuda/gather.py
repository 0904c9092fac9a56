"""How kernels find and fetch what a block's tile reads: its place, its rows, its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import int32, int64

from .planning import NOWHERE
from .ptx import (
    copy_async,
    divide,
    inline,
    load4_i32,
    load4_shared_i32,
    store4_shared_i32,
    within,
)
from .targets import located

CHUNK = 16  #: bytes of one asynchronous copy
PLACE = 32  #: bytes that say where a pixel lies: in dy, in x, and its D, H and W there


@inline
def tile_place(block, tiles, tiles_magic, tiles_shift):
    """A block's tile, (along the rows, along the columns), columns fastest."""
    row_tile = divide(int32(block), tiles_magic, tiles_shift)
    return row_tile, int32(block) - row_tile * int32(tiles)


def found_rows(axes: int, own: int, lanes: int) -> Callable[..., None]:
    """A function that finds where in the source the rows of a thread lie.

    Row i is pixel ``first + i * lanes``. What it fills in are the row's offset and its place along
    D, H and W, before any tap's shift; pixels past the last lie nowhere. ``moves`` are the source's
    moves from pixel to pixel along D, H and W, ``steps`` its steps along N, D, H and W.
    """
    locate = located(axes)

    @inline
    def find(base, at_d, at_h, at_w, first, pixels, digits, moves, steps):
        for i in range(own):
            pixel = first + i * lanes
            n, o, p, q = locate(pixel, digits)
            at_d[i], at_h[i], at_w[i] = o * moves[0], p * moves[1], q * moves[2]
            base[i] = n * steps[0] + at_h[i] * steps[2] + at_w[i] * steps[3]
            if axes == 3:
                base[i] += at_d[i] * steps[1]
            if pixel >= pixels:
                at_h[i] = NOWHERE

    return find


def copied_rows(size: int, axes: int, own: int, pitch: int) -> Callable[..., None]:
    """A function that copies one chunk of each of a thread's rows, ``pitch`` bytes apart.

    ``entry`` is the address of the chunk's offset and shifts, `planning.source_table`.
    """

    @inline
    def copy(to, source, entry, base, at_d, at_h, at_w, extents):
        offset, dd, dh, dw = load4_i32(entry)
        for i in range(own):
            wanted = within(at_h[i] + dh, extents[1]) & within(at_w[i] + dw, extents[2])
            if axes == 3:
                wanted &= within(at_d[i] + dd, extents[0])
            copy_async(to + i * pitch, source + int64(base[i] + offset) * size, wanted * CHUNK)

    return copy


class Pixels(NamedTuple):
    """How a weight gradient's pixels are looked up: by one thread, for all that copy them."""

    note: Callable[..., None]
    in_gradient: Callable[..., Any]
    in_source: Callable[..., Any]


def noted_pixels(axes: int) -> Pixels:
    """Functions that write down where a pixel lies, in shared memory, and read it there."""
    locate = located(axes)

    @inline
    def note(at, pixel, last, digits, moves, x_steps, dy_steps):
        n, o, p, q = locate(pixel, digits)
        there = n * dy_steps[0] + o * dy_steps[1] + p * dy_steps[2] + q * dy_steps[3]
        d, h, v = int32(o * moves[0]), int32(p * moves[1]), int32(q * moves[2])
        place = n * x_steps[0] + d * x_steps[1] + h * x_steps[2] + v * x_steps[3]
        if pixel >= last:
            h = int32(NOWHERE)
        store4_shared_i32(at, there, place, h, v)
        if axes == 3:
            store4_shared_i32(at + 16, d, d, d, d)

    @inline
    def in_gradient(at):
        # Its offset in the output gradient, and whether it is one of the split's pixels.
        there, _, h, _ = load4_shared_i32(at)
        return int64(there), within(h, NOWHERE)

    @inline
    def in_source(at, dd, dh, dw, extents):
        # Its offset in the source, and whether a tap's shift from it stays inside.
        _, place, h, v = load4_shared_i32(at)
        wanted = within(h + dh, extents[1]) & within(v + dw, extents[2])
        if axes == 3:
            d, _, _, _ = load4_shared_i32(at + 16)
            wanted &= within(d + dd, extents[0])
        return int64(place), wanted

    return Pixels(note, in_gradient, in_source)
