"""How the ordinary cores' operands pass through registers into a slice in shared memory.

A slice holds ``depth`` places of the reduction, each a row of ``pitch`` bytes. It is read from
global memory before the slice ahead of it is multiplied, and put into shared memory afterwards: in
between, every thread holds a few elements of it, or vectors of four.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .ptx import KINDS, inline, load4_i32, within


class Gathered(NamedTuple):
    """A source's slice, by rows of pixels: each thread has some pixels and vectors of the slice."""

    pixels: int
    vectors: int
    lanes: int  #: threads side by side along the pixels
    place: Callable[..., Any]  #: of a thread: its first pixel, and its first vector
    read: Callable[..., None]
    put: Callable[..., None]


def gathered(
    kind: str, rows: int, depth: int, threads: int, vector: int, axes: int, pitch: int
) -> Gathered:
    """How ``rows`` pixels' slices are gathered, in vectors of 1 or 4 channels."""
    element = KINDS[kind]
    size, wide, store_shared = element.size, element.compute_size, element.store_shared
    load_if, load4_if = element.load_if, element.load4_if
    a_row = depth // vector
    lanes = min(rows, threads) if vector == 1 else min(rows, threads // a_row)
    pixels, vectors = rows // lanes, a_row * lanes // threads
    apart = threads // lanes if vector == 1 else 1  # from one vector of a thread to its next

    @inline
    def place(thread):
        if vector == 1:
            return thread % lanes, thread // lanes
        return thread // a_row, thread % a_row

    @inline
    def read(held, table, step, part, images, base, at_d, at_h, at_w, extents):
        for v in range(vectors):
            entry = step * a_row + part + v * apart
            offset, dd, dh, dw = load4_i32(table + entry * 16)
            for i in range(pixels):
                wanted = within(at_h[i] + dh, extents[1]) & within(at_w[i] + dw, extents[2])
                if axes == 3:
                    wanted &= within(at_d[i] + dd, extents[0])
                source = images + (base[i] + offset) * size
                if vector == 1:
                    held[i, v, 0] = load_if(source, wanted)
                else:
                    (
                        held[i, v, 0], held[i, v, 1], held[i, v, 2], held[i, v, 3]
                    ) = load4_if(source, wanted)  # fmt: skip

    @inline
    def put(held, now, row, part):
        for v in range(vectors):
            k = (part + v * apart) * vector
            for i in range(pixels):
                for j in range(vector):
                    at = now + (k + j) * pitch + (row + i * lanes) * wide
                    store_shared(at, held[i, v, j])

    return Gathered(pixels, vectors, lanes, place, read, put)


class Packed(NamedTuple):
    """Packed weights' slice: each thread has some quads of channels."""

    quads: int
    read: Callable[..., None]
    put: Callable[..., None]


def packed(kind: str, columns: int, depth: int, threads: int, pitch: int) -> Packed:
    """How slices of ``columns`` packed channels are carried."""
    element = KINDS[kind]
    wide, load4, store4 = element.compute_size, element.load4_computed, element.store4_shared
    across = columns // 4
    whole = depth * across
    own = -(-whole // threads)

    @inline
    def read(held, weights, row_step, step, thread):
        for i in range(own):
            quad = thread + i * threads
            if quad < whole:
                place = (step * depth + quad // across) * row_step + quad % across * 4
                held[i, 0], held[i, 1], held[i, 2], held[i, 3] = load4(weights + place * wide)

    @inline
    def put(held, now, thread):
        for i in range(own):
            quad = thread + i * threads
            if quad < whole:
                at = now + quad // across * pitch + quad % across * 4 * wide
                store4(at, held[i, 0], held[i, 1], held[i, 2], held[i, 3])

    return Packed(own, read, put)


class Strip(NamedTuple):
    """A slice by pixels, of channels or pairs: each thread has one pixel and several of them.

    In vectors it is the other way around: one quad, of several pixels.
    """

    own: int
    place: Callable[..., Any]  #: of a thread: its first channel or pair, and its first pixel
    row: Callable[..., Any]  #: of its item i
    pixel: Callable[..., Any]
    read: Callable[..., None]
    put: Callable[..., None]


def strip(kind: str, width: int, depth: int, threads: int, vector: int, pitch: int) -> Strip:
    """How slices of ``width`` channels or pairs are carried, one or four side by side."""
    element = KINDS[kind]
    wide = element.compute_size
    load_if, load4_if = element.load_if, element.load4_if
    store_shared, store4_shared = element.store_shared, element.store4_shared
    own = width // vector * depth // threads
    across = width // 4 if vector == 4 else threads // depth
    rows_on, pixels_on = (0, threads // across) if vector == 4 else (across, 0)

    @inline
    def place(thread):
        if vector == 4:
            return thread % across * 4, thread // across
        return thread // depth, thread % depth

    @inline
    def row_of(row, i):
        return row + i * rows_on

    @inline
    def pixel_of(pixel, i):
        return pixel + i * pixels_on

    @inline
    def read(held, i, address, wanted):
        if vector == 4:
            held[i, 0], held[i, 1], held[i, 2], held[i, 3] = load4_if(address, wanted)
        else:
            held[i, 0] = load_if(address, wanted)

    @inline
    def put(held, now, row, pixel):
        for i in range(own):
            at = now + (pixel + i * pixels_on) * pitch + (row + i * rows_on) * wide
            if vector == 4:
                store4_shared(at, held[i, 0], held[i, 1], held[i, 2], held[i, 3])
            else:
                store_shared(at, held[i, 0])

    return Strip(own, place, row_of, pixel_of, read, put)
