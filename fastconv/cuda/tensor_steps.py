"""im2col on the tensor cores: launches, tiles and tables."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from fastconv.lowering import Correlation, Lowered

from . import tensor, tensor_gradient
from .gather import CHUNK
from .packing import added_splits, channels_last, packed_weights, split
from .planning import (
    INT32_MAX,
    Operands,
    Reduction,
    Sizes,
    Workspace,
    ceil_div,
    pixels,
    reached,
    reduction,
    source_table,
    tap_places,
    weight_strides,
)
from .program import Step, compiled
from .sizes import (
    correlate_sizes,
    gradient_sizes,
    is_dense,
    part_is_deep,
    sizes_for,
    target_offset,
)
from .tensor import SLICE
from .tiles import SPEED, TENSOR_DEPTH, TensorTile, quickest
from .tiles import TENSOR as TILES
from .tiles import TENSOR_GRADIENT as GRADIENT_TILES

HOPPER = (9, 0)
# The most bytes of shared memory that a block may have, by compute capability: "CUDA C++
# programming guide", technical specifications.
SHARED_MEMORY = {(8, 0): 163 << 10, (8, 7): 163 << 10, (9, 0): 227 << 10, (10, 0): 227 << 10}
_LEAST_SHARED_MEMORY = 99 << 10


class Source(NamedTuple):
    """Images with their channels last: the operand itself, or a copy in the workspace."""

    steps: list[Step]
    place: str | int
    strides: Sizes
    channels: int  #: of a group, in whole vectors
    rounded: bool  #: to TF32


def product_kind(arrays: Operands) -> str:
    """What the tensor cores multiply these operands as, or nothing."""
    if arrays.kind in ("f16", "bf16"):
        return arrays.kind
    return "tf32" if arrays.kind == "f32" and arrays.tf32 else ""


def correlate_part(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace, source: Source
) -> list[Step]:
    """One part of a forward pass or an input gradient, after its weights are packed."""
    kind = product_kind(arrays)
    vector, in_slice = CHUNK // arrays.size, SLICE // arrays.size
    tiles = _allowed(TILES, arrays.capability)
    shape = quickest(tiles, pixels(low, part), low.target_channels, low.groups)
    column_tiles = ceil_div(low.target_channels, shape.columns)
    filled = column_tiles * shape.columns
    order, row, weights_group, packing, place = _weights(
        low, part, arrays, space, source, filled, in_slice
    )
    y_vector, dense = target_layout(low, part, arrays)
    kernel = compiled(
        tensor.correlate,
        kind,
        *shape,
        3 if part_is_deep(low, part) else 2,
        source.rounded,
        y_vector,
        dense,
    )
    sizes = {
        "slices": ceil_div(order.length, in_slice),
        "weights_group": weights_group,
        "weights_row": row,
        **correlate_sizes(low, part, source.strides, source.channels, arrays.y, column_tiles),
    }
    product = Step(
        kernel,
        (ceil_div(pixels(low, part), shape.rows) * column_tiles, low.groups, 1),
        sizes_for(kernel, sizes),
        shared=tensor.shared_bytes(shape),
        table=source_table(low, part, source.strides, order, in_slice // vector),
        source=source.place,
        weights=place,
        target_offset=target_offset(part, arrays.y) * arrays.size,
        bias=True,
    )
    return [*packing, product]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The weight gradient: sums over splits of the pixels, then the sums' sum."""
    kind = product_kind(arrays)
    (part,) = low.parts
    source, dy, order = gradient_operands(low, part, arrays, space)
    shape = quickest(GRADIENT_TILES, low.target_channels, order.length, low.groups, is_split=True)
    row_tiles = ceil_div(low.target_channels, shape.rows)
    column_tiles = ceil_div(order.length, shape.columns)
    tiles, depth = row_tiles * column_tiles, TENSOR_DEPTH[kind]
    products = low.groups * low.target_channels * order.length
    speed = SPEED["tf32" if kind == "tf32" else "tensor"]
    splits, split_pixels = split(pixels(low, part), tiles * low.groups, depth, 2, products, speed)
    axes = 3 if part_is_deep(low, part) else 2
    rounded = source.rounded and dy.rounded
    kernel = compiled(tensor_gradient.weight_gradient, kind, *shape, depth, axes, rounded)
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
        shared=tensor_gradient.shared_bytes(kind, shape, depth),
        table=source_table(low, part, source.strides, order, shape.columns // order.vector),
        source=source.place,
        weights=dy.place,
    )
    total = added_splits(arrays.kind, part, arrays.y, order, low, splits, place)
    return [*source.steps, *dy.steps, product, total]


