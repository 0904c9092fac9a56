"""Depthwise convolution, weight gradient: each plane against its own output gradient."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import depthwise_open, plane_gradient, simd
from fastconv.cpu.bands import (
    OPERAND_OWN,
    Band,
    Planes,
    gather_step,
    gatherable,
    gathered,
    progression,
    stage_band,
    three,
    three_axes,
)
from fastconv.cpu.depthwise import refusal
from fastconv.cpu.operands import Operands
from fastconv.cpu.plane_tiles import (
    CHANNELS,
    GATHER,
    GATHERED,
    GATHERED_BYTES,
    OPEN,
    PIXELS,
    opens,
    staging_cycles,
)
from fastconv.cpu.planning import block_table, parts_for
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.staging import Padding, stage_pixels, stage_planes
from fastconv.cpu.views import OPERAND_W, View, Workspace, view_of
from fastconv.lowering import Lowered

__all__ = ["cycles", "refusal", "weight_gradient"]

_REGISTERS = 32 if simd.VECTOR_BITS == 512 else 16
_ROWS = (1, 4, 7)  # of the gradient in a tile
_TAPS = ((1, 1), (1, 3), (1, 7), (2, 2), (3, 1), (3, 3), (5, 1), (5, 5), (7, 1), (7, 3))  # R x S


_MASKED = 3  # what the masked vector at a row's end costs beside a whole one
_STREAM = 0.36  # what each row of an image read where it lies costs beyond six, in taps
_SPREAD = 8.5  # cycles to stage an element of a gradient whose lanes lie apart, at least
_CROWDED = 2048  # bytes between pixels that fall into few lines of the first cache


class Tile(NamedTuple):
    """What lanes are, ``rho`` rows of the gradient against ``R`` x ``S`` taps, and the cycles."""

    lanes: int
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
    blocks = -(-channels // arrays.lanes)
    pixels = prod(low.source) + prod(low.parts[0].counts)

    def step(lanes: int, rho: int, R: int, S: int) -> float:
        met = {j * rows.move + r for j in range(rho) for r in range(R)}
        loads = (1 if lanes else 1.6) * len(met) * S + rho
        # Products into one sum follow each other by four cycles.
        return max(rho * max(R * S, 4), loads) + 3

    def cycles(lanes: int, rho: int, R: int, S: int) -> float:
        whole, left = divmod(rows.length, rho)
        height = rows.length / rho * step(lanes, rho, R, S)
        if lanes == PIXELS:
            full, masked = divmod(columns.length, arrays.lanes)
            vectors = channels * (full + (_MASKED if masked else 0))
        else:
            vectors = blocks * columns.length
        steps = float(vectors * len(depth.taps) * -(-R_all // R) * -(-S_all // S))
        moved = 0.0
        if lanes == PIXELS:
            moved = channels * staging_cycles(low)
        elif lanes == GATHERED:
            moved = blocks * pixels * GATHER
        elif lanes == OPEN:
            # Rows left over are taken one by one; many rows at a time are much to fetch.
            height = whole * step(lanes, rho, R, S) + left * step(lanes, 1, R, S)
            met = (rho - 1) * rows.move + R_all
            steps *= 1 + _STREAM * max(0, met - 6) / (R_all * S_all)
        return low.N * (moved + depth.length * steps * height)

    def candidates() -> Iterator[Tile]:
        ways = [CHANNELS] if arrays.channels_last else [PIXELS]
        if arrays.channels_last and opens(arrays, arrays.w, low.groups, _CROWDED):
            ways = [OPEN]
        if _gathers(low, arrays):
            ways.append(GATHERED)
        for lanes in ways:
            for rho, (R, S) in product(_ROWS, _TAPS):
                if R > 1 and (gap > 1 or rows.move > 2):
                    continue
                exists = rho <= rows.length and max(R - R_all, S - S_all) <= 0
                if exists and R * S + rho + 1 <= _REGISTERS:
                    yield Tile(lanes, rho, R, S, cycles(lanes, rho, R, S))

    return min(candidates(), key=lambda tile: tile.cycles)


def _gathers(low: Lowered, arrays: Operands) -> bool:
    """Whether planes may be gathered with channels contiguous: small ones, and contiguous."""
    counts = low.parts[0].counts
    elements = prod(low.source) + prod(low.padded) + prod(counts)
    return (
        low.source_channels == low.target_channels == 1
        and not arrays.channels_last
        and elements * simd.VECTOR_BITS // 8 <= GATHERED_BYTES
        and gatherable(arrays.x, low.source, arrays.size)
        and gatherable(arrays.w, counts, arrays.size)
    )


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes, at two multiply-adds each."""
    elements = low.N * low.groups * low.target_channels * prod(low.parts[0].counts)
    lies = arrays.w[1 if arrays.channels_last else -1] == arrays.size
    return 0.5 * best_tile(low, arrays).cycles + (0 if lies else _SPREAD * elements)


