"""im2col on the ordinary cores: launches, tiles and tables."""

from __future__ import annotations

from fastconv.lowering import Correlation, Lowered

from . import simt, simt_gradient, tile
from .packing import MULTIPROCESSORS, added_splits, packed_weights, split
from .planning import Operands, Workspace, ceil_div, pixels, reduction, source_table
from .program import Step, compiled
from .ptx import KINDS
from .sizes import (
    correlate_sizes,
    gradient_sizes,
    part_is_deep,
    sizes_for,
    target_offset,
)

# Warps along the rows and the columns of a block's tile, and how near it comes to the peak.
TILES = {(2, 4): 1.0, (2, 2): 0.95, (4, 1): 0.85, (2, 1): 0.75, (1, 1): 0.5}
GRADIENT_TILES = {(2, 4): 1.0, (1, 4): 0.85, (1, 2): 0.7, (1, 1): 0.5}
_DEPTH = {"f32": 8, "f16": 8, "bf16": 8, "f64": 4}  # pairs of a slice: bounded by registers
_BUSY_WARPS = 12  # on a multiprocessor, below which it waits for memory


def correlate_part(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace
) -> list[Step]:
    """One part of a forward pass or an input gradient, after its weights are packed."""
    kind, depth = arrays.kind, _DEPTH[arrays.kind]
    vector = _vector(arrays, arrays.x, low.source_channels)
    block = depth if vector > 1 else 1
    order = reduction(low.source_channels, len(part.taps), vector, block)
    channels = low.target_channels
    warps = _tile(TILES, pixels(low, part), channels, low.groups)
    row_tiles = ceil_div(pixels(low, part), tile.ROWS * warps[0])
    column_tiles = ceil_div(channels, tile.COLUMNS * warps[1])
    filled = column_tiles * tile.COLUMNS * warps[1]
    slices = ceil_div(order.length, depth)
    steps, place = [], 0
    if slices:
        result = "f64" if kind == "f64" else "f32"
        whole = (slices * depth, filled)
        packing, place = packed_weights(
            low, part, arrays, space, order, whole, pairs_inner=False, result=result
        )
        steps.append(packing)
    axes = 3 if part_is_deep(low, part) else 2
    kernel = compiled(simt.correlate, kind, *warps, depth, vector, axes)
    sizes = {
        "slices": slices,
        "weights_group": slices * depth * filled,
        "weights_row": filled,
        **correlate_sizes(low, part, arrays.x, low.source_channels, arrays.y, column_tiles),
    }
    product = Step(
        kernel,
        (row_tiles * column_tiles, low.groups, 1),
        sizes_for(kernel, sizes),
        shared=simt.slice_bytes(kind, *warps, depth),
        table=source_table(low, part, arrays.x, order, depth // vector),
        weights=place if slices else "w",
        target_offset=target_offset(part, arrays.y) * arrays.size,
        bias=True,
    )
    return [*steps, product]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient: sums over splits of the pixels, then the sums' sum."""
    kind, depth = arrays.kind, _DEPTH[arrays.kind]
    (part,) = low.parts
    vector = _vector(arrays, arrays.x, low.source_channels)
    dy_vector = _vector(arrays, arrays.w, low.target_channels)
    order = reduction(low.source_channels, len(part.taps), vector)
    rows = low.target_channels
    warps = _tile(GRADIENT_TILES, rows, order.length, low.groups, is_split=True)
    row_tiles = ceil_div(rows, tile.ROWS * warps[0])
    column_tiles = ceil_div(order.length, tile.COLUMNS * warps[1])
    tiles = row_tiles * column_tiles
    splits, split_pixels = split(pixels(low, part), tiles * low.groups, depth)
    axes = 3 if part_is_deep(low, part) else 2
    kernel = compiled(simt_gradient.weight_gradient, kind, *warps, depth, dy_vector, vector, axes)
    place = space.take(splits * low.groups * rows * order.length * KINDS[kind].compute_size)
    sizes = {
        "split_pixels": split_pixels,
        "pairs": order.length,
        "sums_at": place,
        **gradient_sizes(low, part, arrays.x, low.source_channels, arrays.w, rows, column_tiles),
    }
    product = Step(
        kernel,
        (tiles, low.groups, splits),
        sizes_for(kernel, sizes),
        shared=simt_gradient.slice_bytes(kind, *warps, depth),
        table=source_table(low, part, arrays.x, order, tile.COLUMNS * warps[1] // vector),
    )
    return [product, added_splits(kind, part, arrays.y, order, low, splits, place)]


def _vector(arrays: Operands, strides: tuple[int, ...], channels: int) -> int:
    """4 where vectors of four channels lie side by side and aligned, else 1."""
    together = arrays.in_vectors(strides, channels, 4)
    return 4 if together and arrays.kind != "f64" else 1


def _tile(
    choices: dict[tuple[int, int], float],
    rows: int,
    columns: int,
    groups: int,
    *,
    is_split: bool = False,
) -> tuple[int, int]:
    """The warps of the tile that takes the least time: blocks of a multiprocessor x area.

    A product that is split among blocks keeps all multiprocessors busy whatever its tiles.
    """

    def time(warps: tuple[int, int]) -> float:
        area = tile.ROWS * warps[0] * tile.COLUMNS * warps[1]
        row_tiles = ceil_div(rows, tile.ROWS * warps[0])
        blocks = row_tiles * ceil_div(columns, tile.COLUMNS * warps[1]) * groups
        share = blocks / MULTIPROCESSORS if is_split else ceil_div(blocks, MULTIPROCESSORS)
        at_once = min(share, tile.resident(32 * warps[0] * warps[1], "f32"))
        busy = 1.0 if is_split else min(1.0, at_once * warps[0] * warps[1] / _BUSY_WARPS)
        return share * area / (choices[warps] * busy)

    return min(choices, key=time)
