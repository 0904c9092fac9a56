"""Depthwise convolution, weight gradient: each plane against its own output gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastconv.cpu import plane_gradient, simd
from fastconv.cpu.bands import Planes, progression, stage_band, three, three_axes
from fastconv.cpu.depthwise import refusal
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import block_table, parts_for
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.staging import (
    OPERAND_W,
    Padding,
    View,
    Workspace,
    stage_pixels,
    stage_planes,
    view_of,
)
from fastconv.lowering import Lowered

__all__ = ["cycles", "refusal", "weight_gradient"]

_REGISTERS = 32 if simd.VECTOR_BITS == 512 else 16


class Tile(NamedTuple):
    """``rho`` rows of the gradient against ``R`` x ``S`` taps, and the cycles of all tiles."""

    rho: int
    R: int
    S: int
    cycles: float


def best_tile(low: Lowered, arrays: Operands) -> Tile:
    """The tile of fewest cycles."""
    depth, rows, columns = three_axes(low.parts[0])
    gap = progression(rows.taps)[3]
    R_all, S_all = len(rows.taps), len(columns.taps)
    channels = low.groups * max(low.source_channels, low.target_channels)
    if arrays.channels_last:
        vectors = -(-channels // arrays.lanes) * columns.length
    else:
        vectors = channels * -(-columns.length // arrays.lanes)

    def cycles(rho: int, R: int, S: int) -> float:
        met = {j * rows.move + r * gap for j in range(rho) for r in range(R)}
        loads = (1 if arrays.channels_last else 1.6) * len(met) * S + rho
        # Products into one sum follow each other by four cycles.
        step = max(rho * max(R * S, 4), loads) + 3
        blocks = -(-R_all // R) * -(-S_all // S)
        return low.N * depth.length * vectors * len(depth.taps) * blocks * rows.length / rho * step

    def candidates() -> Iterator[Tile]:
        for rho in (1, 2, 4, 7):
            for R in range(1, min(R_all, 8) + 1):
                for S in range(1, min(S_all, 8) + 1):
                    if R * S + rho + 1 <= _REGISTERS and rho <= rows.length:
                        yield Tile(rho, R, S, cycles(rho, R, S))

    return min(candidates(), key=lambda tile: tile.cycles)


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes, at two multiply-adds each."""
    return 0.5 * best_tile(low, arrays).cycles


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    tile = best_tile(low, arrays)
    depth, rows, columns = three_axes(low.parts[0])
    lanes, size, last = arrays.lanes, arrays.size, arrays.channels_last
    sources, targets = low.source_channels, low.target_channels
    ahead, dy = _gradient(low, arrays, space)
    channels = low.groups * max(sources, targets)
    blocks = block_table(1, channels, lanes, overlap=False)
    if last:
        planes = Planes(blocks.first, 1, blocks.present)
    else:
        each = np.arange(channels, dtype=np.int64)
        planes = Planes(each // targets, 1, np.ones(channels, np.int64))
    band = stage_band(low, arrays, planes, lanes, 1, int(last), plane_first=True)
    taps = _taps(len(rows.taps), len(columns.taps), tile)
    layers = len(depth.taps)
    count = layers * taps.row_blocks * taps.column_blocks * tile.R * tile.S
    plane_sums = count * (lanes if last else 1) * size
    batches = band.units // planes.count
    splits = parts_for(planes.count, batches)
    spatial = three(dy.spatial, 0)
    own = Workspace()
    own.take(band.bytes)
    sums_from = own.take(count * lanes * size)
    units = planes.count * splits
    sums: dict[str, Constant] = {
        "splits": splits,
        "partial": space.take(units * plane_sums),
        "plane_sums": plane_sums,
        "split_sums": planes.count * plane_sums,
    }
    first = rows.taps[0][1]
    starts = [(rows.taps[r][1] - first) * band.pitch for r in taps.row_firsts]
    constants = sums | band.places | {
        "units": units,
        "planes": planes.count,
        "stager": band.stager,
        "item": band.item,
        "Q": columns.length,
        "x_row": band.pitch,
        "x_column": rows.move * band.pitch,
        "x_step": band.pixel if last else lanes * size,
        "layers": layers,
        "layer_x": np.array([band.tap(o, first) for _, o in depth.taps], np.int64),
        "row_blocks": taps.row_blocks,
        "row_starts": np.array(starts, np.int64),
        "column_blocks": taps.column_blocks,
        "columns": np.array([band.columns[columns.taps[s][1]] for s in taps.columns], np.int64),
        "dy_staged": int(dy.staged),
        "dy_offset": dy.offset,
        "dy_image": dy.image,
        "dy_plane": dy.channel * (lanes if last else 1),
        "dy_divisor": 1 if last else sources,
        "dy_depth": spatial[0],
        "dy_row": spatial[1],
        "dy_step": spatial[2] if last else lanes * size,
        "present": planes.present,
        "scratch": space.take(own.size * min(threads, units)),
        "scratch_bytes": own.size,
        "sums": sums_from,
    }  # fmt: skip
    kernel = compiled(
        plane_gradient.correlate_gradient,
        arrays.bits, lanes, tile.rho, tile.R, tile.S, rows.move,
        progression(rows.taps)[3], int(not last),
    )  # fmt: skip
    finish = sums | _results(low, arrays, taps, tile, planes)
    step = Step(compiled(plane_gradient.finish_gradient, arrays.bits), planes.count, finish)
    return [*ahead, Step(kernel, units, constants), step]


def _gradient(low: Lowered, arrays: Operands, space: Workspace) -> tuple[list[Step], View]:
    """The output gradient where its lanes are contiguous: as it is, or staged."""
    if arrays.w[1 if arrays.channels_last else -1] == arrays.size:
        return [], view_of(arrays.w)
    counts = low.parts[0].counts
    channels = low.groups * low.target_channels
    whole = Padding(low.N, channels, counts, (0,) * len(counts), counts)
    if arrays.channels_last:
        return stage_pixels(arrays.w, whole, OPERAND_W, arrays.bits, space)
    return stage_planes(arrays.w, whole, (1,) * len(counts), OPERAND_W, arrays.bits, space)


class _Taps(NamedTuple):
    """Blocks of taps; the last of an axis moves back to end with it."""

    row_firsts: np.ndarray
    columns: np.ndarray  #: the tap of every column of every block
    row_blocks: int
    column_blocks: int


def _taps(R: int, S: int, tile: Tile) -> _Taps:
    row_firsts = np.minimum(np.arange(0, R, tile.R), R - tile.R)
    firsts = np.minimum(np.arange(0, S, tile.S), S - tile.S)
    columns = (firsts[:, None] + np.arange(tile.S)).ravel()
    return _Taps(row_firsts, columns, len(row_firsts), len(firsts))


def _results(
    low: Lowered, arrays: Operands, taps: _Taps, tile: Tile, planes: Planes
) -> dict[str, Constant]:
    """Where each tap's sum is found, and where it goes."""
    last, size, y = arrays.channels_last, arrays.size, arrays.y
    down, along, across = three(y[2:], 0)
    layer, r, s = np.ogrid[tuple(slice(len(axis.taps)) for axis in three_axes(low.parts[0]))]
    r_block, s_block = r // tile.R, s // tile.S
    r_in, s_in = r - taps.row_firsts[r_block], s - taps.columns[s_block * tile.S]
    block = (layer * taps.row_blocks + r_block) * taps.column_blocks + s_block
    sources = block * (tile.R * tile.S) + r_in * tile.S + s_in
    targets = layer * down + r * along + s * across
    unit = np.arange(planes.count, dtype=np.int64)
    if last:
        y_planes = unit * (arrays.lanes * y[0])
    elif low.source_channels == 1:
        y_planes = unit * y[0]
    else:
        group, channel = np.divmod(unit, low.source_channels)
        y_planes = group * y[0] + channel * y[1]
    return {
        "units": planes.count,
        "entries": sources.size,
        "sources": (sources * (arrays.lanes if last else 1) * size).ravel().astype(np.int64),
        "targets": targets.ravel().astype(np.int64),
        "present": planes.present,
        "lane": size,
        "y_planes": y_planes,
        "y_lane": y[0],
    }
