"""Winograd convolution, forward and input gradient: F(4x4, 3x3) and other minimal filters.

36 products stand for the 144 of a tile of 4x4 outputs of a 3x3 kernel; `winograd_shape` says which
tiles cover other kernels, strides and dilations. Images, weights and outputs go through the maps of
`simd.minimal_filters`; at every point of the map remains a product of matrices.

Two schedules. Where the mapped weights stay in cache, they are made ahead, and each chunk of the
image is mapped, multiplied by all weights and mapped back while it is in the second-level cache.
Where they do not (each is 36/9 of the weights), images are mapped ahead, and each block of weights
is mapped in cache by the thread that uses it.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.cpu import simd, winograd_products, winograd_shape
from fastconv.cpu.operands import Operands, pack_bias
from fastconv.cpu.planning import UNITS, Blocks, block_table
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import Workspace
from fastconv.cpu.winograd_images import source_of
from fastconv.cpu.winograd_makers import (
    ahead,
    channel_parts,
    image_step,
    line_of,
    mapped,
    maps_bytes,
    output_step,
    weight_step,
)
from fastconv.cpu.winograd_shape import Shape, planar, shape_of
from fastconv.lowering import Lowered

# |error| <= BOUND * eps * the largest sum over channels of max |x| times the sum of |w| (for the
# gradients, of the factors that take their places). Measured: 1 on normal numbers, 7 where a mean
# of 100 hides what varies. Where all channels are alike, the roundings of their products all go one
# way: 18 for constants, 76 for patterns of signs that were searched for.
BOUND = 100
VECTORS = 2  # of output channels in a block
_WEIGHTS_STAY = 5 << 20  # bytes of mapped weights that stay in the third-level cache
_IMAGE_STAYS = 400_000  # bytes of a mapped chunk that stay in the second-level cache
_CHUNK_TILES = 64  # in a chunk whose block of weights is mapped for it alone
_ROWS = (14, 12, 10, 8, 7, 6) if simd.VECTOR_BITS == 512 else (6, 5, 4)  # tiles in registers


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    return winograd_shape.refusal(low)


# Cycles to map a vector of channels: a tile of an image or of outputs, or an item of weights.
# Fitted on a Zen 4, whose cycles count half: there it starts one multiply-add each.
_MAP_IMAGE, _MAP_OUTPUT, _MAP_WEIGHT = 230, 150, 140
# To move an element of an image whose pixels and channels both lie apart, or to stage one.
_MOVE, _STAGE = 2.2, 1.0


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes: products at two multiply-adds each, and maps."""
    low, arrays = planar(low, arrays)
    shape = shape_of(low)
    count, lanes = shape.strips * shape.across, arrays.lanes
    source_vectors = low.groups * -(-shape.source_channels // lanes)
    target_vectors = low.groups * shape.phases * -(-low.target_channels // lanes)
    least = -(-count // _ROWS[-1]) * _ROWS[-1]
    products = 0.55 * shape.area * least * shape.source_channels * target_vectors
    images = count * (source_vectors * _MAP_IMAGE + target_vectors * _MAP_OUTPUT)
    weights = shape.source_channels * target_vectors * _MAP_WEIGHT
    moved = 0.0
    if shape.high.stride * shape.wide.stride > 1:
        moved += _STAGE * low.N * low.source_channels * prod(low.padded)
    if not arrays.channels_last:
        pixels = count * lanes * shape.steps[0] * shape.steps[1]
        scattered = shape.wide.dilation > 1
        moved += _MOVE * pixels * source_vectors * scattered
        moved += _MOVE * pixels * target_vectors * (scattered or shape.phases > 1)
    return products + (images + weights) * shape.area / 36 + moved


def rows_of(tiles: int) -> int:
    """How many tiles to multiply at a time: least time for ``tiles`` in all."""
    return min(_ROWS, key=lambda m: -(-tiles // m) * (m + 1.5))


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    low, arrays = planar(low, arrays)
    shape = shape_of(low)
    source = source_of(low, arrays, shape, space)
    vectors = min(VECTORS, -(-low.target_channels // arrays.lanes))
    width = vectors * arrays.lanes
    line = line_of(shape, arrays)
    parts = channel_parts(low.groups, shape.source_channels, line // arrays.size)
    per_phase = block_table(low.groups, low.target_channels, width, overlap=False)
    block_phase = np.repeat(np.arange(shape.phases, dtype=np.int64), len(per_phase.group))
    blocks = Blocks(*(np.tile(table, shape.phases) for table in per_phase))
    weight = mapped(
        len(blocks.group) * parts.per_group, shape.area, parts.channels, width * arrays.size
    )
    weights_first = _weights_first(weight.bytes, shape)
    strips = _chunk_strips(shape, len(parts.first) * line, weights_first)
    chunks = -(-shape.strips // strips)
    chunk_tiles = strips * shape.across
    m = rows_of(chunk_tiles)
    ahead_tiles = (shape.strips if weights_first else strips) * shape.across
    image = mapped(len(parts.first), shape.area, ahead_tiles + m, line)
    product = mapped(1, shape.area, chunk_tiles + m, width * arrays.size)
    block_parts = min(len(blocks.group), -(-UNITS // chunks)) if weights_first else 1
    units = chunks * block_parts

    image_maker = image_step(arrays, shape, source, parts, image, line)
    weight_maker, gathered = weight_step(
        low, arrays, shape, source, parts, blocks, block_phase, vectors, weight
    )
    output_maker = output_step(low, arrays, shape, blocks, block_phase, vectors, product)
    spill = max(maps_bytes(shape, arrays), gathered)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    own = Workspace()
    constants: dict[str, Constant] = {
        "units": units,
        "block_parts": block_parts,
        "blocks": len(blocks.group),
        "block_group": blocks.group,
        "chunk_strips": strips,
        "strips": shape.strips,
        "across": shape.across,
        "staged": int(source.staged),
        "x_offset": source.offset,
        "image_part": image.part,
        "image_point": image.point,
        "weight_part": weight.part,
        "weight_point": weight.point,
        "group_parts": parts.per_group,
        "parts": len(parts.first),
        "present": parts.present,
        "output_maker": output_maker,
        "products": own.take(product.bytes),
        "product_point": product.point,
        "bias_from": bias_from,
        "maps": own.take(spill),
    }
    if weights_first:
        items = shape.strips * len(parts.first)
        step, place = ahead(image_maker, source, image, items, spill, space, threads)
        constants |= {"image_maker": 0, "images": place}
        constants |= {"weight_maker": weight_maker, "weights": own.take(weight.part)}
    else:
        items = len(blocks.group) * parts.per_group
        step, place = ahead(weight_maker, source, weight, items, spill, space, threads)
        constants |= {"weight_maker": 0, "weights": place}
        constants |= {"image_maker": image_maker, "images": own.take(image.bytes)}
    constants["scratch"] = space.take(own.size * min(threads, units))
    constants["scratch_bytes"] = own.size
    kernel = compiled(
        winograd_products.multiply, arrays.bits, arrays.lanes, shape.area, m, vectors, line
    )
    return [*source.steps, bias, step, Step(kernel, units, constants)]


def _weights_first(weight_bytes: int, shape: Shape) -> bool:
    """Whether to map weights where they are used: too many to keep, for few tiles."""
    return weight_bytes > _WEIGHTS_STAY and shape.strips * shape.across <= 2 * _CHUNK_TILES


def _chunk_strips(shape: Shape, bytes_each: int, weights_first: bool) -> int:
    """Rows of tiles to a chunk; a tile takes ``bytes_each`` at every point."""
    staying = _IMAGE_STAYS // (shape.area * bytes_each)
    if weights_first or staying < _ROWS[0]:
        chunks = -(-shape.strips * shape.across // _CHUNK_TILES)
        return -(-shape.strips // min(chunks, shape.strips))
    least = max(-(-_ROWS[0] // shape.across), -(-shape.strips // UNITS))
    return max(1, min(least, staying // shape.across, shape.strips))
