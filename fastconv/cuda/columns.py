"""Columns: unfold and fold, and the plain im2col that stores the column matrix.

Unfold writes, for each tap, the image shifted by it; fold sums the columns back, each pixel of the
image those that it went to. The im2col here unfolds the whole batch into scratch memory and
multiplies with an ordinary tiled matrix product: it is for comparison with the implicit one, which
never stores the columns.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from numba import cuda

from fastconv.geometry import ConvGeometry
from fastconv.lowering import Correlation, Lowered, lower_forward, lower_input_gradient

from . import direct
from .indexing import along, divisor, pixel_sizes, split, tap_table, target_sizes
from .planning import Operands, Sizes, Table, Workspace, ceil_div, tap_places, weight_strides, words
from .program import Blocks, Step, compiled
from .ptx import KINDS, load4_i32, load_i32, within
from .staging import add_splits

THREADS = 128
_BLOCKS = 512  # of a weight gradient, about


def unfold(g: ConvGeometry, arrays: Operands, space: Workspace) -> list[Step]:
    """Image x to columns y, whose strides are (N, C, *kernel, *output)."""
    low = lower_forward(g)
    return [_unfold(low, low.parts[0], g.C, arrays.x, arrays.y, arrays.kind)]


def fold(g: ConvGeometry, arrays: Operands, space: Workspace) -> list[Step]:
    """Columns x, of strides (N, C, *kernel, *output), to image y."""
    low = lower_input_gradient(g)
    taps, pixels = arrays.x[2 : 2 + g.rank], arrays.x[2 + g.rank :]
    kernel = compiled(fold_columns, arrays.kind)
    steps = []
    for part in low.parts:
        blocks = ceil_div(prod(part.counts), THREADS)
        sizes = {
            "pixels": prod(part.counts),
            "taps": len(part.taps),
            **divisor("blocks", blocks),
            **divisor("channels", g.C),
            **pixel_sizes(low, part),
            "x_n": arrays.x[0],
            "x_c": arrays.x[1],
            **along("x", pixels, 0),
            "y_n": arrays.y[0],
            "y_c": arrays.y[1],
            **target_sizes(part, arrays.y),
        }
        table = tap_table(low, part, (0, 0, *taps)) if part.taps else None
        steps.append(Step(kernel, (blocks * g.C * g.N, 1, 1), sizes, table=table))
    return steps


def correlate(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Forward (x, w -> y) or input gradient (dy, w -> dx)."""
    place = space.take(max(_matrix_bytes(low, part, arrays) for part in low.parts))
    steps = []
    for part in low.parts:
        if not part.taps:
            steps.append(direct.correlate_part(low, part, arrays))
            continue
        steps += [_store_columns(low, part, arrays, place), _product(low, part, arrays, place)]
    return steps


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """Weight gradient (x, dy -> dw) of a lowered forward pass."""
    part = low.parts[0]
    place = space.take(_matrix_bytes(low, part, arrays))
    pairs, pixels = low.source_channels * len(part.taps), prod(part.counts)
    tile = _tile(low)
    row_blocks = ceil_div(low.target_channels, tile)
    pair_blocks = ceil_div(pairs, tile)
    whole = low.N * pixels
    blocks = low.groups * row_blocks * pair_blocks
    splits = max(1, min(ceil_div(_BLOCKS, blocks), ceil_div(whole, 64 * tile)))
    split_pixels = ceil_div(ceil_div(whole, splits), tile) * tile
    rows, wide = low.groups * low.target_channels, 8 if arrays.kind == "f64" else 4
    sums = space.take(splits * rows * pairs * wide)
    sizes = {
        "sums": sums,
        "rows": low.target_channels,
        "pairs": pairs,
        "whole": whole,
        "split_pixels": split_pixels,
        **divisor("pair_blocks", pair_blocks),
        **divisor("row_blocks", row_blocks),
        **divisor("groups", low.groups),
        **divisor("pixels", pixels),
        **_pixel_divisors(low, part),
        "w_n": arrays.w[0],
        "w_k": arrays.w[1],
        **along("w", arrays.w[2:], 0),
    }
    kernel = compiled(gradient_product, arrays.kind, tile)
    added = {"sums": sums, "splits": splits, "rows": rows, "pairs": pairs, "y_row": arrays.y[0]}
    table = _pair_table(low, part, arrays.y, arrays.y[1])
    return [
        _store_columns(low, part, arrays, place),
        Step(kernel, (blocks * splits, 1, 1), sizes, source=place),
        Step(
            compiled(add_splits, arrays.kind), (rows, ceil_div(pairs, 256), 1), added, table=table
        ),
    ]


