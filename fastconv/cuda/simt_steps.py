"""im2col on the ordinary cores: launches, tiles and tables."""

from __future__ import annotations

from fastconv.lowering import Correlation, Lowered

from . import simt, simt_gradient
from .packing import added_splits, packed_weights, split
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
from .tile import EVEN
from .tiles import (
    SIMT,
    SIMT_GRADIENT,
    SIMT_GRADIENT_FLAT,
    SIMT_NARROW,
    SPEED,
    SimtTile,
    quickest,
    simt_depth,
)

TILES = SIMT | SIMT_NARROW
GRADIENT_TILES = SIMT_GRADIENT | SIMT_GRADIENT_FLAT


def correlate_part(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace
) -> list[Step]:
    """One part of a forward pass or an input gradient, after its weights are packed."""
    kind = arrays.kind
    vector = _vector(arrays, arrays.x, low.source_channels)
    shape = quickest(_allowed(TILES, kind), pixels(low, part), low.target_channels, low.groups)
    depth = simt_depth(shape, kind)
    block = depth if vector > 1 else 1
    order = reduction(low.source_channels, len(part.taps), vector, block)
    channels = low.target_channels
    row_tiles = ceil_div(pixels(low, part), shape.rows)
    column_tiles = ceil_div(channels, shape.columns)
    filled = column_tiles * shape.columns
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
    kernel = compiled(simt.correlate, kind, *shape, depth, vector, axes)
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
        shared=simt.slice_bytes(kind, shape, depth),
        table=source_table(low, part, arrays.x, order, depth // vector),
        weights=place if slices else "w",
        target_offset=target_offset(part, arrays.y) * arrays.size,
        bias=True,
    )
    return [*steps, product]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient: sums over splits of the pixels, then the sums' sum."""
    kind = arrays.kind
    (part,) = low.parts
    vector = _vector(arrays, arrays.x, low.source_channels)
    dy_vector = _vector(arrays, arrays.w, low.target_channels)
    order = reduction(low.source_channels, len(part.taps), vector)
    rows = low.target_channels
    shape = quickest(_allowed(GRADIENT_TILES, kind), rows, order.length, low.groups, is_split=True)
    depth = simt_depth(shape, kind)
    row_tiles = ceil_div(rows, shape.rows)
    column_tiles = ceil_div(order.length, shape.columns)
    tiles = row_tiles * column_tiles
    products = low.groups * rows * order.length
    splits, split_pixels = split(
        pixels(low, part), tiles * low.groups, depth, 2, products, SPEED["simt"]
    )
    axes = 3 if part_is_deep(low, part) else 2
    kernel = compiled(simt_gradient.weight_gradient, kind, *shape, depth, dy_vector, vector, axes)
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
        shared=simt.slice_bytes(kind, shape, depth),
        table=source_table(low, part, arrays.x, order, shape.columns // vector),
    )
    return [product, added_splits(kind, part, arrays.y, order, low, splits, place)]


def _vector(arrays: Operands, strides: tuple[int, ...], channels: int) -> int:
    """4 where vectors of four channels lie side by side and aligned, else 1."""
    together = arrays.in_vectors(strides, channels, 4)
    return 4 if together and arrays.kind != "f64" else 1


def _allowed(tiles: dict[SimtTile, float], kind: str) -> dict[SimtTile, float]:
    """The tiles that a kind of element has registers for."""
    if kind != "f64":
        return tiles
    return {shape: speed for shape, speed in tiles.items() if shape.lane_columns == EVEN}