def target_layout(low: Lowered, part: Correlation, arrays: Operands) -> tuple[int, bool]:
    """How many channels of the target lie side by side, and whether pixels step evenly."""
    vector = 4 if arrays.in_vectors(arrays.y, low.target_channels, 4) else 1
    return vector, is_dense(part, arrays.y) and target_offset(part, arrays.y) == 0


def gradient_operands(
    low: Lowered, part: Correlation, arrays: Operands, space: Workspace
) -> tuple[Source, Source, Reduction]:
    """Source and output gradient with their channels last, and the order of the pairs."""
    source = staged_source(low, arrays, space)
    dy_shape = (low.N, low.target_channels, *part.counts)
    dy = _staged(arrays, dy_shape, arrays.w, low.groups, space, "w")
    vector = CHUNK // arrays.size
    return source, dy, reduction(source.channels, len(part.taps), vector, source.channels)


def staged_source(low: Lowered, arrays: Operands, space: Workspace) -> Source:
    """The source with its channels last, copied where it does not lie so."""
    return _staged(arrays, (low.N, low.source_channels, *low.source), arrays.x, low.groups, space)


def _staged(
    arrays: Operands,
    shape: Sizes,
    strides: Sizes,
    groups: int,
    space: Workspace,
    operand: str = "x",
) -> Source:
    vector = CHUNK // arrays.size
    result = product_kind(arrays)
    # Hopper's products would cut what TF32 lacks; a copy is rounded.
    cut = result == "tf32" and arrays.capability == HOPPER
    if arrays.in_vectors(strides, shape[1], vector) and not cut:
        return Source([], operand, strides, shape[1], rounded=False)
    step, place, steps = channels_last(
        arrays.kind, result, shape, strides, groups, vector, space, operand
    )
    return Source([step], place, steps, ceil_div(shape[1], vector) * vector, rounded=True)


def fits(low: Lowered, arrays: Operands, *, gradient: bool = False) -> bool:
    """Whether offsets through whole operands, or copies of them, fit into 32 bits."""
    operands = [(low.source_channels, reached(low), arrays.x)]
    if gradient:
        operands.append((low.target_channels, low.parts[0].counts, arrays.w))
    return all(_reach(low, arrays, *operand) < INT32_MAX // 2 for operand in operands)


def _reach(low: Lowered, arrays: Operands, channels: int, spatial: Sizes, strides: Sizes) -> int:
    """The largest offset into images, or into a channels-last copy of them."""
    vector = CHUNK // arrays.size
    copied = low.N * prod(spatial) * low.groups * ceil_div(channels, vector) * vector
    shape = (low.N, low.groups * channels, *spatial)
    return max(
        copied, sum((size - 1) * abs(step) for size, step in zip(shape, strides, strict=True))
    )


def plain_weights(
    low: Lowered, part: Correlation, arrays: Operands, source: Source, filled: int
) -> Reduction | None:
    """The reduction's order, if the weights lie as the tensor cores want them, in whole tiles."""
    vector, taps = CHUNK // arrays.size, len(part.taps)
    strides = weight_strides(low, arrays.w)
    as_they_are = (
        product_kind(arrays) != "tf32"  # those are rounded on the way
        and taps > 0
        and source.channels == low.source_channels
        and strides.source == 1
        and tap_places(part, arrays.w) == [t * source.channels for t in range(taps)]
        and filled == low.target_channels
        and source.channels * taps % (SLICE // arrays.size) == 0
        and strides.target % vector == 0
        and arrays.aligned
    )
    return reduction(source.channels, taps, vector, source.channels) if as_they_are else None


def _weights(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    space: Workspace,
    source: Source,
    filled: int,
    in_slice: int,
) -> tuple[Reduction, int, int, list[Step], str | int]:
    """The reduction's order, the weights' row and group pitch, their packing, and their place."""
    in_order = plain_weights(low, part, arrays, source, filled)
    if in_order is not None:
        strides = weight_strides(low, arrays.w)
        return in_order, strides.target, strides.group, [], "w"
    vector, taps = CHUNK // arrays.size, len(part.taps)
    order = reduction(source.channels, taps, vector, in_slice)
    pairs = ceil_div(order.length, in_slice) * in_slice
    if not pairs:
        return order, 0, 0, [], "w"
    packing, place = packed_weights(
        low,
        part,
        arrays,
        space,
        order,
        (pairs, filled),
        pairs_inner=True,
        result=product_kind(arrays),
    )
    return order, pairs, pairs * filled, [packing], place


def _allowed(
    tiles: dict[TensorTile, float], capability: tuple[int, int]
) -> dict[TensorTile, float]:
    """The tiles that the shared memory of a block has room for."""
    room = SHARED_MEMORY.get(capability, _LEAST_SHARED_MEMORY)
    return {shape: speed for shape, speed in tiles.items() if tensor.shared_bytes(shape) <= room}
