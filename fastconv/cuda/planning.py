"""What plans are made of: operand strides by role, taps as tables, sizes as kernel arguments.

Kernels see three spatial axes, D, H and W; an axis that a convolution lacks has size 1.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastconv.lowering import AxisPart, Correlation, Lowered

from .ptx import KINDS

Sizes: TypeAlias = tuple[int, ...]
Table: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

INT32_MAX = 2**31 - 1
_ALIGNMENT = 256  # of places in the workspace: what the driver gives to an allocation
ABSENT = -(2**31)
NOWHERE = 2**29  #: a place outside of any source: no axis reaches it


class Operands(NamedTuple):
    """What kernels are chosen by, beside the geometry."""

    kind: str  #: "f32", "f64", "f16" or "bf16"
    x: Sizes  #: strides of the source in elements, (N, C, *spatial)
    w: Sizes  #: strides of the weights, or of the output gradient
    y: Sizes  #: strides of the target
    capability: tuple[int, int] = (9, 0)
    tf32: bool = False
    aligned: bool = True  #: whether the arrays begin at multiples of 16 bytes

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return KINDS[self.kind].size

    def in_vectors(self, strides: Sizes, channels: int, count: int) -> bool:
        """Whether channels lie side by side, in whole aligned vectors of ``count``."""
        others = (strides[0], *strides[2:])
        return (
            self.aligned
            and strides[1] == 1
            and channels % count == 0
            and all(stride % count == 0 for stride in others)
        )


class Workspace:
    """Scratch memory of a program, given out while its steps are planned."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, size: int) -> int:
        """The place, in bytes into the workspace, of ``size`` bytes."""
        place = self.size
        self.size += -(-size // _ALIGNMENT) * _ALIGNMENT
        return place


class WeightStrides(NamedTuple):
    """Steps through the weights, by what an axis means to the pass."""

    group: int
    target: int
    source: int


def weight_strides(low: Lowered, w: Sizes) -> WeightStrides:
    """Element strides of the weights from group to group and channel to channel."""
    if low.transposed:
        return WeightStrides(low.source_channels * w[0], w[1], w[0])
    return WeightStrides(low.target_channels * w[0], w[0], w[1])


def words(values: Any) -> Table:
    """A table of 32-bit integers."""
    table = np.asarray(values, np.int64)
    if table.size and (most := np.abs(table).max()) > INT32_MAX:
        raise ValueError(
            "input and weight must have the elements of one sum less than 2**31 apart in memory, "
            f"got {most}"
        )
    return np.ascontiguousarray(table, np.int32)


def reached(low: Lowered) -> Sizes:
    """The source's extents, with the zeros that some tap reads."""
    return tuple(map(max, low.source, low.padded))


def tap_places(part: Correlation, w: Sizes) -> list[int]:
    """Element offset of each tap in the weights."""
    return [sum(i * s for i, s in zip(index, w[2:], strict=True)) for index, _ in part.taps]


def three(values: Sizes, missing: int) -> Sizes:
    """One value for each of D, H and W."""
    return (missing,) * (3 - len(values)) + tuple(values)


def three_axes(part: Correlation) -> tuple[AxisPart, ...]:
    """A part's axes as D, H and W."""
    return (AxisPart(0, 1, 1, 1, ((0, 0),)),) * (3 - len(part.axes)) + part.axes


def flat(strides: Sizes, lengths: Sizes) -> bool:
    """Whether pixels, counted row by row, lie at equal steps."""
    for outer in range(len(lengths) - 1):
        if lengths[outer] > 1 and strides[outer] != strides[outer + 1] * lengths[outer + 1]:
            return False
    return True


class Reduction(NamedTuple):
    """An order of (channel, tap) pairs, in vectors of channels.

    Vectors of one channel block visit all taps in turn: what they read stays in the cache.
    """

    channels: np.ndarray[Any, Any]
    taps: np.ndarray[Any, Any]
    vector: int

    @property
    def length(self) -> int:
        """Number of pairs."""
        return int(self.channels.size)


def reduction(channels: int, taps: int, vector: int, block: int = 0) -> Reduction:
    """All (channel, tap) pairs: blocks of channels, then taps, then the channels of a block.

    A ``block`` holds several vectors, by default one; ``vector`` divides ``channels``.
    """
    block = block or vector
    order = [
        (c, t)
        for first in range(0, channels, block)
        for t in range(taps)
        for c in range(first, min(first + block, channels))
    ]
    pairs = np.array(order, np.int64).reshape(-1, 2)
    return Reduction(pairs[:, 0], pairs[:, 1], vector)


def source_table(
    low: Lowered, part: Correlation, x: Sizes, order: Reduction, multiple: int
) -> Table:
    """For each vector of the reduction: its offset in the source, and its taps' shifts in D, H, W.

    Filled up to a ``multiple`` of vectors with entries that lie outside of any source.
    """
    shifts = np.array([three(offsets, 0) for _, offsets in part.taps], np.int64).reshape(-1, 3)
    steps = np.array(three(x[2:], 0), np.int64)
    first = slice(None, None, order.vector)
    taps = order.taps[first]
    moved = shifts[taps] - np.array(three(low.before, 0))
    offsets = order.channels[first] * x[1] + moved @ steps
    table = np.concatenate([offsets[:, np.newaxis], moved], axis=1)
    missing = -len(table) % multiple
    nowhere = np.tile(np.array([[0, NOWHERE, NOWHERE, NOWHERE]]), (missing, 1))
    return words(np.concatenate([table, nowhere]))


def weight_table(
    part: Correlation, w: Sizes, source_stride: int, order: Reduction, channels: int
) -> Table:
    """For each pair of the reduction: its offset in one target channel's weights.

    `ABSENT` stands for pairs past the last of ``channels``, which only fill up a vector.
    """
    places = np.array(tap_places(part, w), np.int64)
    table = order.channels * source_stride + (places[order.taps] if order.length else 0)
    return np.where(order.channels < channels, words(table), np.int32(ABSENT))


def pixels(low: Lowered, part: Correlation) -> int:
    """Target pixels of a part in the whole batch."""
    return low.N * prod(part.counts)


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up."""
    return -(-a // b)
