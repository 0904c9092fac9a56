"""Memory and warps for the stand-ins that run in Numba's simulator."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Pointer:
    """An address in simulated memory: reads and writes are checked, alignment included."""

    __slots__ = ("base", "memory", "offset")

    def __init__(self, memory: np.ndarray[Any, Any], offset: int = 0, base: int = 0) -> None:
        self.memory, self.offset, self.base = memory, offset, base

    @classmethod
    def over(cls, array: np.ndarray[Any, Any]) -> Pointer:
        """The address of an array's first element, with the whole buffer it views in reach."""
        whole = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        count = _extent(whole) // whole.itemsize
        flat = np.lib.stride_tricks.as_strided(whole, (count,), (whole.itemsize,)).view(np.uint8)
        return cls(flat, array.ctypes.data - flat.ctypes.data, flat.ctypes.data)

    def __add__(self, step: int) -> Pointer:
        return Pointer(self.memory, self.offset + int(step), self.base)

    __radd__ = __add__

    def __index__(self) -> int:
        return self.base + self.offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pointer) and int(self) == int(other)

    __hash__ = object.__hash__

    def _bytes(self, size: int, alignment: int) -> np.ndarray[Any, Any]:
        if not 0 <= self.offset <= len(self.memory) - size:
            raise IndexError(
                f"{size} bytes at offset {self.offset} of a memory of {len(self.memory)}"
            )
        if (self.base + self.offset) % alignment:
            raise IndexError(f"an address of {alignment} bytes' alignment, at {int(self):#x}")
        return self.memory[self.offset : self.offset + size]

    def read(self, dtype: Any, count: int = 1) -> np.ndarray[Any, Any]:
        """``count`` elements, aligned as one vector is."""
        size = np.dtype(dtype).itemsize * count
        return self._bytes(size, min(size, 16)).view(dtype)

    def write(self, values: Sequence[Any] | np.ndarray[Any, Any], dtype: Any) -> None:
        """Store the values as one aligned vector."""
        size = np.dtype(dtype).itemsize * len(values)
        self._bytes(size, min(size, 16)).view(dtype)[:] = values


def _extent(array: np.ndarray[Any, Any]) -> int:
    """Bytes from the first to the last element of an array that owns its memory."""
    if not array.size:
        return 0
    steps = zip(array.shape, array.strides, strict=True)
    return array.itemsize + sum((size - 1) * stride for size, stride in steps)


class _Group:
    """Threads that meet: all hand in a value, and all see every value."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.values: list[Any] = [None] * count
        self.shared: Any = None


_lock = threading.Lock()


def _place(width: int) -> tuple[_Group, int]:
    """The group of ``width`` neighbouring threads that runs this code, and the place in it."""
    thread: Any = threading.current_thread()
    block = thread._manager
    with _lock:
        groups = block.__dict__.setdefault("groups", {})
        key = width, thread.thread_id // width
        group = groups.setdefault(key, None) or _Group(width)
        groups[key] = group
    return group, thread.thread_id % width


def together(value: Any, work: Callable[[list[Any]], Sequence[Any] | None], width: int = 32) -> Any:
    """Do ``work`` once on the values of all threads of a warp; each gets its part of the result.

    With a ``width`` of 128 the threads are those of a warpgroup.
    """
    group, place = _place(width)
    group.values[place] = value
    if group.barrier.wait() == 0:
        try:
            group.shared = work(group.values)
        except BaseException:
            group.barrier.abort()
            raise
    group.barrier.wait()
    return None if group.shared is None else group.shared[place]


def to_bfloat16(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """float32 rounded to the nearest bfloat16, as bit patterns in uint16."""
    exact = np.ascontiguousarray(values, np.float32)
    bits = exact.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(exact), np.uint16(0x7FFF), rounded)


def from_bfloat16(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The float32 values of bfloat16 bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_tf32(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """float32 rounded to the nearest TF32 (10 fraction bits), ties away from zero."""
    exact = np.ascontiguousarray(values, np.float32)
    bits = ((exact.view(np.uint32).astype(np.uint64) + 0x1000) & 0xFFFFE000).astype(np.uint32)
    return np.where(np.isfinite(exact), bits.view(np.float32), exact)
