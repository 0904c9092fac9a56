"""unfold and fold with torch.nn.functional's signatures: images to columns and back."""

# ruff: noqa: A002 - PyTorch calls an argument input

from collections.abc import Iterator
from math import prod
from typing import TypeAlias

import numpy as np

from ._arguments import Ints, Pads
from ._arrays import Array, checked_array
from .geometry import ConvGeometry, fold_geometry, unfold_geometry

_Index: TypeAlias = tuple[int | slice, ...]


def unfold(
    input: Array,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Pads = 0,
    stride: Ints = 1,
) -> Array:
    """Copy what a kernel sees at each of its positions into one column each.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W) or (C, H, W)
        A batch of images or one image, float32 or float64, any strides.
    kernel_size : int or tuple of 2 ints
        R and S.
    dilation : int or tuple of 2 ints
        Step from one kernel element to the next, per axis.
    padding : int, tuple of 2 ints or tuple of 2 pairs
        Zeros at both ends of each axis; a pair ``(before, after)`` per axis, which
        PyTorch does not have, sets the two ends apart.
    stride : int or tuple of 2 ints
        Step from one kernel position to the next, per axis.

    Returns
    -------
    ndarray, shape (N, C * R * S, L) or (C * R * S, L)
        A new array in C order; L is the number of kernel positions. Rows are ordered by
        channel, kernel row and kernel column, columns by row and column of the position.

    Raises
    ------
    TypeError
        For an argument of a wrong kind: no NumPy array, a dtype other than float32
        and float64, a bool or float for an integer.
    ValueError
        For a wrong value: a shape that is not an image's, an empty axis other than N,
        a kernel larger than the padded input.

    Notes
    -----
    The columns are those of im2col: Chellapilla, Puri and Simard, "High performance
    convolutional neural networks for document processing", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import unfold
    >>> unfold(np.arange(6.0).reshape(1, 2, 3), kernel_size=2)
    array([[0., 1.],
           [1., 2.],
           [3., 4.],
           [4., 5.]])
    """
    x = checked_array(input, "input")
    g = unfold_geometry(x.shape, kernel_size, dilation, padding, stride)
    images = x.reshape(g.input_shape)
    columns = np.zeros(_columns_shape(g), x.dtype)
    for positions, pixels in _taps(g):
        columns[positions] = images[pixels]
    return columns.reshape(*x.shape[:-3], g.K, prod(g.output))


def fold(
    input: Array,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Pads = 0,
    stride: Ints = 1,
) -> Array:
    """Add columns, one per kernel position, back into images.

    Each pixel is the sum of all column elements that `unfold` would have copied from it,
    so ``fold`` is the gradient of ``unfold``, and not its inverse where positions overlap.

    Parameters
    ----------
    input : ndarray, shape (N, C * R * S, L) or (C * R * S, L)
        Columns as `unfold` gives them, float32 or float64, any strides.
    output_size : int or tuple of 2 ints
        H and W.
    kernel_size, dilation, padding, stride
        As for `unfold`.

    Returns
    -------
    ndarray, shape (N, C, H, W) or (C, H, W)
        A new array in C order.

    Raises
    ------
    TypeError
        As for `unfold`.
    ValueError
        For a wrong value: rows that are no multiple of R * S, a number of columns other
        than the number of kernel positions, an empty axis other than N.

    Notes
    -----
    Terms are added in the order of the kernel's elements, so results are the same from
    run to run.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import fold
    >>> fold(np.ones((4, 2)), output_size=(2, 3), kernel_size=2)
    array([[[1., 2., 1.],
            [1., 2., 1.]]])
    """
    x = checked_array(input, "input")
    g = fold_geometry(x.shape, output_size, kernel_size, dilation, padding, stride)
    columns = x.reshape(_columns_shape(g))
    images = np.zeros(g.input_shape, x.dtype)
    for positions, pixels in _taps(g):
        images[pixels] += columns[positions]
    return images.reshape(*x.shape[:-2], *g.input_shape[1:])


def _columns_shape(g: ConvGeometry) -> tuple[int, ...]:
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
