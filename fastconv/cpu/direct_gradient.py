"""Direct convolution, weight gradient: the image against the output gradient, pixel by pixel."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import channel_lanes, direct, pixel_lanes
from fastconv.cpu.conversion import BIAS, Place, Redirected, W, X, Y
from fastconv.cpu.direct import phase_table, unit_moves
from fastconv.cpu.operands import Operands, gradient_lanes, halved_lanes, stage
from fastconv.cpu.packing import pack_step
from fastconv.cpu.planning import (
    Blocks,
    block_table,
    dot_tile,
    line_tile,
    loops,
    parts_for,
    pieces,
)
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.staging import Padding, stage_planes
from fastconv.cpu.views import OPERAND_W, View, Workspace, view_of
from fastconv.lowering import Lowered

_CHUNK_PIXELS = 512  # pixels whose packed gradient stays in cache while all lines pass over them
_RUN_BYTES = 128  # of a pixel, that are read together
_SHORT_LINE = 6  # beside four vectors, what fills the registers
_PARTIAL_BYTES = 1 << 24  # bytes of partial sums that splitting the pixels may take


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes: as many as the forward pass."""
    return direct.cycles(pass_name, low, arrays)


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    if _prefers_dots(low, arrays):
        return _dot_steps(low, arrays, space)
    if _swaps(low, arrays):
        steps = _line_steps(*_swapped(low, arrays), space, threads)
        return [Redirected(step, *(Place(at, 0, ()) for at in (W, X, Y, BIAS))) for step in steps]
    return _line_steps(low, halved_lanes(low, arrays), space, threads)


def _swaps(low: Lowered, arrays: Operands) -> bool:
    """Whether image and gradient had better take each other's place.

    With one tap and channels last they can: then the operand of fewer channels is the one that is
    packed, and tiles are cut from the many channels of the other. Of few pixels the sums are the
    weights, in the order in which they lie in memory.
    """
    part = low.parts[-1]
    # Where padding was clipped, the gradient may begin further on than the image.
    aligned = low.source == part.counts and all(axis.start == 0 for axis in part.axes)
    plain = len(part.taps) == 1 and aligned and not low.needs_padding
    last = arrays.channels_last and arrays.w[1] == arrays.size != arrays.w[-1]
    crowded = arrays.w[-1] % 4096 == 0  # would be staged: see `stage`
    few = low.source_channels <= low.target_channels // 2 and not crowded
    short = low.N * prod(part.counts) <= _CHUNK_PIXELS
    whole = arrays.target_size == arrays.size and low.groups == 1
    return plain and last and low.source_channels >= arrays.lanes and (few or short) and whole


def _swapped(low: Lowered, arrays: Operands) -> tuple[Lowered, Operands]:
    """The pass whose image is the gradient, and whose weights are those transposed."""
    channels = low.target_channels, low.source_channels
    weights = (arrays.y[1], arrays.y[0], *arrays.y[2:])
    low = low._replace(source_channels=channels[0], target_channels=channels[1])
    return low, arrays._replace(x=arrays.w, w=arrays.x, y=weights)


