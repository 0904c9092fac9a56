"""New arrays for results: how they lie in memory."""

from math import prod
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LINE = 64  #: bytes of a cache line, and of the widest vector
# NumPy's large arrays start 16 bytes into a line, so that every wide store touches two: 2 to 7 % of
# the time of depthwise layers with channels last. Finding the line costs two microseconds.
LARGE = 1 << 20  #: bytes from which a result starts on a line


def new(shape: tuple[int, ...], like: Array) -> Array:
    """A new array laid out as ``like`` is: channels contiguous, or in C order."""
    if like.shape[1] > 1 and like.strides[1] == like.itemsize:
        return np.moveaxis(empty((shape[0], *shape[2:], shape[1]), like.dtype), -1, 1)
    return empty(shape, like.dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`numpy.empty`, on a cache line where the array is large."""
    size = prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < LARGE else on_a_line(shape, dtype, size)


def on_a_line(shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> Array:
    """An uninitialised array of ``size`` bytes that starts on a cache line."""
    memory = np.empty(size + LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.ctypes.data % LINE)
