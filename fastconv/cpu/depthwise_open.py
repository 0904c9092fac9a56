"""Depthwise convolution with channels last, straight from the arrays: how its work is cut.

Nothing is staged: a unit reads whole pixels in memory's order, and leaves out the taps outside the
image. What is left of large layers is the time that the arrays take through the caches.
"""

from __future__ import annotations

import numpy as np

from fastconv.cpu import open_gradient, open_planes, plane_staging
from fastconv.cpu.bands import progression, three, three_axes
from fastconv.cpu.operands import Operands, image_bytes, pack_bias, stay_near, weight_lanes
from fastconv.cpu.packing import pack_step
from fastconv.cpu.plane_tiles import Tile, column
from fastconv.cpu.planning import UNITS, block_table, parts_for
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_W, View, Workspace
from fastconv.lowering import Correlation, Lowered

_CHUNK_BYTES = 1 << 16  # of weights and windows: long runs of channels stream best
_PHASE_BYTES = 1 << 14  # of those of a stride's phases, which all go over the same band
_SPAN_BYTES = 1 << 18  # of an image's rows under a tile that stay in the second-level cache
_SHORTEST = 8  # columns of a span
_SUMS_BYTES = 1 << 15  # of a gradient's sums, loaded and stored once a run
_RUN = 32  # columns of a run
_FROM_MEMORY = 1 << 24  # bytes of image and gradient that the third-level cache does not keep


def correlate(low: Lowered, arrays: Operands, tile: Tile, space: Workspace) -> list[Step]:
    """The steps of a forward pass or an input gradient."""
    # All groups as one: channels side by side, each with its own weights.
    channels, width = low.groups, tile.vectors * arrays.lanes
    low = low._replace(groups=1, target_channels=channels, transposed=False)
    blocks = block_table(1, channels, width, overlap=True)
    bias, bias_from = pack_bias(low, arrays, blocks, width, space)
    parts = [three_axes(part) for part in low.parts]
    pieces, cuts = _cuts(low, tile, len(blocks.first), width * arrays.size)
    y = three(arrays.y[2:], 0)
    shared: dict[str, Constant] = _image(low, arrays) | cuts | {
        "block_from": blocks.first * arrays.size,
        "bias_from": bias_from,
        "y_image": arrays.y[0],
        "near": stay_near(low, arrays),
        "floor": arrays.floor,
    }  # fmt: skip
    ahead, inner = [bias], []
    for part, axes in zip(low.parts, parts, strict=True):
        lanes = weight_lanes(low, part, arrays, blocks, width)
        place = space.take(lanes.bytes)
        ahead.append(pack_step(lanes, OPERAND_W, place))
        depth, down, across = axes
        steps = [a.step * s for a, s in zip(axes, y, strict=True)]
        constants = shared | _meetings(low, part) | {
            "D": depth.length,
            "P": down.length,
            "Q": across.length,
            "R": len(down.taps),
            "S": len(across.taps),
            "weights": place,
            "w_block": lanes.block_bytes,
            "y_offset": sum(a.start * s for a, s in zip(axes, y, strict=True)),
            "y_depth": steps[0],
            "y_row": steps[1],
            "y_pixel": steps[2],
        }  # fmt: skip
        kernel = compiled(
            open_planes.correlate_open,
            arrays.bits, arrays.lanes, tile.rho, tile.vectors, *column(down),
        )  # fmt: skip
        inner.append(Step(kernel, 0, constants))
    units = low.N * pieces
    constants = {
        "units": units,
        "inner": tuple(inner),
        "count": len(inner),
        "scratch": 0,
        "scratch_bytes": 0,
        "cleared": 0,
    }
    return [*ahead, Step(compiled(plane_staging.in_cache), units, constants)]