def skips_padding(low: Lowered, arrays: Operands) -> bool:
    """Whether products with zeros of padding are left out."""
    return best_tile(low, arrays).lanes == OPEN


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    tile = best_tile(low, arrays)
    if tile.lanes == OPEN:
        return _open(low, arrays, tile, space)
    lanes, size, last = arrays.lanes, arrays.size, tile.lanes != PIXELS
    channels = low.groups * max(low.source_channels, low.target_channels)
    # A block of vectors, as one vector of each pixel is too little to fetch at a time.
    vectors = min(4, -(-channels // lanes)) if tile.lanes == CHANNELS else 1
    line = vectors * lanes * size
    if last:
        blocks = block_table(1, channels, vectors * lanes, overlap=False)
        planes = Planes(blocks.first, 1, blocks.present)
    else:
        each = np.arange(channels, dtype=np.int64)
        planes = Planes(each // low.target_channels, 1, np.ones(channels, np.int64))
    own = Workspace()
    ahead, band, dy = _operands(low, arrays, tile, planes, vectors, own, space)
    taps = _taps(low, tile)
    units = planes.number * (splits := parts_for(planes.number, band.units // planes.number))
    plane_sums = taps.sums * (line if last else size)
    sums: dict[str, Constant] = {
        "splits": splits,
        "partial": space.take(units * plane_sums),
        "split_sums": planes.number * plane_sums,
    }
    constants = sums | band.places | _sums(low, arrays, tile, taps, band) | dy
    constants |= {
        "units": units,
        "planes": planes.number,
        "plane_sums": plane_sums,
        "vectors": vectors,
        "present": planes.present,
        "cleared": band.bytes,
        "sums": own.take(vectors * taps.sums * lanes * size),
    }
    constants["scratch"] = space.take(own.size * min(threads, units))
    constants["scratch_bytes"] = own.size
    kernel = compiled(
        plane_gradient.correlate_gradient,
        arrays.bits, lanes, tile.rho, tile.R, tile.S, _move(low, tile), int(not last),
    )  # fmt: skip
    finish = sums | {"plane_sums": plane_sums // vectors} | _results(low, arrays, taps, tile, last)
    finisher = compiled(plane_gradient.finish_gradient, arrays.bits)
    return [*ahead, Step(kernel, units, constants), Step(finisher, int(finish["units"]), finish)]  # type: ignore[arg-type]


def _open(low: Lowered, arrays: Operands, tile: Tile, space: Workspace) -> list[Step]:
    """The steps that read both arrays where they lie."""
    taps = _taps(low, tile)
    firsts = taps.row_firsts, taps.columns[:: tile.S].copy()
    step, sums = depthwise_open.weight_gradient(
        low, arrays, view_of(arrays.w), tile.rho, firsts, tile.R, tile.S, _move(low, tile), space
    )
    finish = _results(low, arrays, taps, tile, True) | sums
    finisher = compiled(plane_gradient.finish_gradient, arrays.bits)
    return [step, Step(finisher, int(finish["units"]), finish)]  # type: ignore[arg-type]


def _move(low: Lowered, tile: Tile) -> int:
    """The stride by which taps that are emitted together meet; a single tap knows none."""
    return 1 if tile.R == 1 else three_axes(low.parts[0])[1].move


def _operands(
    low: Lowered, arrays: Operands, tile: Tile, planes: Planes, vectors: int, own: Workspace,
    space: Workspace,
) -> tuple[list[Step], Band, dict[str, Constant]]:  # fmt: skip
    """The steps that run ahead, the staged band, and what the kernel reads of the gradient."""
    lanes, size, last = arrays.lanes, arrays.size, tile.lanes != PIXELS
    counts, line = low.parts[0].counts, vectors * arrays.lanes * arrays.size
    ahead: list[Step] = []
    if tile.lanes == GATHERED:
        seen = arrays._replace(
            x=gathered(arrays.x, low.source, line), w=gathered(arrays.w, counts, line)
        )
        band = stage_band(
            low, seen, planes, lanes, tile.rho, vectors, own, plane_first=True, gather=arrays.x
        )
        dy = view_of(seen.w)._replace(offset=own.take(prod(counts) * line), channel=0)
        gatherer = gather_step(
            band.places, OPERAND_W, arrays.w, counts, planes, vectors, dy.offset, arrays, True
        )
        band = band._replace(stagers=(*band.stagers, gatherer))
        place = OPERAND_OWN
    else:
        width = vectors if last else 0
        band = stage_band(low, arrays, planes, lanes, tile.rho, width, own, plane_first=True)
        ahead, dy = _gradient(low, arrays, space)
        place = int(dy.staged)
    depth, row, pixel = three(dy.spatial, 0)
    return ahead, band, {
        "dy_place": place,
        "dy_offset": dy.offset,
        "dy_image": dy.image,
        "dy_plane": dy.channel * (vectors * lanes if last else 1),
        "dy_divisor": 1 if last else low.source_channels,
        "dy_depth": depth,
        "dy_row": row,
        "dy_step": pixel if last else lanes * size,
    }  # fmt: skip


def _sums(
    low: Lowered, arrays: Operands, tile: Tile, taps: _Taps, band: Band
) -> dict[str, Constant]:
    """What the kernel reads of the staged image, and of where each block of taps lies in it."""
    depth, rows, columns = three_axes(low.parts[0])
    first = rows.taps[0][1]
    starts = [(rows.taps[r][1] - first) * band.pitch for r in taps.row_firsts]
    lanes = arrays.lanes if tile.lanes == PIXELS else 1
    return {
        "stagers": band.stagers,
        "stager_count": len(band.stagers),
        "item": band.item,
        "Q": columns.length,
        "x_row": band.pitch * (rows.move // _move(low, tile)),
        "x_column": rows.move * band.pitch,
        "x_step": band.pixel * lanes,
        "layers": len(depth.taps),
        "layer_x": np.array([band.tap(o, first) for _, o in depth.taps], np.int64),
        "row_blocks": taps.row_blocks,
        "row_starts": np.array(starts, np.int64),
        "column_blocks": taps.column_blocks,
        "columns": np.array([band.columns[columns.taps[s][1]] for s in taps.columns], np.int64),
    }


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
    sums: int  #: of all blocks


def _taps(low: Lowered, tile: Tile) -> _Taps:
    depth, R, S = (len(axis.taps) for axis in three_axes(low.parts[0]))
    row_firsts = np.minimum(np.arange(0, R, tile.R), R - tile.R)
    firsts = np.minimum(np.arange(0, S, tile.S), S - tile.S)
    columns = (firsts[:, None] + np.arange(tile.S)).ravel()
    count = depth * len(row_firsts) * len(firsts) * tile.R * tile.S
    return _Taps(row_firsts, columns, len(row_firsts), len(firsts), count)


def _results(
    low: Lowered, arrays: Operands, taps: _Taps, tile: Tile, last: bool
) -> dict[str, Constant]:
    """Where each tap's sum is found, and where it goes: plane by plane, or vector by vector."""
    size, y = arrays.size, arrays.y
    down, along, across = three(y[2:], 0)
    layer, r, s = np.ogrid[tuple(slice(len(axis.taps)) for axis in three_axes(low.parts[0]))]
    r_block, s_block = r // tile.R, s // tile.S
    r_in, s_in = r - taps.row_firsts[r_block], s - taps.columns[s_block * tile.S]
    block = (layer * taps.row_blocks + r_block) * taps.column_blocks + s_block
    sources = block * (tile.R * tile.S) + r_in * tile.S + s_in
    targets = layer * down + r * along + s * across
    channels = low.groups * max(low.source_channels, low.target_channels)
    blocks = block_table(1, channels, arrays.lanes if last else 1, overlap=False)
    if low.source_channels == 1:
        y_planes = blocks.first * y[0]
    else:
        group, channel = np.divmod(blocks.first, low.source_channels)
        y_planes = group * y[0] + channel * y[1]
    return {
        "units": len(blocks.first),
        "sums_from": np.zeros(len(blocks.first), np.int64),
        "entries": sources.size,
        "sources": (sources * (arrays.lanes if last else 1) * size).ravel().astype(np.int64),
        "targets": targets.ravel().astype(np.int64),
        "present": blocks.present,
        "lane": size,
        "y_planes": y_planes,
        "y_lane": y[0],
    }
