"""Memory kept between calls: fresh pages cost more than many a kernel."""

from __future__ import annotations

from itertools import count
from typing import Any, TypeAlias

import numpy as np

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Pool:
    """Blocks of memory that one call gives back and a later one takes.

    Any thread may take and give back, also while the garbage collector or a signal's handler runs
    inside another call of the same pool, and a process may fork meanwhile. There is no lock to wait
    for or to leave behind: each step is one operation of a dict, which is atomic.

    Parameters
    ----------
    most_bytes, most : int
        Bytes and blocks that are kept at most; those kept longest go first.
    spare : float
        A block may have so many times the bytes asked for, and no more.
    """

    def __init__(self, most_bytes: int, most: int, spare: float = float("inf")) -> None:
        self.most_bytes, self.most, self.spare = most_bytes, most, spare
        self._kept: dict[int, Bytes] = {}  # in the order in which they were given back
        self._numbers = count()  # no two blocks ever have the same

    def take(self, size: int) -> Bytes:
        """A block of ``size`` bytes or more: kept from another call, or new."""
        # The last one given back is the likeliest to be in cache still.
        for number in reversed(list(self._kept)):
            block = self._kept.get(number)
            # It is this call's once it has been popped: another may be quicker.
            if block is not None and size <= block.size <= size * self.spare:
                block = self._kept.pop(number, None)
                if block is not None:
                    return block
        return np.empty(size, np.uint8)

    def give_back(self, block: Bytes) -> None:
        """Keep a block for later calls, in place of those kept longest if need be."""
        if not 0 < block.size <= self.most_bytes:
            return
        self._kept[next(self._numbers)] = block
        for number in list(self._kept):
            if len(self._kept) <= self.most and self.kept_bytes() <= self.most_bytes:
                break
            self._kept.pop(number, None)

    def kept_bytes(self) -> int:
        """Bytes of all the blocks that are kept now."""
        return sum(block.size for block in list(self._kept.values()))

    def forget(self) -> None:
        """Free the blocks kept."""
        self._kept.clear()
