"""The direct method: each pass as its definition reads, a thread for a few elements of the result.

These are the kernels to read first. Forward and input gradient are the same one: a lowered pass
says which taps a target pixel meets, and at which shift from the pixel's place in the source. No
element is staged: whatever strides the arrays have, each is read where it lies, and a tap outside
of the source is left out.
"""

from __future__ import annotations

from math import prod
from typing import Any

from numba import cuda

from fastconv.lowering import Correlation, Lowered

from .indexing import (
    advance,
    along,
    block_sums,
    divisor,
    pixel_sizes,
    split,
    tap_table,
    target_sizes,
    threads_for,
)
from .planning import Operands, Workspace, ceil_div, weight_strides
from .program import Blocks, Step, compiled
from .ptx import KINDS, load4_i32, within

THREADS = 128
CHANNELS = 4  #: target channels of a thread: so many products for each element of the source read


def correlate(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Forward (x, w -> y) or input gradient (dy, w -> dx)."""
    return [correlate_part(low, part, arrays) for part in low.parts]


def correlate_part(low: Lowered, part: Correlation, arrays: Operands) -> Step:
    """One part of a pass; a part without taps writes the bias or zeros."""
    pixel_blocks = ceil_div(prod(part.counts), THREADS)
    channel_blocks = ceil_div(low.target_channels, CHANNELS)
    steps = weight_strides(low, arrays.w)
    sizes = {
        "pixels": prod(part.counts),
        "taps": len(part.taps),
        "sources": low.source_channels,
        "targets": low.target_channels,
        **divisor("pixel_blocks", pixel_blocks),
        **divisor("channel_blocks", channel_blocks),
        **divisor("groups", low.groups),
        **pixel_sizes(low, part),
        "x_n": arrays.x[0],
        "x_c": arrays.x[1],
        **along("x", arrays.x[2:], 0),
        "w_group": steps.group,
        "w_target": steps.target,
        "w_source": steps.source,
        "y_n": arrays.y[0],
        "y_k": arrays.y[1],
        **target_sizes(part, arrays.y),
    }
    blocks = pixel_blocks * channel_blocks * low.groups * low.N
    table = tap_table(low, part, arrays.w) if part.taps else None
    kernel = compiled(correlation, arrays.kind)
    return Step(kernel, (blocks, 1, 1), sizes, table=table, bias=True)


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Weight gradient (x, dy -> dw) of a lowered forward pass."""
    part = low.parts[0]
    pixels, taps = prod(part.counts), len(part.taps)
    channel_blocks = ceil_div(low.target_channels, CHANNELS)
    threads = threads_for(low.N * pixels, THREADS)
    images_on, pixels_on = divmod(threads, pixels)
    sizes = {
        "batch": low.N,
        "targets": low.target_channels,
        "images_on": images_on,
        "pixels_on": pixels_on,
        **divisor("pixels", pixels),
        **divisor("taps", taps),
        **divisor("sources", low.source_channels),
        **divisor("channel_blocks", channel_blocks),
        **pixel_sizes(low, part),
        "x_n": arrays.x[0],
        "x_c": arrays.x[1],
        **along("x", arrays.x[2:], 0),
        "w_n": arrays.w[0],
        "w_k": arrays.w[1],
        **along("w", arrays.w[2:], 0),
        "y_k": arrays.y[0],
        "y_c": arrays.y[1],
    }
    blocks = taps * low.source_channels * channel_blocks * low.groups
    table = tap_table(low, part, arrays.y)
    return [Step(compiled(weight_sum, arrays.kind, threads), (blocks, 1, 1), sizes, table=table)]


def correlation(kind: str) -> Any:
    """Forward and input gradient: a thread computes one pixel of several target channels.

    Blocks are numbered by image, group, channels of a group and pixels, the last one fastest.
    """
    load, load_if, store = KINDS[kind].load, KINDS[kind].load_if, KINDS[kind].store
    size, compute = KINDS[kind].size, KINDS[kind].compute

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, taps, sources, targets,
        pixel_blocks, pixel_blocks_magic, pixel_blocks_shift,
        channel_blocks, channel_blocks_magic, channel_blocks_shift,
        groups, groups_magic, groups_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        move_d, move_h, move_w, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w,
        w_group, w_target, w_source,
        y_n, y_k, y_start, y_d, y_h, y_w,
    ):  # fmt: skip
        rest, block = split(cuda.blockIdx.x, pixel_blocks, pixel_blocks_magic, pixel_blocks_shift)
        rest, part = split(rest, channel_blocks, channel_blocks_magic, channel_blocks_shift)
        n, group = split(rest, groups, groups_magic, groups_shift)
        first = part * CHANNELS
        pixel = block * THREADS + cuda.threadIdx.x
        if pixel >= pixels:
            return
        d, rest = split(pixel, plane, plane_magic, plane_shift)
        h, v = split(rest, row, row_magic, row_shift)

        total = cuda.local.array(CHANNELS, compute)
        for k in range(CHANNELS):
            total[k] = compute(0)
        for tap in range(taps):
            shift_d, shift_h, shift_w, place = load4_i32(table + tap * 16)
            at_d, at_h, at_w = d * move_d + shift_d, h * move_h + shift_h, v * move_w + shift_w
            if within(at_d, extent_d) & within(at_h, extent_h) & within(at_w, extent_w):
                from_x = n * x_n + group * sources * x_c + at_d * x_d + at_h * x_h + at_w * x_w
                from_w = group * w_group + first * w_target + place
                source, weight = x + from_x * size, w + from_w * size
                for _ in range(sources):
                    value = load(source)
                    for k in range(CHANNELS):
                        wanted = within(first + k, targets)
                        total[k] += value * load_if(weight + k * w_target * size, wanted)
                    source += x_c * size
                    weight += w_source * size

        to_y = n * y_n + y_start + d * y_d + h * y_h + v * y_w
        for k in range(CHANNELS):
            if first + k < targets:
                channel, value = group * targets + first + k, total[k]
                if bias != 0:
                    value += load(bias + channel * size)
                store(y + (to_y + channel * y_k) * size, value)

    return kernel, Blocks(THREADS, per_multiprocessor=8)


