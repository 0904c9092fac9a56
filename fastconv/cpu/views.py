"""Where operands lie: in the caller's arrays, or at a place of a program's workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastconv.cpu import simd, threads

_MOST_BYTES = 1 << 62

OPERAND_X, OPERAND_W, OPERAND_BIAS = 0, 1, 2  #: numbers by which steps tell what they read


class View(NamedTuple):
    """Where kernels find an array: in the operand itself or staged in the workspace.

    Strides are in bytes, ``offset`` is the place of element (0, 0, ...) in either.
    """

    staged: bool
    offset: int
    image: int  #: from one image to the next
    channel: int
    spatial: tuple[int, ...]
    group: int = 0  #: from one group to the next, or 0: as many channels further

    def group_step(self, channels: int) -> int:
        """Bytes from one group of so many channels to the next."""
        return self.group or channels * self.channel


def view_of(strides: Sequence[int]) -> View:
    """An operand (N, C, *spatial) read where it lies."""
    return View(False, 0, strides[0], strides[1], tuple(strides[2:]))


class Workspace:
    """Hands out places in a program's workspace, each aligned to a cache line.

    ``slots`` is how many pieces of work may run at once, each with memory of its own: by default
    the most there are.
    """

    def __init__(self, slots: int | None = None) -> None:
        self.size = 0
        self.slots = threads.most() if slots is None else slots

    def take(self, size: int) -> int:
        """The offset of ``size`` new bytes; a vector read that overhangs them stays inside."""
        offset = self.size
        self.size += -(-(size + simd.VECTOR_BITS // 8) // 64) * 64
        if self.size > _MOST_BYTES:  # more than kernels count, too
            raise MemoryError(f"a workspace of {self.size} bytes is more than there can be")
        return offset
