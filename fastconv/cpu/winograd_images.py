"""Tables for Winograd's kernels: where images lie, and which channels and taps they are made of."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Step
from fastconv.cpu.staging import Padding, stage_pixels, stage_planes
from fastconv.cpu.views import OPERAND_X, Workspace
from fastconv.cpu.winograd_shape import Shape
from fastconv.lowering import Lowered


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