def _cuts(low: Lowered, tile: Tile, blocks: int, line: int) -> tuple[int, dict[str, Constant]]:
    """Into how many pieces, and which, to cut an image of ``blocks`` of channels of ``line`` bytes.

    Bands are as low as a tile, so that results of all phases of a stride meet in cache.
    """
    parts = [three_axes(part) for part in low.parts]
    depths, rows, Q = (max(axes[i].length for axes in parts) for i in range(3))
    shortest = min(axes[1].length for axes in parts)
    _, down, across = max(parts, key=lambda axes: len(axes[1].taps) * len(axes[2].taps))
    window = (tile.rho - 1) * down.move + len(down.taps)
    held = line * len(across.taps) * (len(down.taps) + window)
    chunk = (_CHUNK_BYTES if len(parts) == 1 else _PHASE_BYTES) // held
    chunks = -(-blocks // max(1, chunk))
    bands = max(1, rows // tile.rho)
    while bands > 1 and rows // bands - (rows - shortest) < tile.rho:
        bands -= 1
    row = Q * across.move * line * blocks
    wanted = max(
        -(-window * row // _SPAN_BYTES),
        -(-UNITS // (low.N * depths * bands * chunks)),
    )
    spans = max(1, min(wanted, Q // _SHORTEST))
    return depths * bands * spans * chunks, {
        "chunks": chunks,
        "chunk_from": _cut(blocks, chunks),
        "bands": bands,
        "band_from": _cut(rows, bands),
        "spans": spans,
        "span_from": _cut(Q, spans),
        "depths": depths,
    }


def weight_gradient(
    low: Lowered, arrays: Operands, dy: View, rho: int, taps: tuple[np.ndarray, ...], R: int,
    S: int, move: int, space: Workspace,
) -> tuple[Step, dict[str, Constant]]:  # fmt: skip
    """The step that makes the sums, and what `plane_gradient.finish_gradient` reads of them.

    ``taps``: the first of each block of ``R`` rows, and of each block of ``S`` columns.
    """
    blocks = block_table(1, low.groups, arrays.lanes, overlap=True)
    count = len(blocks.first)
    depth, rows, columns = three_axes(low.parts[0])
    row_taps, column_taps = taps
    plane_sums = len(depth.taps) * len(row_taps) * len(column_taps) * R * S * arrays.lanes
    plane_sums *= arrays.size
    chunks = -(-count // max(1, _SUMS_BYTES // plane_sums))
    bands = max(1, rows.length // rho)
    places = low.N * depth.length * bands
    splits = parts_for(chunks, places)
    units = chunks * splits
    sums: dict[str, Constant] = {
        "splits": splits,
        "partial": space.take(splits * count * plane_sums),
        "plane_sums": plane_sums,
        "split_sums": count * plane_sums,
    }
    dy_depth, dy_row, dy_pixel = three(dy.spatial, 0)
    # A stride's rows and columns are too many to ask for.
    ahead = move == 1 == columns.move and image_bytes(low, arrays) > _FROM_MEMORY
    constants = sums | _image(low, arrays) | _meetings(low, low.parts[0]) | {
        "units": units,
        "places": places,
        "depths": depth.length,
        "bands": bands,
        "band_from": _cut(rows.length, bands),
        "chunk_from": _cut(count, chunks),
        "block_from": blocks.first * arrays.size,
        "Q": columns.length,
        "run": _RUN,
        "row_blocks": len(row_taps),
        "row_taps": row_taps,
        "column_blocks": len(column_taps),
        "column_taps": column_taps,
        "dy_staged": int(dy.staged),
        "dy_offset": dy.offset,
        "dy_image": dy.image,
        "dy_depth": dy_depth,
        "dy_row": dy_row,
        "dy_pixel": dy_pixel,
    }  # fmt: skip
    kernel = compiled(
        open_gradient.correlate_gradient_open,
        arrays.bits, arrays.lanes, rho, R, S, move, int(ahead),
    )  # fmt: skip
    return Step(kernel, units, constants), sums | {"sums_from": blocks.repeated * arrays.size}


def _cut(length: int, pieces: int) -> np.ndarray:
    """Where each of ``pieces`` even pieces of ``length`` begins, and the end."""
    return np.arange(pieces + 1, dtype=np.int64) * length // pieces


def _image(low: Lowered, arrays: Operands) -> dict[str, Constant]:
    """What a kernel reads of the source: its strides and extents."""
    strides, extents = three(arrays.x[2:], 0), three(low.source, 1)
    constants: dict[str, Constant] = {"x_image": arrays.x[0]}
    constants |= zip(("x_depth", "x_row", "x_pixel"), strides, strict=True)
    constants |= zip(("x_D", "x_H", "x_W"), extents, strict=True)
    return constants


def _meetings(low: Lowered, part: Correlation) -> dict[str, Constant]:
    """Along each axis, how far results and taps move in the image, and where the first is."""
    axes = three_axes(part)
    constants: dict[str, Constant] = {"layers": len(axes[0].taps)}
    for name, axis, before in zip("dhw", axes, three(low.before, 0), strict=True):
        _, _, first, gap = progression(axis.taps)
        constants |= {f"{name}_move": axis.move, f"{name}_first": first - before}
        constants[f"{name}_gap"] = gap
    return constants
