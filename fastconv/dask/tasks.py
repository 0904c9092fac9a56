"""What a Dask worker runs: one chunk's pass, sums of such, and strips cut off for a neighbour.

All of it is module-level functions of NumPy arrays and plain values, which any scheduler can send.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastconv
from fastconv._arrays import Array
from fastconv._dtypes import narrowed, widened
from fastconv.options import changed

Box = tuple[tuple[int, int], ...]  #: where something begins and ends, axis by axis

FORWARD = (fastconv.conv1d, fastconv.conv2d, fastconv.conv3d)
WEIGHT = (fastconv.conv1d_weight, fastconv.conv2d_weight, fastconv.conv3d_weight)
INPUT = (fastconv.conv1d_input, fastconv.conv2d_input, fastconv.conv3d_input)


@dataclass(frozen=True, slots=True)
class Window:
    """A box of an array in pieces, each with where it lies in its block and in the window."""

    shape: tuple[int, ...]
    inside: tuple[Box, ...]
    place: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class How:
    """What all chunks of one call have in common."""

    rank: int
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    algorithm: str
    activation: str | None
    options: tuple[
        tuple[str, Any], ...
    ]  #: `fastconv.options` of the caller; threads are 1 unless set
    dtype: np.dtype[Any]  #: of the result
    partial: bool  #: whether a chunk's results are summands, in which halves are float32


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk's own: its groups, its padding, and its result's shape."""

    groups: int
    padding: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]


def cut(block: Array, inside: Box) -> Array:
    """A part of a block as an array of its own, so that the block itself can go."""
    return block[_slices(inside)].copy(order="K")


def zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """A chunk to which nothing contributes."""
    return np.zeros(shape, dtype)


def forward(
    how: How, chunk: Chunk, window: Window, blocks: Sequence[Array], w: Array, bias: Array | None
) -> Array:
    """A chunk of a convolution's result, or a summand of it."""
    with changed(how.options):
        x = _gathered(window, blocks)
        padding = chunk.padding
        if 0 in x.shape[2:]:  # the chunk sees nothing but padding
            sizes = (size + sum(pads) for size, pads in zip(x.shape[2:], padding, strict=True))
            x, padding = np.zeros((*x.shape[:2], *sizes), x.dtype), ((0, 0),) * how.rank
        if how.partial:
            x, w, bias = widened(x), widened(w), None if bias is None else widened(bias)
        FORWARD[how.rank - 1](
            x,
            w,
            bias,
            *(how.stride, padding, how.dilation, chunk.groups),
            activation=None if how.partial else how.activation,
            algorithm=how.algorithm,
            out=(y := _empty(chunk.shape, x)),
        )
        return y


def weight_gradient(
    how: How,
    chunk: Chunk,
    window: Window,
    blocks: Sequence[Array],
    grad_window: Window,
    grad_blocks: Sequence[Array],
) -> Array:
    """What one chunk of the output gradient contributes to the weight gradient."""
    with changed(how.options):
        x, dy = _gathered(window, blocks), _gathered(grad_window, grad_blocks)
        if how.partial:
            x, dy = widened(x), widened(dy)
        WEIGHT[how.rank - 1](
            x,
            chunk.shape,
            dy,
            *(how.stride, chunk.padding, how.dilation, chunk.groups),
            algorithm=how.algorithm,
            out=(dw := np.empty(chunk.shape, x.dtype)),
        )
        return dw


def input_gradient(
    how: How, chunk: Chunk, window: Window, blocks: Sequence[Array], w: Array
) -> Array:
    """A chunk of the input gradient, or a summand of it."""
    with changed(how.options):
        dy = _gathered(window, blocks)
        if how.partial:
            dy, w = widened(dy), widened(w)
        INPUT[how.rank - 1](
            chunk.shape,
            w,
            dy,
            *(how.stride, chunk.padding, how.dilation, chunk.groups),
            algorithm=how.algorithm,
            out=(dx := _empty(chunk.shape, dy)),
        )
        return dx


def add(summands: Sequence[Array]) -> Array:
    """A sum in the order given."""
    total = summands[0].copy(order="K")
    for summand in summands[1:]:
        total += summand
    return total


def finish(how: How, summands: Sequence[Array]) -> Array:
    """The last sum of a chunk, rounded to the result's dtype, after its activation."""
    total = add(summands)
    if how.activation is not None:
        np.maximum(total, 0, out=total)
    with changed(how.options):
        return narrowed(total, how.dtype)


def _gathered(window: Window, blocks: Sequence[Array]) -> Array:
    """The window of its pieces, in one copy, or in none where one piece is all of it."""
    if len(blocks) == 1:
        return blocks[0][_slices(window.inside[0])]
    whole = _empty(window.shape, blocks[0])
    for block, inside, place in zip(blocks, window.inside, window.place, strict=True):
        whole[_slices(place)] = block[_slices(inside)]
    return whole


def _empty(shape: tuple[int, ...], like: Array) -> Array:
    """Memory laid out as ``like``: plain, so that it goes back to the system when freed.

    What fastconv keeps of large results would count against a worker's limit.
    """
    if like.shape[1] > 1 and like.strides[1] == like.itemsize:
        return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), like.dtype), -1, 1)
    return np.empty(shape, like.dtype)


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in box)
