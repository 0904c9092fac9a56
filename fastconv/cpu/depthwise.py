"""Depthwise convolution, forward and input gradient: channels that do not mix.

Where a group has one input or one output channel there is no product of matrices to make. Each
channel's plane is correlated by itself, band by band: padded in a slot's own memory, correlated
while it is in cache, and written.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.cpu import depthwise_open, plane_staging, planes
from fastconv.cpu.bands import (
    Band,
    Planes,
    gathered,
    progression,
    stage_band,
    three,
    three_axes,
)
from fastconv.cpu.operands import Operands, pack_bias, weight_lanes
from fastconv.cpu.packing import pack_step
from fastconv.cpu.plane_tiles import GATHERED, OPEN, PIXELS, Tile, best_tile, column, extents
from fastconv.cpu.planning import block_table
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_W, Workspace
from fastconv.lowering import AxisPart, Correlation, Lowered

_WOVEN = (2, 3, 4)  # strides whose phases vectors are woven from


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    if min(low.source_channels, low.target_channels) != 1:
        return "needs one input or one output channel in each group"
    if arrays.channels_last and max(low.source_channels, low.target_channels) != 1:
        return "needs one input and one output channel in each group where channels come last"
    if not all(axis.taps for part in low.parts for axis in part.axes):
        return "needs a kernel as long as its stride"
    return None


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes, at two multiply-adds each."""
    # Sums over several planes were measured to take so much longer (Zen 4).
    return (0.5 if low.source_channels == 1 else 0.68) * best_tile(low, arrays).cycles


def skips_padding(low: Lowered, arrays: Operands) -> bool:
    """Whether products with zeros of padding are left out."""
    return best_tile(low, arrays).lanes == OPEN


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    tile = best_tile(low, arrays)
    if tile.lanes == OPEN:
        return depthwise_open.correlate(low, arrays, tile, space)
    width = tile.vectors * arrays.lanes
    own = Workspace()
    make = _channels if tile.lanes else _pixels
    ahead, band, operands = make(low, arrays, tile, width, space, own)
    if tile.lanes == GATHERED:
        targets, writers = _scattered(low, arrays, band, tile, own)
    else:
        targets, writers = _targets(low, arrays, band, width, own)
    spill = own.take(tile.rho * width * arrays.size)
    inner = [*band.stagers]
    for part, weights, target in zip(low.parts, operands, targets, strict=True):
        constants = _sums(part, arrays, band) | weights | target | {"spill": spill}
        kernel = compiled(
            planes.correlate,
            arrays.bits, arrays.lanes, tile.rho, tile.vectors, *column(three_axes(part)[1]),
            int(tile.lanes == PIXELS),
        )  # fmt: skip
        inner.append(Step(kernel, 0, constants))
    inner += writers
    constants = {
        "units": band.units,
        "inner": tuple(inner),
        "count": len(inner),
        "scratch": space.take(own.size * min(threads, band.units)),
        "scratch_bytes": own.size,
        "cleared": band.bytes,
    }
    return [*ahead, Step(compiled(plane_staging.in_cache), band.units, constants)]


