"""im2col by Hopper's warpgroup products: launches, tiles and tables."""

from __future__ import annotations

from typing import NamedTuple

from fastconv.lowering import Correlation, Lowered

from . import hopper, hopper_gradient
from .packing import MULTIPROCESSORS, added_splits, packed_blocks, split
from .planning import Operands, Workspace, ceil_div, pixels, reduction, source_table
from .program import Step, compiled
from .sizes import correlate_sizes, gradient_sizes, part_is_deep, sizes_for, target_offset
from .tensor import CHUNK, SLICE
from .tensor_steps import Source, gradient_operands, product_kind, target_layout


class Tile(NamedTuple):
    """A block's tile: its warpgroups, of 64 rows each, its columns, and its stages."""

    warpgroups: int
    columns: int
    stages: int


# Tiles of a block, and how near each comes to the peak.
TILES = {
    Tile(2, 256, 4): 1.0,
    Tile(2, 128, 4): 0.85,
    Tile(2, 64, 4): 0.65,
    Tile(2, 32, 4): 0.4,
    Tile(2, 16, 4): 0.22,
}
GRADIENT_TILES = {
    Tile(2, 256, 4): 1.0,
    Tile(2, 128, 4): 0.85,
    Tile(1, 256, 4): 0.75,
    Tile(1, 128, 4): 0.6,
    Tile(1, 64, 4): 0.4,
}


def correlate_part(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace, source: Source
) -> list[Step]:
    """One part of a forward pass or an input gradient, after its weights are packed."""
    kind = product_kind(arrays)
    vector, in_slice = CHUNK // arrays.size, SLICE // arrays.size
    count = pixels(low, part)
    shape = _tile(TILES, count, low.target_channels, low.groups)
    column_tiles = ceil_div(low.target_channels, shape.columns)
    order = reduction(source.channels, len(part.taps), vector, in_slice)
    packing, place = packed_blocks(low, part, arrays, space, order, shape.columns, kind)
    axes = 3 if part_is_deep(low, part) else 2
    layout = target_layout(low, part, arrays)
    kernel = compiled(hopper.correlate, kind, shape.columns, shape.stages, axes, *layout)
    sizes = {
        "slices": ceil_div(order.length, in_slice),
        **correlate_sizes(low, part, source.strides, source.channels, arrays.y, column_tiles),
    }
    product = Step(
        kernel,
        (ceil_div(count, hopper.ROWS) * column_tiles, low.groups, 1),
        sizes_for(kernel, sizes),
        shared=hopper.shared_bytes(shape.columns, shape.stages),
        table=source_table(low, part, source.strides, order, in_slice // vector),
        source=source.place,
        weights=place,
        target_offset=target_offset(part, arrays.y) * arrays.size,
        bias=True,
    )
    return [packing, product] if order.length else [product]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient of 16-bit kinds: sums over splits of the pixels, then the sums' sum."""
    (part,) = low.parts
    source, dy, order = gradient_operands(low, part, arrays, space)
    shape = _tile(GRADIENT_TILES, low.target_channels, order.length, low.groups, is_split=True)
    column_tiles = ceil_div(order.length, shape.columns)
    tiles = ceil_div(low.target_channels, 64 * shape.warpgroups) * column_tiles
    depth = hopper_gradient.DEPTH
    splits, split_pixels = split(pixels(low, part), tiles * low.groups, depth)
    axes = 3 if part_is_deep(low, part) else 2
    kernel = compiled(hopper_gradient.weight_gradient, arrays.kind, *shape, axes)
    place = space.take(splits * low.groups * low.target_channels * order.length * 4)
    sizes = {
        "split_pixels": split_pixels,
        "pairs": order.length,
        "sums_at": place,
        **gradient_sizes(
            low, part, source.strides, source.channels, dy.strides, dy.channels, column_tiles
        ),
    }
    product = Step(
        kernel,
        (tiles, low.groups, splits),
        sizes_for(kernel, sizes),
        shared=hopper_gradient.shared_bytes(*shape),
        table=source_table(low, part, source.strides, order, shape.columns // order.vector),
        source=source.place,
        weights=dy.place,
    )
    total = added_splits(arrays.kind, part, arrays.y, order, low, splits, place)
    return [*source.steps, *dy.steps, product, total]


def _tile(
    choices: dict[Tile, float], rows: int, columns: int, groups: int, *, is_split: bool = False
) -> Tile:
    """The tile that takes the least time: rounds of blocks x area / efficiency."""

    def time(shape: Tile) -> float:
        height = 64 * shape.warpgroups
        blocks = ceil_div(rows, height) * ceil_div(columns, shape.columns) * groups
        share = blocks / MULTIPROCESSORS if is_split else ceil_div(blocks, MULTIPROCESSORS)
        return share * height * shape.columns / choices[shape]

    return min(choices, key=time)
