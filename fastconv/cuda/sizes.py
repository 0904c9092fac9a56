"""Sizes and steps as kernels take them, by name."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv.lowering import Correlation, Lowered

from .indexing import divisor
from .planning import flat, three, three_axes


def part_is_deep(low: Lowered, part: Correlation) -> bool:
    """Whether the D axis takes part: its source or target has more than one element."""
    d = three_axes(part)[0]
    return three(low.source, 1)[0] > 1 or d.length > 1 or d.taps != ((0, 0),)


def row_sizes(low: Lowered, part: Correlation) -> dict[str, int]:
    """The batch's target pixels, and how their index is taken apart."""
    _, rows, columns = (axis.length for axis in three_axes(part))
    image = prod(part.counts)
    return {
        "pixels": low.N * image,
        **divisor("image", image),
        **divisor("plane", rows * columns),
        **divisor("Q", columns),
    }


def source_sizes(low: Lowered, x: tuple[int, ...], channels: int) -> dict[str, int]:
    """The source's extents and steps."""
    D, H, W = three(low.source, 1)
    x_d, x_h, x_w = three(x[2:], 0)
    return {
        "D": D,
        "H": H,
        "W": W,
        "x_group": channels * x[1],
        "x_n": x[0],
        "x_d": x_d,
        "x_h": x_h,
        "x_w": x_w,
    }


def moves(part: Correlation) -> dict[str, int]:
    """How far the source moves from one target to the next."""
    d, h, w = (axis.move for axis in three_axes(part))
    return {"move_d": d, "move_h": h, "move_w": w}


def target_sizes(low: Lowered, part: Correlation, y: tuple[int, ...]) -> dict[str, int]:
    """Steps from one target of the part to the next."""
    steps = zip(three_axes(part), three(y[2:], 0), strict=True)
    d, h, w = (axis.step * stride for axis, stride in steps)
    return {
        "y_group": low.target_channels * y[1],
        "y_n": y[0],
        "y_k": y[1],
        "y_d": d,
        "y_h": h,
        "y_w": w,
    }


def target_offset(part: Correlation, y: tuple[int, ...]) -> int:
    """Elements from the target's first to the part's first."""
    return sum(axis.start * stride for axis, stride in zip(part.axes, y[2:], strict=True))


def sizes_for(kernel: Any, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes that a kernel takes."""
    return {name: sizes[name] for name in kernel.sizes}


def is_dense(part: Correlation, y: tuple[int, ...]) -> bool:
    """Whether a part's targets lie at equal steps through the batch."""
    if any(axis.step != 1 for axis in part.axes):
        return False
    return flat(y[2:], part.counts) and y[0] == prod(part.counts) * y[-1]


def correlate_sizes(
    low: Lowered,
    part: Correlation,
    x: tuple[int, ...],
    x_channels: int,
    y: tuple[int, ...],
    column_tiles: int,
) -> dict[str, int]:
    """What a product of target pixels by target channels is told, whatever its kernel."""
    return {
        "channels": low.target_channels,
        **divisor("tiles", column_tiles),
        **row_sizes(low, part),
        **source_sizes(low, x, x_channels),
        **moves(part),
        **target_sizes(low, part, y),
    }


def gradient_sizes(
    low: Lowered,
    part: Correlation,
    x: tuple[int, ...],
    x_channels: int,
    dy: tuple[int, ...],
    dy_channels: int,
    column_tiles: int,
) -> dict[str, int]:
    """What a product of target channels by (channel, tap) pairs is told, whatever its kernel."""
    dy_d, dy_h, dy_w = three(dy[2:], 0)
    return {
        "groups": low.groups,
        "channels": low.target_channels,
        "dy_group": dy_channels * dy[1],
        "dy_n": dy[0],
        "dy_k": dy[1],
        "dy_d": dy_d,
        "dy_h": dy_h,
        "dy_w": dy_w,
        **divisor("tiles", column_tiles),
        **row_sizes(low, part),
        **source_sizes(low, x, x_channels),
        **moves(part),
    }
