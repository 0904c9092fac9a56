"""Correlations and convolutions that keep an array's shape, with scipy.ndimage's signatures.

Import it by its name: ``from fastconv import ndimage``. SciPy need not be installed.
"""

# ruff: noqa: A002 - SciPy calls an argument input

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from ._arrays import Array
from ._filters import Origin, Output, along_axis, over_axes

__all__ = ["convolve", "convolve1d", "correlate", "correlate1d"]


def correlate(
    input: ArrayLike,
    weights: ArrayLike,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: Origin = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Correlate an array with a kernel, as scipy.ndimage.correlate does.

    Parameters
    ----------
    input : array_like
        Of any number of axes.
    weights : array_like
        The kernel, with an axis for each of ``axes``. Its complex conjugate is taken.
    output : ndarray or dtype, optional
        Where the result goes, or its dtype: otherwise ``input``'s, or the complex dtype that takes
        both where the weights are complex. It may be ``input`` itself.
    mode : str
        How ``input`` goes on past its edges, for abcd: "reflect" (or "grid-mirror") cba|abcd|dcb,
        "mirror" dcb|abcd|cba, "nearest" aaa|abcd|ddd, "wrap" (or "grid-wrap") bcd|abcd|abc, and
        "constant" (or "grid-constant") by ``cval``.
    cval : scalar, optional
        The value past the edges in mode "constant".
    origin : int or sequence of ints, optional
        How far the kernel's centre, element ``n // 2``, lies from where its sum goes; positive
        shifts the kernel to the left.
    axes : int or sequence of ints, optional
        The axes that the kernel runs along. Otherwise all.

    Returns
    -------
    ndarray
        ``output`` if that is an array, else a new array.

    Raises
    ------
    TypeError
        For masked arrays and device arrays.
    RuntimeError
        Where SciPy raises it: for dtypes other than bool, integers, float32, float64, complex64
        and complex128, an unknown mode, weights or an ``output`` of a wrong shape.
    ValueError
        For an origin outside the kernel, and a complex ``cval`` for real arrays.

    Notes
    -----
    Sums are in float64, or complex128, and rounded once, as SciPy's are; in float32, or complex64,
    where both ``input`` and ``weights`` are of that dtype. Integer results are cut off, not
    rounded. SciPy leaves out weights of less than 2.3e-16; here they count, so that a value
    that is not finite times a weight of zero is NaN.

    Examples
    --------
    >>> from fastconv import ndimage
    >>> ndimage.correlate([1, 2, 3, 4], [1, 0, 0])
    array([1, 1, 2, 3])
    >>> ndimage.correlate([1, 2, 3, 4], [1, 0, 0], mode="constant", cval=9)
    array([9, 1, 2, 3])
    """
    return over_axes(True, input, weights, output, mode, cval, origin, axes)


def convolve(
    input: ArrayLike,
    weights: ArrayLike,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: Origin = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Convolve an array with a kernel, as scipy.ndimage.convolve does.

    `correlate` describes the arguments and the errors. Here the kernel is turned over in all axes,
    nothing is conjugated, and a positive origin shifts it to the right.

    Parameters
    ----------
    input, weights : array_like
    output : ndarray or dtype, optional
    mode : str
    cval : scalar, optional
    origin : int or sequence of ints, optional
    axes : int or sequence of ints, optional

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from fastconv import ndimage
    >>> ndimage.convolve([1, 2, 3, 4], [1, 0, 0])
    array([2, 3, 4, 4])
    """
    return over_axes(False, input, weights, output, mode, cval, origin, axes)


def correlate1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Correlate the lines along one axis with a kernel, as scipy.ndimage.correlate1d does.

    `correlate` describes the arguments and the errors.

    Parameters
    ----------
    input : array_like
    weights : array_like, 1-D
    axis : int, optional
    output : ndarray or dtype, optional
    mode : str
    cval : scalar, optional
    origin : int, optional

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from fastconv import ndimage
    >>> ndimage.correlate1d([[1, 2, 3], [4, 5, 6]], [-1, 1], axis=0)
    array([[0, 0, 0],
           [3, 3, 3]])
    """
    return along_axis(True, input, weights, axis, output, mode, cval, origin)


def convolve1d(
    input: ArrayLike,
    weights: ArrayLike,
    axis: int = -1,
    output: Output = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Convolve the lines along one axis with a kernel, as scipy.ndimage.convolve1d does.

    `correlate` describes the arguments and the errors, `convolve` how a convolution differs.

    Parameters
    ----------
    input : array_like
    weights : array_like, 1-D
    axis : int, optional
    output : ndarray or dtype, optional
    mode : str
    cval : scalar, optional
    origin : int, optional

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from fastconv import ndimage
    >>> ndimage.convolve1d([1, 2, 4, 8], [1, -1])
    array([1, 2, 4, 0])
    """
    return along_axis(False, input, weights, axis, output, mode, cval, origin)