def weight_sum(kind: str, threads: int) -> Any:
    """Weight gradient: a block sums over all pixels of the batch for one source channel and tap.

    It does so for several target channels at once. Blocks are numbered by group, target channels
    of a group, source channel and tap, the last one fastest.
    """
    load, load_if, store = KINDS[kind].load, KINDS[kind].load_if, KINDS[kind].store
    size, compute = KINDS[kind].size, KINDS[kind].compute

    def kernel(
        x, w, y, bias, workspace, table,
        batch, targets, images_on, pixels_on,
        pixels, pixels_magic, pixels_shift,
        taps, taps_magic, taps_shift, sources, sources_magic, sources_shift,
        channel_blocks, channel_blocks_magic, channel_blocks_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        move_d, move_h, move_w, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w,
        w_n, w_k, w_d, w_h, w_w,
        y_k, y_c,
    ):  # fmt: skip
        rest, tap = split(cuda.blockIdx.x, taps, taps_magic, taps_shift)
        rest, c = split(rest, sources, sources_magic, sources_shift)
        group, part = split(rest, channel_blocks, channel_blocks_magic, channel_blocks_shift)
        first = part * CHANNELS
        shift_d, shift_h, shift_w, place = load4_i32(table + tap * 16)
        source = x + (group * sources + c) * x_c * size
        gradient = w + (group * targets + first) * w_k * size

        total = cuda.local.array(CHANNELS, compute)
        for k in range(CHANNELS):
            total[k] = compute(0)
        thread = cuda.threadIdx.x
        n, pixel = split(thread, pixels, pixels_magic, pixels_shift)
        while n < batch:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            at_d, at_h, at_w = d * move_d + shift_d, h * move_h + shift_h, v * move_w + shift_w
            if within(at_d, extent_d) & within(at_h, extent_h) & within(at_w, extent_w):
                value = load(source + (n * x_n + at_d * x_d + at_h * x_h + at_w * x_w) * size)
                from_w = n * w_n + d * w_d + h * w_h + v * w_w
                for k in range(CHANNELS):
                    wanted = within(first + k, targets)
                    total[k] += value * load_if(gradient + (from_w + k * w_k) * size, wanted)
            n, pixel = advance(n, pixel, images_on, pixels_on, pixels)

        scratch = cuda.shared.array((CHANNELS, threads), compute)
        block_sums(scratch, total, CHANNELS, thread, threads, 1, cuda.syncthreads)
        if thread < CHANNELS and first + thread < targets:
            to_y = (group * targets + first + thread) * y_k + c * y_c + place
            store(y + to_y * size, scratch[thread, 0])

    return kernel, Blocks(threads, per_multiprocessor=8)
