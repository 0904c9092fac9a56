"""Memory kept between calls: fresh pages cost more than many a kernel."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from typing import Any, TypeAlias

import numpy as np

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Pool:
    """Blocks of memory that one call gives back and a later one takes.

    Any thread may take and give back, also while the garbage collector runs inside another call
    of the same pool: giving back never waits.

    Parameters
    ----------
    most_bytes, most : int
        Bytes and blocks that are kept at most; those kept longest go first.
    spare : float
        A block may have so many times the bytes asked for, and no more.
    """

    def __init__(self, most_bytes: int, most: int, spare: float = float("inf")) -> None:
        self.most_bytes, self.most, self.spare = most_bytes, most, spare
        self._kept: list[Bytes] = []  # the one given back last comes last
        self._returned: deque[Bytes] = deque()  # not yet among those kept
        self._lock = threading.Lock()
        _pools.add(self)

    def take(self, size: int) -> Bytes:
        """A block of ``size`` bytes or more: kept from another call, or new."""
        with self._lock:
            self._sort_in()
            # The last one given back is the likeliest to be in cache still.
            for i in range(len(self._kept) - 1, -1, -1):
                if size <= self._kept[i].size <= size * self.spare:
                    return self._kept.pop(i)
        return np.empty(size, np.uint8)

    def give_back(self, block: Bytes) -> None:
        """Keep a block for later calls, in place of those kept longest if need be."""
        if not 0 < block.size <= self.most_bytes:
            return
        self._returned.append(block)
        # A finalizer may come here while this very thread holds the lock: then the next call sorts.
        if self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def kept_bytes(self) -> int:
        """Bytes of all the blocks that are kept now."""
        return sum(block.size for block in (*self._kept, *self._returned))

    def forget(self) -> None:
        """Free the blocks kept."""
        with self._lock:
            self._returned.clear()
            self._kept.clear()

    def _sort_in(self) -> None:
        while self._returned:
            self._kept.append(self._returned.popleft())
        while len(self._kept) > self.most or sum(b.size for b in self._kept) > self.most_bytes:
            self._kept.pop(0)

    def unlock(self) -> None:
        """Have a free lock, in a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork() -> None:
    for pool in _pools:
        pool.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
