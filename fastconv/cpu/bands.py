"""Bands: what a plane's unit of work stages, and where its kernels find each tap in it.

All ranks are three: missing axes have one element and one tap.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu import plane_staging
from fastconv.cpu.operands import Operands
from fastconv.cpu.planning import UNITS
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import OPERAND_X, Workspace
from fastconv.lowering import AxisPart, Correlation, Lowered

_BAND_BYTES = 1 << 17  # of a staged band: it stays in the second-level cache
_UNIT_BYTES = 1 << 14  # of bands staged together: they stay in the first-level cache
_WOVEN = (1, 2, 3, 4)  # strides whose phases vectors can be split into and woven from

OPERAND_OWN = 2  #: a source that lies in the slot's memory

Strides3 = tuple[int, int, int]


def three_axes(part: Correlation) -> tuple[AxisPart, AxisPart, AxisPart]:
    """The axes of a part, depth, rows and columns."""
    missing = [AxisPart(0, 1, 1, 1, ((0, 0),))] * (3 - len(part.axes))
    depth, rows, columns = missing + list(part.axes)
    return depth, rows, columns


def three(values: tuple[int, ...], missing: int) -> Strides3:
    """One value for each of three axes."""
    depth, rows, columns = [missing] * (3 - len(values)) + list(values)
    return depth, rows, columns


class Planes(NamedTuple):
    """The planes, or blocks of channels, that results have."""

    first: np.ndarray  #: the source's first channel that each reads
    held: int  #: channels of the source that each reads, where lanes are pixels
    present: np.ndarray  #: channels of each block, where lanes are channels

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.first)


class Band(NamedTuple):
    """A staged band: rows ``pitch`` bytes apart, planes ``plane``, and where each column lies."""

    places: dict[str, Constant]  #: what kernels read of the places
    units: int
    rows: int  #: rows of sums of the highest band
    item: int  #: bytes of a place
    bytes: int
    depth_first: int
    depth_gap: int
    depth_taps: int
    first: int  #: the lowest row offset that any tap reads
    pitch: int
    plane: int
    columns: dict[int, int]  #: bytes into a row of each column offset's first pixel
    pixel: int  #: bytes from one column of sums to the next
    stagers: tuple[Step, ...]

    def tap(self, depth: int, row: int) -> int:
        """Bytes into the band of a tap's depth and row offsets, in the first channel."""
        plane = (depth - self.depth_first) // self.depth_gap
        return plane * self.plane + (row - self.first) * self.pitch


def progression(taps: tuple[tuple[int, int], ...]) -> tuple[int, int, int, int]:
    """First weight index, its step, first offset and its step, of an axis's taps."""
    (index, offset), *rest = taps
    if not rest:
        return index, 0, offset, 1
    return index, rest[0][0] - index, offset, rest[0][1] - offset


