"""Rectangles of pixels: what a thread of the depthwise kernels holds in registers, and how much.

All sizes of a rectangle are constants of the compiled kernel, so that its loops unroll and its
arrays become registers.
"""

from __future__ import annotations

from math import gcd
from typing import Any, NamedTuple

from fastconv.lowering import AxisPart, Correlation, Lowered

from .indexing import along, divisor
from .planning import Operands, Sizes, Table, ceil_div, three, three_axes, words
from .ptx import KINDS, inline

THREADS = 128
LANES = {1: 32, 4: 8}  #: threads side by side along the channels, by the channels of each
_REGISTERS = 88  # of 128, for data


class Rectangle(NamedTuple):
    """What a thread of the depthwise kernels works on: the constants of their factories."""

    vector: int  #: channels: 1, or 4 that lie side by side in source and target
    rows: int
    columns: int
    tap_rows: int  #: held in registers: all of the kernel's, or one
    tap_columns: int
    move_h: int  #: of the source from one target pixel to the next
    move_w: int
    gap_h: int  #: of the source from one tap to the next
    gap_w: int
    across: int  #: rectangles side by side in a block; 0 if neighbouring threads take columns
    beside: int  #: 1 if neighbouring pixels of a source row lie side by side

    def registers(self, size: int) -> float:
        """What the source, the taps and the sums of a thread take, in 32-bit registers."""
        seen = reach(self.rows, self.move_h, self.tap_rows, self.gap_h)[0]
        seen *= reach(self.columns, self.move_w, self.tap_columns, self.gap_w)[0]
        others = self.tap_rows * self.tap_columns + self.rows * self.columns
        return self.vector * (seen * size / 4 + others * max(size / 4, 1))


def reach(targets: int, move: int, taps: int, gap: int) -> tuple[int, int]:
    """How many source positions some targets and taps meet along an axis, and the step of these."""
    step = gcd(move if targets > 1 else 0, gap if taps > 1 else 0) or 1
    return ((targets - 1) * move + (taps - 1) * gap) // step + 1, step


class Taps(NamedTuple):
    """An axis' taps, which lie at equal steps."""

    length: int
    place: int  #: the first one's offset in the weights
    step: int  #: of the weights
    shift: int  #: the first one's source offset, from a target pixel's place in the source
    gap: int  #: of the source


def axis_taps(axis: AxisPart, before: int, weight_step: int) -> Taps:
    """The taps of an axis of a part."""
    (index, offset), (second, further) = axis.taps[0], axis.taps[min(1, len(axis.taps) - 1)]
    place, step = index * weight_step, (second - index) * weight_step
    return Taps(len(axis.taps), place, step, offset - before, further - offset)


def part_taps(low: Lowered, part: Correlation, weights: tuple[int, ...]) -> tuple[Taps, ...]:
    """The taps along D, H and W; ``weights`` are the strides of what they index."""
    before, steps = three(low.before, 0), three(weights[2:], 0)
    axes = three_axes(part)
    return tuple(axis_taps(a, b, s) for a, b, s in zip(axes, before, steps, strict=True))


def rectangle(
    low: Lowered, part: Correlation, arrays: Operands, weights: Sizes, y: Sizes
) -> Rectangle:
    """The work of a thread; ``weights`` and ``y`` are the strides of taps and target pixels."""
    _, height, width = three_axes(part)
    _, taps_h, taps_w = part_taps(low, part, weights)
    x, channels = arrays.x, low.groups * low.target_channels
    inner = channels > 1 and abs(x[1]) < abs(x[-1])
    # Four sums of float64 for each tap would not fit into the registers.
    whole = low.target_channels == 1 and arrays.size < 8 and arrays.in_vectors(x, channels, 4)
    plain = Rectangle(
        vector=4 if inner and whole and arrays.in_vectors(y, channels, 4) else 1,
        rows=1,
        columns=1,
        tap_rows=taps_h.length,
        tap_columns=taps_w.length,
        move_h=height.move,
        move_w=width.move,
        gap_h=taps_h.gap,
        gap_w=taps_w.gap,
        across=int(inner),
        beside=int(x[-1] == 1),
    )
    for fewer in ({"tap_rows": 1}, {"vector": 1}):
        if plain.registers(arrays.size) > _REGISTERS:
            plain = plain._replace(**fewer)
    # More columns where threads take channels, more rows where they take columns.
    axis, length = ("columns", width.length) if inner else ("rows", height.length)
    for more in (4, 2) if inner else (8, 4, 2):
        larger = plain._replace(**{axis: more})
        if length > more // 2 and larger.registers(arrays.size) <= _REGISTERS:
            plain = larger
            break
    if inner:
        blocks = ceil_div(width.length, plain.columns)
        plain = plain._replace(across=min(4, 1 << (blocks - 1).bit_length()))
    return plain


def group_table(taps: tuple[Taps, ...], tap_rows: int) -> Table:
    """For each group of taps that is held at once: its shifts in D and H, and its first place."""
    d, h, w = taps
    return words(
        [
            [
                d.shift + i * d.gap,
                h.shift + j * h.gap,
                d.place + i * d.step + h.place + j * h.step + w.place,
                0,
            ]
            for i in range(d.length)
            for j in range(0, h.length, tap_rows)
        ]
    )


def rectangle_sizes(low: Lowered, part: Correlation, x: tuple[int, ...]) -> dict[str, int]:
    """The integers that both kernels need to find a rectangle and its source."""
    _, H, W = three(part.counts, 1)
    return {
        **divisor("multiplier", low.target_channels),
        "H_out": H,
        "W_out": W,
        "move_d": three_axes(part)[0].move,
        **along("extent", low.source, 1),
        "x_n": x[0],
        "x_c": x[1],
        **along("x", x[2:], 0),
    }


def reader(kind: str, vector: int) -> Any:
    """A function that reads the channels of one pixel, or zeros unless ``wanted``."""
    load_if, load4_if = KINDS[kind].load_if, KINDS[kind].load4_if

    @inline
    def read(to, address, wanted):
        to[0] = load_if(address, wanted)

    @inline
    def read4(to, address, wanted):
        to[0], to[1], to[2], to[3] = load4_if(address, wanted)

    return read4 if vector == 4 else read
