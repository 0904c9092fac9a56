"""Winograd convolution, weight gradient: 3x3 weights by F(3x3, 4x4), and others likewise.

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
from fastconv.cpu.views import OPERAND_W, Workspace
from fastconv.cpu.winograd import VECTORS, cycles, refusal
from fastconv.cpu.winograd_images import channel_table, source_of, tap_table, targets_of
from fastconv.cpu.winograd_makers import (
    Mapped,
    Parts,
    ahead,
    channel_parts,
    contiguous,
    image_constants,
    image_step,
    line_of,
    mapped,
    maps_bytes,
)
from fastconv.cpu.winograd_shape import Shape, planar, shape_of
from fastconv.lowering import Lowered

__all__ = ["cycles", "refusal", "weight_gradient"]

_FEW_TILES = 160  # that are mapped ahead, however many the channels
_CHUNK_TILES = 56  # mapped at a time: as many as a sum is worth loading for
_CUT = 512  # bytes of channels of a unit that maps its own tiles
_SPLITS = 16  # of the tiles at most: each leaves a sum of its own
_ROWS = 8 if simd.VECTOR_BITS == 512 else 4  # input channels in registers


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    dy_axis = arrays.w
    low, planes = planar(low, arrays._replace(w=arrays.y, y=dy_axis))
    # A gradient stands where weights do, and weights where a target does.
    arrays = planes._replace(w=planes.y, y=planes.w)
    size = arrays.size
    shape = shape_of(low)
    source = source_of(low, arrays, shape, space)
    vectors = min(VECTORS, -(-low.target_channels // arrays.lanes))
    width = vectors * arrays.lanes
    line = line_of(shape, arrays)
    parts = channel_parts(low.groups, shape.source_channels, line // size)
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    gradient_parts = channel_parts(low.groups, low.target_channels, width)
    cut = _cut(shape, parts, gradient_parts, low.groups, line, width * size)
    held = (shape.strips if cut.ahead else cut.chunk_strips) * shape.across
    image_count = low.groups * parts.per_group if cut.ahead else cut.image_parts
    gradient_count = low.groups * gradient_parts.per_group if cut.ahead else cut.gradient_parts
    image = mapped(image_count, shape.area, held, line)
    gradient = mapped(gradient_count, shape.area, held, width * size)
    sums = mapped(cut.image_parts * cut.gradient_parts, shape.area, parts.channels, width * size)
    spill = maps_bytes(shape, arrays)
    entries = shape.taps[0] * shape.taps[1]
    block_sums = shape.source_channels * entries * width * size

    image_maker = image_step(arrays, shape, source, parts, image, line)
    gradient_maker = _gradient_step(low, arrays, shape, gradient_parts, gradient, width * size)
    own = Workspace()
    constants: dict[str, Constant] = {
        "units": cut.units,
        "splits": cut.splits,
        "image_cuts": cut.image_cuts,
        "gradient_cuts": cut.gradient_cuts,
        "chunks": cut.chunks,
        "chunk_strips": cut.chunk_strips,
        "strips": shape.strips,
        "across": shape.across,
        "staged": int(source.staged),
        "x_offset": source.offset,
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
        "part_lines": parts.channels * entries,
    }
    steps = source.steps
    if cut.ahead:
        items = shape.strips * len(parts.first)
        step, constants["images"] = ahead(image_maker, source, image, items, spill, space, threads)
        steps = [*steps, step]
        items = shape.strips * len(gradient_parts.first)
        step, place = ahead(gradient_maker, source, gradient, items, spill, space, threads)
        steps = [*steps, step]
        constants |= {"gradients": place, "image_maker": 0, "gradient_maker": 0}
    else:
        constants |= {"images": own.take(image.bytes), "gradients": own.take(gradient.bytes)}
        constants |= {"image_maker": image_maker, "gradient_maker": gradient_maker}
    constants["scratch"] = space.take(own.size * min(threads, cut.units))
    constants["scratch_bytes"] = own.size
    kernel = compiled(
        winograd_products.multiply_gradient,
        arrays.bits, arrays.lanes, *shape.points, _ROWS, vectors, line, *shape.taps,
    )  # fmt: skip
    main = Step(kernel, cut.units, constants)
    sources = _sources(low, shape, source.phase_first)
    finish = finish_lines(low, arrays, constants, sources, blocks, vectors, space, threads)
    return [*steps, main, finish]


def _sources(low: Lowered, shape: Shape, phase_first: bool) -> np.ndarray:
    """Where the sum of each (input channel, tap) is, counted in lines."""
    R, S = (len(axis.taps) for axis in low.parts[0].axes)
    taps = tap_table(low, shape, S)
    channel, phase = channel_table(low, shape, phase_first)
    index = np.arange(len(channel))[:, None] * taps.shape[1] + np.arange(taps.shape[1])
    tap = taps[phase]
    found = np.empty((low.source_channels, R * S), np.int64)
    there = tap >= 0
    found[np.broadcast_to(channel[:, None], tap.shape)[there], tap[there]] = index[there]
    return found.ravel()


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


def _cut(
    shape: Shape, image: Parts, gradient: Parts, groups: int, line: int, gradient_line: int
) -> _Cut:
    total = shape.strips * shape.across
    is_ahead = total <= _FEW_TILES
    wanted = total if is_ahead else _CHUNK_TILES
    chunks = min(shape.strips, -(-total // wanted))
    chunk_strips = -(-shape.strips // chunks)
    chunks = -(-shape.strips // chunk_strips)
    splits = 1 if is_ahead else min(chunks, _SPLITS)
    parts_each = 1 if is_ahead else max(1, _CUT // line)
    blocks_each = 1 if is_ahead else max(1, _CUT // gradient_line)
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
    low: Lowered, arrays: Operands, shape: Shape, parts: Parts, made: Mapped, line: int
) -> Step:
    """What maps the output gradient, tile by tile."""
    images = targets_of(low, arrays.w, shape)
    constants = image_constants(images, shape, parts, made, line)
    constants["operand"] = OPERAND_W
    kernel = compiled(
        winograd_maps.map_images,
        arrays.bits, arrays.lanes, simd.FILTER, *shape.steps, *shape.steps, *shape.points,
        contiguous(images, arrays.size),
    )  # fmt: skip
    return Step(kernel, 0, constants)
