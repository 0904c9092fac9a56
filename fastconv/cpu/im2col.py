"""im2col convolution: columns gathered block by block, then the tiles of direct convolution."""

from __future__ import annotations

from math import gcd, prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import column_blocks, pixel_panels, simd
from fastconv.cpu.channel_lanes import store_kind
from fastconv.cpu.column_blocks import PIXELS
from fastconv.cpu.direct_gradient import finish_lines
from fastconv.cpu.operands import (
    Operands,
    gradient_lanes,
    pack_bias,
    pack_weights,
    packed,
    stage,
    stay_near,
)
from fastconv.cpu.planning import (
    Axis,
    block_table,
    column_tile,
    loops,
    panel_tile,
    parts_for,
    row_loops,
    source_loops,
    target_loops,
)
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_W, View, Workspace, view_of
from fastconv.cpu.woven import Woven, woven
from fastconv.lowering import Correlation, Lowered

_COLUMN_BYTES = 600_000  # of a column block, that stay in the second-level cache
_PANEL_BYTES = 300_000  # of a panel, that stay in the second-level cache beside weights and results
_PANEL_PIXELS = 400  # of an image at least, measured
# With half the registers direct's tiles are so low that they read each line of a channel often.
_FEW_REGISTERS, _FEWER_PIXELS = simd.VECTOR_BITS < 512, 48
_WAITING_BYTES = 1 << 21  # bytes of sums that wait, in each thread, for their next channels
_PARTIAL_BYTES = 1 << 24  # bytes of partial sums that splitting the pixels may take


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    steps, x = stage(low, arrays, space, pixels_contiguous=False)
    if (how := _weaving(low, arrays)) is not None:
        return steps + _panel_steps(low, low.parts[-1], arrays, x, space, threads, how)
    for part in low.parts:
        steps += _part_steps(low, part, arrays, x, space, threads)
    return steps


def _weaving(low: Lowered, arrays: Operands) -> Woven | None:
    """How panels of pixels weave the target, or None."""
    if low.groups > 1 or low.target_channels < 2:
        return None
    return woven(low, arrays)


def panels_suit(low: Lowered, arrays: Operands) -> bool:
    """Whether panels of pixels beat direct convolution, whose tiles read the image where it lies.

    They do where they weave a strided target, which direct convolution fills and then scatters
    to; where pixels are contiguous and either there is one tap, so that a panel is a plain copy
    of what memory spreads over all channels, or channels lie at such a distance that they meet in
    few sets of the first-level cache. Images of few pixels fill panels badly.
    """
    part = low.parts[-1]
    if low.target_channels < arrays.lanes or low.source_channels < arrays.lanes:
        return False
    if _weaving(low, arrays) is not None and not arrays.channels_last:
        return True
    if low.groups > 1 or len(low.parts) > 1 or arrays.y[-1] != arrays.size:
        return False
    one_tap = len(part.taps) == 1 and not arrays.channels_last
    one_tap = one_tap and (_FEW_REGISTERS or arrays.x[-1] == arrays.size)
    # A tile reads up to two lines of each channel; the cache has 64 sets of 8 lines.
    pitch = prod(low.padded) * arrays.size if low.needs_padding else arrays.x[1]
    sets = 64 // gcd(pitch // 64, 64) if pitch % 64 == 0 else 64
    crowded = not arrays.channels_last and 2 * low.source_channels >= 8 * sets
    crowded = crowded and part.axes[-1].move == 1
    least = _FEWER_PIXELS if one_tap and _FEW_REGISTERS else _PANEL_PIXELS
    return prod(part.counts) >= least and (one_tap or crowded)


