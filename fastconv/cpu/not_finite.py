"""Padding beside infinity and NaN: which products with its zeros are part of a sum.

A padded image has pixels that are zero, and infinity times zero is NaN. Results of a forward pass
and weight gradients sum such products too, as they would over an image that was padded beforehand.
An input gradient sums over the outputs that there are, and has none. To finite numbers that is all
one, so algorithms make such products or leave them out, as is faster, and the steps here come last
and set right what they made of numbers that are not finite. They look at the weights where those
are few, else at one result of each channel that met all the weights (or all the output gradient),
and are done if these are finite.
"""

from __future__ import annotations

from math import prod

import numpy as np

from fastconv.cpu import edge_sums, simd
from fastconv.cpu.bands import three, three_axes
from fastconv.cpu.conversion import packed_strides
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Constant, Step, compiled
from fastconv.cpu.views import Workspace
from fastconv.lowering import Correlation, Lowered

_PROBES = 64  # results of a channel to look at: relu may leave all but a few of them 0

Span = tuple[int, int]  # a first index and an end


def mend_results(low: Lowered, arrays: Operands, space: Workspace, again: bool) -> list[Step]:
    """The steps for a forward pass or an input gradient, part by part.

    ``again``: the algorithm makes products with zeros of padding, and the pass has none: results
    that are NaN are made again. Otherwise it leaves out what the pass has.
    """
    meetings = [_Meeting(low, part) for part in low.parts if part.taps]
    return [_results(m, arrays, space, again) for m in meetings if not m.always]