def _prefers_dots(low: Lowered, arrays: Operands) -> bool:
    """Whether lanes over pixels take fewer cycles than lanes over output channels."""
    channels, lanes = low.target_channels, arrays.lanes
    if channels >= lanes:
        return False
    entries, length = low.source_channels * len(low.parts[-1].taps), low.parts[-1].counts[-1]
    dots = dot_tile(entries, channels).cycles * -(-length // lanes)
    lines = _lines(low, arrays, view_of(arrays.x))
    over_channels = line_tile(len(lines.starts), lines.m, channels, lanes).cycles * length
    return dots * (3 if arrays.channels_last else 1) < over_channels


# --------------------------------------------------------------- lanes over output channels


class _Lines(NamedTuple):
    """Lines of ``m`` image elements, ``pitch`` bytes apart, at byte offsets ``starts``.

    Entry (input channel, tap) number e of the weights is element ``sources[e]``, counted through
    all lines. Lines over channels start with the channels ``firsts``, again for each tap.
    """

    starts: np.ndarray
    m: int
    pitch: int
    sources: np.ndarray
    firsts: np.ndarray
    along_taps: bool


def _lines(low: Lowered, arrays: Operands, x: View) -> _Lines:
    """Lines along the last kernel axis where it is long enough, else along the channels."""
    part, channels = low.parts[-1], low.source_channels
    taps = len(part.axes[-1].taps)
    offsets = [
        a.taps[1][1] * s if len(a.taps) > 1 else 0
        for a, s in zip(part.axes, x.spatial, strict=True)
    ]
    lengths = [len(a.taps) for a in part.axes]
    along_taps = not arrays.channels_last and taps >= min(3, channels)
    if along_taps:
        m, firsts, element = _pieces(taps, pieces(taps))
        outer_counts, outer_steps = [channels, *lengths[:-1]], [x.channel, *offsets[:-1]]
        pitch = offsets[-1]
    else:
        m, firsts, element = _pieces(channels, _channels_of_a_line(low, arrays))
        outer_counts, outer_steps = lengths, offsets
        pitch = x.channel
    # A kernel whose padding was clipped starts inside the image.
    origin = sum(a.taps[0][1] * s for a, s in zip(part.axes, x.spatial, strict=True))
    heads = origin + _spread(outer_counts, outer_steps)
    starts = (heads[:, None] + firsts * pitch).ravel()
    lines_each = len(firsts)
    place = np.arange(len(heads))[:, None] * (lines_each * m) + element
    # Entries run over (channel, tap); lines along channels come tap by tap.
    sources = place.ravel() if along_taps else place.T.ravel()
    return _Lines(starts, m, pitch, sources.astype(np.int64), firsts, along_taps)


def _channels_of_a_line(low: Lowered, arrays: Operands) -> int:
    """Into how many channels to cut lines along them.

    Beside four vectors of a gradient that is read in place, short lines are a little faster than
    their cycles say: fewer scalars for each multiply-add.
    """
    channels, taps = low.source_channels, len(low.parts[-1].taps)

    def cycles(m: int) -> float:
        lines = taps * -(-channels // m)
        return line_tile(lines, m, low.target_channels, arrays.lanes).cycles

    m = pieces(channels)
    whole = low.target_channels % (4 * arrays.lanes) == 0 and arrays.w[1] == arrays.size
    if whole and channels > _SHORT_LINE and cycles(_SHORT_LINE) < 1.02 * cycles(m):
        return _SHORT_LINE
    return m


def _pieces(length: int, m: int) -> tuple[int, np.ndarray, np.ndarray]:
    """Cut ``length`` into pieces of ``m``, the last moved back to end with it.

    Returns the pieces' size, where each starts, and the place of every element in them.
    """
    firsts = np.minimum(np.arange(0, length, m, dtype=np.int64), length - m)
    index = np.arange(length)
    piece = np.minimum(index // m, len(firsts) - 1)
    return m, firsts, piece * m + index - firsts[piece]


def _spread(counts: list[int], steps: list[int]) -> np.ndarray:
    """Byte offsets of every index of ``counts``, last fastest."""
    table = np.zeros(1, np.int64)
    for count, step in zip(counts, steps, strict=True):
        table = (table[:, None] + np.arange(count, dtype=np.int64) * step).ravel()
    return table


def _line_steps(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    steps, x = stage(low, arrays, space, pixels_contiguous=False)
    dy = view_of(arrays.w)
    over = loops(low.parts[-1], low.N, x, dy, any_axis=True, longest=_CHUNK_PIXELS)
    rows, length = len(over.x_rows), over.pixels.length
    lines = _lines(low, arrays, x)
    shape = line_tile(len(lines.starts), lines.m, low.target_channels, arrays.lanes)
    width = shape.vectors * arrays.lanes
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    gradient = gradient_lanes(low, arrays, over.y_rows, over.pixels, blocks, width)
    # Whole vectors of channels, of pixels one after the other, are read where they are; but not one
    # line of many in each pixel: they would meet in few sets of the cache.
    follow = bool((np.diff(over.y_rows) == length * over.pixels.y_step).all())
    whole = bool((blocks.present == width).all())
    dense = width * arrays.size >= min(_RUN_BYTES, over.pixels.y_step // 4)
    in_place = arrays.w[1] == arrays.size and follow and whole and dense
    tiles = -(-len(lines.starts) // shape.rho)
    chunk_rows, chunks = _even_chunks(rows, _CHUNK_PIXELS // length)
    block_sums = tiles * shape.rho * shape.m * width * arrays.size
    cut = _cut(len(blocks.group), tiles, chunks, block_sums)
    one_tap = len(low.parts[-1].taps) == 1
    together = arrays.y[0] == arrays.size == arrays.target_size
    final = chunks == 1 and one_tap and together and not lines.along_taps
    constants: dict[str, Constant] = {
        "units": cut.units,
        "splits": cut.splits,
        "chunks": chunks,
        "chunk_rows": chunk_rows,
        "rows": rows,
        "x_rows": over.x_rows,
        "length": length,
        "x_step": over.pixels.x_step,
        "tiles": tiles,
        "tile_parts": cut.tile_parts,
        "last_line": len(lines.starts) - 1,
        "lines": lines.starts,
        "pitch": lines.pitch,
        "blocks": len(blocks.group),
        "block_parts": cut.block_parts,
        "x_blocks": blocks.group * x.group_step(low.source_channels),
        "staged": int(x.staged),
        "x_offset": x.offset,
        "packer": 0 if in_place else pack_step(gradient, OPERAND_W, 0, block_by_block=True),
        "block_bytes": gradient.block_bytes,
        "dy_blocks": gradient.blocks_from,
        "dy_rows": over.y_rows,
        # Where pixels are contiguous, the hardware sees what will be read.
        "dy_step": over.pixels.y_step if arrays.channels_last else 0,
        "dy_pitch": over.pixels.y_step if in_place else width * arrays.size,
        "partial": 0 if final else space.take(cut.splits * len(blocks.group) * block_sums),
        "block_sums": block_sums,
        "split_sums": len(blocks.group) * block_sums,
        "valid": blocks.present,
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * arrays.y[0],
        "y_lines": lines.firsts * arrays.y[1],
        "y_pitch": arrays.y[1],
    }
    chunk_bytes = 0 if in_place else -(-chunk_rows * length * width * arrays.size // 64) * 64
    constants["scratch"] = space.take(chunk_bytes * min(threads, cut.units))
    constants["scratch_bytes"] = chunk_bytes
    fixed = lines.pitch if lines.pitch == arrays.size else 0
    kernel = compiled(
        channel_lanes.correlate_gradient,
        arrays.bits, arrays.lanes, shape.rho, shape.m, shape.vectors, fixed, int(final),
    )  # fmt: skip
    main = Step(kernel, cut.units, constants)
    if final:
        return [*steps, main]
    finish = finish_lines(
        low, arrays, constants, lines.sources, blocks, shape.vectors, space, threads
    )
    return [*steps, main, finish]


def _even_chunks(rows: int, most: int) -> tuple[int, int]:
    """Cut ``rows`` into even chunks of at most ``most``: rows of a chunk, and chunks."""
    chunks = -(-rows // max(1, most))
    chunk_rows = -(-rows // chunks)
    return chunk_rows, -(-rows // chunk_rows)


class _Cut(NamedTuple):
    splits: int
    block_parts: int
    tile_parts: int

    @property
    def units(self) -> int:
        return self.splits * self.block_parts * self.tile_parts


def _cut(blocks: int, tiles: int, chunks: int, block_sums: int) -> _Cut:
    """Cut by pixels as far as memory goes, then by blocks and lines.

    A unit of two blocks and four tiles or more reads each chunk of the operands from cache that
    often.
    """
    splits = parts_for(1, min(chunks, max(1, _PARTIAL_BYTES // (blocks * block_sums))))
    block_parts = parts_for(splits, -(-blocks // 2))
    tile_parts = parts_for(splits * block_parts, -(-tiles // 4))
    block_parts = parts_for(splits * tile_parts, blocks)
    return _Cut(splits, block_parts, tile_parts)


def finish_lines(
    low: Lowered, arrays: Operands, main: dict[str, Constant], sources: np.ndarray,
    blocks: Blocks, vectors: int, space: Workspace, threads: int,
) -> Step:  # fmt: skip
    """Add up the partial sums of ``main`` and write them; entry e is in line ``sources[e]``."""
    entries = len(sources)
    kernel_shape = [len(a.taps) for a in low.parts[-1].axes]
    targets = _spread([low.source_channels, *kernel_shape], list(arrays.y[1:]))
    size = arrays.size
    in_order = bool((targets == np.arange(entries) * size).all())
    count = len(blocks.group)
    outer = parts_for(count, -(-entries // arrays.lanes))
    units = count * outer
    spill = arrays.lanes * vectors * arrays.lanes * size
    constants: dict[str, Constant] = {
        name: main[name] for name in ("splits", "partial", "block_sums", "split_sums")
    }
    constants |= {
        "units": units,
        "outer": outer,
        "valid": blocks.present,
        "entries": entries,
        "sources": sources,
        "targets": targets,
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * arrays.y[0],
        "y_channel": arrays.y[0],
        "scratch": space.take(spill * min(threads, units)),
        "scratch_bytes": spill,
    }
    kernel = compiled(
        channel_lanes.finish_gradient, arrays.bits, arrays.lanes, vectors, int(in_order)
    )
    return Step(kernel, units, constants)


# ------------------------------------------------------------------------ lanes over pixels


def _dot_steps(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    part, channels = low.parts[-1], low.target_channels
    moves = tuple(axis.move for axis in part.axes)
    steps, x = stage(low, arrays, space, pixels_contiguous=True)
    dy = view_of(arrays.w)
    if arrays.w[-1] != arrays.size:
        counts = tuple(a.start + a.length for a in part.axes)
        whole = Padding(low.N, low.groups * channels, counts, (0,) * len(counts), counts)
        more, dy = stage_planes(arrays.w, whole, (1,) * len(counts), OPERAND_W, arrays.bits, space)
        steps += more
    over = loops(unit_moves(part), low.N, x, dy, any_axis=False)
    taps = phase_table(low, part, x, moves)
    entries = (np.arange(low.source_channels)[:, None] * x.channel + taps).ravel()
    shape = dot_tile(len(entries), channels)
    blocks = block_table(low.groups, channels, shape.rho, overlap=True)
    tiles = -(-len(entries) // shape.m)
    rows, length = len(over.x_rows), over.pixels.length
    chunk_rows, chunks = _even_chunks(rows, 8 * _CHUNK_PIXELS // length)
    block_sums = tiles * shape.registers * arrays.size
    splits = parts_for(len(blocks.group) * tiles, chunks)
    sums: dict[str, Constant] = {
        "splits": splits,
        "partial": space.take(splits * len(blocks.group) * block_sums),
        "block_sums": block_sums,
        "split_sums": len(blocks.group) * block_sums,
    }
    units = splits * len(blocks.group) * tiles
    constants = sums | {
        "units": units,
        "chunks": chunks,
        "chunk_rows": chunk_rows,
        "rows": rows,
        "x_rows": over.x_rows,
        "dy_rows": over.y_rows,
        "length": length,
        "blocks": len(blocks.group),
        "x_blocks": blocks.group * x.group_step(low.source_channels),
        "dy_blocks": (blocks.group * channels + blocks.first) * dy.channel,
        "dy_channel": dy.channel,
        "tiles": tiles,
        "last_entry": len(entries) - 1,
        "entries": entries.astype(np.int64),
        "x_staged": int(x.staged),
        "x_offset": x.offset,
        "dy_staged": int(dy.staged),
        "dy_offset": dy.offset,
    }
    kernel = compiled(pixel_lanes.correlate_gradient, arrays.bits, arrays.lanes, shape.rho, shape.m)
    kernel_shape = [len(a.taps) for a in part.axes]
    finish = sums | {
        "units": len(blocks.group),
        "entries": len(entries),
        "targets": _spread([low.source_channels, *kernel_shape], list(arrays.y[1:])),
        "y_blocks": (blocks.group * channels + blocks.first) * arrays.y[0],
        "y_channel": arrays.y[0],
        "skip": blocks.repeated,
        "m": shape.rho,
        "n": shape.m,
    }
    last = compiled(pixel_lanes.finish_gradient, arrays.bits)
    return [*steps, Step(kernel, units, constants), Step(last, len(blocks.group), finish)]
