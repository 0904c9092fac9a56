"""Direct convolution, forward and input gradient: tiles read the image or one padded copy."""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.cpu import channel_lanes, pixel_lanes
from fastconv.cpu.operands import (
    Operands,
    halved_lanes,
    pack_bias,
    pack_weights,
    stage,
    stay_near,
    used_phases,
    weight_lanes,
)
from fastconv.cpu.packing import pack_step
from fastconv.cpu.planning import (
    Blocks,
    Loops,
    TileShape,
    block_table,
    channel_tile,
    loops,
    parts_for,
    window_tile,
)
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_W, View, Workspace, view_of
from fastconv.lowering import AxisPart, Correlation, Lowered

# What is one row of pixels for a kernel of one tap is cut into rows of so many bytes, which
# stay in the second-level cache while every block of weights passes over them, but not too short.
_ROW_BYTES, _ROW_PIXELS = 1 << 17, 56
_WEIGHTS_STAY = 1 << 19  # bytes of weights that may stay in the second-level cache beside an image


# Beside the tiles of two multiply-adds a cycle, measured on a Zen 4 whose cycles count half: cycles
# to pack a weight, to move an element of a target whose pixels and channels both lie apart, and to
# turn a vector of channels so that its elements leave for as many planes; and to move an element
# of a source whose pixels lie cache lines apart.
_PACK, _MOVE, _TURN, _SPREAD = 0.5, 2.2, 7.0, 8.5
_STAGE = 0.2  # to write a byte of a padded copy and to read it from beyond the second-level cache
_STAYS = 3 << 19  # bytes of a padded image that may stay in that cache
_HALVED = 0.6  # of the time of a whole vector that half a one takes


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes: those of the tiles, of packing and of scattering."""
    total = 0.0
    windows = _prefers_windows(low, arrays)
    for part in low.parts:
        rows, length = low.N * prod(part.counts[:-1]), part.counts[-1]
        if windows:
            shape = window_tile(rows, length, low.target_channels, arrays.lanes)
            slower = _windows_slower(low, arrays)
        else:
            seen = halved_lanes(low, arrays)
            shape = channel_tile(rows, length, low.target_channels, seen.lanes)
            slower = _HALVED if seen.halved else 1
        depth = low.groups * low.source_channels * len(part.taps)
        total += shape.cycles * slower * depth + _PACK * depth * low.target_channels
        if len(low.parts) > 1 and not arrays.channels_last:
            total += _MOVE * low.groups * low.target_channels * rows * length
    image = arrays.size * low.source_channels * prod(low.padded)
    if low.needs_padding and pass_name != "weight_gradient" and image > _STAYS:
        total += _STAGE * image * low.N * low.groups
    return total


def _windows_slower(low: Lowered, arrays: Operands) -> float:
    """How many times as long as counted windows take.

    Measured: 2.5 to 9 times for few channels of images.
    """
    if low.target_channels >= 4:
        return 3.0 if arrays.channels_last else 1.0
    *others, columns = low.parts[0].axes
    alone = all(axis.length == len(axis.taps) == 1 for axis in others)
    if alone and columns.move == 1 and not arrays.channels_last and len(low.parts) == 1:
        return 0.6  # one row of one row of taps: three quarters of what planes take
    if len(low.parts) > 1:
        return 3.2
    return 8.0 if arrays.channels_last else 3.5


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    y = view_of(arrays.y)
    windows = _prefers_windows(low, arrays)
    arrays = arrays if windows else halved_lanes(low, arrays)
    steps, x = stage(low, arrays, space, pixels_contiguous=windows)
    for part in low.parts:
        if windows:
            steps += _window_steps(low, part, arrays, x, y, space, threads)
        else:
            steps += channel_steps(low, part, arrays, x, y, space, threads)
    return steps


def _prefers_windows(low: Lowered, arrays: Operands) -> bool:
    """Whether lanes over pixels take fewer cycles than lanes over output channels."""
    channels, lanes = low.target_channels, arrays.lanes
    counts = low.parts[-1].counts
    rows, length = low.N * prod(counts[:-1]), counts[-1]
    over_pixels = window_tile(rows, length, channels, lanes).cycles
    over_channels = channel_tile(rows, length, channels, lanes).cycles
    if channels >= lanes:
        if arrays.channels_last or arrays.y[-1] != arrays.size or len(low.parts) > 1:
            return False
        # Lanes of channels leave through a transpose, which short sums do not hide.
        depth = low.source_channels * len(low.parts[-1].taps)
        turned = _TURN * rows * length * channels / lanes
        return 1.05 * over_pixels * depth < over_channels * depth + turned
    if not arrays.channels_last:
        return over_pixels < over_channels
    # With channels contiguous in memory every pixel of a window moves alone, in and out; where
    # pixels lie lines apart, each comes from memory as often as there are channels.
    depth = low.source_channels * sum(len(part.taps) for part in low.parts)
    pixels = low.N * low.source_channels * prod(low.source)
    staged = pixels * (_SPREAD if arrays.x[-1] >= 64 else _MOVE)
    return 3 * over_pixels < over_channels and over_pixels * depth + staged < over_channels * depth


def channel_steps(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    x: View,
    y: View,
    space: Workspace,
    threads: int,
) -> list[Step]:
    """Correlate one part with lanes over output channels."""
    pixel = low.source_channels * arrays.size * (len(part.taps) == 1)
    longest = max(_ROW_PIXELS, _ROW_BYTES // pixel) if pixel else None
    over = loops(part, low.N, x, y, any_axis=True, longest=longest)
    shape = channel_tile(len(over.x_rows), over.pixels.length, low.target_channels, arrays.lanes)
    width = shape.vectors * arrays.lanes
    blocks = block_table(low.groups, low.target_channels, width, overlap=False)
    weights = weight_lanes(low, part, arrays, blocks, width)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    tiles = -(-len(over.x_rows) // shape.rho)
    constants = _common(low, arrays, x, y, over, blocks, tiles)
    constants |= _channel_loop(low, x, part.offsets(x.spatial))
    constants |= {"x_step": over.pixels.x_step, "valid": blocks.present, "bias_from": bias_from}
    units = _cut(constants, len(blocks.group), tiles, weights.block_bytes)
    constants |= _scratch(shape, arrays, space, threads, units)
    constants["block_bytes"] = weights.block_bytes
    # Pixels whose channels all lie side by side are one run, which can be asked for ahead of use.
    runs = low.groups == 1 and x.channel == arrays.size and len(part.taps) == 1
    constants["ahead"] = over.pixels.x_step
    constants["store"] = channel_lanes.store_kind(y.channel, over.pixels.y_step, arrays.target_size)
    before = [bias]
    if weights.bytes <= _WEIGHTS_STAY:
        place = space.take(weights.bytes)
        before.append(pack_step(weights, OPERAND_W, place))
        constants |= {"weights": place, "packer": 0}
    else:
        # Each slot packs a block when it comes to it: the block never leaves the slot's cache.
        constants["weights"] = space.take(weights.block_bytes * min(threads, units))
        constants["packer"] = pack_step(weights, OPERAND_W, 0, block_by_block=True)
    # A pitch that is known costs no register.
    known = over.pixels.x_step == arrays.size or (x.group and over.pixels.x_step == 32)
    fixed = over.pixels.x_step if known else 0
    kernel = compiled(
        channel_lanes.correlate,
        arrays.bits, arrays.lanes, shape.rho, shape.m, shape.vectors, fixed, int(runs),
    )  # fmt: skip
    return [*before, Step(kernel, units, constants)]


def _window_steps(
    low: Lowered,
    part: Correlation,
    arrays: Operands,
    x: View,
    y: View,
    space: Workspace,
    threads: int,
) -> list[Step]:
    """Correlate one part with lanes over pixels."""
    moves = tuple(axis.move for axis in part.axes)
    over = loops(unit_moves(part), low.N, x, y, any_axis=False)
    shape = window_tile(len(over.x_rows), over.pixels.length, low.target_channels, arrays.lanes)
    blocks = block_table(low.groups, low.target_channels, shape.m, overlap=True)
    pack, weights, block_bytes = pack_weights(low, part, arrays, blocks, shape.m, space)
    bias, bias_from = pack_bias(low, arrays, blocks, shape.m, space)
    tiles = -(-len(over.x_rows) // shape.rho)
    constants = _common(low, arrays, x, y, over, blocks, tiles)
    constants |= _channel_loop(low, x, phase_table(low, part, x, moves))
    constants |= {"weights": weights, "block_bytes": block_bytes, "bias_from": bias_from}
    units = _cut(constants, len(blocks.group), tiles, block_bytes)
    constants |= _scratch(shape, arrays, space, threads, units)
    constants["contiguous"] = int(over.pixels.y_step == arrays.size)
    kernel = compiled(
        pixel_lanes.correlate,
        arrays.bits, arrays.lanes, shape.rho, shape.m, shape.vectors,
    )  # fmt: skip
    return [pack, bias, Step(kernel, units, constants)]


def unit_moves(part: Correlation) -> Correlation:
    """``part`` on a source split into stride phases: neighbours are neighbours in a phase."""
    return Correlation(tuple(AxisPart(a.start, a.step, a.length, 1, a.taps) for a in part.axes))


def phase_table(low: Lowered, part: Correlation, x: View, moves: tuple[int, ...]) -> np.ndarray:
    """Byte offset of each tap in a source split into the stride phases that taps are in."""
    there = {phase: i for i, phase in enumerate(sorted(used_phases(low, moves)))}
    plane = x.channel // max(len(there), 1)
    table = []
    for _, offsets in part.taps:
        phase = there[tuple(o % m for o, m in zip(offsets, moves, strict=True))]
        within = sum(o // m * s for o, m, s in zip(offsets, moves, x.spatial, strict=True))
        table.append(phase * plane + within)
    return np.array(table, dtype=np.int64)


def _common(
    low: Lowered, arrays: Operands, x: View, y: View, over: Loops, blocks: Blocks, row_tiles: int
) -> dict[str, Constant]:
    return {
        "row_tiles": row_tiles,
        "last_row": len(over.x_rows) - 1,
        "x_rows": over.x_rows,
        "y_rows": over.y_rows,
        "length": over.pixels.length,
        "y_step": over.pixels.y_step,
        "blocks": len(blocks.group),
        "x_blocks": blocks.group * x.group_step(low.source_channels),
        "y_blocks": (blocks.group * low.target_channels + blocks.first) * y.channel,
        "y_channel": y.channel,
        "near": stay_near(low, arrays),
        "floor": arrays.floor,
        "staged": int(x.staged),
        "x_offset": x.offset,
    }


def _channel_loop(low: Lowered, x: View, table: np.ndarray) -> dict[str, Constant]:
    """The loop over channels and taps; with one tap, channels take the inner place."""
    channels, step = low.source_channels, x.channel
    if len(table) == 1:
        table = table + np.arange(channels, dtype=np.int64) * step
        channels, step = 1, 0
    return {"channels": channels, "x_channel": step, "taps": len(table), "tap_table": table}


def _cut(constants: dict[str, Constant], blocks: int, rows: int, block_bytes: int) -> int:
    """Cut the work into units: by rows while all weights stay in cache, else by blocks first."""
    if blocks * block_bytes <= _WEIGHTS_STAY:
        row_parts = parts_for(1, rows)
        block_parts = parts_for(row_parts, blocks)
    else:
        block_parts = blocks
        row_parts = parts_for(blocks, rows)
    units = row_parts * block_parts
    constants |= {"units": units, "row_parts": row_parts, "block_parts": block_parts}
    return units


def _scratch(
    shape: TileShape, arrays: Operands, space: Workspace, threads: int, units: int
) -> dict[str, Constant]:
    """A place for one tile a slot."""
    each = -(-shape.registers * arrays.lanes * arrays.size // 64) * 64
    return {"scratch": space.take(each * min(threads, units)), "scratch_bytes": each}
