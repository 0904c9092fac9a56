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
from .slices import strip
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
    store = KINDS["f64" if wide == 8 else "f32"].store
    pitch, pitch_x = (ROWS + _PAD) * wide, (COLUMNS + _PAD) * wide
    buffer = depth * (pitch + pitch_x)
    contract = tile.contract(kind, depth, pitch, pitch_x, lane_columns)
    clear = tile.clear(compute)
    locate = located(axes)
    dy_own, dy_place, dy_row_of, dy_pixel_of, read_dy, put_dy = strip(
        kind, ROWS, depth, threads, vector_dy, pitch
    )
    x_own, x_place, x_row_of, x_pixel_of, read_x, put_x = strip(
        kind, COLUMNS, depth, threads, vector_x, pitch_x
    )

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

        # What this thread carries: channels of the output gradient, and pairs by the table.
        dy_row, dy_pixel = dy_place(thread)
        held_dy = cuda.local.array((dy_own, vector_dy), compute)
        x_row, x_pixel = x_place(thread)
        held_x = cuda.local.array((x_own, vector_x), compute)
        offset = cuda.local.array(x_own, int32)
        dd = cuda.local.array(x_own, int32)
        dh = cuda.local.array(x_own, int32)
        dw = cuda.local.array(x_own, int32)
        for i in range(x_own):
            pair = first_column + x_row_of(x_row, i)
            offset[i], dd[i], dh[i], dw[i] = load4_i32(table + pair // vector_x * 16)

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
                    pixel = slice_first + dy_pixel_of(dy_pixel, i)
                    row = first_row + dy_row_of(dy_row, i)
                    n, o, p, q = locate(pixel, digits)
                    place = group * dy_group + n * dy_n + row * dy_k + p * dy_h + q * dy_w
                    if axes == 3:
                        place += o * dy_d
                    wanted = within(pixel, last) & within(row, channels)
                    read_dy(held_dy, i, w + place * size, wanted)
                for i in range(x_own):
                    pixel = slice_first + x_pixel_of(x_pixel, i)
                    n, o, p, q = locate(pixel, digits)
                    h, v = int32(p * move_h), int32(q * move_w)
                    place = group * x_group + n * x_n + h * x_h + v * x_w + offset[i]
                    wanted = within(pixel, last) & within(h + dh[i], H) & within(v + dw[i], W)
                    if axes == 3:
                        place += o * move_d * x_d
                        wanted &= within(o * move_d + dd[i], D)
                    read_x(held_x, i, x + place * size, wanted)
            if step > 0:
                contract(total, a, b, a_at, b_at)
                a_at, b_at = a_at + flip, b_at + flip
                flip = -flip
            if step < slices:
                now = shared + step % 2 * buffer
                put_dy(held_dy, now, dy_row, dy_pixel)
                put_x(held_x, now + depth * pitch, x_row, x_pixel)
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
