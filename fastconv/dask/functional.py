"""Convolutions of Dask arrays, with the signatures of `fastconv`'s own."""

# ruff: noqa: A002 - PyTorch calls an argument input

from typing import Any, TypeAlias

import dask.array as da

from fastconv._arguments import Ints, Padding

from . import passes

AnyArray: TypeAlias = Any  # NumPy's or Dask's


def conv1d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str = "auto",
) -> da.Array:
    """Convolve signals in chunks with kernels, as `fastconv.conv1d` does: lazily.

    `conv2d` describes the arguments, the chunks and the errors; here there is
    one spatial axis instead of two.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, W) or (C, W)
    weight : ndarray or dask array, shape (K, C // groups, S)
    bias : ndarray or dask array, shape (K,), optional
    stride, padding, dilation, groups, activation, algorithm
        As in `fastconv.conv1d`.

    Returns
    -------
    dask array, shape (N, K, Q) or (K, Q)
    """
    settings = stride, padding, dilation, groups
    return passes.conv(1, input, weight, bias, settings, activation, algorithm)


def conv2d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str = "auto",
) -> da.Array:
    """Convolve images in chunks with kernels, as `fastconv.conv2d` does: lazily.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, H, W) or (C, H, W)
        Any chunks along all axes. Chunks of channels are added up, for which halves are
        held in float32; with groups, a chunk must hold whole groups.
    weight : ndarray or dask array, shape (K, C // groups, R, S)
        Any chunks; those along K are the result's, if groups is 1.
    bias : ndarray or dask array, shape (K,), optional
    stride, padding, dilation, groups, activation, algorithm
        As in `fastconv.conv2d`.

    Returns
    -------
    dask array, shape (N, K, P, Q) or (K, P, Q)
        Its chunks follow the input's: an output pixel goes with the middle of what it sees, so
        that chunks of a result with "same" padding are those of the input. A chunk whose pixels
        a stride steps over has no counterpart.

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv2d` does, before any work; also for an input that is no dask array,
        for chunks of unknown size, and for a chunk of channels that cuts a group in two.

    Notes
    -----
    Each chunk is a convolution of its own, of its input and a margin: strips that are cut from the
    neighbouring chunks where they lie. Nothing else moves but the weight, and nothing is rechunked.
    The settings of `fastconv.options` are those where this is called; a chunk runs on one
    thread unless they say otherwise.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from fastconv.dask import conv2d
    >>> images = da.ones((8, 3, 1000, 1000), chunks=(4, 3, 250, 1000), dtype=np.float32)
    >>> y = conv2d(images, np.ones((16, 3, 3, 3), np.float32), padding=1)
    >>> y.chunks[2]
    (250, 250, 250, 250)
    >>> y[0, 0, :2, :2].compute()
    array([[12., 18.],
           [18., 27.]], dtype=float32)
    """
    settings = stride, padding, dilation, groups
    return passes.conv(2, input, weight, bias, settings, activation, algorithm)


def conv3d(
    input: da.Array,
    weight: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str = "auto",
) -> da.Array:
    """Convolve volumes in chunks with kernels, as `fastconv.conv3d` does: lazily.

    `conv2d` describes the arguments, the chunks and the errors; here there are
    three spatial axes instead of two.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, D, H, W) or (C, D, H, W)
    weight : ndarray or dask array, shape (K, C // groups, T, R, S)
    bias : ndarray or dask array, shape (K,), optional
    stride, padding, dilation, groups, activation, algorithm
        As in `fastconv.conv3d`.

    Returns
    -------
    dask array, shape (N, K, O, P, Q) or (K, O, P, Q)
    """
    settings = stride, padding, dilation, groups
    return passes.conv(3, input, weight, bias, settings, activation, algorithm)