def _tile(low: Lowered) -> int:
    """Rows and columns of the product that a block computes, a thread for each element."""
    return 8 if low.target_channels <= 8 else 16


def _matrix_bytes(low: Lowered, part: Correlation, arrays: Operands) -> int:
    """Size of the column matrix: [channel][tap][image][pixel]."""
    columns = low.N * prod(part.counts)
    return low.groups * low.source_channels * len(part.taps) * columns * arrays.size


def _pixel_divisors(low: Lowered, part: Correlation) -> dict[str, int]:
    """What takes a number of a part's pixels to D, H and W."""
    sizes = pixel_sizes(low, part)
    return {name: size for name, size in sizes.items() if name.startswith(("plane", "row"))}


def _pair_table(low: Lowered, part: Correlation, weights: Sizes, source_stride: int) -> Table:
    """Each (channel, tap) pair's offset in the weights of one target channel."""
    places = tap_places(part, weights)
    return words([[c * source_stride + at for c in range(low.source_channels) for at in places]])


def _store_columns(low: Lowered, part: Correlation, arrays: Operands, place: int) -> Step:
    """The column matrix of a part of a pass."""
    pixels = prod(part.counts)
    columns, channels = low.N * pixels, low.groups * low.source_channels
    taps, steps = len(part.taps), [prod(part.counts[i + 1 :]) for i in range(len(part.counts))]
    y = (pixels, taps * columns, *(0 for _ in steps), *steps)
    step = _unfold(low, part, channels, arrays.x, y, arrays.kind, tap_step=columns)
    return replace(step, target=place)


def _unfold(
    low: Lowered, part: Correlation, channels: int, x: Sizes, y: Sizes, kind: str, tap_step: int = 0
) -> Step:
    """Columns of a part; ``y`` are strides of images, channels, taps by axis, and pixels."""
    rank, blocks = len(part.axes), ceil_div(prod(part.counts), THREADS)
    sizes = {
        "pixels": prod(part.counts),
        "tap_step": tap_step,
        **divisor("blocks", blocks),
        **divisor("taps", len(part.taps)),
        **divisor("channels", channels),
        **pixel_sizes(low, part),
        "x_n": x[0],
        "x_c": x[1],
        **along("x", x[2:], 0),
        "y_n": y[0],
        "y_c": y[1],
        **along("y", y[2 + rank :], 0),
    }
    grid = (blocks * len(part.taps) * channels * low.N, 1, 1)
    table = tap_table(low, part, (0, 0, *y[2 : 2 + rank]))
    return Step(compiled(unfold_image, kind), grid, sizes, table=table)


def _product(low: Lowered, part: Correlation, arrays: Operands, place: int) -> Step:
    """Weights times the stored columns of a part."""
    pixels, steps = prod(part.counts), weight_strides(low, arrays.w)
    tile = _tile(low)
    row_blocks = ceil_div(low.target_channels, tile)
    column_blocks = ceil_div(low.N * pixels, tile)
    sizes = {
        "rows": low.target_channels,
        "pairs": low.source_channels * len(part.taps),
        "whole": low.N * pixels,
        **divisor("column_blocks", column_blocks),
        **divisor("row_blocks", row_blocks),
        **divisor("pixels", pixels),
        **_pixel_divisors(low, part),
        "w_group": steps.group,
        "w_target": steps.target,
        "y_n": arrays.y[0],
        "y_k": arrays.y[1],
        **target_sizes(part, arrays.y),
    }
    table = _pair_table(low, part, arrays.w, steps.source)
    grid = (column_blocks * row_blocks * low.groups, 1, 1)
    kernel = compiled(product, arrays.kind, tile)
    return Step(kernel, grid, sizes, table=table, source=place, bias=True)


