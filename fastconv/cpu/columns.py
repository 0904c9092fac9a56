"""unfold and fold on NumPy arrays: one strided copy, or addition, per kernel element."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from fastconv._arrays import Array
from fastconv._dtypes import narrowed, widened
from fastconv.geometry import ConvGeometry

_Index: TypeAlias = tuple[int | slice, ...]


def unfold(g: ConvGeometry, images: Array) -> Array:
    """The columns, (N, C, *kernel, *output), of images of ``g.input_shape``."""
    columns = np.zeros(columns_shape(g), images.dtype)
    for positions, pixels in _taps(g):
        columns[positions] = images[pixels]
    return columns


def fold(g: ConvGeometry, columns: Array) -> Array:
    """The images that columns of `columns_shape` add up to, in the order of the kernel."""
    terms = widened(columns)
    images = np.zeros(g.input_shape, terms.dtype)
    for positions, pixels in _taps(g):
        images[pixels] += terms[positions]
    return narrowed(images, columns.dtype)


def columns_shape(g: ConvGeometry) -> tuple[int, ...]:
    """(N, C, *kernel, *output)."""
    return (g.N, g.C, *g.kernel, *g.output)


def _taps(g: ConvGeometry) -> Iterator[tuple[_Index, _Index]]:
    """Yield for each kernel element the columns' elements in the image, and its pixels there."""
    for tap in np.ndindex(*g.kernel):
        axes = zip(tap, g.stride, g.dilation, g.pad_before, g.input, g.output, strict=True)
        spans = [_span(size, s, t * d - pad, count) for t, s, d, pad, size, count in axes]
        batch = (slice(None), slice(None))
        yield (*batch, *tap, *(span[0] for span in spans)), (*batch, *(span[1] for span in spans))


def _span(size: int, stride: int, offset: int, count: int) -> tuple[slice, slice]:
    """Return along one axis the positions p with a pixel at p * stride + offset, and the pixels."""
    first = max(0, -(offset // stride))
    last = min(count, -((offset - size) // stride))
    if first >= last:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last), slice(start, (last - 1) * stride + offset + 1, stride)
