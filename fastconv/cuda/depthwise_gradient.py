"""The weight gradient of a depthwise convolution: a block sums over a share of the pixels.

The sums of all taps are held in registers, so that the image and the output gradient are read
once. Shares are added up by a second kernel, in their order.
"""

from __future__ import annotations

from typing import Any

from numba import cuda

from fastconv.lowering import Lowered

from .indexing import advance, along, block_sums, divisor, split
from .planning import Operands, Workspace, ceil_div, tap_places, three, words
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
from .staging import add_splits

_BLOCKS = 2048  # about: so many that every multiprocessor has some
_RECTANGLES = 4  # of a thread, at least, before the pixels are shared among more blocks


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Weight gradient (x, dy -> dw) of a lowered forward pass that `depthwise.fits`."""
    part = low.parts[0]
    r = rectangle(low, part, arrays, arrays.y, arrays.w)
    taps = part_taps(low, part, arrays.y)
    table = group_table(taps, r.tap_rows)
    depth, height, width = three(part.counts, 1)
    strips, blocks = ceil_div(height, r.rows), ceil_div(width, r.columns)
    units, channels = depth * strips * blocks, low.groups * low.target_channels
    lanes = LANES[r.vector] if r.across else 1
    slots = THREADS // lanes
    channel_blocks = ceil_div(channels, lanes * r.vector)
    useful = ceil_div(low.N * units, slots * _RECTANGLES)
    shares = max(1, min(useful, ceil_div(_BLOCKS, channel_blocks * len(table))))
    images_on, units_on = divmod(slots, units)
    every_tap, wide = len(part.taps), 8 if arrays.kind == "f64" else 4
    sums = space.take(shares * channels * every_tap * wide)
    sizes = {
        "sums": sums,
        "whole": low.N * units,
        "share_units": ceil_div(low.N * units, shares),
        "units": units,
        "images_on": images_on,
        "units_on": units_on,
        "channels": channels,
        "every_tap": every_tap,
        **divisor("tap_groups", len(table)),
        **divisor("shares", shares),
        **divisor("strips", strips),
        **divisor("blocks", blocks),
        **rectangle_sizes(low, part, arrays.x),
        "shift_w": taps[2].shift,
        "w_n": arrays.w[0],
        "w_k": arrays.w[1],
        **along("w", arrays.w[2:], 0),
    }
    kernel = compiled(rectangle_sums, arrays.kind, *r)
    # Weights are few: each has an entry of the table, in one row of them all.
    places = tap_places(part, arrays.y)
    offsets = words([[k * arrays.y[0] + at for k in range(channels) for at in places]])
    added = {"sums": sums, "splits": shares, "rows": 1, "pairs": offsets.size, "y_row": 0}
    grid = (1, ceil_div(offsets.size, 256), 1)
    return [
        Step(kernel, (channel_blocks * len(table) * shares, 1, 1), sizes, table=table),
        Step(compiled(add_splits, arrays.kind), grid, added, table=offsets),
    ]


def rectangle_sums(
    kind: str, vector: int, rows: int, columns: int, tap_rows: int, tap_columns: int,
    move_h: int, move_w: int, gap_h: int, gap_w: int, across: int, beside: int,
) -> Any:  # fmt: skip
    """A block goes through the rectangles of its share, for the taps of one group.

    Blocks: channels, tap group, share.
    """
    size, compute, read = KINDS[kind].size, KINDS[kind].compute, reader(kind, vector)
    sum_kind = KINDS["f64" if kind == "f64" else "f32"]
    store, wide = sum_kind.store, sum_kind.size
    seen_rows, row_step = reach(rows, move_h, tap_rows, gap_h)
    seen_columns, column_step = reach(columns, move_w, tap_columns, gap_w)
    lanes = LANES[vector] if across else 1
    slots, count = THREADS // lanes, tap_rows * tap_columns * vector

    def kernel(
        x, w, y, bias, workspace, table,
        sums, whole, share_units, units, images_on, units_on, channels, every_tap,
        tap_groups, tap_groups_magic, tap_groups_shift, shares, shares_magic, shares_shift,
        strips, strips_magic, strips_shift, blocks, blocks_magic, blocks_shift,
        multiplier, multiplier_magic, multiplier_shift,
        H_out, W_out, move_d, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w, shift_w,
        w_n, w_k, w_d, w_h, w_w,
    ):  # fmt: skip
        thread = cuda.threadIdx.x
        rest, share = split(cuda.blockIdx.x, shares, shares_magic, shares_shift)
        channel_block, group = split(rest, tap_groups, tap_groups_magic, tap_groups_shift)
        channel = (channel_block * lanes + thread % lanes) * vector
        known = within(channel, channels)
        source_channel, _ = split(channel, multiplier, multiplier_magic, multiplier_shift)
        shift_d, shift_h, _, _ = load4_i32(table + group * 16)
        step_w = (1 if beside else x_w) * size

        total = cuda.local.array(count, compute)
        seen = cuda.local.array((seen_rows, seen_columns, vector), compute)
        gradient = cuda.local.array((rows, columns, vector), compute)
        for i in range(count):
            total[i] = compute(0)
        position = share * share_units + thread // lanes
        n, unit = position // units, position % units
        while position < min((share + 1) * share_units, whole):
            rest, block = split(unit, blocks, blocks_magic, blocks_shift)
            d, strip = split(rest, strips, strips_magic, strips_shift)
            first_h, first_w = strip * rows, block * columns
            at = n * w_n + channel * w_k + d * w_d + first_h * w_h + first_w * w_w
            for i in range(rows):
                for j in range(columns):
                    wanted = known & within(first_h + i, H_out) & within(first_w + j, W_out)
                    read(gradient[i, j], w + (at + i * w_h + j * w_w) * size, wanted)
            at_d, at_h, at_w = (
                d * move_d + shift_d, first_h * move_h + shift_h, first_w * move_w + shift_w,
            )  # fmt: skip
            from_x = n * x_n + source_channel * x_c + at_d * x_d + at_h * x_h
            source = x + from_x * size + at_w * step_w
            in_d = known & within(at_d, extent_d)
            for i in range(seen_rows):
                in_h = in_d & within(at_h + i * row_step, extent_h)
                for j in range(seen_columns):
                    wanted = in_h & within(at_w + j * column_step, extent_w)
                    read(seen[i, j], source + j * column_step * step_w, wanted)
                source += row_step * x_h * size
            for i in range(rows):
                for j in range(columns):
                    # Past the edge the gradient is 0, but the source may be NaN.
                    if first_h + i < H_out and first_w + j < W_out:
                        for r in range(tap_rows):
                            for s in range(tap_columns):
                                for v in range(vector):
                                    a = (i * move_h + r * gap_h) // row_step
                                    b = (j * move_w + s * gap_w) // column_step
                                    product = gradient[i, j, v] * seen[a, b, v]
                                    total[(r * tap_columns + s) * vector + v] += product
            position += slots
            n, unit = advance(n, unit, images_on, units_on, units)

        scratch = cuda.shared.array((count, THREADS), compute)
        block_sums(scratch, total, count, thread, THREADS, lanes, cuda.syncthreads)
        first_tap = group * (tap_rows * tap_columns)
        for item in range(thread, lanes * count, THREADS):
            lane, i = item % lanes, item // lanes
            k = (channel_block * lanes + lane) * vector + i % vector
            if k < channels:
                at = (share * channels + k) * every_tap + first_tap + i // vector
                store(workspace + sums + at * wide, scratch[i, lane])

    return kernel, Blocks(THREADS, per_multiprocessor=4)
