"""Lowering: forward and input gradient as sums over taps at constant offsets.

Both passes are correlations of a zero-padded source with some weights. A :class:`Correlation` says,
axis by axis, which target elements it computes, how far the source moves from one to the next, and
which weight tap reads which source offset. The forward pass is one correlation; the input gradient
of a convolution with stride s is one per phase of the target, each with stride 1, so that no
structural zero is ever multiplied (the sub-pixel view of Shi et al. 2016, arXiv:1609.07009).
"""

from __future__ import annotations

from itertools import pairwise, product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.geometry import ConvGeometry

# Padded images of so many elements, and so many times the source's, are vast: a copy of all of them
# may not fit in memory.
_VAST, _TIMES = 1 << 22, 64
_MOST_PARTS = 256  # that a pass may fall into there
# Plans have tables of all taps, which take some hundred bytes a tap while they are made.
_MOST_TAPS = 1 << 26


class AxisPart(NamedTuple):
    """Targets ``start + i * step``, i < ``length``, read sources ``i * move + offset`` (padded)."""

    start: int
    step: int
    length: int
    move: int
    taps: tuple[tuple[int, int], ...]  #: (index of the weight tap, source offset)


class Correlation(NamedTuple):
    """One part of a pass: an :class:`AxisPart` for each spatial axis."""

    axes: tuple[AxisPart, ...]

    @property
    def taps(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Each tap's weight indices and source offsets, last axis fastest."""
        return [
            (tuple(i for i, _ in combined), tuple(o for _, o in combined))
            for combined in product(*(axis.taps for axis in self.axes))
        ]

    def offsets(self, pitches: tuple[int, ...]) -> np.ndarray:
        """Byte offset of each tap in a source whose axes have these pitches."""
        table = [
            sum(o * p for o, p in zip(offset, pitches, strict=True)) for _, offset in self.taps
        ]
        return np.array(table, dtype=np.int64)

    @property
    def counts(self) -> tuple[int, ...]:
        """Targets computed along each axis."""
        return tuple(axis.length for axis in self.axes)


class Lowered(NamedTuple):
    """A pass in terms of source and target: which channels, which padding, which parts."""

    N: int
    groups: int
    source_channels: int  #: per group
    target_channels: int  #: per group
    source: tuple[int, ...]  #: spatial extents
    before: tuple[int, ...]  #: zeros in front of the source along each axis
    padded: tuple[int, ...]  #: extents that the parts read, counted from those zeros on
    parts: tuple[Correlation, ...]  #: of which one without taps comes first, over all targets
    transposed: bool  #: the weight's first axis runs over source channels, not target channels

    @property
    def needs_padding(self) -> bool:
        """Whether some tap reads outside the source."""
        return any(self.before) or any(p > s for p, s in zip(self.padded, self.source, strict=True))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all parts together."""
        channels = self.groups * self.source_channels * self.target_channels
        return self.N * channels * sum(prod(c.counts) * len(c.taps) for c in self.parts)


def lower_forward(g: ConvGeometry) -> Lowered:
    """The forward pass: source x, target y."""
    _check_taps(g)
    axes = []
    for i in range(g.rank):
        taps = tuple((r, r * g.dilation[i]) for r in range(g.kernel[i]))
        # A single output moves nowhere, however far its stride would reach.
        move = g.stride[i] if g.output[i] > 1 else 1
        axes.append(AxisPart(0, 1, g.output[i], move, taps))
    return Lowered(
        N=g.N,
        groups=g.groups,
        source_channels=g.C // g.groups,
        target_channels=g.K // g.groups,
        source=g.input,
        before=g.pad_before,
        padded=tuple((a.length - 1) * a.move + a.taps[-1][1] + 1 for a in axes),
        parts=(Correlation(tuple(axes)),),
        transposed=False,
    )


def lower_input_gradient(g: ConvGeometry) -> Lowered:
    """The input gradient: source dy, target dx, one part per phase of the stride."""
    _check_taps(g)
    phases, others = zip(*(_axis_phases(g, i) for i in range(g.rank)), strict=True)
    # All phases share one padded source, so offsets are shifted to the earliest that any reads.
    before = tuple(max([0] + [-o for a in axis for _, o in a.taps]) for axis in phases)
    padded = tuple(
        max([1] + [a.length + o + b for a in axis for _, o in a.taps])
        for axis, b in zip(phases, before, strict=True)
    )
    shifted = [[_shifted(a, b) for a in axis] for axis, b in zip(phases, before, strict=True)]
    parts = [Correlation(axes) for axes in product(*shifted)]
    if any(others):
        # Some targets meet no tap: all are filled first, as a sum over nothing.
        parts.insert(0, Correlation(tuple(AxisPart(0, 1, size, 1, ()) for size in g.input)))
    return Lowered(
        N=g.N,
        groups=g.groups,
        source_channels=g.K // g.groups,
        target_channels=g.C // g.groups,
        source=g.output,
        before=before,
        padded=padded,
        parts=tuple(parts),
        transposed=True,
    )


def clipped(low: Lowered) -> Lowered:
    """A forward pass of one tap without its padding: targets that read nothing else come first.

    They are a part of no taps, over all targets; the others are a part without padding.
    """
    part = low.parts[-1]
    if len(low.parts) > 1 or len(part.taps) != 1 or low.transposed or not low.needs_padding:
        return low
    axes = []
    for axis, extent, before in zip(part.axes, low.source, low.before, strict=True):
        ((tap, offset),) = axis.taps
        first = max(0, -(-(before - offset) // axis.move))
        last = min(axis.length, (extent - 1 + before - offset) // axis.move + 1)
        if first >= last:
            return low
        move = axis.move if last - first > 1 else 1
        taps = ((tap, first * axis.move + offset - before),)
        axes.append(AxisPart(first, 1, last - first, move, taps))
    fill = Correlation(tuple(AxisPart(0, 1, axis.length, 1, ()) for axis in part.axes))
    padded = tuple((a.length - 1) * a.move + a.taps[0][1] + 1 for a in axes)
    parts = (fill, Correlation(tuple(axes)))
    return low._replace(before=(0,) * len(axes), padded=padded, parts=parts)


def trimmed(low: Lowered) -> Lowered:
    """A pass whose padding is vast, without what reads nothing else; any other as it is.

    With padding, dilation and stride far larger than the image, a copy with all those zeros may be
    larger than any memory. What is left along each axis is what lies between the first and the last
    tap, and between the first and the last target, that meet the source; of taps so far apart that
    no two of them meet it at once, each is a part of its own, which reads no padding at all.
    """
    padded = prod(low.padded)
    channels = low.groups * low.source_channels
    if channels * padded < _VAST or padded < _TIMES * prod(low.source):
        return low
    whole = [part for part in low.parts if part.taps]
    told = [_left(part, low, split=True) for part in whole]
    if sum(prod(map(len, axes)) for axes in told) > _MOST_PARTS:
        told = [_left(part, low, split=False) for part in whole]
    parts = [axes for each in told for axes in product(*each)]
    before = tuple(max([0] + [-a.taps[0][1] for a in axis]) for axis in zip(*parts, strict=True))
    left = [
        Correlation(tuple(_shifted(axis, b) for axis, b in zip(axes, before, strict=True)))
        for axes in parts
    ]
    extents = tuple(
        max((a.length - 1) * a.move + a.taps[-1][1] + 1 for a in axis)
        for axis in zip(*(part.axes for part in left), strict=True)
    )
    targets = tuple(
        max(a.start + (a.length - 1) * a.step + 1 for a in axis)
        for axis in zip(*(part.axes for part in low.parts), strict=True)
    )
    fill = Correlation(tuple(AxisPart(0, 1, size, 1, ()) for size in targets))
    none = (0,) * len(targets)
    return low._replace(
        before=before or none, padded=extents or (1,) * len(targets), parts=(fill, *left)
    )


def _check_taps(g: ConvGeometry) -> None:
    if prod(g.kernel) > _MOST_TAPS:
        raise MemoryError(
            f"a kernel of spatial sizes {g.kernel} needs tables of its {prod(g.kernel)} elements, "
            f"which are made for up to {_MOST_TAPS}"
        )


def _left(part: Correlation, low: Lowered, split: bool) -> list[list[AxisPart]]:
    told = zip(part.axes, low.source, low.before, strict=True)
    return [_meeting(axis, extent, before, split) for axis, extent, before in told]


def _meeting(axis: AxisPart, extent: int, before: int, split: bool) -> list[AxisPart]:
    """What is left of an axis, in one part or one for each tap, if any.

    Offsets of taps are counted from the source's first element.
    """
    reads = [(tap, offset - before) for tap, offset in axis.taps]
    # The targets i that each tap has in the source: 0 <= i * move + offset < extent.
    spans = [
        (max(0, -(o // axis.move)), min(axis.length, (extent - 1 - o) // axis.move + 1))
        for _, o in reads
    ]
    met = [i for i, (first, last) in enumerate(spans) if first < last]
    if not met:
        return []
    gaps = pairwise(reads)
    if split and len(met) > 1 and all(b - a >= extent for (_, a), (_, b) in gaps):
        return [_cut(axis, reads[i : i + 1], *spans[i]) for i in met]
    first, last = min(spans[i][0] for i in met), max(spans[i][1] for i in met)
    made = _cut(axis, reads[met[0] : met[-1] + 1], first, last)
    return [made if made.length > 1 else made._replace(step=1, move=1)]


def _cut(axis: AxisPart, reads: list[tuple[int, int]], first: int, last: int) -> AxisPart:
    """Targets from ``first`` to ``last`` of an axis, and some of its taps."""
    taps = tuple((tap, offset + first * axis.move) for tap, offset in reads)
    start = axis.start + first * axis.step
    return axis._replace(start=start, length=last - first, taps=taps)


def _shifted(axis: AxisPart, by: int) -> AxisPart:
    return axis._replace(taps=tuple((tap, offset + by) for tap, offset in axis.taps))


def subsampled(low: Lowered) -> tuple[Lowered, tuple[int, ...]]:
    """A pass with one tap at the origin as one of stride 1, and the source's step along each axis.

    A strided 1x1 convolution touches only every s-th pixel: seen alone, they are a plain image.
    """
    steps = tuple(axis.move for axis in low.parts[-1].axes)
    at_origin = all([o for _, o in axis.taps] == [0] for axis in low.parts[-1].axes)
    if low.needs_padding or len(low.parts) > 1 or not at_origin:
        return low, (1,) * len(steps)
    axes = tuple(AxisPart(a.start, a.step, a.length, 1, a.taps) for a in low.parts[-1].axes)
    counts = tuple(axis.length for axis in axes)
    return low._replace(source=counts, padded=counts, parts=(Correlation(axes),)), steps


def _axis_phases(g: ConvGeometry, i: int) -> tuple[list[AxisPart], bool]:
    """The phases along axis ``i`` that meet taps, and whether there are any others.

    Input pixels h = start + j * stride meet the same taps.
    """
    stride, parts = g.stride[i], []
    phases: dict[int, list[tuple[int, int]]] = {}
    # From the last tap to the first, so that the source is read forwards: backwards, the
    # hardware's prefetchers lose up to a third of the speed.
    for r in reversed(range(g.kernel[i])):
        # Of pixel h, tap r reads the source's (h - start) // stride + offset.
        offset, start = divmod(g.pad_before[i] - r * g.dilation[i], stride)
        phases.setdefault(-start % stride, []).append((r, offset + (start > 0)))
    for start, taps in sorted(phases.items()):
        if start < g.input[i]:
            count = (g.input[i] - start + stride - 1) // stride
            step = stride if count > 1 else 1
            parts.append(AxisPart(start, step, count, 1, tuple(taps)))
    return parts, len(parts) < min(stride, g.input[i])
