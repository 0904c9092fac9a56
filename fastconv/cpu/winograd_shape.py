"""What a pass is to Winograd: tiles, and the images, channels and taps that they are made of.

Minimal filters want neighbouring taps on neighbouring pixels. Three rearrangements give them that,
and cost nothing but tables:

- dilation d: every d-th pixel is an image of its own, d * d of them, each with a plain kernel;
- stride s, forward: the s * s phases of the padded source are so many more source channels, each
  with the taps that fall on it;
- stride s, transposed: the s * s phases of the target are so many more target channels, each with
  the taps that reach it.

A wide image is cut into pieces whose tiles stay in the first-level cache while they are mapped.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Step
from fastconv.cpu.staging import OPERAND_X, Padding, Workspace, stage_pixels, stage_planes
from fastconv.lowering import AxisPart, Correlation, Lowered

MOST_TAPS = 5  # along an axis: beyond, a tile of six points is one pixel
_POINTS = (6, 4)  # that a map can have; more would round too coarsely
_ACROSS = 48  # tiles side by side at most


class Axis(NamedTuple):
    """One axis: ``step`` targets of a tile by so many ``points``, from ``taps`` neighbours."""

    taps: int
    points: int
    step: int
    tiles: int  #: to cover an image
    stride: int  #: phases of the source
    dilation: int


class Shape(NamedTuple):
    """The tiles of a pass."""

    high: Axis
    wide: Axis
    pieces: int  #: that each row is cut into
    across: int  #: tiles of a piece
    images: int
    source_channels: int  #: per group, phases counted
    phases: int  #: of the target

    @property
    def area(self) -> int:
        """Points of a tile."""
        return self.high.points * self.wide.points

    @property
    def strips(self) -> int:
        """Rows of tiles, of all images."""
        return self.images * self.high.tiles

    @property
    def points(self) -> tuple[int, int]:
        """Points along each axis."""
        return self.high.points, self.wide.points

    @property
    def steps(self) -> tuple[int, int]:
        """Targets of a tile along each axis."""
        return self.high.step, self.wide.step

    @property
    def taps(self) -> tuple[int, int]:
        """Taps along each axis."""
        return self.high.taps, self.wide.taps


def planar(low: Lowered, arrays: Operands) -> tuple[Lowered, Operands]:
    """A pass along one axis as one along two, of which the first has a single pixel."""
    if len(low.source) != 1:
        return low, arrays
    still = AxisPart(0, 1, 1, 1, ((0, 0),))
    parts = tuple(Correlation((still, *part.axes)) for part in low.parts)
    low = low._replace(
        source=(1, *low.source), before=(0, *low.before), padded=(1, *low.padded), parts=parts
    )
    extents = low.padded[1], len(low.parts[-1].axes[1].taps), low.parts[-1].counts[1]
    x, w, y = (
        (*s[:2], s[2] * extent, s[2])
        for s, extent in zip((arrays.x, arrays.w, arrays.y), extents, strict=True)
    )
    return low, arrays._replace(x=x, w=w, y=y)


def refusal(low: Lowered) -> str | None:
    """Why a pass cannot be done, as the rest of a sentence, or None."""
    if len(low.source) > 2:
        return "needs one or two spatial axes"
    for i in range(len(low.source)):
        axes = [part.axes[i] for part in low.parts]
        if any(not axis.taps or axis.length == 0 for axis in axes):
            return "needs a kernel no shorter than its stride"
    shapes = [_measured(low, i) for i in range(len(low.source))]
    if any(taps > MOST_TAPS for taps, _, _ in shapes):
        return f"needs at most {MOST_TAPS} taps a stride phase along each axis"
    if all(taps == 1 for taps, _, _ in shapes):
        return "needs more than one tap a stride phase"
    strided = len(low.parts) > 1 or any(stride > 1 for _, stride, _ in shapes)
    if strided and any(dilation > 1 for _, _, dilation in shapes):
        return "needs stride 1 or dilation 1"
    if strided and low.groups > 1:
        return "needs stride 1 or one group"
    return None


def _measured(low: Lowered, i: int) -> tuple[int, int, int]:
    """Taps, source phases and dilation along an axis."""
    axes = [part.axes[i] for part in low.parts]
    offsets = sorted({o for axis in axes for _, o in axis.taps})
    # Taps of several phases may lie anywhere; those of one, at equal distances.
    gap = offsets[1] - offsets[0] if len(offsets) > 1 and len(low.parts) == 1 else 1
    move = axes[0].move if max(axis.length for axis in axes) > 1 else 1
    if move > 1:
        # A dilated kernel's taps on phases of a stride are no neighbours: refused.
        kernel = len(axes[0].taps)
        return (-(-kernel // move) if kernel >= move else MOST_TAPS + 1), move, gap
    span = (offsets[-1] - offsets[0]) // gap + 1
    return span, 1, gap


def shape_of(low: Lowered) -> Shape:
    """The tiles that take the fewest multiplications."""
    axes = []
    for i in range(2):
        taps, stride, dilation = _measured(low, i)
        count = max(-(-part.axes[i].length // dilation) for part in low.parts)
        points = min(
            (n for n in (_POINTS if taps > 1 else (1,)) if n >= taps + (taps > 1)),
            key=lambda n, taps=taps, count=count: n * -(-count // (n + 1 - taps)),  # type: ignore[misc]
        )
        step = points + 1 - taps
        axes.append(Axis(taps, points, step, -(-count // step), stride, dilation))
    high, wide = axes
    pieces = -(-wide.tiles // _ACROSS)
    return Shape(
        high=high,
        wide=wide,
        pieces=pieces,
        across=-(-wide.tiles // pieces),
        images=low.N * high.dilation * wide.dilation * pieces,
        source_channels=low.source_channels * high.stride * wide.stride,
        phases=len(low.parts),
    )


# ------------------------------------------------------------------------------------- images


class Images(NamedTuple):
    """Where images lie in an array: one entry an image in each table, one stride an axis."""

    images: np.ndarray  #: byte offsets
    H: np.ndarray
    W: np.ndarray
    before_h: np.ndarray  #: rows of zeros above the first tile's targets; negative: rows left out
    before_w: np.ndarray
    channel: int
    row: int
    pixel: int


class _Span(NamedTuple):
    """Along an axis, the part of an image: where it starts, its extent, and zeros before it."""

    first: int
    extent: int
    before: int


def _spans(low: Lowered, shape: Shape, i: int, extent: int, before: int) -> list[_Span]:
    """The source's spans along an axis: dilation classes, each in pieces."""
    axis = (shape.high, shape.wide)[i]
    first = min(o for part in low.parts for _, o in part.axes[i].taps)
    spans = []
    for start in range(axis.dilation):
        at = start + first - before
        origin, shift = at % axis.dilation, at // axis.dilation
        held = max(0, -(-(extent - origin) // axis.dilation))
        spans += [_Span(origin, held, -shift - q) for q in _starts(shape, i)]
    return spans


def _target_spans(low: Lowered, shape: Shape, i: int, length: int) -> list[_Span]:
    """The target's spans along an axis, in the same order."""
    axis = (shape.high, shape.wide)[i]
    spans = []
    for start in range(axis.dilation):
        count = max(0, -(-(length - start) // axis.dilation))
        for q in _starts(shape, i):
            here = max(0, min(count - q, shape.across * axis.step if i else count))
            spans.append(_Span(start + q * axis.dilation, here, 0))
    return spans


def _starts(shape: Shape, i: int) -> list[int]:
    """The first target of each piece along an axis."""
    return [p * shape.across * shape.wide.step for p in range(shape.pieces)] if i else [0]


def _images(N: int, strides: tuple[int, ...], spans: list[list[_Span]], moves: list[int]) -> Images:
    image, channel, row, pixel = strides
    down, across = spans
    entries = [
        (n * image + h.first * row + w.first * pixel, h.extent, w.extent, h.before, w.before)
        for n, h, w in product(range(N), down, across)
    ]
    at, H, W, before_h, before_w = np.array(entries, np.int64).reshape(-1, 5).T.copy()
    return Images(at, H, W, before_h, before_w, channel, row * moves[0], pixel * moves[1])


class Source(NamedTuple):
    """The source of a pass, staged where it must be."""

    steps: list[Step]
    staged: bool
    offset: int
    images: Images
    phase_first: bool  #: channels of one phase lie together, not the phases of one channel


def source_of(low: Lowered, arrays: Operands, shape: Shape, space: Workspace) -> Source:
    """Where the source's images lie."""
    strides = (shape.high.stride, shape.wide.stride)
    if prod(strides) == 1:
        spans = [_spans(low, shape, i, low.source[i], low.before[i]) for i in range(2)]
        moves = [shape.high.dilation, shape.wide.dilation]
        return Source([], False, 0, _images(low.N, arrays.x, spans, moves), False)
    whole = Padding(low.N, low.source_channels, low.source, low.before, low.padded)
    together = arrays.channels_last and low.source_channels >= arrays.lanes
    if together:
        steps, view = stage_pixels(arrays.x, whole, OPERAND_X, arrays.bits, space, strides)
    else:
        steps, view = stage_planes(arrays.x, whole, strides, OPERAND_X, arrays.bits, space)
    held = [-(-e // s) for e, s in zip(low.padded, strides, strict=True)]
    plane = view.channel if together else view.channel // prod(strides)
    spans = [
        [_Span(0, held[i], -q) for q in _starts(shape, i)]
        for i in range(2)
    ]  # fmt: skip
    images = _images(low.N, (view.image, plane, *view.spatial), spans, [1, 1])
    return Source(steps, True, view.offset, images, together)


def targets_of(low: Lowered, strides: tuple[int, ...], shape: Shape) -> Images:
    """Where the target's images lie, all phases of one before the next one's."""
    image, channel, row, pixel = strides
    found = []
    for part in low.parts:
        spans = [_target_spans(low, shape, i, part.counts[i]) for i in range(2)]
        down, right = (axis.step for axis in part.axes)
        here = _images(low.N, (image, channel, row * down, pixel * right), spans, [1, 1])
        origin = part.axes[0].start * row + part.axes[1].start * pixel
        found.append(here._replace(images=here.images + origin))
    # A lone target of a phase has no step of its own: any will do.
    down, right = (
        max(part.axes[i].step for part in low.parts) * axis.dilation
        for i, axis in enumerate((shape.high, shape.wide))
    )
    at, H, W, before_h, before_w = (
        np.stack(table, axis=1).ravel() for table in zip(*(f[:5] for f in found), strict=True)
    )
    return Images(at, H, W, before_h, before_w, channel, row * down, pixel * right)


# ----------------------------------------------------------------------------------- channels


def channel_table(low: Lowered, shape: Shape, phase_first: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of every source channel of a group, the operand's channel and phase that it stands for."""
    index = np.arange(shape.source_channels, dtype=np.int64)
    phases = shape.high.stride * shape.wide.stride
    if phase_first:
        return index % low.source_channels, index // low.source_channels
    return index // phases, index % phases


def tap_table(low: Lowered, shape: Shape, width: int) -> np.ndarray:
    """For every phase and tap, which of a channel's weights it is, row by row; -1 where none.

    ``width``: weights in a row.
    """
    if low.parts[-1].axes and shape.high.stride * shape.wide.stride > 1:
        return _source_phases(low, shape, width)
    first = [min(o for part in low.parts for _, o in part.axes[i].taps) for i in range(2)]
    rows = []
    for part in low.parts:
        down, across = (
            {(o - first[i]) // plan.dilation: tap for tap, o in part.axes[i].taps}
            for i, plan in enumerate((shape.high, shape.wide))
        )
        rows.append(
            [
                down[u] * width + across[v] if u in down and v in across else -1
                for u, v in np.ndindex(*shape.taps)
            ]
        )
    return np.array(rows, np.int64)


def _source_phases(low: Lowered, shape: Shape, width: int) -> np.ndarray:
    kernel = [len(axis.taps) for axis in low.parts[-1].axes]
    strides = shape.high.stride, shape.wide.stride
    rows = []
    for phase in np.ndindex(*strides):
        taps = []
        for uv in np.ndindex(*shape.taps):
            r, s = (u * m + f for u, m, f in zip(uv, strides, phase, strict=True))
            taps.append(r * width + s if r < kernel[0] and s < kernel[1] else -1)
        rows.append(taps)
    return np.array(rows, np.int64)