def unfold_image(kind: str) -> Any:
    """A thread copies one pixel of one tap. Blocks: image, channel, tap, pixels."""
    load_if, store, size = KINDS[kind].load_if, KINDS[kind].store, KINDS[kind].size

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, tap_step, blocks, blocks_magic, blocks_shift, taps, taps_magic, taps_shift,
        channels, channels_magic, channels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        move_d, move_h, move_w, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w, y_n, y_c, y_d, y_h, y_w,
    ):  # fmt: skip
        rest, block = split(cuda.blockIdx.x, blocks, blocks_magic, blocks_shift)
        rest, tap = split(rest, taps, taps_magic, taps_shift)
        n, c = split(rest, channels, channels_magic, channels_shift)
        pixel = block * THREADS + cuda.threadIdx.x
        if pixel < pixels:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            shift_d, shift_h, shift_w, place = load4_i32(table + tap * 16)
            at_d, at_h, at_w = d * move_d + shift_d, h * move_h + shift_h, v * move_w + shift_w
            wanted = within(at_d, extent_d) & within(at_h, extent_h) & within(at_w, extent_w)
            from_x = n * x_n + c * x_c + at_d * x_d + at_h * x_h + at_w * x_w
            to_y = n * y_n + c * y_c + tap * tap_step + place + d * y_d + h * y_h + v * y_w
            store(y + to_y * size, load_if(x + from_x * size, wanted))

    return kernel, Blocks(THREADS, per_multiprocessor=8)


