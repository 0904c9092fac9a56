"""Winograd convolution, forward and input gradient: 3x3 kernels of stride 1 by F(4x4, 3x3).

36 products stand for the 144 of a tile of 4x4 outputs; F(2x2, 3x3), 16 for 36, where outputs are
too small for tiles of four. Images, weights and outputs go through the maps of
`simd.minimal_filters`; at every point of the map remains a product of matrices.

Two schedules. Where the mapped weights stay in cache, they are made ahead, and each chunk of the
image is mapped, multiplied by all weights and mapped back while it is in the second-level cache.
Where they do not (each is 36/9 of the weights), images are mapped ahead, and each block of weights
is mapped in cache by the thread that uses it.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import simd, winograd_maps, winograd_products
from fastconv.cpu.operands import Operands, pack_bias
from fastconv.cpu.planning import UNITS, Blocks, block_table
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.staging import OPERAND_X, Workspace
from fastconv.lowering import Correlation, Lowered

TAPS = 3
# |error| <= BOUND * eps * the largest sum over channels of max |x| times the sum of |w| (for the
# gradients, of the factors that take their places): measured, up to 6.4 where a mean of 100 hides
# what varies, 1 on normal numbers.
BOUND = 12
LINE = 256  # bytes of a mapped tile's channels: one part of the channels
VECTORS = 2  # of output channels in a block
_PAD = 64  # bytes between points, so that they do not meet in the same sets of a cache
_WEIGHTS_STAY = 5 << 20  # bytes of mapped weights that stay in the third-level cache
_IMAGE_STAYS = 400_000  # bytes of a mapped chunk that stay in the second-level cache
_CHUNK_TILES = 64  # in a chunk whose block of weights is mapped for it alone
_ROWS = (14, 12, 10, 8, 7, 6) if simd.VECTOR_BITS == 512 else (6, 5, 4)  # tiles in registers


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    part = low.parts[-1]
    if len(low.parts) != 1 or len(part.axes) != 2:
        return "needs two spatial axes and stride 1"
    for axis in part.axes:
        first = min((o for _, o in axis.taps), default=0)
        steps = sorted(o - first for _, o in axis.taps)
        if steps != list(range(TAPS)) or (axis.move != 1 and axis.length > 1):
            return "needs a 3x3 kernel, stride 1 and dilation 1"
    return None


# Cycles to map a vector of channels: a tile of an image or of outputs, or an item of weights.
# Fitted on a Zen 4, whose cycles count half: there it starts one multiply-add each.
_MAP_IMAGE, _MAP_OUTPUT, _MAP_WEIGHT = 230, 150, 140


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes: products at two multiply-adds each, and maps."""
    tiles = tiling(low.N, low.parts[0].counts)
    count, lanes = tiles.strips * tiles.across, arrays.lanes
    source_vectors = low.groups * -(-low.source_channels // lanes)
    target_vectors = low.groups * -(-low.target_channels // lanes)
    least = -(-count // _ROWS[-1]) * _ROWS[-1]
    products = 0.55 * tiles.area * least * low.source_channels * target_vectors
    images = count * (source_vectors * _MAP_IMAGE + target_vectors * _MAP_OUTPUT)
    weights = low.source_channels * target_vectors * _MAP_WEIGHT
    return products + (images + weights) * tiles.area / 36


class Tiling(NamedTuple):
    """The tiles of an image: ``step`` pixels apart, mapped to ``points`` x ``points``."""

    step: int
    points: int
    high: int
    across: int
    strips: int  #: rows of tiles, of all images

    @property
    def area(self) -> int:
        """Points of a tile."""
        return self.points**2


def tiling(N: int, counts: tuple[int, ...]) -> Tiling:
    """Tiles of 4x4, or of 2x2 where these take fewer multiplications."""

    def products(step: int) -> int:
        return (step + TAPS - 1) ** 2 * prod(-(-count // step) for count in counts)

    step = min((4, 2), key=products)
    high, across = (-(-count // step) for count in counts)
    return Tiling(step, step + TAPS - 1, high, across, N * high)


class Parts(NamedTuple):
    """Input channels in parts of a line each, group by group, and what lies between them."""

    first: np.ndarray  #: each part's first channel, of all
    present: np.ndarray
    per_group: int


def channel_parts(groups: int, channels: int, width: int) -> Parts:
    """Cut every group's channels into parts of ``width``."""
    blocks = block_table(groups, channels, width, overlap=False)
    first = blocks.group * channels + blocks.first
    return Parts(first, blocks.present, len(first) // groups)


class Mapped(NamedTuple):
    """Where something mapped lies: from a part and a point to the next, and its bytes in all."""

    part: int
    point: int
    bytes: int


def mapped(parts: int, area: int, items: int, line: int) -> Mapped:
    """The place of [part][point][item][line]."""
    point = items * line + _PAD
    return Mapped(area * point, point, parts * area * point)


def rows_of(tiles: int) -> int:
    """How many tiles to multiply at a time: least time for ``tiles`` in all."""
    return min(_ROWS, key=lambda m: -(-tiles // m) * (m + 1.5))


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    part = low.parts[0]
    tiles = tiling(low.N, part.counts)
    vectors = min(VECTORS, -(-low.target_channels // arrays.lanes))
    width = vectors * arrays.lanes
    channels = LINE // arrays.size
    parts = channel_parts(low.groups, low.source_channels, channels)
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    weight = mapped(len(blocks.group) * parts.per_group, tiles.area, channels, width * arrays.size)
    weights_first = _weights_first(weight.bytes, tiles)
    strips = _chunk_strips(tiles, len(parts.first), weights_first)
    chunks = -(-tiles.strips // strips)
    chunk_tiles = strips * tiles.across
    m = rows_of(chunk_tiles)
    ahead_tiles = (tiles.strips if weights_first else strips) * tiles.across
    image = mapped(len(parts.first), tiles.area, ahead_tiles + m, LINE)
    product = mapped(1, tiles.area, chunk_tiles + m, width * arrays.size)
    block_parts = min(len(blocks.group), -(-UNITS // chunks)) if weights_first else 1
    units = chunks * block_parts
    spill = maps_bytes(tiles, arrays, channels, TAPS)

    image_maker = image_step(low, arrays, tiles, parts, image)
    weight_maker = _weight_step(low, part, arrays, tiles, parts, blocks, vectors, weight)
    output_maker = _output_step(low, arrays, tiles, blocks, vectors, product)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    own = Workspace()
    constants: dict[str, Constant] = {
        "units": units,
        "block_parts": block_parts,
        "blocks": len(blocks.group),
        "block_group": blocks.group,
        "chunk_strips": strips,
        "strips": tiles.strips,
        "across": tiles.across,
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
        step, place = ahead(
            image_maker, image, tiles.strips * len(parts.first), spill, space, threads
        )
        constants |= {"image_maker": 0, "images": place}
        constants |= {"weight_maker": weight_maker, "weights": own.take(weight.part)}
    else:
        items = len(blocks.group) * parts.per_group
        step, place = ahead(weight_maker, weight, items, spill, space, threads)
        constants |= {"weight_maker": 0, "weights": place}
        constants |= {"image_maker": image_maker, "images": own.take(image.bytes)}
    constants["scratch"] = space.take(own.size * min(threads, units))
    constants["scratch_bytes"] = own.size
    kernel = compiled(
        winograd_products.multiply,
        arrays.bits, arrays.lanes, tiles.points, m, vectors, LINE,
    )  # fmt: skip
    return [bias, step, Step(kernel, units, constants)]


def _weights_first(weight_bytes: int, tiles: Tiling) -> bool:
    """Whether to map weights where they are used: too many to keep, for few tiles."""
    return weight_bytes > _WEIGHTS_STAY and tiles.strips * tiles.across <= 2 * _CHUNK_TILES


def _chunk_strips(tiles: Tiling, parts: int, weights_first: bool) -> int:
    """Rows of tiles to a chunk."""
    staying = _IMAGE_STAYS // (parts * tiles.area * LINE)
    if weights_first or staying < _ROWS[0]:
        chunks = -(-tiles.strips * tiles.across // _CHUNK_TILES)
        return -(-tiles.strips // min(chunks, tiles.strips))
    least = max(-(-_ROWS[0] // tiles.across), -(-tiles.strips // UNITS))
    return max(1, min(least, staying // tiles.across, tiles.strips))


def maps_bytes(tiles: Tiling, arrays: Operands, channels: int, taps: int) -> int:
    """Bytes that the maps of images, weights and outputs take on the way, the most of the three."""
    vector = arrays.lanes * arrays.size
    pixels = (tiles.across - 1) * tiles.step + tiles.points
    return vector * max(tiles.points * pixels, channels * taps * taps)


def ahead(
    maker: Step, made: Mapped, items: int, spill: int, space: Workspace, threads: int
) -> tuple[Step, int]:
    """The step that makes all ``items`` before they are used, and where it puts them."""
    units = min(items, 4 * UNITS)
    place = space.take(made.bytes)
    constants: dict[str, Constant] = {
        "units": items,
        "inner": maker,
        "target": place,
        "scratch": space.take(spill * min(threads, units)),
        "scratch_bytes": spill,
    }
    return Step(compiled(winograd_maps.ahead), units, constants), place


def image_step(low: Lowered, arrays: Operands, tiles: Tiling, parts: Parts, image: Mapped) -> Step:
    """What maps the source, tile by tile."""
    # Wide padding cuts the borders off an output gradient: its first taps start inside.
    inside = (min(o for _, o in axis.taps) for axis in low.parts[0].axes)
    before = tuple(b - o for b, o in zip(low.before, inside, strict=True))
    constants = image_constants(arrays.x, low.source, before, tiles, parts, image)
    constants |= {"operand": OPERAND_X, "line": LINE}
    kernel = compiled(
        winograd_maps.map_images,
        arrays.bits, arrays.lanes, simd.SIGNAL, tiles.points, tiles.step, tiles.points,
        contiguous(arrays.x, arrays.size),
    )  # fmt: skip
    return Step(kernel, 0, constants)


def image_constants(
    strides: tuple[int, ...],
    extents: tuple[int, ...],
    before: tuple[int, ...],
    tiles: Tiling,
    parts: Parts,
    made: Mapped,
) -> dict[str, Constant]:
    """What `map_images` reads of an operand and of what it makes."""
    image, channel, row, pixel = strides
    return {
        "high": tiles.high,
        "across": tiles.across,
        "parts": len(parts.first),
        "part_from": parts.first * channel,
        "present": parts.present,
        "image": image,
        "channel": channel,
        "row": row,
        "pixel": pixel,
        "H": extents[0],
        "W": extents[1],
        "before_h": before[0],
        "before_w": before[1],
        "part_bytes": made.part,
        "point": made.point,
    }


def contiguous(strides: tuple[int, ...], size: int) -> int:
    """What lies contiguous in an image of these strides."""
    if strides[3] == size:
        return winograd_maps.PIXELS
    return winograd_maps.CHANNELS if strides[1] == size else winograd_maps.ANY


def _weight_step(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    tiles: Tiling,
    parts: Parts,
    blocks: Blocks,
    vectors: int,
    weight: Mapped,
) -> Step:
    """What maps the weights: lanes over target channels."""
    w, size, vector = arrays.w, arrays.size, arrays.lanes * arrays.size
    source, target = (0, 1) if low.transposed else (1, 0)
    # Groups are cut out of the weight's first axis, whichever channels that holds.
    per_group = low.source_channels if low.transposed else low.target_channels
    run = w[3] == size and w[2] == TAPS * size
    whole = run and w[source] == TAPS * w[2]
    mode = winograd_maps.WHOLE if whole else winograd_maps.TAPS if run else winograd_maps.ANY
    # Tap (r, s) of the weights lies r * 3 + s vectors into what is gathered of a channel.
    down, across = ([r for r, o in sorted(a.taps, key=lambda tap: tap[1])] for a in part.axes)
    table = [r * w[2] + s * w[3] for r in range(TAPS) for s in range(TAPS)]
    constants: dict[str, Constant] = {
        "parts": parts.per_group,
        "block_from": blocks.group * (per_group * w[0]) + blocks.first * w[target],
        "valid": blocks.present,
        "part_from": parts.first[: parts.per_group] * w[source],
        "present": parts.present,
        "channel": w[source],
        "lane_step": w[target],
        "tap_table": np.array(table, np.int64),
        "first_tap": (down[0] * TAPS + across[0]) * vector,
        "tap_row": (down[1] - down[0]) * TAPS * vector,
        "tap_column": (across[1] - across[0]) * vector,
        "mode": mode,
        "part_bytes": weight.part,
        "point": weight.point,
    }
    kernel = compiled(
        winograd_maps.map_weights, arrays.bits, arrays.lanes, TAPS, tiles.points, vectors
    )
    return Step(kernel, 0, constants)


def _output_step(
    low: Lowered, arrays: Operands, tiles: Tiling, blocks: Blocks, vectors: int, product: Mapped
) -> Step:
    """What maps the products of a block to the target."""
    part = low.parts[0]
    image, channel, row, pixel = arrays.y
    constants: dict[str, Constant] = {
        "high": tiles.high,
        "across": tiles.across,
        "P": part.counts[0],
        "Q": part.counts[1],
        "image": image,
        "channel": channel,
        "row": row,
        "pixel": pixel,
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * channel,
        "valid": blocks.present,
        "point": product.point,
        "contiguous": contiguous(arrays.y, arrays.size),
        "floor": arrays.floor,
    }
    kernel = compiled(
        winograd_maps.map_outputs, arrays.bits, arrays.lanes, tiles.step, tiles.points, vectors
    )
    return Step(kernel, 0, constants)
