"""The weight gradient by Hopper's warpgroup products (sm_90a), 16-bit kinds.

Rows are target channels, 64 to a warpgroup, columns are (channel, tap) pairs, and the reduction
runs over pixels. Both operands stand in shared memory as they do in the images, channels or pairs
innermost: the products read them turned. The pixels are split among blocks, whose sums a second
pass adds in order.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float32, int32, int64, uint8

from .gather import CHUNK, PLACE, noted_pixels, tile_place
from .program import Blocks
from .ptx import (
    KINDS,
    aligned_1024,
    copy_async,
    copy_commit,
    copy_waits,
    descriptor,
    fence_async,
    layout_of,
    load4_i32,
    shared_memory,
    warpgroup_commit,
    warpgroup_fence,
    warpgroup_multiply,
    warpgroup_wait_0,
    warpgroup_wait_1,
    within,
)
from .tensor import SLICE

DEPTH = 64  #: pixels of a slice
_VECTOR = 8  # elements of a chunk
_WIDE = SLICE // 2  # channels or pairs of a block: what a swizzled row holds
_BLOCK = DEPTH * SLICE  # bytes of a block
_STEP = 16  # pixels of one product
_ALIGNMENT = 1024


def shared_bytes(warpgroups: int, columns: int, stages: int) -> int:
    """Shared memory of one block: its stages, and where each of their pixels lies."""
    return _ALIGNMENT + stages * ((warpgroups + columns // _WIDE) * _BLOCK + DEPTH * PLACE)


def weight_gradient(kind: str, warpgroups: int, columns: int, stages: int, axes: int) -> Any:
    """Sums over one split of the pixels, [split][group][target channel][pair], in the workspace.

    ``w`` is the output gradient; both it and the source have their channels last, in whole chunks
    of 16 bytes a group. ``warpgroups`` share the rows.
    """
    threads, rows = 128 * warpgroups, 64 * warpgroups
    size = KINDS[kind].size
    store = KINDS["f32"].store
    stage_bytes = (warpgroups + columns // _WIDE) * _BLOCK
    a_chunks, b_chunks = rows // _VECTOR, columns // _VECTOR
    a_lanes, b_lanes = threads // a_chunks, threads // b_chunks  # pixels copied at a time
    a_own, b_own = DEPTH // a_lanes, DEPTH // b_lanes
    ahead_by = stages - 2  # the products of the slice before may still read its stage
    wait = copy_waits(ahead_by - 1)
    layout = layout_of(_BLOCK, 8 * SLICE)
    multiply = warpgroup_multiply(kind, columns, rows_inner=True)
    held = columns // 2
    places_bytes = DEPTH * PLACE
    note, in_gradient, in_source = noted_pixels(axes)

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, split_pixels, channels, pairs, groups, tiles, tiles_magic, tiles_shift,
        image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        D, H, W, move_d, move_h, move_w, x_group, x_n, x_d, x_h, x_w,
        dy_group, dy_n, dy_d, dy_h, dy_w, sums_at,
    ):  # fmt: skip
        thread = int32(cuda.threadIdx.x)
        group = int64(cuda.blockIdx.y)
        split = int64(cuda.blockIdx.z)
        row_tile, column_tile = tile_place(cuda.blockIdx.x, tiles, tiles_magic, tiles_shift)
        first_row, first_column = row_tile * rows, column_tile * columns
        digits = (
            image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        )  # fmt: skip
        moves, extents = (move_d, move_h, move_w), (D, H, W)
        x_steps, dy_steps = (x_n, x_d, x_h, x_w), (dy_n, dy_d, dy_h, dy_w)
        shared = aligned_1024(shared_memory(cuda.shared.array(0, uint8)))
        places = shared + stages * stage_bytes

        # What this thread copies: one chunk of channels and one of pairs, for some pixels each.
        a_chunk, a_pixel = thread % a_chunks, thread // a_chunks
        b_chunk, b_pixel = thread % b_chunks, thread // b_chunks
        a_wanted = within(first_row + a_chunk * _VECTOR, channels)
        dy = w + (group * dy_group + first_row + a_chunk * _VECTOR) * size
        offset, dd, dh, dw = load4_i32(table + (first_column // _VECTOR + b_chunk) * 16)
        source = x + (group * x_group + offset) * size
        a_into = shared + a_chunk // 8 * _BLOCK
        b_into = shared + (rows // _WIDE + b_chunk // 8) * _BLOCK

        warpgroup = thread // 128
        a_at = shared + warpgroup * _BLOCK
        b_at = shared + rows // _WIDE * _BLOCK
        sums = cuda.local.array(held, float32)
        for i in range(held):
            sums[i] = float32(0)

        # Each pixel is looked up by one thread, a slice ahead of the copies that need it.
        first = split * split_pixels
        last = min(first + split_pixels, pixels)
        slices = (last - first + DEPTH - 1) // DEPTH
        stage = int32(0)
        for step in range(-ahead_by - 1, slices):
            if step >= 0:
                wait()
                fence_async()
            if step >= -ahead_by:
                cuda.syncthreads()
            if step >= 0:
                warpgroup_fence()
                now = stage * stage_bytes
                for part in range(DEPTH // _STEP):
                    multiply(
                        sums,
                        descriptor(a_at + (now + part * _STEP * SLICE), layout),
                        descriptor(b_at + (now + part * _STEP * SLICE), layout),
                    )
                warpgroup_commit()
            ahead = step + ahead_by
            if ahead >= 0 and ahead < slices:
                filled = int32(ahead % stages)
                to = filled * stage_bytes
                at = places + filled * places_bytes
                for i in range(a_own):
                    pixel = a_pixel + i * a_lanes
                    there, wanted = in_gradient(at + pixel * PLACE)
                    swizzled = pixel * SLICE + (a_chunk % 8 ^ pixel % 8) * CHUNK
                    copy_async(
                        a_into + (to + swizzled), dy + there * size, (a_wanted & wanted) * CHUNK
                    )
                for i in range(b_own):
                    pixel = b_pixel + i * b_lanes
                    there, wanted = in_source(at + pixel * PLACE, dd, dh, dw, extents)
                    swizzled = pixel * SLICE + (b_chunk % 8 ^ pixel % 8) * CHUNK
                    copy_async(b_into + (to + swizzled), source + there * size, wanted * CHUNK)
            if ahead >= 0:
                copy_commit()
            coming = ahead + 1
            if coming < slices and thread < DEPTH:
                pixel = int32(first + coming * DEPTH + thread)
                at = places + (coming % stages) * places_bytes + thread * PLACE
                note(at, pixel, last, digits, moves, x_steps, dy_steps)
            if step >= 0:
                warpgroup_wait_1()
                stage = stage + 1 if stage + 1 < stages else int32(0)
        warpgroup_wait_0()

        lane, warp = thread % 32, thread // 32
        for j in range(columns // 8):
            for r in range(4):
                channel = first_row + warp * 16 + lane // 4 + r // 2 * 8
                pair = first_column + j * 8 + lane % 4 * 2 + r % 2
                if channel < channels and pair < pairs:
                    place = ((split * groups + group) * channels + channel) * pairs + pair
                    store(workspace + sums_at + place * 4, sums[4 * j + r])

    return kernel, Blocks(threads, 1, needs=(9, 0), only=True)
