"""Depthwise convolution: one source channel a group, so that memory, not arithmetic, is the limit.

A thread computes a small rectangle of target pixels, of one channel or of four that lie side by
side, with the taps of its channels in registers: what neighbouring pixels share is read once.
Neighbouring threads take neighbouring columns where rows are contiguous, and neighbouring channels
where channels are.
"""

from __future__ import annotations

from typing import Any

from numba import cuda

from fastconv.lowering import Correlation, Lowered

from . import depthwise_gradient, direct
from .indexing import divisor, split, target_sizes
from .planning import Operands, Workspace, ceil_div, three, weight_strides
from .program import Blocks, Step, compiled
from .ptx import KINDS, load4_i32, within
from .rectangle import (
    LANES,
    THREADS,
    group_table,
    part_taps,
    reach,
    reader,
    rectangle,
    rectangle_sizes,
)

_COLUMNS = 15  # of taps, which are held in registers


weight_gradient = depthwise_gradient.weight_gradient


def fits(low: Lowered) -> bool:
    """Whether each target channel reads one source channel, through a kernel not too wide."""
    widest = max((len(part.axes[-1].taps) for part in low.parts), default=0)
    return low.source_channels == 1 and widest <= _COLUMNS


def correlate(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Forward (x, w -> y) or input gradient (dy, w -> dx) of a lowered pass that `fits`."""
    return [
        _part(low, part, arrays) if part.taps else direct.correlate_part(low, part, arrays)
        for part in low.parts
    ]


def _part(low: Lowered, part: Correlation, arrays: Operands) -> Step:
    """A part of a pass that has taps."""
    r = rectangle(low, part, arrays, arrays.w, arrays.y)
    taps = part_taps(low, part, arrays.w)
    table = group_table(taps, r.tap_rows)
    depth, height, width = three(part.counts, 1)
    channels = low.groups * low.target_channels
    strips, blocks = ceil_div(height, r.rows), ceil_div(width, r.columns)
    if r.across:
        # A block of threads has neighbouring channels of rectangles close together.
        lanes = LANES[r.vector]
        channel_blocks = ceil_div(channels, lanes * r.vector)
        strips = ceil_div(strips, THREADS // lanes // r.across)
        blocks = ceil_div(blocks, r.across)
        units = launched = channel_blocks * depth * strips * blocks
    else:
        channel_blocks, units = channels, channels * depth * strips * blocks
        launched = ceil_div(units, THREADS)
    weights = weight_strides(low, arrays.w)
    sizes = {
        "batch": low.N,
        "units": units,
        "channels": channels,
        "tap_groups": len(table),
        **divisor("channel_blocks", channel_blocks),
        **divisor("depth", depth),
        **divisor("strips", strips),
        **divisor("blocks", blocks),
        **rectangle_sizes(low, part, arrays.x),
        "shift_w": taps[2].shift,
        "w_group": weights.group,
        "w_target": weights.target,
        "w_row": taps[1].step,
        "w_column": taps[2].step,
        "y_n": arrays.y[0],
        "y_k": arrays.y[1],
        **target_sizes(part, arrays.y),
    }
    kernel = compiled(rectangles, arrays.kind, *r)
    return Step(kernel, (launched, min(low.N, 65535), 1), sizes, table=table, bias=True)


def rectangles(
    kind: str, vector: int, rows: int, columns: int, tap_rows: int, tap_columns: int,
    move_h: int, move_w: int, gap_h: int, gap_w: int, across: int, beside: int,
) -> Any:  # fmt: skip
    """Forward and input gradient: a thread computes one `Rectangle` of each image it is given."""
    load, store, store4 = KINDS[kind].load, KINDS[kind].store, KINDS[kind].store4
    size, compute, read = KINDS[kind].size, KINDS[kind].compute, reader(kind, vector)
    seen_rows, row_step = reach(rows, move_h, tap_rows, gap_h)
    seen_columns, column_step = reach(columns, move_w, tap_columns, gap_w)
    lanes, down = LANES[vector], THREADS // LANES[vector] // max(across, 1)

    def kernel(
        x, w, y, bias, workspace, table,
        batch, units, channels, tap_groups,
        channel_blocks, channel_blocks_magic, channel_blocks_shift,
        depth, depth_magic, depth_shift, strips, strips_magic, strips_shift,
        blocks, blocks_magic, blocks_shift, multiplier, multiplier_magic, multiplier_shift,
        H_out, W_out, move_d, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w, shift_w,
        w_group, w_target, w_row, w_column,
        y_n, y_k, y_start, y_d, y_h, y_w,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        unit = cuda.blockIdx.x if across else cuda.blockIdx.x * THREADS + thread
        rest, block = split(unit, blocks, blocks_magic, blocks_shift)
        rest, strip = split(rest, strips, strips_magic, strips_shift)
        channel, d = split(rest, depth, depth_magic, depth_shift)
        if across:
            channel = (channel * lanes + thread % lanes) * vector
            place = thread // lanes
            block, strip = block * across + place % across, strip * down + place // across
        first_h, first_w = strip * rows, block * columns
        if unit >= units or channel >= channels or first_h >= H_out or first_w >= W_out:
            return
        group, target = split(channel, multiplier, multiplier_magic, multiplier_shift)
        weights = w + (group * w_group + target * w_target) * size
        step_w = (1 if beside else x_w) * size
        at_w = first_w * move_w + shift_w

        tap = cuda.local.array((tap_rows, tap_columns, vector), compute)
        total = cuda.local.array((rows, columns, vector), compute)
        seen = cuda.local.array((seen_rows, seen_columns, vector), compute)
        for n in range(cuda.blockIdx.y, batch, cuda.gridDim.y):
            for v in range(vector):
                start = load(bias + (channel + v) * size) if bias != 0 else compute(0)
                for i in range(rows):
                    for j in range(columns):
                        total[i, j, v] = start
            for g in range(tap_groups):
                shift_d, shift_h, place, _ = load4_i32(table + g * 16)
                for r in range(tap_rows):
                    for s in range(tap_columns):
                        for v in range(vector):
                            at = place + r * w_row + s * w_column + v * w_group
                            tap[r, s, v] = load(weights + at * size)
                at_d, at_h = d * move_d + shift_d, first_h * move_h + shift_h
                from_x = n * x_n + group * x_c + at_d * x_d + at_h * x_h
                source = x + from_x * size + at_w * step_w
                in_d = within(at_d, extent_d)
                for i in range(seen_rows):
                    in_h = in_d & within(at_h + i * row_step, extent_h)
                    for j in range(seen_columns):
                        wanted = in_h & within(at_w + j * column_step, extent_w)
                        read(seen[i, j], source + j * column_step * step_w, wanted)
                    source += row_step * x_h * size
                for i in range(rows):
                    for r in range(tap_rows):
                        for j in range(columns):
                            for s in range(tap_columns):
                                for v in range(vector):
                                    a = (i * move_h + r * gap_h) // row_step
                                    b = (j * move_w + s * gap_w) // column_step
                                    total[i, j, v] += tap[r, s, v] * seen[a, b, v]
            to_y = n * y_n + channel * y_k + y_start + d * y_d + first_h * y_h + first_w * y_w
            for i in range(rows):
                for j in range(columns):
                    if first_h + i < H_out and first_w + j < W_out:
                        target_at = y + (to_y + i * y_h + j * y_w) * size
                        if vector == 4:
                            store4(
                                target_at, total[i, j, 0], total[i, j, 1],
                                total[i, j, 2], total[i, j, 3],
                            )  # fmt: skip
                        else:
                            store(target_at, total[i, j, 0])

    return kernel, Blocks(THREADS, per_multiprocessor=4)