def cut_rows(rows: int, least: int, shortest: int, row_bytes: int, fixed: int, others: int) -> int:
    """Into how many bands to cut ``rows``: small ones, enough for all workers.

    Every band has ``least`` rows, counted in the part that has ``shortest`` of them; a band of r
    rows takes r * ``row_bytes`` + ``fixed`` bytes. ``others``: units beside the bands.
    """
    # Rows that neighbouring bands both stage should not be most of a band.
    fitting = max(least, fixed // row_bytes, (_BAND_BYTES - fixed) // row_bytes)
    bands = max(-(-rows // fitting), min(-(-UNITS // others), rows // (2 * least)))
    while bands > 1 and rows // bands - (rows - shortest) < least:
        bands -= 1
    return max(bands, 1)


def stage_band(
    low: Lowered, arrays: Operands, planes: Planes, width: int, least: int, vectors: int,
    own: Workspace, *, plane_first: bool = False, gather: tuple[int, ...] = (),
) -> Band:  # fmt: skip
    """Lay out the bands of a unit, of ``least`` or more rows of sums, a tile ``width`` sums wide.

    Lanes are channels, ``vectors`` vectors of them, or pixels if that is 0. With ``plane_first`` a
    unit is of one plane, in images one after the other. Planes of the source whose channels lie
    ``gather`` strides apart are first gathered with channels contiguous, as ``arrays`` then says.
    """
    parts = [three_axes(part) for part in low.parts]
    moves = tuple(axis.move for axis in parts[-1])
    extents, before = three(low.source, 1), three(low.before, 0)
    strides = three(arrays.x[2:], 0)
    depths, rows, Q = (max(axes[i].length for axes in parts) for i in range(3))
    shortest = min(axes[1].length for axes in parts)
    offsets = [sorted({o for axes in parts for _, o in axes[i].taps}) for i in range(3)]
    gap = progression(parts[0][0].taps)[3] if len(parts) == 1 else 1
    depth_taps = (offsets[0][-1] - offsets[0][0]) // gap + 1
    first, reach = offsets[1][0], offsets[1][-1] - offsets[1][0]
    held = planes.held * depth_taps
    row = extents[2], before[2], strides[2], offsets[2], moves[2], Q
    if vectors:
        layout = _channel_columns(*row, vectors * arrays.lanes * arrays.size)
    else:
        layout = _pixel_columns(*row, width, arrays)
    pitch = layout.pitch
    bands = 1 if gather else cut_rows(
        rows, least, shortest, held * moves[1] * pitch, held * reach * pitch,
        low.N * planes.number * depths,
    )  # fmt: skip
    highest = -(-rows // bands)
    plane = ((highest - 1) * moves[1] + reach + 1) * pitch
    item = held * plane
    count = low.N * planes.number * depths * bands
    in_a_row = low.N * depths * bands if plane_first else count
    together = 1 if gather else _together(item, in_a_row, count, plane_first)
    own.take(together * item)
    places: dict[str, Constant] = {
        "together": together,
        "places": count,
        "fast_count": low.N if plane_first else planes.number,
        "depths": depths,
        "bands": bands,
        "band_from": np.arange(bands + 1, dtype=np.int64) * rows // bands,
    }
    images = np.arange(low.N, dtype=np.int64) * arrays.x[0]
    channels = planes.first * arrays.x[1]
    stagers: list[Step] = []
    if gather:
        images, channels = images * 0, channels * 0
        place = own.take(prod(extents) * vectors * arrays.lanes * arrays.size)
        stagers.append(gather_step(places, OPERAND_X, gather, extents, planes, vectors, place,
                                   arrays, plane_first))  # fmt: skip
        layout.constants["start"] = int(layout.constants["start"]) + place  # type: ignore[arg-type]
    constants = places | {
        "slow_from": channels if plane_first else images,
        "fast_from": images if plane_first else channels,
        "depth": strides[0],
        "depth_move": moves[0],
        "depth_gap": gap,
        "depth_taps": depth_taps,
        "depth_before": before[0] - offsets[0][0],
        "D": extents[0],
        "row": strides[1],
        "move": moves[1],
        "reach": reach,
        "before": before[1] - first,
        "H": extents[1],
        "plane": plane,
        "pitch": pitch,
        "pixel": strides[2],
    }
    constants |= layout.constants
    if vectors:
        constants |= {"by_slow": int(plane_first), "present": planes.present}
        constants["operand"] = OPERAND_OWN if gather else OPERAND_X
        kernel = compiled(plane_staging.stage_channels, arrays.bits, arrays.lanes, vectors)
    else:
        constants |= {"held": planes.held, "channel": arrays.x[1]}
        contiguous = strides[2] == arrays.size and moves[2] in _WOVEN
        step = moves[2] if contiguous else 0
        kernel = compiled(plane_staging.stage_rows, arrays.bits, arrays.lanes, step)
    stagers.append(Step(kernel, 0, constants))
    return Band(
        places, -(-count // together), highest, item, together * item, offsets[0][0], gap,
        depth_taps, first, pitch, plane, layout.columns, layout.pixel, tuple(stagers),
    )  # fmt: skip


def gather_step(
    places: dict[str, Constant], operand: int, strides: tuple[int, ...], extents: tuple[int, ...],
    planes: Planes, vectors: int, place: int, arrays: Operands, plane_first: bool,
) -> Step:  # fmt: skip
    """The step that gathers the planes of a block of channels at ``place`` in the slot's memory."""
    constants = places | {
        "operand": operand,
        "image": strides[0],
        "channel": strides[1],
        "pixels": prod(extents),
        "present": planes.present,
        "by_slow": int(plane_first),
        "base": place,
    }
    kernel = compiled(plane_staging.gather_channels, arrays.bits, arrays.lanes, vectors)
    return Step(kernel, 0, constants)


def gathered(strides: tuple[int, ...], extents: tuple[int, ...], line: int) -> tuple[int, ...]:
    """The strides of an array whose blocks of channels, ``line`` bytes a pixel, are gathered."""
    spatial = (line * prod(extents[i + 1 :]) for i in range(len(extents)))
    return (0, 0, *spatial)


def gatherable(strides: tuple[int, ...], extents: tuple[int, ...], size: int) -> bool:
    """Whether the pixels of a plane are contiguous and lie in at most two axes."""
    return len(extents) <= 2 and strides[2:] == tuple(
        size * prod(extents[i + 1 :]) for i in range(len(extents))
    )


def _together(item: int, in_a_row: int, places: int, even: bool) -> int:
    """How many places to stage at a time: some that stay in the first-level cache together.

    ``even``: no fewer in the last unit of those in a row.
    """
    most = max(1, min(_UNIT_BYTES // item, places // UNITS, in_a_row))
    return next(t for t in range(most, 0, -1) if not even or in_a_row % t == 0)


class _Columns(NamedTuple):
    pitch: int
    columns: dict[int, int]
    pixel: int
    constants: dict[str, Constant]


def _pixel_columns(
    W: int, before: int, stride: int, offsets: list[int], move: int, Q: int, width: int,
    arrays: Operands,
) -> _Columns:  # fmt: skip
    """Rows of pixels, one phase of the stride after the other, written from aligned pixels on."""
    lanes, size = arrays.lanes, arrays.size
    needed = (Q - 1) * move + offsets[-1] + 1 - before
    start = min(max(offsets[0] - before, 0), W)
    count = max(min(W, needed) - start, 0)
    vectors = stride == size and move in _WOVEN
    used = {o % move for o in offsets}
    starts: dict[int, int] = {}
    targets = np.full(move, -1, np.int64)
    at = 0
    for turn in range(move):
        # Pixels start + turn, + move, ... of the source are pixels j, j + 1, ... of their phase.
        j, phase = divmod(before + start + turn, move)
        if not vectors and phase not in used:
            continue
        left = -j % lanes
        starts[phase] = at + left
        targets[turn] = (at + left + j) * size
        copied = j + -(-count // (move * lanes)) * lanes
        furthest = max((o // move for o in offsets if o % move == phase), default=0)
        length = left + max(copied, furthest + max(Q, width))
        at += -(-length // lanes) * lanes
    return _Columns(
        pitch=at * size,
        columns={o: (starts[o % move] + o // move) * size for o in offsets},
        pixel=size,
        constants={
            "start": start * stride,
            "count": count,
            "phases": move,
            "phase_target": targets,
        },
    )


def _channel_columns(
    W: int, before: int, stride: int, offsets: list[int], move: int, Q: int, line: int
) -> _Columns:
    """Rows of pixels of ``line`` bytes of channels each."""
    held = (Q - 1) * move + offsets[-1] - offsets[0] + 1
    low = min(max(before - offsets[0], 0), held)
    high = max(min(W + before - offsets[0], held), low)
    return _Columns(
        pitch=held * line,
        columns={o: (o - offsets[0]) * line for o in offsets},
        pixel=move * line,
        constants={
            "start": (offsets[0] + low - before) * stride,
            "left": low * line,
            "count": high - low,
        },
    )