def _part_steps(
    low: Lowered, part: Correlation, arrays: Operands, x: View, space: Workspace, threads: int
) -> list[Step]:
    y = view_of(arrays.y)
    if low.groups == 1 and part.taps and y.spatial[-1] * part.axes[-1].step == arrays.size:
        return _panel_steps(low, part, arrays, x, space, threads)
    source, target = row_loops(part, low.N, x, y), target_loops(part, low.N, y)
    length = target.pixels.length
    pixels = len(target.y_rows) * length
    shape = column_tile(low.target_channels, arrays.lanes)
    width = shape.vectors * arrays.lanes
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    pack, weights, block_bytes = pack_weights(low, part, arrays, blocks, width, space)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    taps = len(part.taps)
    chunk = _chunk(low.source_channels, taps, PIXELS * arrays.size, _COLUMN_BYTES)
    group_blocks = len(blocks.group) // low.groups
    tile_bytes = shape.registers * arrays.lanes * arrays.size
    run_tiles = min(-(-pixels // shape.m), PIXELS // shape.m)
    run_tiles = max(1, min(run_tiles, _WAITING_BYTES // (group_blocks * tile_bytes)))
    pixel_units = -(-pixels // (run_tiles * shape.m)) * low.groups
    block_parts = parts_for(pixel_units, group_blocks)
    units = pixel_units * block_parts
    column_bytes = chunk.channels * chunk.taps * PIXELS * arrays.size
    scratch_bytes = group_blocks * run_tiles * tile_bytes
    slots = min(threads, units)
    constants: dict[str, Constant] = {
        "units": units,
        "block_parts": block_parts,
        "run_tiles": run_tiles,
        "pixels": pixels,
        "y_rows": target.y_rows,
        "y_length": length,
        "y_step": target.pixels.y_step,
        "valid": blocks.present,
        "channels": low.source_channels,
        **chunk.constants(low.source_channels, taps),
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * y.channel,
        "y_channel": y.channel,
        "weights": weights,
        "block_bytes": block_bytes,
        "bias_from": bias_from,
        "floor": arrays.floor,
        "scratch": space.take(scratch_bytes * slots),
        "scratch_bytes": scratch_bytes,
        "groups": low.groups,
        "group_blocks": group_blocks,
    }
    constants |= _gathering(low, part, x, source.x_rows, source.pixels)
    constants["x_blocks"] = blocks.group * x.group_step(low.source_channels)
    constants |= _columns(column_bytes, slots, space)
    constants["store"] = store_kind(y.channel, target.pixels.y_step, arrays.size)
    kernel = compiled(
        column_blocks.correlate,
        arrays.bits, arrays.lanes, shape.m, shape.vectors, _mode(arrays, x, source.pixels),
    )  # fmt: skip
    return [pack, bias, Step(kernel, units, constants)]


def _panel_steps(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    x: View,
    space: Workspace,
    threads: int,
    how: Woven | None = None,
) -> list[Step]:
    """Correlate one part of a target whose pixels are contiguous, or woven, panel by panel."""
    y = view_of(arrays.y)
    if how is not None:
        source, target = source_loops(part, low.N, x), row_loops(part, low.N, x, y)
    else:
        source, target = loops(part, low.N, x, y, any_axis=False), target_loops(part, low.N, y)
        if target.pixels.y_step != arrays.size:
            target = loops(part, low.N, y, y, any_axis=False)
    pixels = len(target.y_rows) * target.pixels.length
    shape = panel_tile(pixels, low.target_channels, arrays.lanes)
    panel_pixels = shape.vectors * arrays.lanes
    blocks = block_table(1, low.target_channels, shape.m, overlap=True)
    pack, weights, block_bytes = pack_weights(low, part, arrays, blocks, shape.m, space)
    bias, bias_from = pack_bias(low, arrays, blocks, shape.m, space)
    taps, panels = len(part.taps), -(-pixels // panel_pixels)
    chunk = _chunk(low.source_channels, taps, panel_pixels * arrays.size, _PANEL_BYTES)
    runs = parts_for(1, panels)
    run_panels = -(-panels // runs)
    runs = -(-panels // run_panels)
    block_parts = parts_for(runs, len(blocks.group))
    units = runs * block_parts
    tile_bytes = shape.m * panel_pixels * arrays.size
    cuts = chunk.constants(low.source_channels, taps)
    waiting = tile_bytes * (len(blocks.group) if cuts["cuts"] > 1 else 0)
    fills = shape.m * arrays.lanes * arrays.size if how is not None else 0
    scratch_bytes = tile_bytes + fills + waiting
    mode = {1: pixel_panels.RUNS, 2: pixel_panels.PAIRS}.get(
        source.pixels.x_step // arrays.size, pixel_panels.GATHERED
    )
    if source.pixels.x_step % arrays.size:
        mode = pixel_panels.GATHERED
    slots = min(threads, units)
    constants: dict[str, Constant] = {
        "units": units,
        "block_parts": block_parts,
        "run_panels": run_panels,
        "pixels": pixels,
        "channels": low.source_channels,
        **cuts,
        "x_count": len(source.x_rows),
        "blocks": len(blocks.group),
        "weights": weights,
        "block_bytes": block_bytes,
        "bias_from": bias_from,
        "y_blocks": blocks.first * y.channel,
        "y_rows": target.y_rows,
        "y_length": target.pixels.length,
        "y_channel": y.channel,
        "near": 1 if how else stay_near(low, arrays),
        "floor": arrays.floor,
        "image_rows": len(target.y_rows) // max(low.N, 1),
        "trails": np.zeros(1, np.int64) if how is None else how.trails,
        "lead": 0 if how is None else how.lead,
        "span": panel_pixels * arrays.size * prod(low.parts[0].counts) // prod(part.counts),
        "scratch": space.take(scratch_bytes * slots),
        "scratch_bytes": scratch_bytes,
    }
    constants |= _gathering(low, part, x, source.x_rows, source.pixels)
    column_bytes = chunk.channels * chunk.taps * panel_pixels * arrays.size
    constants |= _columns(column_bytes, slots, space)
    kernel = compiled(
        pixel_panels.correlate,
        arrays.bits, arrays.lanes, shape.m, shape.vectors, mode, 0 if how is None else how.apart,
    )  # fmt: skip
    return [pack, bias, Step(kernel, units, constants)]


class _Chunk(NamedTuple):
    """Lines of columns that stay in cache together: of so many channels, or taps of one of them."""

    channels: int
    taps: int

    def constants(self, channels: int, taps: int) -> dict[str, int]:
        """What kernels read of how so many channels and taps are cut into such chunks."""
        tap_cuts = -(-taps // self.taps) if taps else 1
        return {
            "chunk_channels": self.channels,
            "chunk_taps": self.taps,
            "tap_cuts": tap_cuts,
            "cuts": -(-channels // self.channels) * tap_cuts,
        }


def _chunk(channels: int, taps: int, line: int, most: int) -> _Chunk:
    """Chunks of much the same length, of at most so many bytes in lines of ``line`` bytes each."""
    taps = max(taps, 1)
    lines = max(1, most // line)
    if taps > lines:
        return _Chunk(1, _evenly(taps, lines))
    return _Chunk(_evenly(channels, lines // taps), taps)


def _evenly(count: int, most: int) -> int:
    """The length of pieces of much the same length, ``most`` at most, that ``count`` is cut to."""
    return -(-count // -(-count // most))


def _gathering(
    low: Lowered, part: Correlation, x: View, rows: np.ndarray, pixels: Axis
) -> dict[str, Constant]:
    """What `gather_columns` reads."""
    return {
        "x_rows": rows,
        "length": pixels.length,
        "x_step": pixels.x_step,
        "x_channel": x.channel,
        "taps": len(part.taps),
        "tap_table": part.offsets(x.spatial),
        "staged": int(x.staged),
        "x_offset": x.offset,
    }


def _columns(each: int, slots: int, space: Workspace) -> dict[str, Constant]:
    """A column block a slot, each on cache lines of its own."""
    each = -(-each // 64) * 64
    return {"columns": space.take(each * slots), "columns_bytes": each}


def _mode(arrays: Operands, x: View, pixels: Axis) -> int:
    if pixels.x_step == arrays.size:
        return column_blocks.RUNS
    return column_blocks.TRANSPOSED if x.channel == arrays.size else column_blocks.GATHERED


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    part, channels, dy = low.parts[-1], low.source_channels, view_of(arrays.w)
    steps, x = stage(low, arrays, space, pixels_contiguous=False)
    over = row_loops(part, low.N, x, dy)
    taps, pixels = len(part.taps), len(over.x_rows) * over.pixels.length
    runs = -(-pixels // PIXELS)
    shape = column_tile(low.target_channels, arrays.lanes)
    width = shape.vectors * arrays.lanes
    sums = low.groups * low.target_channels * channels * taps * arrays.size
    splits = parts_for(low.groups, min(runs, max(1, _PARTIAL_BYTES // sums)))
    lines = _lines_of_a_unit(channels, taps, low.groups, splits, arrays.size)
    cuts = lines.constants(channels, taps)
    line_parts, tap_parts = cuts["cuts"], cuts["tap_cuts"]
    m, tiles = shape.m, -(-lines.channels * lines.taps // shape.m)
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    lanes = gradient_lanes(low, arrays, over.y_rows, over.pixels, blocks, width)
    pack, place, block_bytes = packed(lanes, OPERAND_W, space)
    block_sums = line_parts * tiles * m * width * arrays.size
    all_sums = len(blocks.group) * block_sums
    units = splits * low.groups * line_parts
    constants: dict[str, Constant] = {
        "units": units,
        "splits": splits,
        "runs": runs,
        "pixels": pixels,
        "channels": channels,
        "line_parts": line_parts,
        "line_channels": lines.channels,
        "line_taps": lines.taps,
        "tap_parts": tap_parts,
        "tiles": tiles,
        "packed": place,
        "block_bytes": block_bytes,
        "partial": space.take(splits * all_sums),
        "block_sums": block_sums,
        "split_sums": all_sums,
        "groups": low.groups,
        "group_blocks": len(blocks.group) // low.groups,
    }
    constants |= _gathering(low, part, x, over.x_rows, over.pixels)
    constants["x_blocks"] = blocks.group * x.group_step(channels)
    constants |= _columns(tiles * m * PIXELS * arrays.size, min(threads, units), space)
    kernel = compiled(
        column_blocks.correlate_gradient,
        arrays.bits, arrays.lanes, m, shape.vectors, _mode(arrays, x, over.pixels),
    )  # fmt: skip
    channel, tap = np.divmod(np.arange(channels * taps), taps)
    (channel_part, channel), (tap_part, tap) = (
        np.divmod(channel, lines.channels),
        np.divmod(tap, lines.taps),
    )
    part_of = channel_part * tap_parts + tap_part
    sources = part_of * (tiles * m) + channel * lines.taps + tap
    finish = finish_lines(low, arrays, constants, sources, blocks, shape.vectors, space, threads)
    return [*steps, pack, Step(kernel, units, constants), finish]


def _lines_of_a_unit(channels: int, taps: int, groups: int, splits: int, size: int) -> _Chunk:
    """The columns that a unit holds: what stays in cache, less to make enough units."""
    parts = parts_for(groups * splits, -(-channels * taps // 64))
    lines = _chunk(channels, taps, PIXELS * size, _COLUMN_BYTES)
    return lines._replace(channels=min(lines.channels, -(-channels // min(parts, channels))))
