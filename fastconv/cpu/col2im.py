"""Input gradient by columns: a product of matrices, and its columns added into the image (col2im).

For few input channels: im2col backwards. Weights times the output gradient are the gradients of
im2col's columns, which are added up block by block in cache; see `column_sums`. No zero around the
output gradient is multiplied, and a stride costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, product
from math import prod

import numpy as np

from fastconv.cpu import col2im_taps, column_sums
from fastconv.cpu.col2im_axes import Axes, Axis, axes_of
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import UNITS, FoldShape, fold_tile
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import Workspace
from fastconv.lowering import Lowered

_MOST_CHANNELS = 64  # input channels of a group: their planes stay in cache
_PLANES_BYTES = 1 << 18  # of a band: they stay in the second-level cache
_PANELS = 4  # of a band at least: what its last one hangs over is lost
_WOVEN = (1, 2, 3, 4)  # strides whose phases vectors are woven from


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    if pass_name != "input_gradient":
        return "computes input gradients alone"
    if not low.parts[-1].taps:
        return "needs a kernel that meets the image, not its padding alone"
    if low.target_channels > _MOST_CHANNELS:
        return (
            f"is for up to {_MOST_CHANNELS} input channels a group, "
            f"and this pass has {low.target_channels}"
        )
    return None


def _spread(values: tuple[int, ...]) -> tuple[int, int, int]:
    """Byte pitches of slices, rows and columns."""
    first, second, third = [*values[:-1], *([0] * (3 - len(values))), values[-1]]
    return first, second, third


# Cycles to pack a weight, to fill a vector of a panel, and for a result to leave, with its
# neighbours or alone; and what a call of this algorithm takes besides. Fitted as `direct.cycles`.
_PACK, _FILL, _LEAVE, _SCATTER, _CALL = 1.0, 2.0, 0.3, 2.2, 2000


def cycles(pass_name: str, low: Lowered, arrays: Operands) -> float:
    """About how many cycles one core takes, at two multiply-adds each."""
    axes = axes_of(low)
    images = low.N * low.groups
    moved = images * low.source_channels * prod(low.source) / arrays.lanes
    results = images * low.target_channels * prod(axis.targets for axis in axes)
    weights = low.groups * low.source_channels * low.target_channels
    weights *= prod(len(axis.taps) for axis in axes)
    leaving = _LEAVE if _weaves(axes[-1], arrays) else _SCATTER
    if _taps_in_lanes(low, arrays, axes):
        tiles = col2im_taps.tiles(low, arrays, axes).cycles
        leaving = _LEAVE if arrays.y[-1] == arrays.size else _SCATTER
        return images * tiles + leaving * results + _PACK * weights + _CALL
    tiles = images * _shape(low, arrays, axes).cycles
    return tiles + _FILL * moved + leaving * results + _PACK * weights + _CALL


def _taps_in_lanes(low: Lowered, arrays: Operands, axes: Axes) -> bool:
    """Whether lanes over the taps of a signal's kernel take less time than lanes over pixels."""
    if not col2im_taps.suits(axes, arrays):
        return False
    return col2im_taps.tiles(low, arrays, axes).cycles < _shape(low, arrays, axes).cycles


def _weaves(columns: Axis, arrays: Operands) -> bool:
    return arrays.y[-1] == arrays.size and columns.stride in _WOVEN


def _shape(low: Lowered, arrays: Operands, axes: Axes) -> FoldShape:
    """The tile, with the cycles of one image's tiles in one group."""
    slices, rows, columns = axes
    places = ((slices.sources - 1) * rows.extent + rows.sources - 1) * columns.extent
    lines = low.target_channels * prod(len(axis.taps) for axis in axes)
    folds = _folds(columns, arrays.lanes)
    return fold_tile(lines, folds, places + columns.sources, low.source_channels, arrays.lanes)


