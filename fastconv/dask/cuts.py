"""Where chunks begin and end: whole numbers alone, one axis at a time.

A range is ``(start, stop)``. A read says what a target range needs of its source: the source's
range and the zeros before and after it, so that the chunk is a convolution of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

from fastconv.geometry import ConvGeometry

Range: TypeAlias = tuple[int, int]


class Read(NamedTuple):
    """What of a source a target range is computed from."""

    start: int
    stop: int  #: equal to ``start`` where all is padding
    before: int  #: zeros in front
    after: int


def ranges(chunks: Iterable[int]) -> list[Range]:
    """The range of each chunk."""
    return list(pairwise(accumulate(chunks, initial=0)))


def lengths(of: Iterable[Range]) -> tuple[int, ...]:
    """The size of each range."""
    return tuple(stop - start for start, stop in of)


def between(borders: Iterable[int], size: int) -> list[Range]:
    """The ranges between 0, the borders and ``size`` that are not empty; one, if ``size`` is 0."""
    kept = sorted({min(max(border, 0), size) for border in borders} | {0, size})
    return list(pairwise(kept)) or [(0, 0)]


def covering(chunks: Sequence[Range], wanted: Range) -> list[tuple[int, Range]]:
    """The chunks that a range touches, each with the part of it that the range covers.

    Of an empty range that is the first chunk it could lie in, with no part of it.
    """
    start, stop = wanted
    first = max(bisect_right(chunks, start, key=lambda chunk: chunk[0]) - 1, 0)
    found = []
    for index in range(first, len(chunks)):
        begin, end = chunks[index]
        if begin >= stop:
            break
        if end > start:
            found.append((index, (max(start, begin) - begin, min(stop, end) - begin)))
    return found or [(first, (0, 0))]


def output_ranges(g: ConvGeometry, axis: int, chunks: Iterable[int]) -> list[Range]:
    """Output chunks that follow input chunks: an output pixel goes with the middle of what it sees.

    With "same" padding, both are cut at the same places. A chunk in which no middle lies, as a
    stride may leave it, has no counterpart.
    """
    shift = g.pad_before[axis] - _middle(g, axis)
    inner = [start for start, _ in ranges(chunks)][1:]
    return between((-(-(start + shift) // g.stride[axis]) for start in inner), g.output[axis])


def input_ranges(g: ConvGeometry, axis: int, chunks: Iterable[int]) -> list[Range]:
    """Input chunks whose output chunks are these."""
    shift = g.pad_before[axis] - _middle(g, axis)
    inner = [start for start, _ in ranges(chunks)][1:]
    return between((start * g.stride[axis] - shift for start in inner), g.input[axis])


def input_read(g: ConvGeometry, axis: int, output: Range) -> Read:
    """The input that a range of output pixels sees."""
    start = output[0] * g.stride[axis] - g.pad_before[axis]
    stop = (output[1] - 1) * g.stride[axis] - g.pad_before[axis] + _reach(g, axis)
    first, last = max(start, 0), min(stop, g.input[axis])
    if first >= last:
        return Read(0, 0, stop - start, 0)
    return Read(first, last, first - start, stop - last)


def gradient_read(g: ConvGeometry, axis: int, pixels: Range) -> Read:
    """The output gradient that reaches a range of input pixels, and the padding that crops to it.

    ``before`` and ``after`` are the padding of the convolution of the range alone. The read begins
    no later than the range, for which it takes in an output pixel that reaches none of it where
    the stride steps over pixels.
    """
    stride, before = g.stride[axis], g.pad_before[axis]
    reach, last = _reach(g, axis), g.output[axis] - 1
    start = min(-(-(pixels[0] + before - reach + 1) // stride), (pixels[0] + before) // stride)
    start = min(max(start, 0), last)
    stop = max(min((pixels[1] - 1 + before) // stride, last) + 1, start + 1)
    seen = start * stride - before, (stop - 1) * stride - before + reach
    return Read(start, stop, pixels[0] - seen[0], max(seen[1] - pixels[1], 0))


def _reach(g: ConvGeometry, axis: int) -> int:
    return g.dilation[axis] * (g.kernel[axis] - 1) + 1


def _middle(g: ConvGeometry, axis: int) -> int:
    return (_reach(g, axis) - 1) // 2
