"""Gradients of convolutions of Dask arrays, with the signatures of `fastconv`'s own."""

# ruff: noqa: A002 - PyTorch calls an argument input

from collections.abc import Sequence

import dask.array as da

from fastconv._arguments import Ints, Pads

from . import passes
from .functional import AnyArray


def conv1d_weight(
    input: da.Array,
    weight_size: Sequence[int],
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv1d` with respect to its weight: a sum over all chunks.

    `conv2d_weight` describes the arguments, the chunks and the errors; here there is
    one spatial axis instead of two.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, W)
    weight_size : tuple of 3 ints, (K, C // groups, S)
    grad_output : dask array of NumPy blocks, shape (N, K, Q)
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv1d_weight`.

    Returns
    -------
    dask array, shape (K, C // groups, S)
    """
    settings = stride, padding, dilation, groups
    return passes.weight_gradient(1, input, weight_size, grad_output, settings, algorithm)


def conv2d_weight(
    input: da.Array,
    weight_size: Sequence[int],
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv2d` with respect to its weight: a sum over all chunks.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, H, W)
    weight_size : tuple of 4 ints
        Shape of the weight, (K, C // groups, R, S).
    grad_output : dask array of NumPy blocks, shape (N, K, P, Q)
        Any chunks. Least moves where they are those that `conv2d` gives for the input's.
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv2d_weight`.

    Returns
    -------
    dask array, shape (K, C // groups, R, S)
        One chunk for each pair of a chunk of grad_output's channels and one of the input's; with
        groups, for each chunk of the input's channels.

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv2d_weight` does, before any work, and as `conv2d` does.

    Notes
    -----
    Each chunk of grad_output gives a weight gradient of its own. Eight at a time, neighbours
    first, they are added up in a tree, whose shape depends on the chunks alone: the same bits
    come out of any number of workers. Halves are added up in float32 and rounded once.

    Examples
    --------
    >>> import dask.array as da
    >>> from fastconv.dask import conv2d_weight
    >>> images = da.ones((8, 3, 100, 100), chunks=(4, 3, 25, 100))
    >>> grad_output = da.ones((8, 16, 98, 98), chunks=(4, 16, 25, 98))
    >>> dw = conv2d_weight(images, (16, 3, 3, 3), grad_output)
    >>> float(dw[0, 0, 0, 0].compute()) == 8 * 98 * 98
    True
    """
    settings = stride, padding, dilation, groups
    return passes.weight_gradient(2, input, weight_size, grad_output, settings, algorithm)


def conv3d_weight(
    input: da.Array,
    weight_size: Sequence[int],
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv3d` with respect to its weight: a sum over all chunks.

    `conv2d_weight` describes the arguments, the chunks and the errors; here there are
    three spatial axes instead of two.

    Parameters
    ----------
    input : dask array of NumPy blocks, shape (N, C, D, H, W)
    weight_size : tuple of 5 ints, (K, C // groups, T, R, S)
    grad_output : dask array of NumPy blocks, shape (N, K, O, P, Q)
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv3d_weight`.

    Returns
    -------
    dask array, shape (K, C // groups, T, R, S)
    """
    settings = stride, padding, dilation, groups
    return passes.weight_gradient(3, input, weight_size, grad_output, settings, algorithm)


def conv1d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    chunks: object = None,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv1d` with respect to its input, in chunks.

    `conv2d_input` describes the arguments, the chunks and the errors; here there is
    one spatial axis instead of two.

    Parameters
    ----------
    input_size : tuple of 3 ints, (N, C, W)
    weight : ndarray or dask array, shape (K, C // groups, S)
    grad_output : dask array of NumPy blocks, shape (N, K, Q)
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv1d_input`.
    chunks : optional

    Returns
    -------
    dask array, shape (N, C, W)
    """
    settings = stride, padding, dilation, groups
    return passes.input_gradient(1, input_size, weight, grad_output, settings, chunks, algorithm)


def conv2d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    chunks: object = None,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv2d` with respect to its input, in chunks.

    Parameters
    ----------
    input_size : tuple of 4 ints
        Shape of the input, (N, C, H, W).
    weight : ndarray or dask array, shape (K, C // groups, R, S)
    grad_output : dask array of NumPy blocks, shape (N, K, P, Q)
        Any chunks. Those of channels are added up as in `conv2d`.
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv2d_input`.
    chunks : optional
        The result's chunks, in any form that Dask knows, such as ``input.chunks``. Otherwise they
        follow grad_output's, as the input's would from which `conv2d` makes these, and the
        weight's along C.

    Returns
    -------
    dask array, shape (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `fastconv.conv2d_input` does, before any work, and as `conv2d` does.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from fastconv.dask import conv2d_input
    >>> grad_output = da.ones((8, 16, 50, 50), chunks=(4, 16, 25, 50))
    >>> kernel = np.ones((16, 3, 3, 3))
    >>> dx = conv2d_input((8, 3, 100, 100), kernel, grad_output, stride=2, padding=1)
    >>> dx.chunks[2]
    (50, 50)
    """
    settings = stride, padding, dilation, groups
    return passes.input_gradient(2, input_size, weight, grad_output, settings, chunks, algorithm)


def conv3d_input(
    input_size: Sequence[int],
    weight: AnyArray,
    grad_output: da.Array,
    stride: Ints = 1,
    padding: Pads = 0,
    dilation: Ints = 1,
    groups: int = 1,
    *,
    chunks: object = None,
    algorithm: str = "auto",
) -> da.Array:
    """Return the gradient of `conv3d` with respect to its input, in chunks.

    `conv2d_input` describes the arguments, the chunks and the errors; here there are
    three spatial axes instead of two.

    Parameters
    ----------
    input_size : tuple of 5 ints, (N, C, D, H, W)
    weight : ndarray or dask array, shape (K, C // groups, T, R, S)
    grad_output : dask array of NumPy blocks, shape (N, K, O, P, Q)
    stride, padding, dilation, groups, algorithm
        As in `fastconv.conv3d_input`.
    chunks : optional

    Returns
    -------
    dask array, shape (N, C, D, H, W)
    """
    settings = stride, padding, dilation, groups
    return passes.input_gradient(3, input_size, weight, grad_output, settings, chunks, algorithm)
