"""Arrays that end, or begin, at a page of memory that must not be touched: an access there crashes.

Guard zones show what is written and what is used; a guard page shows every access, also of
a vector whose surplus lanes are thrown away.
"""

import ctypes
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bytes = NDArray[np.uint8]

POISON = 0xFF  #: a float of such bytes is NaN
_INTEGER_POISON = 0x5B  # 91, 23387 and so on: hardly a result of small integers

_PAGE = mmap.PAGESIZE
_PROT_NONE, _MAP_NORESERVE = 0, 0x4000
_libc = ctypes.CDLL(None, use_errno=True)


def pages(size: int, edge: str, shift: int = 0) -> tuple[Bytes, int]:
    """Memory between two forbidden pages, and where in it ``size`` bytes begin.

    They end ``shift`` bytes before the second page if ``edge`` is "end", and begin so many after
    the first one if it is "start".
    """
    room = -(-(size + shift) // _PAGE) * _PAGE or _PAGE
    mapped = np.frombuffer(mmap.mmap(-1, room + 2 * _PAGE), np.uint8)
    address = mapped.ctypes.data
    for page in (address, address + _PAGE + room):
        _forbid(page)
    memory = mapped[_PAGE : _PAGE + room]
    return memory, room - size - shift if edge == "end" else shift


def _forbid(address: int) -> None:
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect failed")


@dataclass(frozen=True)
class Placement:
    """How an array lies in memory.

    ``order`` names its axes from the outermost in memory to the innermost. ``steps`` says for each
    axis how many elements of a larger array lie from one to the next: negative ones go backwards,
    and along 0 all are one. Bytes of ``shift`` are kept from the page at the ``edge``.
    """

    order: tuple[int, ...]
    steps: tuple[int, ...]
    edge: str = "end"
    shift: int = 0

    def repeated(self, values: Array) -> Array:
        """What is left of the values where all along an axis are one."""
        first = tuple(slice(0, 1) if step == 0 else slice(None) for step in self.steps)
        return np.broadcast_to(values[first], values.shape)


class Placed:
    """An array placed in memory that is full of poison, and what that memory held before."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, placement: Placement) -> None:
        self._dtype = np.dtype(dtype)
        self._shape, self._strides = shape, _strides(shape, self._dtype.itemsize, placement)
        reach = [s * (n - 1) for s, n in zip(self._strides, shape, strict=True)]
        below = -sum(min(r, 0) for r in reach)
        size = below + sum(max(r, 0) for r in reach) + self._dtype.itemsize
        if 0 in shape:
            size = below = 0
        shift = placement.shift
        self._memory, start = pages(size, placement.edge, shift)
        self._memory[:] = _INTEGER_POISON if self._dtype.kind in "iu" else POISON
        self._start = start + below
        self.array = self._view(self._memory)

    def _view(self, memory: Bytes) -> Array:
        if 0 in self._shape:
            return np.empty(self._shape, self._dtype)
        return np.ndarray(self._shape, self._dtype, memory, self._start, self._strides)

    def hold(self, values: Array) -> None:
        """Write the values: what the array must hold from now on."""
        self.array[...] = values
        self.remember()

    def remember(self) -> None:
        """Take all memory, as it is now, for what must not change."""
        self._before = self._memory.copy()

    def check_unchanged(self, name: str) -> None:
        """Fail if a byte has changed."""
        assert np.array_equal(self._memory, self._before), f"{name} was written to, or beside it"

    def check_around(self, name: str) -> None:
        """Fail if a byte has changed that is none of the array's."""
        self._view(self._before)[...] = self.array
        assert np.array_equal(self._memory, self._before), f"written outside of {name}"


def _strides(shape: tuple[int, ...], itemsize: int, placement: Placement) -> tuple[int, ...]:
    strides, span = [0] * len(shape), itemsize
    for axis in reversed(placement.order):
        step = placement.steps[axis]
        strides[axis] = step * span
        span *= abs(step) * shape[axis] or 1
    return tuple(strides)


def untouched(size: int) -> Bytes:
    """So many zero bytes, of which the system gives only those pages that are touched."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return np.frombuffer(mmap.mmap(-1, size, flags), np.uint8)