def _folds(columns: Axis, lanes: int) -> list[tuple[int, int]]:
    """How many neighbouring taps' lines can be summed in registers, and to how many sums.

    Those of each phase must meet targets side by side.
    """
    turns, count = columns.stride, len(columns.taps)
    found = [(1, 1)]
    for taps in range(turns + 1, min(turns * lanes, count) + 1):
        pieces = [columns.taps[i : i + taps] for i in range(0, count, taps)]
        runs = [piece[turn::turns] for piece in pieces for turn in range(turns)]
        whole = count % taps == 0 and (taps == count or taps % turns == 0)
        if whole and all(map(_side_by_side, runs)):
            found.append((taps, turns))
    return found


def _side_by_side(run: tuple[tuple[int, int, int], ...]) -> bool:
    _, first, phase = run[0]
    return all((e, f) == (first + i, phase) for i, (_, e, f) in enumerate(run))


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The steps of an input gradient."""
    axes = axes_of(low)
    if _taps_in_lanes(low, arrays, axes):
        return col2im_taps.correlate(low, arrays, axes, space, threads)
    slices, rows, columns = axes
    size = arrays.size
    shape = _shape(low, arrays, axes)
    width = shape.vectors * arrays.lanes
    overhang = (shape.vectors + 1) * arrays.lanes * size
    phases = prod(axis.stride for axis in axes)
    planes = low.target_channels * phases
    slice_bytes = rows.extent * columns.extent * size
    bands = _bands(low, slices, slice_bytes, planes, width * size)
    band_from = np.arange(bands + 1, dtype=np.int64) * slices.sources // bands
    lead, reach = slices.least - slices.low, slices.reach
    held = np.diff(band_from) + reach
    held[0] += lead
    held[-1] = slices.extent - (band_from[-2] + lead if bands > 1 else 0)
    plane = _plane_bytes(int(held.max()) * slice_bytes, overhang)
    turns = columns.stride if shape.taps > 1 else 1
    lines = list(_columns(low, arrays, axes, plane, shape.taps, turns))
    absent = -len(lines) % shape.m
    blocks = (len(lines) + absent) // shape.m
    # What absent columns of the last block add goes to a plane of its own.
    lines += [(planes * plane, 0)] * absent
    from_weights = [weight for _, weight in lines]
    # Of folded lines the first one's place counts.
    leads = list(accumulate([0, *_runs(shape.taps, turns)]))[:-1]
    targets = [lines[i + j][0] for i in range(0, len(lines), shape.taps) for j in leads]
    channels = low.source_channels
    weights = space.take(low.groups * blocks * shape.m * channels * size)
    pack = Step(compiled(column_sums.pack_columns, arrays.bits), low.groups * blocks, {
        "units": low.groups * blocks,
        "weights": weights,
        "blocks": blocks,
        "channels": channels,
        "m": shape.m,
        "w_group": channels * arrays.w[0],
        "w_channel": arrays.w[0],
        "columns": np.array(from_weights, np.int64),
    })  # fmt: skip
    a, b, c = _spread(arrays.x[2:])
    y_a, y_b, y_c = _spread(arrays.y[2:])
    seam_plane = _plane_bytes(reach * slice_bytes, overhang)
    units = low.N * low.groups * bands
    seams = low.N * low.groups * (bands - 1) if reach else 0
    own = Workspace()
    own.take((planes + bool(absent)) * plane)
    panel = own.take(channels * width * size)
    common: dict[str, Constant] = {
        "groups": low.groups,
        "bands": bands,
        "band_from": band_from,
        "reach": reach,
        "lead": lead,
        "y_image": arrays.y[0],
        "y_group": low.target_channels * arrays.y[1],
        "bias_group": low.target_channels * size,
        "floor": arrays.floor,
        "seams": space.take(seams * 2 * planes * seam_plane),
        "seam": 2 * planes * seam_plane,
        "seam_bytes": planes * seam_plane,
        "targets": low.target_channels,
        "slice_rows": rows.extent,
        "pitch": columns.extent,
        "y_channel": arrays.y[1],
    }
    for name, axis, pitch in zip("abc", axes, (y_a, y_b, y_c), strict=True):
        common |= {
            f"{name}_stride": axis.stride,
            f"{name}_first": -axis.low * axis.stride,
            f"{name}_targets": axis.targets,
            f"y_{name}": pitch,
        }
    constants = common | {
        "units": units,
        "slices": slices.extent,
        "channels": channels,
        "image": arrays.x[0],
        "group": channels * arrays.x[1],
        "channel": arrays.x[1],
        "a_step": a,
        "b_step": b,
        "c_step": c,
        "rows": rows.sources,
        "Q": columns.sources,
        # A panel's cache lines: those of each channel, or of all.
        "later_step": 64 if arrays.x[1] == size else arrays.x[1],
        "later_block": 64 * channels if arrays.x[1] == size else 64,
        "weights": weights,
        "group_weights": blocks * shape.m * channels * size,
        "blocks": blocks,
        "last_column": len(targets) - 1,
        "columns": np.array(targets, np.int64),
        "seam_plane": seam_plane,
        "scratch": space.take(own.size * min(threads, units)),
        "scratch_bytes": own.size,
        "cleared": planes * plane,
        "panel": panel,
        "plane": plane,
    }
    how = column_sums.GATHERED
    if c == size:
        how = column_sums.RUNS
    elif arrays.x[1] == size:
        how = column_sums.TRANSPOSED
    step = columns.stride if _weaves(columns, arrays) else 0
    kernel = compiled(
        column_sums.multiply,
        arrays.bits, arrays.lanes, shape.m, shape.vectors, shape.taps, turns, how, step,
    )  # fmt: skip
    steps = [pack, Step(kernel, units, constants)]
    if seams:
        joint = compiled(column_sums.join, arrays.bits, arrays.lanes, step)
        steps.append(Step(joint, seams, common | {"units": seams, "plane": seam_plane}))
    return steps


def _plane_bytes(used: int, overhang: int) -> int:
    """Bytes from one plane to the next: an odd number of cache lines, so that they spread."""
    return (-(-(used + overhang) // 64) | 1) * 64


def _bands(low: Lowered, slices: Axis, slice_bytes: int, planes: int, panel_bytes: int) -> int:
    """Into how many bands to cut an image: enough units, each in cache and of some panels."""
    fitting = max(1, _PLANES_BYTES // (planes * slice_bytes) - slices.reach)
    wanted = -(-UNITS // (low.N * low.groups))
    bands = min(wanted, slices.sources * slice_bytes // (_PANELS * panel_bytes))
    bands = max(bands, -(-slices.sources // fitting))
    # No more than two bands reach any slice.
    return max(1, min(bands, slices.sources // max(slices.reach, 1)))


def _runs(taps: int, turns: int) -> list[int]:
    """How many of each ``taps`` lines are summed to each of their sums."""
    return [len(range(turn, taps, turns)) for turn in range(min(taps, turns))]


def _columns(
    low: Lowered, arrays: Operands, axes: Axes, plane: int,
    taps: int, turns: int,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Of each column (input channel, tap), where its line goes, and its weights, in bytes.

    Of ``taps`` taps along the last axis, those of one phase come first. Others that differ along
    the last axis alone meet in the same cache lines, so they are no neighbours: a vector would wait
    for another that overlaps it to be written.
    """
    slices, rows, columns = axes
    w = _spread(arrays.w[2:])
    phases = prod(axis.stride for axis in axes)
    for first in range(0, len(columns.taps), taps):
        piece = columns.taps[first : first + taps]
        dealt = [tap for turn in range(turns) for tap in piece[turn::turns]]
        for channel, a, b, c in product(range(low.target_channels), slices.taps, rows.taps, dealt):
            phase = (a[2] * rows.stride + b[2]) * columns.stride + c[2]
            at = (a[1] - slices.least) * rows.extent + b[1] - rows.low
            at = at * columns.extent + c[1] - columns.low
            from_weights = sum(tap[0] * pitch for tap, pitch in zip((a, b, c), w, strict=True))
            yield (
                (channel * phases + phase) * plane + at * arrays.size,
                channel * arrays.w[1] + from_weights,
            )
