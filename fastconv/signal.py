"""Correlations and convolutions of arrays of one rank, with scipy.signal's signatures.

Import it by its name: ``from fastconv import signal``. SciPy need not be installed, but for the
FFT in `correlate` and `convolve` (``pip install 'fastconv[fft]'``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import calls
from ._arguments import one_of, shown
from ._arrays import Array
from ._linear import Task, checked, checked_number, common_dtype, prepare
from ._sums import Run
from .options import current

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d"]

_MODES = ("full", "valid", "same")
_METHODS = ("auto", "direct", "fft")
# scipy.signal's names, and how `Edges` calls what they mean.
_BOUNDARIES = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "reflect",
    "symmetric": "reflect",
}


def correlate2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
) -> Array:
    """Cross-correlate two images, as scipy.signal.correlate2d does.

    Parameters
    ----------
    in1, in2 : array_like, 2-D
        The image and the kernel. The complex conjugate of ``in2`` is taken; in mode "valid" that
        of the smaller one, as SciPy does.
    mode : {"full", "valid", "same"}
        "full" is every place where the two overlap; "valid" those where one covers the other,
        which must be as large in both axes; "same" has the shape of ``in1``: of the full result,
        what is left when ``in2.shape[i] // 2`` places are dropped from the start of axis i.
    boundary : {"fill", "wrap", "symm"}
        How ``in1`` goes on past its edges: by ``fillvalue``, by its other end, or mirrored at the
        edge. SciPy's longer names "pad", "circular" and "symmetric" are known too.
    fillvalue : scalar, optional
        A value that the result's dtype can hold.

    Returns
    -------
    ndarray
        A new array, of the dtype that NumPy promotes both dtypes to.

    Raises
    ------
    TypeError
        For masked arrays, device arrays, and dtypes that there are no kernels for: long doubles,
        objects, times, strings. For a ``mode`` or ``boundary`` that is no string.
    ValueError
        For arrays that are not 2-D or do not fit the mode, unknown names, and a ``fillvalue`` that
        the dtype cannot hold.

    Notes
    -----
    Results are sums of products, never transforms: exact wherever SciPy's are, for integers modulo
    2 to the number of bits. Beside SciPy's dtypes, float16 and bfloat16 are added up in float32
    and rounded once, and of bool arrays a result is whether any product is true.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import signal
    >>> image = np.arange(9.0).reshape(3, 3)
    >>> signal.correlate2d(image, [[1.0, 0.0], [0.0, 1.0]], mode="valid")
    array([[ 4.,  6.],
           [10., 12.]])
    >>> signal.correlate2d(image, [[1.0, 0.0], [0.0, 1.0]], mode="same", boundary="symm")
    array([[ 4.,  6.,  7.],
           [10., 12., 13.],
           [13., 15., 16.]])
    """
    ready: Run | None = calls.known.find(
        "correlate2d", 0, in1, in2, None, 2, (mode, boundary), "", fillvalue
    )
    if ready is not None:
        return ready(in1, in2)  # type: ignore[arg-type]
    return _planar("correlate2d", in1, in2, mode, boundary, fillvalue)


def convolve2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: Any = 0,
) -> Array:
    """Convolve two images, as scipy.signal.convolve2d does.

    `correlate2d` describes the arguments and the errors. Here the kernel is turned over in both
    axes, nothing is conjugated, and "same" drops ``(in2.shape[i] - 1) // 2`` places from the start
    of axis i of the full result.

    Parameters
    ----------
    in1, in2 : array_like, 2-D
    mode : {"full", "valid", "same"}
    boundary : {"fill", "wrap", "symm"}
    fillvalue : scalar, optional

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from fastconv import signal
    >>> signal.convolve2d([[1, 2, 3]], [[1, 10]])
    array([[ 1, 12, 23, 30]])
    """
    ready: Run | None = calls.known.find(
        "convolve2d", 0, in1, in2, None, 2, (mode, boundary), "", fillvalue
    )
    if ready is not None:
        return ready(in1, in2)  # type: ignore[arg-type]
    return _planar("convolve2d", in1, in2, mode, boundary, fillvalue)


def correlate(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto"
) -> Array | np.generic:
    """Cross-correlate two arrays of any one rank, as scipy.signal.correlate does.

    Parameters
    ----------
    in1, in2 : array_like
        Of the same number of axes. The complex conjugate of ``in2`` is taken.
    mode : {"full", "valid", "same"}
        "full" is every place where the two overlap; "valid" those where one covers the other,
        which must be as large in every axis; "same" has the shape of ``in1``: of the full result,
        what is left when ``(in2.shape[i] - 1) // 2`` places are dropped from the start of axis i.
    method : {"auto", "direct", "fft"}
        "direct" is sums of products, "fft" a product of spectra, which needs SciPy. "auto" takes
        the faster one, by the sizes alone; sums for bool arrays, where SciPy is not installed, and
        under ``fastconv.options(winograd=False)``; and for integers wherever the FFT's error might
        change a result.

    Returns
    -------
    ndarray
        A new array, of the dtype that NumPy promotes both dtypes to; of two 0-D arrays, their
        product as NumPy gives it.

    Raises
    ------
    TypeError
        For masked arrays, device arrays, and dtypes that there are no kernels for: long doubles,
        objects, times, strings. For a ``mode`` or ``method`` that is no string.
    ValueError
        For arrays of different ranks, empty arrays (but for an empty ``in1`` in mode "same"), in
        mode "valid" arrays of which neither covers the other, unknown names, and method "fft" where
        SciPy is not installed.

    Notes
    -----
    Up to three axes have kernels of their own; of more, the last three do, once for each place on
    the axes before them.

    The FFT rounds more coarsely, as `fastconv.options` says, and one value that is not finite
    spoils all results nearby. Integers are transformed as float64 and rounded.

    Examples
    --------
    >>> from fastconv import signal
    >>> signal.correlate([1, 2, 3], [0, 1, 10])
    array([10, 21, 32,  3,  0])
    >>> signal.correlate([1, 2, 3], [0, 1, 10], mode="same")
    array([21, 32,  3])
    """
    how = current().planning
    ready: Run | None = calls.known.find("correlate", how, in1, in2, None, 0, (mode,), method, None)
    if ready is not None:
        return ready(in1, in2)  # type: ignore[arg-type]
    return _of_any_rank("correlate", in1, in2, mode, method, how)


def convolve(
    in1: ArrayLike, in2: ArrayLike, mode: str = "full", method: str = "auto"
) -> Array | np.generic:
    """Convolve two arrays of any one rank, as scipy.signal.convolve does.

    `correlate` describes the arguments and the errors. Here the kernel is turned over in all axes,
    and nothing is conjugated.

    Parameters
    ----------
    in1, in2 : array_like
    mode : {"full", "valid", "same"}
    method : {"auto", "direct", "fft"}

    Returns
    -------
    ndarray

    Examples
    --------
    >>> from fastconv import signal
    >>> signal.convolve([1, 2, 3], [0, 1, 10])
    array([ 0,  1, 12, 23, 30])
    """
    how = current().planning
    ready: Run | None = calls.known.find("convolve", how, in1, in2, None, 0, (mode,), method, None)
    if ready is not None:
        return ready(in1, in2)  # type: ignore[arg-type]
    return _of_any_rank("convolve", in1, in2, mode, method, how)


def _planar(name: str, in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any) -> Array:
    """Check a call of two images, plan it, remember it, and do it."""
    mode = one_of(mode, "mode", _MODES)
    boundary = one_of(boundary, "boundary", tuple(_BOUNDARIES))
    edges = _BOUNDARIES[boundary]
    first, second = checked(in1, "in1"), checked(in2, "in2")
    for array, which in ((first, "in1"), (second, "in2")):
        if array.ndim != 2:
            raise ValueError(f"{which} must be 2-D, got shape {array.shape}")
    dtype = common_dtype(first, second)
    correlates = name == "correlate2d"
    start, length = _window(first.shape, second.shape, mode, upper=correlates)
    if edges != "constant" and 0 in first.shape and 0 not in length:
        raise ValueError(f"in1 must not be empty for boundary={boundary!r}, got {first.shape}")
    value = _fill(fillvalue, dtype) if edges == "constant" else 0
    if mode == "valid":
        edges, value = "constant", 0  # which no place reads
    # SciPy conjugates the smaller array in mode "valid", whichever it is.
    conjugated = 1 + (mode != "valid" or first.size >= second.size) if correlates else 0
    task = Task(correlates, start, length, edges, value, conjugated)
    ready = prepare(first, second, dtype, task, "direct")
    calls.known.remember(ready, name, 0, in1, in2, None, 2, (mode, boundary), "", fillvalue)
    return ready(first, second)


def _of_any_rank(
    name: str, in1: Any, in2: Any, mode: str, method: str, how: int
) -> Array | np.generic:
    """Check a call, plan it, remember it, and do it."""
    mode = one_of(mode, "mode", _MODES)
    method = one_of(method, "method", _METHODS)
    first, second = checked(in1, "in1"), checked(in2, "in2")
    if first.ndim != second.ndim:
        raise ValueError(
            f"in1 and in2 must have the same number of axes, got shapes {first.shape} "
            f"and {second.shape}"
        )
    dtype = common_dtype(first, second)
    correlates = name == "correlate"
    if first.ndim == 0:
        return np.multiply(first, second.conj() if correlates else second)
    for array, which in ((first, "in1"), (second, "in2")):
        if array.size == 0 and (which == "in2" or mode != "same"):
            raise ValueError(f"{which} must not be empty, got shape {array.shape}")
    start, length = _window(first.shape, second.shape, mode, upper=False)
    task = Task(correlates, start, length, conjugated=2 if correlates else 0)
    exact = method == "auto" and not current().winograd
    ready = prepare(first, second, dtype, task, "direct" if exact else method)
    calls.known.remember(ready, name, how, in1, in2, None, 0, (mode,), method, None)
    return ready(first, second)


def _window(
    image: tuple[int, ...], kernel: tuple[int, ...], mode: str, *, upper: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which places of the full result a mode asks for, the first of each axis and how many.

    ``upper``: of an even number of places to drop in mode "same", one more comes off the start.
    """
    axes = list(zip(image, kernel, strict=True))
    if mode == "same":
        return tuple((k - (not upper)) // 2 for _, k in axes), image
    if mode == "full":
        length = tuple(n + k - 1 for n, k in axes)
        if min(length) < 0:
            raise ValueError(f"in1 and in2 must not both be empty, got {image} and {kernel}")
        return (0,) * len(axes), length
    if not (all(n >= k for n, k in axes) or all(n <= k for n, k in axes)):
        raise ValueError(
            "in1 or in2 must be at least as large as the other in every axis for mode='valid', "
            f"got shapes {image} and {kernel}"
        )
    return tuple(min(axis) - 1 for axis in axes), tuple(abs(n - k) + 1 for n, k in axes)


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """The fill value as a number of the dtype."""
    number = checked_number(value, "fillvalue")
    try:
        if np.iscomplexobj(number) and dtype.kind != "c":
            raise TypeError
        return np.array(number.item(), dtype)[()]
    except (TypeError, ValueError, OverflowError):
        got = shown(value)
        raise ValueError(f"fillvalue must be a number that {dtype} holds, got {got}") from None
