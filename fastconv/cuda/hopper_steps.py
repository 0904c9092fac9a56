"""im2col by Hopper's warpgroup products: launches, tiles and tables."""

from __future__ import annotations

from fastconv.lowering import Correlation, Lowered

from . import hopper, hopper_gradient
from .gather import CHUNK
from .packing import added_splits, packed_blocks, split
from .planning import (
    Operands,
    Workspace,
    ceil_div,
    pixels,
    reduction,
    source_table,
    weight_strides,
)
from .program import Step, compiled
from .sizes import correlate_sizes, gradient_sizes, part_is_deep, sizes_for, target_offset
from .tensor import SLICE
from .tensor_steps import (
    Source,
    gradient_operands,
    plain_weights,
    product_kind,
    target_layout,
)
from .tiles import HOPPER as TILES
from .tiles import HOPPER_GRADIENT as GRADIENT_TILES
from .tiles import SPEED, quickest


def correlate_part(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace, source: Source
) -> list[Step]:
    """One part of a forward pass or an input gradient, after its weights are packed."""
    kind = product_kind(arrays)
    vector, in_slice = CHUNK // arrays.size, SLICE // arrays.size
    count = pixels(low, part)
    shape = quickest(TILES, count, low.target_channels, low.groups)
    column_tiles = ceil_div(low.target_channels, shape.columns)
    packing: list[Step] = []
    place: str | int = "w"
    order = plain_weights(low, part, arrays, source, column_tiles * shape.columns)
    packed = order is None
    if order is None:
        order = reduction(source.channels, len(part.taps), vector, in_slice)
        if order.length:
            step, place = packed_blocks(low, part, arrays, space, order, shape.columns, kind)
            packing = [step]
    axes = 3 if part_is_deep(low, part) else 2
    layout = target_layout(low, part, arrays)
    kernel = compiled(hopper.correlate, kind, shape.columns, shape.stages, axes, packed, *layout)
    strides = weight_strides(low, arrays.w)
    sizes = {
        "slices": ceil_div(order.length, in_slice),
        "weights_group": strides.group,
        "weights_row": strides.target,
        **correlate_sizes(low, part, source.strides, source.channels, arrays.y, column_tiles),
    }
    product = Step(
        kernel,
        (ceil_div(count, shape.rows) * column_tiles, low.groups, 1),
        sizes_for(kernel, sizes),
        shared=hopper.shared_bytes(shape.columns, shape.stages),
        table=source_table(low, part, source.strides, order, in_slice // vector),
        source=source.place,
        weights=place,
        target_offset=target_offset(part, arrays.y) * arrays.size,
        bias=True,
    )
    return [*packing, product]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient of 16-bit kinds: sums over splits of the pixels, then the sums' sum."""
    (part,) = low.parts
    source, dy, order = gradient_operands(low, part, arrays, space)
    shape = quickest(GRADIENT_TILES, low.target_channels, order.length, low.groups, is_split=True)
    column_tiles = ceil_div(order.length, shape.columns)
    tiles = ceil_div(low.target_channels, shape.rows) * column_tiles
    depth = hopper_gradient.DEPTH
    products = low.groups * low.target_channels * order.length
    splits, split_pixels = split(
        pixels(low, part), tiles * low.groups, depth, 1, products, SPEED["hopper"]
    )
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
