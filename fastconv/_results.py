"""New arrays for results: where they lie in memory, and whose memory it was."""

from collections.abc import Callable
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ._pool import Bytes, Pool

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LINE = 64  #: bytes of a cache line, and of the widest vector
# Pages fresh from the system take a third of the time of a layer of few channels, unless a result
# that is gone has left its own; and NumPy starts an array 16 bytes into a line, so that wide stores
# touch two: 2 to 7 % of a depthwise layer. Both take three microseconds to mend.
LARGE = 1 << 20  #: bytes from which a result lies on a line, in memory that is kept
MOST_BYTES = 1 << 28  #: that are kept in all
MOST = 64  #: results whose memory is kept

# A block much longer than a result would be lost to others for as long as the result lives.
_pool = Pool(MOST_BYTES, MOST, spare=1.125)
kept_bytes = _pool.kept_bytes
forget = _pool.forget


class _Loan:
    """Memory lent to a result and all its views: it goes back with the last of them."""

    __slots__ = ("__array_interface__", "_memory")

    def __init__(self, memory: Bytes) -> None:
        self._memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self, give_back: Callable[[Bytes], None] = _pool.give_back) -> None:
        # At the interpreter's end this module's names may be gone before the last results.
        give_back(self._memory)


def new(shape: tuple[int, ...], like: Array) -> Array:
    """A new array laid out as ``like`` is: channels contiguous, or in C order."""
    if like.shape[1] > 1 and like.strides[1] == like.itemsize:
        return np.moveaxis(empty((shape[0], *shape[2:], shape[1]), like.dtype), -1, 1)
    return empty(shape, like.dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """`numpy.empty`; a large array as `lent` gives it."""
    size = prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < LARGE else lent(shape, dtype, size)


def lent(shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> Array:
    """An uninitialised array of ``size`` bytes on a cache line, in memory kept from another."""
    loan = _Loan(_pool.take(size + LINE))
    start = -loan.__array_interface__["data"][0] % LINE
    return np.ndarray(shape, dtype, np.asarray(loan), start)