def _sums(part: Correlation, arrays: Operands, band: Band) -> dict[str, Constant]:
    """What the kernel reads of a part's sums: how many, and where each column of taps lies."""
    depth, rows, columns = three_axes(part)
    return band.places | {
        "D": depth.length,
        "P": rows.length,
        "Q": columns.length,
        "floor": arrays.floor,
        "item": band.item,
        "x_row": band.pitch * (rows.move // column(rows).move),
        "x_tap": band.pitch * progression(rows.taps)[3],
        "x_column": rows.move * band.pitch,
        "x_pixel": band.pixel,
        "S": len(columns.taps),
        "columns": np.array([band.columns[o] for _, o in columns.taps], np.int64),
        "R": len(rows.taps),
    }


_Operands = list[dict[str, Constant]]  # what the kernels of the parts read of weights and bias
_Made = tuple[list[Step], Band, _Operands]


def _pixels(
    low: Lowered, arrays: Operands, tile: Tile, width: int, space: Workspace, own: Workspace
) -> _Made:
    """Lanes over pixels: weights and bias are scalars, read where they lie."""
    channels, targets = low.groups * low.target_channels, low.target_channels
    group, target = np.divmod(np.arange(channels, dtype=np.int64), targets)
    none = np.zeros(1, np.int64)
    units = Planes(group * low.source_channels, low.source_channels, none)
    band = stage_band(low, arrays, units, width, tile.rho, 0, own)
    w, (down, along, across) = arrays.w, three(arrays.w[2:], 0)
    if low.transposed:
        w_planes, source = group * low.source_channels * w[0] + target * w[1], w[0]
    else:
        w_planes, source = np.arange(channels, dtype=np.int64) * w[0], w[1]
    channel = np.arange(low.source_channels, dtype=np.int64)[:, np.newaxis]
    operands: _Operands = []
    for part in low.parts:
        depth, rows, columns = three_axes(part)
        index, step, first, _ = progression(rows.taps)
        planes_x = [band.tap(o, first) for _, o in depth.taps]
        layer_x = channel * (band.depth_taps * band.plane) + np.array(planes_x, np.int64)
        layer_w = channel * source + np.array([i * down for i, _ in depth.taps], np.int64)
        operands.append({
            "layers": layer_x.size,
            "layer_x": layer_x.ravel(),
            "layer_w": layer_w.ravel(),
            "w_columns": np.array([i * across for i, _ in columns.taps], np.int64),
            "w_row": step * along,
            "weights_staged": 0,
            "weights": index * along,
            "w_planes": w_planes,
            "bias_from": 0,
            "present": none,
        })  # fmt: skip
    return [], band, operands


def _channels(
    low: Lowered, arrays: Operands, tile: Tile, width: int, space: Workspace, own: Workspace
) -> _Made:
    """Lanes over channels: weights and bias are vectors, packed ahead."""
    # All groups as one: channels side by side, each with its own weights.
    channels = low.groups
    low = low._replace(groups=1, target_channels=channels, transposed=False)
    blocks = block_table(1, channels, width, overlap=False)
    units = Planes(blocks.first, 1, blocks.present)
    gather: tuple[int, ...] = ()
    if tile.lanes == GATHERED:
        gather = arrays.x
        arrays = arrays._replace(x=gathered(arrays.x, low.source, width * arrays.size))
    band = stage_band(low, arrays, units, width, tile.rho, tile.vectors, own, gather=gather)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    ahead = [bias]
    operands: _Operands = []
    line = width * arrays.size
    for part in low.parts:
        lanes = weight_lanes(low, part, arrays, blocks, width)
        place = space.take(lanes.bytes)
        ahead.append(pack_step(lanes, OPERAND_W, place))
        depth, rows, columns = three_axes(part)
        R, S = len(rows.taps), len(columns.taps)
        first = rows.taps[0][1]
        operands.append({
            "layers": len(depth.taps),
            "layer_x": np.array([band.tap(o, first) for _, o in depth.taps], np.int64),
            "layer_w": np.arange(len(depth.taps), dtype=np.int64) * (R * S * line),
            "w_columns": np.arange(S, dtype=np.int64) * line,
            "w_row": S * line,
            "weights_staged": 1,
            "weights": place,
            "w_planes": np.arange(units.number, dtype=np.int64) * lanes.block_bytes,
            "bias_from": bias_from,
            "present": blocks.present,
        })  # fmt: skip
    return ahead, band, operands


# ------------------------------------------------------------------------ where results go


def _targets(
    low: Lowered, arrays: Operands, band: Band, width: int, own: Workspace
) -> tuple[list[dict[str, Constant]], list[Step]]:
    """Where each part's sums go, and the step that weaves a stride's phases, if there is one."""
    y, (down, along, across) = arrays.y, three(arrays.y[2:], 0)
    last = arrays.channels_last
    plane: dict[str, Constant] = {
        "y_image": y[0],
        "y_plane": width * y[1] if last else y[1],
        "y_item": 0,
    }
    parts = [three_axes(part) for part in low.parts]
    step = max(columns.step for _, _, columns in parts)
    flat = all(depth.step == 1 and depth.start == 0 for depth, _, _ in parts)
    if not last and across == arrays.size and step in _WOVEN and flat:
        return _woven(parts, plane, step, band, arrays, width, own)
    targets = []
    for axes in parts:
        steps = [a.step * s for a, s in zip(axes, (down, along, across), strict=True)]
        targets.append(plane | {
            "y_own": 0,
            "y_offset": sum(a.start * s for a, s in zip(axes, (down, along, across), strict=True)),
            "y_depth": steps[0],
            "y_row": steps[1],
            "y_pixel": steps[2],
            "y_lane": y[1] if last else steps[2],
        })  # fmt: skip
    return targets, []


def _scattered(
    low: Lowered, arrays: Operands, band: Band, tile: Tile, own: Workspace
) -> tuple[list[dict[str, Constant]], list[Step]]:
    """Sums of a block of channels in the slot's memory, and the step that scatters its planes."""
    size = arrays.size
    pixels = extents(low)
    line = tile.vectors * arrays.lanes * size
    place = own.take(prod(pixels) * line)
    pitches = three(gathered(arrays.y, pixels, line)[2:], 0)
    targets: list[dict[str, Constant]] = []
    for part in low.parts:
        axes = three_axes(part)
        steps = [a.step * s for a, s in zip(axes, pitches, strict=True)]
        start = sum(a.start * s for a, s in zip(axes, pitches, strict=True))
        targets.append({
            "y_own": 1,
            "y_item": 0,
            "y_image": 0,
            "y_plane": 0,
            "y_offset": place + start,
            "y_depth": steps[0],
            "y_row": steps[1],
            "y_pixel": steps[2],
            "y_lane": size,
        })  # fmt: skip
    channels = low.groups * low.target_channels
    constants = band.places | {
        "image": arrays.y[0],
        "channel": arrays.y[1],
        "pixels": prod(pixels),
        "present": block_table(1, channels, line // size, overlap=False).present,
        "base": place,
    }
    kernel = compiled(plane_staging.scatter_channels, arrays.bits, arrays.lanes, tile.vectors)
    return targets, [Step(kernel, 0, constants)]


def _woven(
    parts: list[tuple[AxisPart, AxisPart, AxisPart]], plane: dict[str, Constant], step: int,
    band: Band, arrays: Operands, width: int, own: Workspace,
) -> tuple[list[dict[str, Constant]], list[Step]]:  # fmt: skip
    """Sums of each phase in the slot's memory, rows of one phase of rows after the other."""
    down, along, size = three(arrays.y[2:], 0)
    lengths = {columns.start: columns.length for _, _, columns in parts}
    run = -(-max(*lengths.values(), width) * size // 64) * 64
    groups = {rows.start: rows.length for _, rows, _ in parts}
    row = run * len(lengths)
    group = band.rows * row
    item = group * len(groups)
    first = own.take(item * int(band.places["together"]))  # type: ignore[arg-type]
    place = {start: first + i * group for i, start in enumerate(groups)}
    targets = [
        plane | {
            "y_own": 1,
            "y_item": item,
            "y_offset": place[rows.start] + list(lengths).index(columns.start) * run,
            "y_depth": 0,
            "y_row": row,
            "y_pixel": size,
            "y_lane": size,
        }
        for _, rows, columns in parts
    ]  # fmt: skip
    constants = band.places | {
        "parts": len(groups),
        "part_P": np.array(list(groups.values()), np.int64),
        "part_own": np.array(list(place.values()), np.int64),
        "part_y": np.array([start * along for start in groups], np.int64),
        "item": item,
        "own_row": row,
        "phases": len(lengths),
        "phase_own": np.arange(len(lengths), dtype=np.int64) * run,
        "W": sum(lengths.values()),
        "y_image": plane["y_image"],
        "y_plane": plane["y_plane"],
        "y_depth": down,
        "y_row": max(rows.step for _, rows, _ in parts) * along,
    }
    kernel = compiled(planes.weave_rows, arrays.bits, arrays.lanes, step)
    return targets, [Step(kernel, 0, constants)]
