"""Winograd convolution, weight gradient: 3x3 weights by F(3x3, 4x4).

The output gradient, in tiles of 4x4, is the filter; the input, in tiles of 6x6, the signal; at
every point remains a product of matrices over the tiles, and what it sums is mapped to the 3x3
weights at the end.

Where tiles are few, both operands are mapped ahead, once. Where they are many, a unit maps chunks
of its tiles into its own memory, for some of the channels, while its sums stay in cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastconv.cpu import simd, winograd_maps, winograd_products
from fastconv.cpu.direct_gradient import finish_lines
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import block_table
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.staging import OPERAND_W, Workspace
from fastconv.cpu.winograd import (
    LINE,
    TAPS,
    VECTORS,
    Mapped,
    Parts,
    Tiling,
    ahead,
    channel_parts,
    contiguous,
    cycles,
    image_constants,
    image_step,
    mapped,
    maps_bytes,
    refusal,
    tiling,
)
from fastconv.lowering import Lowered

__all__ = ["cycles", "refusal", "weight_gradient"]

_FEW_TILES = 160  # that are mapped ahead, however many the channels
_CHUNK_TILES = 56  # mapped at a time: as many as a sum is worth loading for
_CUT = 128  # channels of a unit that maps its own tiles
_SPLITS = 16  # of the tiles at most: each leaves a sum of its own
_ROWS = 8 if simd.VECTOR_BITS == 512 else 4  # input channels in registers


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    size = arrays.size
    tiles = tiling(low.N, low.parts[0].counts)
    vectors = min(VECTORS, -(-low.target_channels // arrays.lanes))
    width = vectors * arrays.lanes
    channels = LINE // size
    parts = channel_parts(low.groups, low.source_channels, channels)
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    gradient_parts = channel_parts(low.groups, low.target_channels, width)
    cut = _cut(tiles, parts, gradient_parts, low.groups, width * size)
    held = (tiles.strips if cut.ahead else cut.chunk_strips) * tiles.across
    image_count = low.groups * parts.per_group if cut.ahead else cut.image_parts
    gradient_count = low.groups * gradient_parts.per_group if cut.ahead else cut.gradient_parts
    image = mapped(image_count, tiles.area, held, LINE)
    gradient = mapped(gradient_count, tiles.area, held, width * size)
    sums = mapped(cut.image_parts * cut.gradient_parts, tiles.area, channels, width * size)
    spill = maps_bytes(tiles, arrays, channels, TAPS)
    entries = low.source_channels * TAPS * TAPS
    block_sums = entries * width * size

    image_maker = image_step(low, arrays, tiles, parts, image)
    gradient_maker = _gradient_step(low, arrays, tiles, gradient_parts, gradient, width * size)
    own = Workspace()
    constants: dict[str, Constant] = {
        "units": cut.units,
        "splits": cut.splits,
        "image_cuts": cut.image_cuts,
        "gradient_cuts": cut.gradient_cuts,
        "chunks": cut.chunks,
        "chunk_strips": cut.chunk_strips,
        "strips": tiles.strips,
        "across": tiles.across,
        "image_part": image.part,
        "image_point": image.point,
        "image_parts": parts.per_group,
        "present": parts.present,
        "gradient_part": gradient.part,
        "gradient_point": gradient.point,
        "gradient_parts": gradient_parts.per_group,
        "groups": low.groups,
        "sums": own.take(sums.bytes),
        "sums_part": sums.part,
        "sums_point": sums.point,
        "maps": own.take(spill),
        "partial": space.take(cut.splits * len(blocks.group) * block_sums),
        "block_sums": block_sums,
        "split_sums": len(blocks.group) * block_sums,
        "part_lines": channels * TAPS * TAPS,
    }
    steps = []
    if cut.ahead:
        items = tiles.strips * len(parts.first)
        step, constants["images"] = ahead(image_maker, image, items, spill, space, threads)
        steps.append(step)
        items = tiles.strips * len(gradient_parts.first)
        step, place = ahead(gradient_maker, gradient, items, spill, space, threads)
        steps.append(step)
        constants |= {"gradients": place, "image_maker": 0, "gradient_maker": 0}
    else:
        constants |= {"images": own.take(image.bytes), "gradients": own.take(gradient.bytes)}
        constants |= {"image_maker": image_maker, "gradient_maker": gradient_maker}
    constants["scratch"] = space.take(own.size * min(threads, cut.units))
    constants["scratch_bytes"] = own.size
    kernel = compiled(
        winograd_products.multiply_gradient,
        arrays.bits, arrays.lanes, tiles.points, _ROWS, vectors, LINE, TAPS,
    )  # fmt: skip
    main = Step(kernel, cut.units, constants)
    sources = np.arange(entries, dtype=np.int64)
    finish = finish_lines(low, arrays, constants, sources, blocks, vectors, space, threads)
    return [*steps, main, finish]


class _Cut(NamedTuple):
    """How the work is cut into units; parts are those of one cut."""

    ahead: bool
    splits: int
    chunks: int
    chunk_strips: int
    image_cuts: int
    image_parts: int
    gradient_cuts: int
    gradient_parts: int
    units: int


def _cut(tiles: Tiling, image: Parts, gradient: Parts, groups: int, line: int) -> _Cut:
    total = tiles.strips * tiles.across
    is_ahead = total <= _FEW_TILES
    wanted = total if is_ahead else _CHUNK_TILES
    chunks = min(tiles.strips, -(-total // wanted))
    chunk_strips = -(-tiles.strips // chunks)
    chunks = -(-tiles.strips // chunk_strips)
    splits = 1 if is_ahead else min(chunks, _SPLITS)
    parts_each = 1 if is_ahead else _CUT * 4 // LINE
    blocks_each = 1 if is_ahead else _CUT * 4 // line
    image_cuts = -(-image.per_group // parts_each)
    gradient_cuts = -(-gradient.per_group // blocks_each)
    return _Cut(
        is_ahead,
        splits,
        chunks,
        chunk_strips,
        image_cuts,
        -(-image.per_group // image_cuts),
        gradient_cuts,
        -(-gradient.per_group // gradient_cuts),
        splits * groups * image_cuts * gradient_cuts,
    )


def _gradient_step(
    low: Lowered, arrays: Operands, tiles: Tiling, parts: Parts, made: Mapped, line: int
) -> Step:
    """What maps the output gradient, tile by tile."""
    constants = image_constants(arrays.w, low.parts[0].counts, (0, 0), tiles, parts, made)
    constants |= {"operand": OPERAND_W, "line": line}
    kernel = compiled(
        winograd_maps.map_images,
        arrays.bits, arrays.lanes, simd.FILTER, tiles.step, tiles.step, tiles.points,
        contiguous(arrays.w, arrays.size),
    )  # fmt: skip
    return Step(kernel, 0, constants)
