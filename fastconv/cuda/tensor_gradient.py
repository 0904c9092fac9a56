"""The weight gradient on the tensor cores: float16, bfloat16 and TF32, channels last.

Rows are target channels, columns are (channel, tap) pairs, and the reduction runs over pixels.
Both operands stand in shared memory as they do in the images, [pixel][channel or pair], and are
turned on their way into registers: 16-bit elements by ldmatrix.trans, TF32 by single loads. The
pixels are split among blocks, whose sums a second pass adds in order.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float32, int32, int64, uint8

from .gather import CHUNK, PLACE, noted_pixels, tile_place
from .program import Blocks
from .ptx import (
    KINDS,
    MULTIPLY,
    copy_async,
    copy_commit,
    copy_waits,
    inline,
    load4_i32,
    load_matrices_turned,
    load_shared_register,
    round_register_tf32,
    shared_memory,
    within,
)
from .tiles import TensorTile


def pitch(kind: str, width: int) -> int:
    """Bytes from one pixel's row to the next: eight small rows, or four of TF32, in all banks."""
    return width * 4 + 32 if kind == "tf32" else width * 2 + 16


def shared_bytes(kind: str, shape: TensorTile, depth: int) -> int:
    """Shared memory of one block: its stages, and where each of their pixels lies."""
    row = pitch(kind, shape.rows) + pitch(kind, shape.columns) + PLACE
    return shape.stages * depth * row


def _loaded_halves(row_pitch: int, second: int) -> Any:
    """Four registers of two neighbouring 8 x 8 blocks; ``second`` is what matrix 1 moves along."""

    @inline
    def load(at, lane):
        other = lane // 8 % 2
        far = lane // 16
        if second == 0:  # A: matrix 1 is 8 channels on, matrix 2 is 8 pixels on
            address = at + (lane % 8 + far * 8) * row_pitch + other * CHUNK
        else:  # B: matrix 1 is 8 pixels on, matrix 2 is 8 pairs on
            address = at + (lane % 8 + other * 8) * row_pitch + far * CHUNK
        return load_matrices_turned(address)

    return load


