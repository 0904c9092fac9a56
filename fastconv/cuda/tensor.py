"""Implicit GEMM on the tensor cores: forward and input gradient, float16, bfloat16 and TF32.

Rows are target pixels, columns are target channels. Both operands stand in shared memory with the
reduction innermost, in slices of 128 bytes: the source gathered from channels-last images by
asynchronous copies that fill in zeros outside of the image, the weights from a packed matrix.
Several slices are under way while one is multiplied. Every row has 16 bytes to spare, so that the
eight rows of a small matrix lie in different banks.

The multi-stage pipeline is that of CUTLASS: Kerr, Merrill, Demouth and Tran, "CUTLASS: fast linear
algebra in CUDA C++", 2017, and "Developing CUDA kernels to push tensor cores to the absolute limit
on NVIDIA A100", GTC 2020.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float32, int32, int64, uint8

from .gather import CHUNK, copied_rows, found_rows, tile_place
from .program import Blocks
from .ptx import (
    KINDS,
    MULTIPLY,
    copy_async,
    copy_commit,
    copy_waits,
    inline,
    load_matrices,
    round_register_tf32,
    shared_memory,
    store2_shared_f32,
)
from .targets import SUMS_PAD, sums_bytes, written
from .tiles import TensorTile

SLICE = 128  #: bytes of the reduction in one slice of a row
_CHUNKS = SLICE // CHUNK
_PITCH = SLICE + CHUNK
_STEP = 32  # bytes of the reduction in one product of the tensor cores


def shared_bytes(shape: TensorTile) -> int:
    """Shared memory of one block: the stages, or afterwards the sums."""
    stages = shape.stages * (shape.rows + shape.columns) * _PITCH
    return max(stages, sums_bytes(shape.rows, shape.columns))


def multiplied(kind: str, rounded: bool, row_blocks: int, column_blocks: int) -> Any:
    """One step of 32 bytes: ``sums += A B`` of a warp, both operands [row][reduction] in shared."""
    multiply = MULTIPLY[kind]
    rounds = kind == "tf32" and not rounded
    narrow = 2 * column_blocks  # products of 16 x 8

    @inline
    def step(sums, a, b, a_at, b_at):
        for i in range(row_blocks):
            a[i, 0], a[i, 1], a[i, 2], a[i, 3] = load_matrices(a_at + i * 16 * _PITCH)
            if rounds:
                for r in range(4):
                    a[i, r] = round_register_tf32(a[i, r])
        for j in range(column_blocks):
            b[2 * j, 0], b[2 * j, 1], b[2 * j + 1, 0], b[2 * j + 1, 1] = load_matrices(
                b_at + j * 16 * _PITCH
            )
        for i in range(row_blocks):
            for j in range(narrow):
                sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3] = multiply(
                    a[i, 0], a[i, 1], a[i, 2], a[i, 3], b[j, 0], b[j, 1],
                    sums[i, j, 0], sums[i, j, 1], sums[i, j, 2], sums[i, j, 3],
                )  # fmt: skip

    return step


def correlate(
    kind: str,
    warp_rows: int,
    warp_columns: int,
    row_blocks: int,
    column_blocks: int,
    stages: int,
    axes: int,
    rounded: bool,
    y_vector: int,
    y_dense: bool,
) -> Any:
    """Forward and input gradient of channels-last sources; ``kind`` is "f16", "bf16" or "tf32".

    ``w`` holds packed weights [group][channel, padded][pair, padded]. ``rounded`` says that the
    source is rounded to TF32 already; ``y_vector`` is 4 where four channels of the target lie side
    by side, else 1; ``y_dense`` says that target pixels lie at equal steps through the batch.
    """
    shape = TensorTile(warp_rows, warp_columns, row_blocks, column_blocks, stages)
    threads, ROWS, COLUMNS = shape.threads, shape.rows, shape.columns
    element = KINDS["f32" if kind == "tf32" else kind]
    size = element.size
    stage_bytes = (ROWS + COLUMNS) * _PITCH
    sums_pitch = (COLUMNS + SUMS_PAD) * 4
    write = written(element.name, ROWS, COLUMNS, threads, y_vector, y_dense)
    lanes = threads // _CHUNKS  # rows that the block copies at a time
    own_rows, own_columns = ROWS // lanes, COLUMNS // lanes
    find_rows = found_rows(axes, own_rows, lanes)
    copy_rows = copied_rows(size, axes, own_rows, lanes * _PITCH)
    wait = copy_waits(stages - 2)
    multiply_step = multiplied(kind, rounded, row_blocks, column_blocks)
    narrow = 2 * column_blocks  # products of 16 x 8

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

        # What this thread copies: one chunk of each slice, for every `lanes`-th row.
        row, chunk = thread // _CHUNKS, thread % _CHUNKS
        base = cuda.local.array(own_rows, int32)
        at_d = cuda.local.array(own_rows, int32)
        at_h = cuda.local.array(own_rows, int32)
        at_w = cuda.local.array(own_rows, int32)
        find_rows(base, at_d, at_h, at_w, first_row + row, pixels, digits, moves, steps)
        source = x + group * x_group * size
        weights = w + (group * weights_group + (first_column + row) * weights_row) * size
        weights += chunk * CHUNK
        into = shared + row * _PITCH + chunk * CHUNK

        # What this thread multiplies.
        lane, warp = thread % 32, thread // 32
        warp_row = warp % warp_rows * row_blocks * 16
        warp_column = warp // warp_rows * column_blocks * 16
        a_at = shared + (warp_row + lane % 16) * _PITCH + lane // 16 * CHUNK
        b_row = ROWS + warp_column + lane % 8 + lane // 16 * 8
        b_at = shared + b_row * _PITCH + lane // 8 % 2 * CHUNK
        a = cuda.local.array((row_blocks, 4), int32)
        b = cuda.local.array((narrow, 2), int32)
        sums = cuda.local.array((row_blocks, narrow, 4), float32)
        for i in range(row_blocks):
            for j in range(narrow):
                for r in range(4):
                    sums[i, j, r] = float32(0)

        stage = int32(0)  # the stage that is multiplied; its predecessor is the one filled
        for step in range(1 - stages, slices):
            if step >= 0:
                wait()
                cuda.syncthreads()
            ahead = step + stages - 1
            if ahead < slices:
                filled = stage - 1 if stage > 0 else stages - 1
                if step < 0:
                    filled = ahead
                to = into + filled * stage_bytes
                entry = table + (ahead * _CHUNKS + chunk) * 16
                copy_rows(to, source, entry, base, at_d, at_h, at_w, extents)
                of = weights + ahead * SLICE
                for i in range(own_columns):
                    copy_async(
                        to + (ROWS + i * lanes) * _PITCH, of + i * lanes * weights_row * size, CHUNK
                    )
            copy_commit()
            if step >= 0:
                now = stage * stage_bytes
                for part in range(SLICE // _STEP):
                    multiply_step(
                        sums, a, b, a_at + (now + part * _STEP), b_at + (now + part * _STEP)
                    )
                stage = stage + 1 if stage + 1 < stages else int32(0)

        # The sums go through shared memory, so that neighbouring lanes write neighbours.
        cuda.syncthreads()
        for i in range(row_blocks):
            for j in range(narrow):
                at = shared + (warp_row + i * 16 + lane // 4) * sums_pitch
                at += (warp_column + j * 8 + lane % 4 * 2) * 4
                store2_shared_f32(at, sums[i, j, 0], sums[i, j, 1])
                store2_shared_f32(at + 8 * sums_pitch, sums[i, j, 2], sums[i, j, 3])
        cuda.syncthreads()
        target = (y, y_group, y_n, y_k, y_d, y_h, y_w)
        write(
            shared, thread, first_row, first_column, pixels, channels, group, digits, target, bias
        )

    return kernel, Blocks(threads, 256 // threads)
