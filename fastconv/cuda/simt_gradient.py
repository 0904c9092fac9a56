"""The weight gradient as implicit GEMM on the ordinary cores: a reduction over pixels.

Rows are target channels, columns are the (channel, tap) pairs of the kernel, and each slice of the
reduction is a few pixels of the batch. The pixels are split among blocks; every split writes its
sums to the workspace and a second pass adds them in order, so no order is ever left to chance.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32, int64, uint8

from . import tile
from .gather import tile_place
from .program import Blocks
from .ptx import KINDS, load4_i32, shared_memory, within
from .targets import located
from .tiles import SimtTile

_PAD = 4


def weight_gradient(
    kind: str,
    warp_rows: int,
    warp_columns: int,
    lane_columns: int,
    depth: int,
    vector_dy: int,
    vector_x: int,
    axes: int,
) -> Any:
    """Sums over one split of the pixels, [split][group][target channel][pair], in the workspace.

    ``w`` is the output gradient. A vector is 4 where four channels lie side by side, else 1.
    """
    shape = SimtTile(warp_rows, warp_columns, lane_columns)
    threads, ROWS, COLUMNS = shape.threads, shape.rows, shape.columns
    warp_height, warp_width = ROWS // warp_rows, COLUMNS // warp_columns
    places = tile.places(lane_columns)
    row_of, column_of = places.row_of, places.column_of
    first_own_row, first_own_column = places.own_row, places.own_column
    element = KINDS[kind]
    compute, size, wide = element.compute, element.size, element.compute_size
    load_if, load4_if = element.load_if, element.load4_if
    store_shared, store4_shared = element.store_shared, element.store4_shared
    store = KINDS["f64" if wide == 8 else "f32"].store
    pitch, pitch_x = (ROWS + _PAD) * wide, (COLUMNS + _PAD) * wide
    buffer = depth * (pitch + pitch_x)
    contract = tile.contract(kind, depth, pitch, pitch_x, lane_columns)
    clear = tile.clear(compute)
    locate = located(axes)
    # A thread has either one pixel of each slice and several channels, or vectors of channels.
    dy_pixels = threads // (ROWS // 4) if vector_dy == 4 else depth
    dy_own = ROWS // vector_dy * depth // threads
    x_pixels = threads // (COLUMNS // 4) if vector_x == 4 else depth
    x_own = COLUMNS // vector_x * depth // threads

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, split_pixels, channels, pairs, groups, tiles, tiles_magic, tiles_shift,
        image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        D, H, W, move_d, move_h, move_w, x_group, x_n, x_d, x_h, x_w,
        dy_group, dy_n, dy_k, dy_d, dy_h, dy_w, sums_at,
    ):  # fmt: skip
        thread = int32(cuda.threadIdx.x)
        group = int64(cuda.blockIdx.y)
        split = int64(cuda.blockIdx.z)
        row_tile, column_tile = tile_place(cuda.blockIdx.x, tiles, tiles_magic, tiles_shift)
        first_row, first_column = row_tile * ROWS, column_tile * COLUMNS
        shared = shared_memory(cuda.shared.array(0, uint8))
        digits = (
            image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        )  # fmt: skip

        # The output gradient's share of this thread: a channel offset each.
        if vector_dy == 4:
            dy_row, dy_pixel = thread % (ROWS // 4) * 4, thread // (ROWS // 4)
        else:
            dy_row, dy_pixel = thread // depth, thread % depth
        held_dy = cuda.local.array((dy_own, vector_dy), compute)
        # The source's share: entries of the table.
        if vector_x == 4:
            x_row, x_pixel = thread % (COLUMNS // 4) * 4, thread // (COLUMNS // 4)
        else:
            x_row, x_pixel = thread // depth, thread % depth
        offset = cuda.local.array(x_own, int32)
        dd = cuda.local.array(x_own, int32)
        dh = cuda.local.array(x_own, int32)
        dw = cuda.local.array(x_own, int32)
        for i in range(x_own):
            pair = first_column + x_row
            if vector_x == 1:
                pair += i * (threads // depth)
            offset[i], dd[i], dh[i], dw[i] = load4_i32(table + pair // vector_x * 16)
        held_x = cuda.local.array((x_own, vector_x), compute)

        lane, warp = thread % 32, thread // 32
        own_row = warp % warp_rows * warp_height + first_own_row(lane)
        own_column = warp // warp_rows * warp_width + first_own_column(lane)
        a_at = shared + own_row * wide
        b_at = shared + depth * pitch + own_column * wide
        a = cuda.local.array(8, compute)
        b = cuda.local.array(8, compute)
        total = cuda.local.array((8, 8), compute)
        clear(total)

        flip = buffer
        first = split * split_pixels
        last = min(first + split_pixels, pixels)
        slices = (last - first + depth - 1) // depth
        for step in range(slices + 1):
            if step < slices:
                slice_first = int32(first + step * depth)
                for i in range(dy_own):
                    pixel = slice_first + dy_pixel + (i * dy_pixels if vector_dy == 4 else 0)
                    n, o, p, q = locate(pixel, digits)
                    row = first_row + dy_row + (0 if vector_dy == 4 else i * (threads // depth))
                    place = group * dy_group + n * dy_n + row * dy_k + p * dy_h + q * dy_w
                    if axes == 3:
                        place += o * dy_d
                    wanted = within(pixel, last) & within(row, channels)
                    if vector_dy == 4:
                        held_dy[i, 0], held_dy[i, 1], held_dy[i, 2], held_dy[i, 3] = load4_if(
                            w + place * size, wanted
                        )
                    else:
                        held_dy[i, 0] = load_if(w + place * size, wanted)
                for i in range(x_own):
                    pixel = slice_first + x_pixel + (i * x_pixels if vector_x == 4 else 0)
                    n, o, p, q = locate(pixel, digits)
                    h, v = int32(p * move_h), int32(q * move_w)
                    place = group * x_group + n * x_n + h * x_h + v * x_w + offset[i]
                    wanted = within(pixel, last) & within(h + dh[i], H) & within(v + dw[i], W)
                    if axes == 3:
                        place += o * move_d * x_d
                        wanted &= within(o * move_d + dd[i], D)
                    if vector_x == 4:
                        held_x[i, 0], held_x[i, 1], held_x[i, 2], held_x[i, 3] = load4_if(
                            x + place * size, wanted
                        )
                    else:
                        held_x[i, 0] = load_if(x + place * size, wanted)
            if step > 0:
                contract(total, a, b, a_at, b_at)
                a_at, b_at = a_at + flip, b_at + flip
                flip = -flip
            if step < slices:
                now = shared + step % 2 * buffer
                for i in range(dy_own):
                    if vector_dy == 4:
                        at = now + (dy_pixel + i * dy_pixels) * pitch + dy_row * wide
                        store4_shared(
                            at, held_dy[i, 0], held_dy[i, 1], held_dy[i, 2], held_dy[i, 3]
                        )
                    else:
                        row = dy_row + i * (threads // depth)
                        store_shared(now + dy_pixel * pitch + row * wide, held_dy[i, 0])
                now += depth * pitch
                for i in range(x_own):
                    if vector_x == 4:
                        at = now + (x_pixel + i * x_pixels) * pitch_x + x_row * wide
                        store4_shared(at, held_x[i, 0], held_x[i, 1], held_x[i, 2], held_x[i, 3])
                    else:
                        row = x_row + i * (threads // depth)
                        store_shared(now + x_pixel * pitch_x + row * wide, held_x[i, 0])
            cuda.syncthreads()

        for i in range(8):
            channel = first_row + own_row + row_of(i)
            place = ((split * groups + group) * channels + channel) * pairs
            for j in range(8):
                pair = first_column + own_column + column_of(j)
                if channel < channels and pair < pairs:
                    store(workspace + sums_at + (place + pair) * wide, total[i, j])

    # Three axes and one channel at a time take more registers than two large blocks leave.
    blocks = 1 if axes == 3 and threads == 256 else tile.resident(threads, kind, lane_columns)
    return kernel, Blocks(threads, blocks)
