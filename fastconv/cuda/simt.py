"""Implicit GEMM on the ordinary cores: a register tile of 8 pixels x 8 channels a thread.

A block computes a tile of the matrix product whose reduction runs over (channel, tap) pairs, the
columns of im2col, which are never stored: each slice of them is gathered from the image into
shared memory while the slice before is multiplied. Tables hold the gathering's offsets, so stride,
padding, dilation and rank do not show in the loops.

The tile, its two buffers and the order of the lanes are those of the classic SGEMM: Nath, Tomov
and Dongarra, "An improved MAGMA GEMM for Fermi GPUs", 2010; Tan et al., "Fast implementation of
DGEMM on Fermi GPU", 2011.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32, int64, uint8

from . import tile
from .gather import found_rows, tile_place
from .program import Blocks
from .ptx import KINDS, shared_memory
from .slices import gathered, packed
from .targets import located
from .tiles import SimtTile

_PAD = 4  # elements after each row of a transposed slice: its stores spread over the banks


def slice_bytes(kind: str, shape: SimtTile, depth: int) -> int:
    """Shared memory of one block: two buffers of a slice of each operand."""
    return 2 * depth * (shape.rows + shape.columns + 2 * _PAD) * KINDS[kind].compute_size


def correlate(
    kind: str,
    warp_rows: int,
    warp_columns: int,
    lane_columns: int,
    depth: int,
    vector: int,
    axes: int,
) -> Any:
    """Forward and input gradient: rows are target pixels, columns are target channels.

    ``w`` holds packed weights [group][reduction, padded to depth][channels, padded to the tile].
    ``vector`` is 4 where four channels of the source lie side by side, else 1; ``axes`` is 2 where
    D has size 1.
    """
    shape = SimtTile(warp_rows, warp_columns, lane_columns)
    threads, ROWS, COLUMNS = shape.threads, shape.rows, shape.columns
    warp_height, warp_width = ROWS // warp_rows, COLUMNS // warp_columns
    places = tile.places(lane_columns)
    row_of, column_of = places.row_of, places.column_of
    first_own_row, first_own_column = places.own_row, places.own_column
    element = KINDS[kind]
    compute, size, wide = element.compute, element.size, element.compute_size
    load, store = element.load, element.store
    pitch, pitch_w = (ROWS + _PAD) * wide, (COLUMNS + _PAD) * wide
    buffer = depth * (pitch + pitch_w)
    contract = tile.contract(kind, depth, pitch, pitch_w, lane_columns)
    clear = tile.clear(compute)
    locate = located(axes)
    source = gathered(kind, ROWS, depth, threads, vector, axes, pitch)
    own_pixels, own_vectors = source.pixels, source.vectors
    source_place, read_source, put_source = source.place, source.read, source.put
    own_weights, read_weights, put_weights = packed(kind, COLUMNS, depth, threads, pitch_w)
    find_rows = found_rows(axes, own_pixels, source.lanes)

    def kernel(
        x, w, y, bias, workspace, table,
        slices, pixels, tiles, tiles_magic, tiles_shift, channels, weights_group, weights_row,
        image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        D, H, W, move_d, move_h, move_w, x_group, x_n, x_d, x_h, x_w,
        y_group, y_n, y_k, y_d, y_h, y_w,
    ):  # fmt: skip
        thread = int32(cuda.threadIdx.x)
        group = int64(cuda.blockIdx.y)
        row_tile, column_tile = tile_place(cuda.blockIdx.x, tiles, tiles_magic, tiles_shift)
        first_row, first_column = row_tile * ROWS, column_tile * COLUMNS
        shared = shared_memory(cuda.shared.array(0, uint8))
        digits = (
            image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        )  # fmt: skip
        moves, extents = (move_d, move_h, move_w), (D, H, W)
        steps = (x_n, x_d, x_h, x_w)

        # What this thread gathers: pixels, and the vectors of each slice.
        row, part = source_place(thread)
        base = cuda.local.array(own_pixels, int64)
        at_d = cuda.local.array(own_pixels, int32)
        at_h = cuda.local.array(own_pixels, int32)
        at_w = cuda.local.array(own_pixels, int32)
        find_rows(base, at_d, at_h, at_w, first_row + row, pixels, digits, moves, steps)
        images = x + group * x_group * size
        held = cuda.local.array((own_pixels, own_vectors, vector), compute)
        held_w = cuda.local.array((own_weights, 4), compute)
        weights = w + (group * weights_group + first_column) * wide

        # What this thread multiplies: two quads of pixels with two of channels.
        lane, warp = thread % 32, thread // 32
        own_row = warp % warp_rows * warp_height + first_own_row(lane)
        own_column = warp // warp_rows * warp_width + first_own_column(lane)
        a_at = shared + own_row * wide
        b_at = shared + depth * pitch + own_column * wide
        a = cuda.local.array(8, compute)
        b = cuda.local.array(8, compute)
        total = cuda.local.array((8, 8), compute)
        clear(total)

        flip = buffer  # from one buffer to the other and back
        for step in range(slices + 1):
            if step < slices:
                read_source(held, table, step, part, images, base, at_d, at_h, at_w, extents)
                read_weights(held_w, weights, weights_row, step, thread)
            if step > 0:
                contract(total, a, b, a_at, b_at)
                a_at, b_at = a_at + flip, b_at + flip
                flip = -flip
            if step < slices:
                now = shared + step % 2 * buffer
                put_source(held, now, row, part)
                put_weights(held_w, now + depth * pitch, thread)
            cuda.syncthreads()

        for i in range(8):
            pixel = first_row + own_row + row_of(i)
            n, o, p, q = locate(pixel, digits)
            place = group * y_group + n * y_n + o * y_d + p * y_h + q * y_w
            for j in range(8):
                channel = first_column + own_column + column_of(j)
                if pixel < pixels and channel < channels:
                    value = total[i, j]
                    if bias != 0:
                        value += load(bias + (group * channels + channel) * size)
                    store(y + (place + channel * y_k) * size, value)

    return kernel, Blocks(threads, tile.resident(threads, kind, lane_columns))
