"""Implicit GEMM by Hopper's warpgroup products (sm_90a): forward and input gradient.

Two warpgroups of a block hold 64 rows of pixels each and share the columns. The weights are packed
ahead as the very blocks that shared memory is to hold, so the copy engine brings each slice of them
at one thread's word; the source is gathered by asynchronous copies, zeros outside of the image. The
tensor cores always have one slice's products waiting while another's are computed and two are on
their way.

The pipeline follows Shah et al., "FlashAttention-3", 2024, section 2, and NVIDIA's "Hopper tuning
guide", without the roles for warps: gathering takes all threads.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float32, int32, int64, uint8

from .gather import CHUNK, copied_rows, found_rows, tile_place
from .program import Blocks
from .ptx import (
    KINDS,
    aligned_1024,
    barrier_expect,
    barrier_start,
    barrier_started,
    barrier_wait,
    copy_async,
    copy_bulk,
    copy_commit,
    copy_waits,
    descriptor,
    fence_async,
    layout_of,
    shared_memory,
    store2_shared_f32,
    warpgroup_commit,
    warpgroup_fence,
    warpgroup_multiply,
    warpgroup_wait_0,
    warpgroup_wait_1,
)
from .targets import SUMS_PAD, sums_bytes, written
from .tensor import SLICE

GROUPS = 2  #: warpgroups of a block
ROWS = 64 * GROUPS
THREADS = 128 * GROUPS
_CHUNKS = SLICE // CHUNK
_STEP = 32  # bytes of the reduction in one product
_ALIGNMENT = 1024


def shared_bytes(columns: int, stages: int) -> int:
    """Shared memory of one block: stages and their barriers, or afterwards the sums."""
    pipeline = stages * (ROWS + columns) * SLICE + 16 * stages
    return _ALIGNMENT + max(pipeline, sums_bytes(ROWS, columns))


def correlate(
    kind: str, columns: int, stages: int, axes: int, packed: bool, y_vector: int, y_dense: bool
) -> Any:
    """Forward and input gradient of channels-last sources; ``kind`` is "f16", "bf16" or "tf32".

    ``w`` holds ``packed`` weights [group][column tile][slice], each a swizzled block of columns x
    128 bytes, or rows of pairs [group][target channel][pair] in whole tiles and slices, which all
    threads copy. ``y_vector`` is 4 where four channels of the target lie side by side, else 1;
    ``y_dense`` says that target pixels lie at equal steps through the batch.
    """
    element = KINDS["f32" if kind == "tf32" else kind]
    size = element.size
    block_bytes = columns * SLICE
    stage_bytes = ROWS * SLICE + block_bytes
    sums_pitch = (columns + SUMS_PAD) * 4
    lanes = THREADS // _CHUNKS
    own_rows, own_columns = ROWS // lanes, -(-columns // lanes)
    ahead_by = stages - 2  # the products of the slice before may still read its stage
    wait = copy_waits(ahead_by - 1)
    layout = layout_of(SLICE, 8 * SLICE)
    multiply = warpgroup_multiply(kind, columns)
    held = columns // 2
    find_rows = found_rows(axes, own_rows, lanes)
    copy_rows = copied_rows(size, axes, own_rows, lanes * SLICE)
    write = written(element.name, ROWS, columns, THREADS, y_vector, y_dense)

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
        first_row, first_column = row_tile * ROWS, column_tile * columns
        digits = (
            image, image_magic, image_shift, plane, plane_magic, plane_shift, Q, Q_magic, Q_shift,
        )  # fmt: skip
        moves, extents = (move_d, move_h, move_w), (D, H, W)
        steps = (x_n, x_d, x_h, x_w)
        shared = aligned_1024(shared_memory(cuda.shared.array(0, uint8)))
        barriers = shared + stages * stage_bytes
        if thread == 0:
            for i in range(stages):
                barrier_start(barriers + 8 * i)
            barrier_started()
        cuda.syncthreads()

        # What this thread copies: one chunk of each slice, for every `lanes`-th row.
        row, chunk = thread // _CHUNKS, thread % _CHUNKS
        base = cuda.local.array(own_rows, int32)
        at_d = cuda.local.array(own_rows, int32)
        at_h = cuda.local.array(own_rows, int32)
        at_w = cuda.local.array(own_rows, int32)
        find_rows(base, at_d, at_h, at_w, first_row + row, pixels, digits, moves, steps)
        source = x + group * x_group * size
        if packed:
            weights = w + (group * tiles + column_tile) * slices * block_bytes
        else:
            weights = w + (group * weights_group + (first_column + row) * weights_row) * size
            weights += chunk * CHUNK
        into = shared + row * SLICE + (chunk ^ (row % 8)) * CHUNK

        warpgroup = thread // 128
        a_at = shared + warpgroup * 64 * SLICE
        b_at = shared + ROWS * SLICE
        sums = cuda.local.array(held, float32)
        for i in range(held):
            sums[i] = float32(0)

        stage = int32(0)
        parity = int32(0)
        for step in range(-ahead_by, slices):
            if step >= 0:
                wait()
                fence_async()
                cuda.syncthreads()
                if packed:
                    barrier_wait(barriers + 8 * stage, parity)
                warpgroup_fence()
                now = stage * stage_bytes
                for part in range(SLICE // _STEP):
                    multiply(
                        sums,
                        descriptor(a_at + (now + part * _STEP), layout),
                        descriptor(b_at + (now + part * _STEP), layout),
                    )
                warpgroup_commit()
            ahead = step + ahead_by
            if ahead < slices:
                filled = int32(ahead % stages)
                to = into + filled * stage_bytes
                if not packed:
                    of = weights + ahead * SLICE
                    for i in range(own_columns):
                        if row + i * lanes < columns:
                            copy_async(
                                to + (ROWS + i * lanes) * SLICE,
                                of + i * lanes * weights_row * size,
                                CHUNK,
                            )
                elif thread == 0:
                    barrier_expect(barriers + 8 * filled, block_bytes)
                    copy_bulk(
                        shared + (filled * stage_bytes + ROWS * SLICE),
                        weights + ahead * block_bytes,
                        block_bytes,
                        barriers + 8 * filled,
                    )
                entry = table + (ahead * _CHUNKS + chunk) * 16
                copy_rows(to, source, entry, base, at_d, at_h, at_w, extents)
            copy_commit()
            if step >= 0:
                warpgroup_wait_1()
                stage = stage + 1 if stage + 1 < stages else int32(0)
                parity = parity ^ 1 if stage == 0 else parity

        # The sums go through shared memory, so that neighbouring lanes write neighbours.
        warpgroup_wait_0()
        cuda.syncthreads()
        lane, warp = thread % 32, thread // 32
        at = shared + (warp * 16 + lane // 4) * sums_pitch + lane % 4 * 8
        for j in range(columns // 8):
            store2_shared_f32(at + j * 32, sums[4 * j], sums[4 * j + 1])
            store2_shared_f32(at + j * 32 + 8 * sums_pitch, sums[4 * j + 2], sums[4 * j + 3])
        cuda.syncthreads()
        target = (y, y_group, y_n, y_k, y_d, y_h, y_w)
        write(
            shared, thread, first_row, first_column, pixels, channels, group, digits,
            target, bias,
        )  # fmt: skip

    return kernel, Blocks(THREADS, 1, needs=(9, 0), only=True)