def _results(meeting: _Meeting, arrays: Operands, space: Workspace, again: bool) -> Step:
    low, part = meeting.low, meeting.part
    source, target = (0, 1) if low.transposed else (1, 0)
    per_group = low.source_channels if low.transposed else low.target_channels
    axes, x, y = three_axes(part), three(arrays.x[2:], 0), three(arrays.y[2:], 0)
    pixels = [axis.step * pitch for axis, pitch in zip(part.axes, arrays.y[2:], strict=True)]
    constants: dict[str, Constant] = {
        "N": low.N,
        "groups": low.groups,
        "channels": low.source_channels,
        "targets": low.target_channels,
        "side_by_side": _side_by_side(low, arrays, space),
        "zero": np.zeros(simd.VECTOR_BITS // 64, np.int64),
        "taps": len(part.taps),
        "tap_table": meeting.table(arrays.x[2:], arrays.w[2:]),
        "x_image": arrays.x[0],
        "x_channel": arrays.x[1],
        "w_group": per_group * arrays.w[0],
        "w_source": arrays.w[source],
        "w_target": arrays.w[target],
        "y_offset": sum(axis.start * pitch for axis, pitch in zip(axes, y, strict=True)),
        "y_image": arrays.y[0],
        "y_channel": arrays.y[1],
        "floor": arrays.floor,
        "spare": _spare(arrays, space),
    }
    constants |= _probes([(0, low.N), *meeting.inner], [arrays.y[0], *pixels])
    for name, axis, x_pitch, y_pitch in zip("dhw", axes, x, y, strict=True):
        constants |= {
            f"{name}_count": axis.length,
            f"{name}_move": axis.move * x_pitch,
            f"{name}_step": axis.step * y_pitch,
        }
    kernel = compiled(edge_sums.mend_results, arrays.bits, arrays.lanes, int(again))
    return Step(kernel, 1, constants)


def _side_by_side(low: Lowered, arrays: Operands, space: Workspace) -> int:
    """How many weights there are, if they are best looked at themselves, vector by vector."""
    taps = {index for part in low.parts for index, _ in part.taps}
    extents = [max(index[i] for index in taps) + 1 for i in range(len(low.source))]
    first = low.source_channels if low.transposed else low.target_channels
    second = low.target_channels if low.transposed else low.source_channels
    shape = (low.groups * first, second, *extents)
    dense = packed_strides(shape, arrays.w, arrays.size) == arrays.w
    few = prod(shape) <= low.groups * low.target_channels * arrays.lanes
    # A program that has no workspace is called without one, which is faster.
    alike = arrays.bits != simd.PAIRS and space.size > 0
    return prod(shape) if dense and few and alike else 0


def mend_weights(low: Lowered, arrays: Operands, space: Workspace) -> list[Step]:
    """The step for a weight gradient by an algorithm that leaves out what the pass has.

    ``low`` is the forward pass, ``arrays.w`` is dy.
    """
    meeting = _Meeting(low, low.parts[-1])
    constants: dict[str, Constant] = {
        "N": low.N,
        "groups": low.groups,
        "channels": low.source_channels,
        "targets": low.target_channels,
        "taps": len(meeting.part.taps),
        "tap_table": meeting.table(arrays.x[2:], arrays.y[2:]),
        "dy_image": arrays.w[0],
        "dy_channel": arrays.w[1],
        "y_target": arrays.y[0],
        "y_channel": arrays.y[1],
        "spare": _spare(arrays, space),
    }
    # A tap that meets the image from everywhere, in some of the channels.
    constants |= _probes([(0, low.source_channels), *meeting.fixed], arrays.y[1:])
    counts, pitches = three(meeting.part.counts, 1), three(arrays.w[2:], 0)
    for name, count, pitch in zip("dhw", counts, pitches, strict=True):
        constants |= {f"{name}_count": count, f"{name}_step": pitch}
    return [Step(compiled(edge_sums.mend_weights, arrays.bits), 1, constants)]


class _Meeting:
    """From which targets each tap of a part meets the source, and not its padding."""

    def __init__(self, low: Lowered, part: Correlation) -> None:
        self.low, self.part = low, part
        #: by axis, the targets from which each tap does
        self.spans = [
            [_span(axis.move, axis.length, o - before, extent) for _, o in axis.taps]
            for axis, before, extent in zip(part.axes, low.before, low.source, strict=True)
        ]

    @property
    def always(self) -> bool:
        """Whether all taps meet it from everywhere."""
        axes = zip(self.spans, self.part.counts, strict=True)
        return all(span == (0, count) for spans, count in axes for span in spans)

    @property
    def inner(self) -> list[Span]:
        """By axis, the targets from which all taps do."""
        return [(max(a for a, _ in spans), min(b for _, b in spans)) for spans in self.spans]

    @property
    def fixed(self) -> list[Span]:
        """By axis, a tap that does from all targets, or none."""
        axes = zip(self.spans, self.part.counts, strict=True)
        found = [[t for t, span in enumerate(s) if span == (0, count)] for s, count in axes]
        return [(taps[0], taps[0] + 1) if taps else (0, 0) for taps in found]

    def table(self, x: tuple[int, ...], w: tuple[int, ...]) -> np.ndarray:
        """What `edge_sums` reads of each tap: its place in source and weights, and its spans."""
        rank, counts = len(self.spans), [len(spans) for spans in self.spans]
        rows = np.zeros((*counts, edge_sums.TAP), np.int64)
        rows[..., 2:] = (0, 1) * 3
        for i, (axis, spans) in enumerate(zip(self.part.axes, self.spans, strict=True)):
            along = [-1 if j == i else 1 for j in range(rank)]
            first, end = np.array(spans, np.int64).reshape(-1, 2).T
            # Of a tap that meets nothing but padding nobody asks where it lies.
            before = self.low.before[i]
            starts = [
                (o - before) * x[i] * (a < b)
                for (_, o), (a, b) in zip(axis.taps, spans, strict=True)
            ]
            places = [r * w[i] for r, _ in axis.taps]
            rows[..., 0] += np.array(starts, np.int64).reshape(along)
            rows[..., 1] += np.array(places, np.int64).reshape(along)
            spanned = 2 + 2 * (3 - rank + i)
            rows[..., spanned] = first.reshape(along)
            rows[..., spanned + 1] = end.reshape(along)
        return rows.ravel()


def _spare(arrays: Operands, space: Workspace) -> int:
    return space.take(edge_sums.SPARE) if arrays.bits == simd.PAIRS or space.size else 0


def _span(move: int, length: int, first: int, extent: int) -> Span:
    """Which of ``length`` indices i have ``first + i * move`` in 0 .. extent."""
    start, end = (min(max(-((first - e) // move), 0), length) for e in (0, extent))
    return start, max(start, end)


def _probes(spans: list[Span], steps: list[int] | tuple[int, ...]) -> dict[str, Constant]:
    """Byte offsets of some elements, spread over these spans of indices."""
    counts = [max(end - first, 0) for first, end in spans]
    number = min(prod(counts), _PROBES)
    offsets = np.zeros(number, np.int64)
    if number:
        spread = np.arange(number) * prod(counts) // number
        found = np.unravel_index(spread, counts)
        for (first, _), index, step in zip(spans, found, steps, strict=True):
            offsets += (first + index) * step
    return {"probes": number, "probe_table": np.append(offsets, 0)}
