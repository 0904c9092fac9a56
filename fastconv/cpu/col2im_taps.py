"""Input gradient of signals whose kernels are long: taps in lanes; see `tap_sums`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastconv.cpu import tap_sums
from fastconv.cpu.col2im_axes import Axes
from fastconv.cpu.operands import Operands, packed
from fastconv.cpu.packing import Lanes
from fastconv.cpu.planning import UNITS, TileShape, run_tile
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_W, Workspace
from fastconv.lowering import Lowered

_LINE_BYTES = 1 << 17  # of a band: it stays in the second-level cache


def suits(axes: Axes, arrays: Operands) -> bool:
    """Whether there is one axis alone, and its taps lie side by side in the image."""
    *others, signal = axes
    if any((axis.sources, axis.targets, len(axis.taps)) != (1, 1, 1) for axis in others):
        return False
    first, before = signal.taps[0][0], _before(axes)
    return before >= 0 and all(
        (r, e * signal.stride + f) == (first + i, i - before)
        for i, (r, e, f) in enumerate(signal.taps)
    )


def _before(axes: Axes) -> int:
    """How far the first tap reaches before the element's own place."""
    _, e, f = axes[-1].taps[0]
    return -(e * axes[-1].stride + f)


def tiles(low: Lowered, arrays: Operands, axes: Axes) -> TileShape:
    """The tile, with the cycles of one image's tiles in one group."""
    signal = axes[-1]
    runs = low.target_channels
    shape = run_tile(signal.sources, len(signal.taps), low.source_channels, arrays.lanes)
    return shape._replace(cycles=shape.cycles * runs)


def correlate(
    low: Lowered, arrays: Operands, axes: Axes, space: Workspace, threads: int
) -> list[Step]:
    """The steps of an input gradient."""
    signal, size = axes[-1], arrays.size
    shape = tiles(low, arrays, axes)
    width = shape.vectors * arrays.lanes
    taps, results, channels = len(signal.taps), low.target_channels, low.source_channels
    blocks = -(-taps // width)
    reach = max(taps - signal.stride, 0)
    bands = _bands(low, signal.sources, signal.stride, reach, shape.m, size)
    whole = -(-signal.sources // shape.m)
    band_from = np.arange(bands + 1, dtype=np.int64) * whole // bands * shape.m
    band_from[-1] = signal.sources
    before = _before(axes)
    held = int(np.diff(band_from).max() - 1) * signal.stride + blocks * width
    held = max(held, signal.targets + before - int(band_from[-2]) * signal.stride)
    line_bytes = -(-(held + width) * size // 64) * 64
    seam_line = -(-(reach + width) * size // 64) * 64
    pack, weights, block_bytes = packed(
        Lanes(
            blocks_from=np.array(list(_blocks(low, arrays, axes, width)), np.int64),
            valid=np.tile(
                np.minimum(taps - np.arange(0, taps, width), width), low.groups * results
            ),
            outer_from=np.arange(channels, dtype=np.int64) * arrays.w[0],
            inner_from=np.zeros(1, np.int64),
            lane_step=arrays.w[-1],
            width=width,
            bits=arrays.bits,
        ),
        OPERAND_W,
        space,
    )
    units = low.N * low.groups * bands
    seams = low.N * low.groups * (bands - 1) if reach else 0
    own = Workspace()
    own.take(results * line_bytes)
    spill = own.take(shape.m * width * size)
    common: dict[str, Constant] = {
        "groups": low.groups,
        "bands": bands,
        "band_from": band_from,
        "stride": signal.stride,
        "reach": reach,
        "before": before,
        "targets": signal.targets,
        "results": results,
        "y_image": arrays.y[0],
        "y_group": results * arrays.y[1],
        "y_channel": arrays.y[1],
        "y_pixel": arrays.y[-1],
        "bias_group": results * size,
        "floor": arrays.floor,
        "seams": space.take(seams * 2 * results * seam_line),
        "seam": 2 * results * seam_line,
        "seam_line": seam_line,
    }
    constants = common | {
        "units": units,
        "channels": channels,
        "image": arrays.x[0],
        "group": channels * arrays.x[1],
        "channel": arrays.x[1],
        "pixel": arrays.x[-1],
        "weights": weights,
        "blocks": blocks,
        "block_bytes": block_bytes,
        "taps": taps,
        "line_bytes": line_bytes,
        "scratch": space.take(own.size * min(threads, units)),
        "scratch_bytes": own.size,
        "spill": spill,
    }
    fixed = size if arrays.x[-1] == size else 0
    step = int(arrays.y[-1] == size)
    kernel = compiled(
        tap_sums.multiply, arrays.bits, arrays.lanes, shape.m, shape.vectors, fixed, step
    )
    steps = [pack, Step(kernel, units, constants)]
    if seams:
        joint = compiled(tap_sums.join, arrays.bits, arrays.lanes, step)
        steps.append(Step(joint, seams, common | {"units": seams}))
    return steps


def _bands(low: Lowered, sources: int, stride: int, reach: int, m: int, size: int) -> int:
    """Into how many bands to cut a signal: enough units, each in cache and of whole tiles."""
    whole = -(-sources // m)
    fitting = max(1, _LINE_BYTES // (low.target_channels * m * stride * size))
    bands = max(-(-whole // fitting), min(whole, -(-UNITS // (low.N * low.groups))))
    # No more than two bands reach any element: the last, which may be cut short, has others' tiles.
    least = -(-reach // (m * stride)) + 1
    return max(1, min(bands, whole // least))


def _blocks(low: Lowered, arrays: Operands, axes: Axes, width: int) -> Iterator[int]:
    """Where the weights of each (group, input channel, block of taps) begin."""
    signal, (of_source, of_target), pitch = axes[-1], arrays.w[:2], arrays.w[-1]
    for g in range(low.groups):
        for c in range(low.target_channels):
            for first in range(0, len(signal.taps), width):
                at = g * low.source_channels * of_source + c * of_target
                yield at + (signal.taps[0][0] + first) * pitch