def _multiplied(kind: str, rounded: bool, shape: TensorTile) -> Any:
    """One step of the reduction: 16 pixels of 16-bit elements, or 8 of TF32."""
    multiply = MULTIPLY[kind]
    row_blocks, narrow = shape.row_blocks, 2 * shape.column_blocks
    column_blocks = shape.column_blocks
    a_pitch, b_pitch = pitch(kind, shape.rows), pitch(kind, shape.columns)
    load_a, load_b = _loaded_halves(a_pitch, 0), _loaded_halves(b_pitch, 1)

    @inline
    def products(sums, a, b):
        for i in range(row_blocks):
            for j in range(narrow):
                sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3] = multiply(
                    a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1],
                    sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3],
                )  # fmt: skip

    @inline
    def halves(sums, a, b, a_at, b_at, lane):
        for i in range(row_blocks):
            a[i, 0], a[i, 1], a[i, 2], a[i, 3] = load_a(a_at + i * 32, lane)
        for j in range(column_blocks):
            b[2 * j, 0], b[2 * j, 1], b[2 * j + 1, 0], b[2 * j + 1, 1] = load_b(b_at + j * 32, lane)
        products(sums, a, b)

    @inline
    def singles(sums, a, b, a_at, b_at, lane):
        a_lane = a_at + lane % 4 * a_pitch + lane // 4 * 4
        b_lane = b_at + lane % 4 * b_pitch + lane // 4 * 4
        for i in range(row_blocks):
            for r in range(4):
                a[i, r] = load_shared_register(a_lane + i * 64 + r % 2 * 32 + r // 2 * 4 * a_pitch)
                if not rounded:
                    a[i, r] = round_register_tf32(a[i, r])
        for j in range(narrow):
            for r in range(2):
                b[j, r] = load_shared_register(b_lane + j * 32 + r * 4 * b_pitch)
                if not rounded:
                    b[j, r] = round_register_tf32(b[j, r])
        products(sums, a, b)

    return singles if kind == "tf32" else halves


def weight_gradient(
    kind: str,
    warp_rows: int,
    warp_columns: int,
    row_blocks: int,
    column_blocks: int,
    stages: int,
    depth: int,
    axes: int,
    rounded: bool,
) -> Any:
    """Sums over one split of the pixels, [split][group][target channel][pair], in the workspace.

    ``w`` is the output gradient; both it and the source have their channels last, in whole chunks
    of 16 bytes a group. ``depth`` is the pixels of a slice.
    """
    shape = TensorTile(warp_rows, warp_columns, row_blocks, column_blocks, stages)
    threads, ROWS, COLUMNS = shape.threads, shape.rows, shape.columns
    size = KINDS["f32" if kind == "tf32" else kind].size
    store = KINDS["f32"].store
    a_pitch, b_pitch = pitch(kind, ROWS), pitch(kind, COLUMNS)
    stage_bytes = depth * (a_pitch + b_pitch)
    vector = CHUNK // size
    a_chunks, b_chunks = ROWS // vector, COLUMNS // vector
    a_lanes, b_lanes = threads // a_chunks, threads // b_chunks  # pixels copied at a time
    a_own, b_own = depth // a_lanes, depth // b_lanes
    pixels_a_step = 8 if kind == "tf32" else 16
    wait = copy_waits(stages - 2)
    multiply_step = _multiplied(kind, rounded, shape)
    narrow = 2 * column_blocks
    places_bytes = depth * PLACE
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
        first_row, first_column = row_tile * ROWS, column_tile * COLUMNS
        shared = shared_memory(cuda.shared.array(0, uint8))
        digits = (
            image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        )  # fmt: skip
        moves, extents = (move_d, move_h, move_w), (D, H, W)
        x_steps, dy_steps = (x_n, x_d, x_h, x_w), (dy_n, dy_d, dy_h, dy_w)

        # What this thread copies: one chunk of channels and one of pairs, for some pixels each.
        a_chunk, a_pixel = thread % a_chunks, thread // a_chunks
        b_chunk, b_pixel = thread % b_chunks, thread // b_chunks
        a_wanted = within(first_row + a_chunk * vector, channels)
        dy = w + (group * dy_group + first_row + a_chunk * vector) * size
        offset, dd, dh, dw = load4_i32(table + (first_column // vector + b_chunk) * 16)
        source = x + (group * x_group + offset) * size
        a_into = shared + a_pixel * a_pitch + a_chunk * CHUNK
        b_into = shared + depth * a_pitch + b_pixel * b_pitch + b_chunk * CHUNK

        lane, warp = thread % 32, thread // 32
        warp_row = warp % warp_rows * row_blocks * 16
        warp_column = warp // warp_rows * column_blocks * 16
        a_at = shared + warp_row * size
        b_at = shared + depth * a_pitch + warp_column * size
        a = cuda.local.array((row_blocks, 4), int32)
        b = cuda.local.array((narrow, 2), int32)
        sums = cuda.local.array((row_blocks, narrow, 4), float32)
        for i in range(row_blocks):
            for j in range(narrow):
                for r in range(4):
                    sums[i, j, r] = float32(0)

        # Each pixel is looked up by one thread, a slice ahead of the copies that need it.
        places = shared + stages * stage_bytes
        first = split * split_pixels
        last = min(first + split_pixels, pixels)
        slices = (last - first + depth - 1) // depth
        stage = int32(0)  # the stage that is multiplied; its predecessor is the one filled
        for step in range(-stages, slices):
            if step >= 0:
                wait()
            if step > -stages:
                cuda.syncthreads()
            ahead = step + stages - 1
            if ahead >= 0 and ahead < slices:
                filled = stage - 1 if stage > 0 else stages - 1
                if step < 0:
                    filled = ahead
                to = filled * stage_bytes
                at = places + filled * places_bytes
                for i in range(a_own):
                    there, wanted = in_gradient(at + (a_pixel + i * a_lanes) * PLACE)
                    copy_async(
                        a_into + (to + i * a_lanes * a_pitch),
                        dy + there * size,
                        (a_wanted & wanted) * CHUNK,
                    )
                for i in range(b_own):
                    there, wanted = in_source(
                        at + (b_pixel + i * b_lanes) * PLACE, dd, dh, dw, extents
                    )
                    copy_async(
                        b_into + (to + i * b_lanes * b_pitch),
                        source + there * size,
                        wanted * CHUNK,
                    )
            if step >= 1 - stages:
                copy_commit()
            coming = ahead + 1
            if coming < slices and thread < depth:
                pixel = int32(first + coming * depth + thread)
                at = places + (coming % stages) * places_bytes + thread * PLACE
                note(at, pixel, last, digits, moves, x_steps, dy_steps)
            if step >= 0:
                now = stage * stage_bytes
                for part in range(depth // pixels_a_step):
                    multiply_step(
                        sums,
                        a,
                        b,
                        a_at + (now + part * pixels_a_step * a_pitch),
                        b_at + (now + part * pixels_a_step * b_pitch),
                        lane,
                    )
                stage = stage + 1 if stage + 1 < stages else int32(0)

        for i in range(row_blocks):
            for j in range(narrow):
                for r in range(4):
                    channel = first_row + warp_row + i * 16 + lane // 4 + r // 2 * 8
                    pair = first_column + warp_column + j * 8 + lane % 4 * 2 + r % 2
                    if channel < channels and pair < pairs:
                        place = ((split * groups + group) * channels + channel) * pairs + pair
                        store(workspace + sums_at + place * 4, sums[i, j, r])

    return kernel, Blocks(threads, 256 // threads)
