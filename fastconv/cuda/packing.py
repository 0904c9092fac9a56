"""Launches around a product: operands packed ahead of it, and partial sums added after it."""

from __future__ import annotations

from math import prod

from fastconv.lowering import Correlation, Lowered

from . import staging
from .indexing import divisor
from .planning import (
    Operands,
    Reduction,
    Workspace,
    ceil_div,
    three,
    weight_strides,
    weight_table,
)
from .program import Step, compiled
from .ptx import KINDS
from .tiles import MULTIPROCESSORS

_BANDWIDTH = 4e12  # bytes a second: an H200's, near enough
_SUM_BYTES = 8  # of a partial sum, written and read
_MIN_SPLIT = 256  # pixels, below which a block's start costs more than its work
_MOST_SPLITS = 1024
_BLOCK_ROW = 128  # bytes of a swizzled row


def packed_weights(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    space: Workspace,
    order: Reduction,
    filled: tuple[int, int],
    *,
    pairs_inner: bool,
    result: str,
) -> tuple[Step, int]:
    """The packing of a part's weights to (pairs, channels) filled up, and its place."""
    strides = weight_strides(low, arrays.w)
    item = KINDS["f32" if result == "tf32" else result].size
    place = space.take(low.groups * prod(filled) * item)
    kernel = compiled(staging.pack_weights, arrays.kind, result, pairs_inner)
    sizes = {
        "pairs": order.length,
        "pairs_filled": filled[0],
        "channels": low.target_channels,
        "channels_filled": filled[1],
        "w_group": strides.group,
        "w_target": strides.target,
    }
    grid = (ceil_div(filled[0], staging.TILE), ceil_div(filled[1], staging.TILE), low.groups)
    table = weight_table(part, arrays.w, strides.source, order, low.source_channels)
    return Step(kernel, grid, sizes, table=table, source="w", target=place), place


def packed_blocks(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    space: Workspace,
    order: Reduction,
    columns: int,
    result: str,
) -> tuple[Step, int]:
    """The packing of a part's weights to swizzled blocks, and its place."""
    strides = weight_strides(low, arrays.w)
    item = KINDS["f32" if result == "tf32" else result].size
    in_slice = _BLOCK_ROW // item
    slices, tiles = ceil_div(order.length, in_slice), ceil_div(low.target_channels, columns)
    place = space.take(low.groups * tiles * slices * columns * _BLOCK_ROW)
    kernel = compiled(staging.pack_blocks, arrays.kind, result, columns)
    sizes = {
        "pairs": order.length,
        "slices": slices,
        "channels": low.target_channels,
        "tiles": tiles,
        "w_group": strides.group,
        "w_target": strides.target,
    }
    across = (ceil_div(slices * in_slice, staging.TILE), ceil_div(tiles * columns, staging.TILE))
    table = weight_table(part, arrays.w, strides.source, order, low.source_channels)
    grid = (*across, low.groups)
    return Step(kernel, grid, sizes, table=table, source="w", target=place), place


def channels_last(
    kind: str,
    result: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    groups: int,
    vector: int,
    space: Workspace,
    operand: str,
) -> tuple[Step, int, tuple[int, ...]]:
    """A copy of images with each group's channels innermost, in whole vectors.

    ``shape`` is (N, channels of a group, *spatial). Returned: the launch, the copy's place, and
    its strides.
    """
    count, channels, *spatial = shape
    filled = ceil_div(channels, vector) * vector
    d, h, w = three(tuple(spatial), 1)
    x_d, x_h, x_w = three(strides[2:], 0)
    pixels, across = count * d * h * w, groups * filled
    item = KINDS["f32" if result == "tf32" else result].size
    place = space.take(pixels * across * item)
    kernel = compiled(staging.channels_last, kind, result)
    sizes = {
        "pixels": pixels,
        "channels": channels,
        "all_filled": across,
        "x_n": strides[0],
        "x_c": strides[1],
        "x_d": x_d,
        "x_h": x_h,
        "x_w": x_w,
        **divisor("filled", filled),
        **divisor("image", d * h * w),
        **divisor("plane", h * w),
        **divisor("W", w),
    }
    grid = (ceil_div(pixels, staging.TILE), ceil_div(across, staging.TILE), 1)
    steps = (d * h * w * across, 1, h * w * across, w * across, across)
    step = Step(kernel, grid, sizes, source=operand, target=place)
    return step, place, steps[:2] + steps[5 - len(spatial) :]


def added_splits(
    kind: str,
    part: Correlation,
    dw: tuple[int, ...],
    order: Reduction,
    low: Lowered,
    splits: int,
    place: int,
) -> Step:
    """The pass that adds up partial sums [split][row][pair] into the weight gradient."""
    kernel = compiled(staging.add_splits, kind)
    rows = low.groups * low.target_channels
    sizes = {
        "sums": place,
        "splits": splits,
        "rows": rows,
        "pairs": order.length,
        "y_row": dw[0],
    }
    # Rows go along the grid's first axis, which alone may be long.
    grid = (rows, ceil_div(order.length, kernel.threads), 1)
    table = weight_table(part, dw, dw[1], order, low.source_channels)
    return Step(kernel, grid, sizes, table=table)


def split(
    count: int, tiles: int, depth: int, at_once: int, pairs: int, speed: float
) -> tuple[int, int]:
    """Into how many splits the pixels go, and how many pixels each has.

    More splits fill the last round of blocks better, of which every multiprocessor computes so
    many ``at_once``; each costs the writing and reading of its sums. ``pairs`` are the products
    for each pixel, ``speed`` those of the cores in a second.
    """
    work, traffic = pairs * count / speed, pairs * _SUM_BYTES / _BANDWIDTH
    places = MULTIPROCESSORS * at_once

    def time(splits: int) -> float:
        blocks = tiles * splits
        return ceil_div(blocks, places) * places / blocks * work + splits * traffic

    most = min(_MOST_SPLITS, ceil_div(count, _MIN_SPLIT))
    size = ceil_div(ceil_div(count, min(range(1, most + 1), key=time)), depth) * depth
    return ceil_div(count, size), size