def fold_columns(kind: str) -> Any:
    """A thread sums what one pixel of the image went to. Blocks: image, channel, pixels."""
    load_if, store, size = KINDS[kind].load_if, KINDS[kind].store, KINDS[kind].size
    compute = KINDS[kind].compute

    def kernel(
        x, w, y, bias, workspace, table,
        pixels, taps, blocks, blocks_magic, blocks_shift,
        channels, channels_magic, channels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        move_d, move_h, move_w, extent_d, extent_h, extent_w,
        x_n, x_c, x_d, x_h, x_w, y_n, y_c, y_start, y_d, y_h, y_w,
    ):  # fmt: skip
        rest, block = split(cuda.blockIdx.x, blocks, blocks_magic, blocks_shift)
        n, c = split(rest, channels, channels_magic, channels_shift)
        pixel = block * THREADS + cuda.threadIdx.x
        if pixel < pixels:
            d, rest = split(pixel, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            total = compute(0)
            for tap in range(taps):
                shift_d, shift_h, shift_w, place = load4_i32(table + tap * 16)
                at_d, at_h, at_w = d * move_d + shift_d, h * move_h + shift_h, v * move_w + shift_w
                wanted = within(at_d, extent_d) & within(at_h, extent_h) & within(at_w, extent_w)
                from_x = n * x_n + c * x_c + place + at_d * x_d + at_h * x_h + at_w * x_w
                total += load_if(x + from_x * size, wanted)
            to_y = n * y_n + c * y_c + y_start + d * y_d + h * y_h + v * y_w
            store(y + to_y * size, total)

    return kernel, Blocks(THREADS, per_multiprocessor=8)


def product(kind: str, tile: int) -> Any:
    """Weights times columns, tile by tile through shared memory.

    Blocks: group, rows, columns.
    """
    load, load_if, store = KINDS[kind].load, KINDS[kind].load_if, KINDS[kind].store
    size, compute = KINDS[kind].size, KINDS[kind].compute

    def kernel(
        x, w, y, bias, workspace, table,
        rows, pairs, whole, column_blocks, column_blocks_magic, column_blocks_shift,
        row_blocks, row_blocks_magic, row_blocks_shift, pixels, pixels_magic, pixels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        w_group, w_target, y_n, y_k, y_start, y_d, y_h, y_w,
    ):  # fmt: skip
        rest, block = split(
            cuda.blockIdx.x, column_blocks, column_blocks_magic, column_blocks_shift
        )
        group, row_block = split(rest, row_blocks, row_blocks_magic, row_blocks_shift)
        i, j = cuda.threadIdx.x // tile, cuda.threadIdx.x % tile
        k, column = row_block * tile + i, block * tile + j
        weights = cuda.shared.array((tile, tile), compute)
        columns = cuda.shared.array((tile, tile), compute)
        total = compute(0)
        for first in range(0, pairs, tile):
            offset = load_i32(table + (first + j) * 4) if first + j < pairs else 0
            at = w + (group * w_group + k * w_target + offset) * size
            weights[i, j] = load_if(at, within(first + j, pairs) & within(k, rows))
            at = x + ((group * pairs + first + i) * whole + column) * size
            columns[i, j] = load_if(at, within(first + i, pairs) & within(column, whole))
            cuda.syncthreads()
            for inner in range(tile):
                total += weights[i, inner] * columns[inner, j]
            cuda.syncthreads()
        if k < rows and column < whole:
            n, rest = split(column, pixels, pixels_magic, pixels_shift)
            d, rest = split(rest, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            channel = group * rows + k
            if bias != 0:
                total += load(bias + channel * size)
            to_y = n * y_n + channel * y_k + y_start + d * y_d + h * y_h + v * y_w
            store(y + to_y * size, total)

    return kernel, Blocks(tile * tile, per_multiprocessor=4)


def gradient_product(kind: str, tile: int) -> Any:
    """Output gradient times transposed columns, over a share of the pixels.

    Blocks: share, group, rows, pairs of channel and tap.
    """
    load_if, size, compute = KINDS[kind].load_if, KINDS[kind].size, KINDS[kind].compute
    sum_kind = KINDS["f64" if kind == "f64" else "f32"]
    store, wide = sum_kind.store, sum_kind.size
    pitch = tile + 1  # read across its rows, which so begin in different banks

    def kernel(
        x, w, y, bias, workspace, table,
        sums, rows, pairs, whole, split_pixels,
        pair_blocks, pair_blocks_magic, pair_blocks_shift,
        row_blocks, row_blocks_magic, row_blocks_shift, groups, groups_magic, groups_shift,
        pixels, pixels_magic, pixels_shift,
        plane, plane_magic, plane_shift, row, row_magic, row_shift,
        w_n, w_k, w_d, w_h, w_w,
    ):  # fmt: skip
        rest, pair_block = split(cuda.blockIdx.x, pair_blocks, pair_blocks_magic, pair_blocks_shift)
        rest, row_block = split(rest, row_blocks, row_blocks_magic, row_blocks_shift)
        share, group = split(rest, groups, groups_magic, groups_shift)
        i, j = cuda.threadIdx.x // tile, cuda.threadIdx.x % tile
        k, pair = row_block * tile + i, pair_block * tile + j
        gradient = cuda.shared.array((tile, tile), compute)
        columns = cuda.shared.array((tile, pitch), compute)
        total = compute(0)
        start = share * split_pixels
        for first in range(start, min(start + split_pixels, whole), tile):
            column = first + j
            n, rest = split(column, pixels, pixels_magic, pixels_shift)
            d, rest = split(rest, plane, plane_magic, plane_shift)
            h, v = split(rest, row, row_magic, row_shift)
            at = w + (n * w_n + (group * rows + k) * w_k + d * w_d + h * w_h + v * w_w) * size
            gradient[i, j] = load_if(at, within(k, rows) & within(column, whole))
            own_pair = pair_block * tile + i
            at = x + ((group * pairs + own_pair) * whole + column) * size
            columns[i, j] = load_if(at, within(own_pair, pairs) & within(column, whole))
            cuda.syncthreads()
            for inner in range(tile):
                total += gradient[i, inner] * columns[j, inner]
            cuda.syncthreads()
        if k < rows and pair < pairs:
            place = ((share * groups + group) * rows + k) * pairs + pair
            store(workspace + sums + place * wide, total)

    return kernel, Blocks(tile * tile, per_multiprocessor=4)
