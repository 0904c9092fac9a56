"""Targets of which one stride phase meets taps: its sums woven with what fills the others.

The input gradient of a strided 1x1 layer is such a one: three of four elements are zero. Filling
the whole target and putting the sums in afterwards writes every cache line twice, and element by
element; here each line is written once, in whole vectors.
"""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.operands import Operands
from fastconv.cpu.views import view_of
from fastconv.lowering import Correlation, Lowered

APART = (1, 2)  #: elements from one sum to the next along a row: what the kernels can weave


class Woven(NamedTuple):
    """How the rows of sums lie in each image of a target whose planes are contiguous."""

    apart: int  #: elements from one sum to the next
    lead: int  #: elements before an image's first sum
    trails: np.ndarray  #: of each row of an image: elements from its last sum to the next row's


def woven(low: Lowered, arrays: Operands) -> Woven | None:
    """How the sums of the only part with taps lie among elements without, or None.

    None, too, for a target whose planes are not contiguous or whose sums lie further apart than
    `APART` says.
    """
    if len(low.parts) != 2 or low.parts[0].taps or not low.parts[1].taps:
        return None
    y, size = view_of(arrays.y), arrays.size
    if arrays.target_size != size:
        return None
    extents, part = low.parts[0].counts, low.parts[1]
    pitches = [prod(extents[i + 1 :]) for i in range(len(extents))]
    # The pitch of an axis of one element says nothing.
    told = [s == p * size for e, s, p in zip(extents, y.spatial, pitches, strict=True) if e > 1]
    apart = part.axes[-1].step
    if not all(told) or apart not in APART:
        return None
    starts = _row_starts(part, pitches)
    length = part.counts[-1]
    ends = starts + (length - 1) * apart + 1
    return Woven(apart, int(starts[0]), np.append(starts[1:], prod(extents)) - ends)


def _row_starts(part: Correlation, pitches: list[int]) -> np.ndarray:
    """Of each row of the part's targets in an image, the first one's number in the plane."""
    starts = np.full(1, part.axes[-1].start, np.int64)
    for axis, pitch in zip(part.axes[:-1], pitches[:-1], strict=True):
        index = axis.start + np.arange(axis.length, dtype=np.int64) * axis.step
        starts = (starts[:, None] + index * pitch).ravel()
    return starts


def deliver_woven(sums, fills, target, pixel, count, geometry, m, line, bits, lanes, apart):
    """Write ``count`` sums from pixel number ``pixel`` on, and what lies up to the next one.

    ``sums`` is the address of ``m`` rows of sums ``line`` bytes long, ``fills`` that of a vector
    for each row, which stands wherever no sum does. ``geometry`` is (table of row offsets, sums in
    a row, channel pitch, rows of an image, table of trails, lead). What a vector overhangs is
    written right after, by this call: nothing of another's is touched.
    """
    raise NotImplementedError("compiled code only")


@overload(deliver_woven, prefer_literal=True)
def _deliver_woven(sums, fills, target, pixel, count, geometry, m, line, bits, lanes, apart):
    if not isinstance(apart, types.IntegerLiteral):
        return None
    BITS, LANES, M = bits.literal_value, lanes.literal_value, m.literal_value
    APART, LINE = apart.literal_value, line.literal_value
    size = BITS // 8
    vector = LANES * size

    def run(sums, fills, target, pixel, count, geometry, m, line, bits, lanes, apart):
        rows, length, channel_step, image_rows, trails, lead = geometry
        row, q, done = pixel // length, pixel % length, 0
        while done < count:
            here = min(length - q, count - done)
            in_image = row % image_rows
            before = lead if in_image == 0 and q == 0 else 0
            ends = q + here == length
            after = simd.word(trails, in_image) if ends else 0
            # Elements of this row, and beyond it those sure to be written next.
            own = here * APART + (after - (APART - 1) if ends else 0)
            room = own
            if ends and in_image + 1 < image_rows and done + here < count:
                room += min(length, count - done - here) * APART - (APART - 1)
            start = target + simd.word(rows, row) + q * APART * size
            for i in range(M):
                source, fill, to = sums + i * LINE + done * size, fills + i * vector, start
                start += channel_step
                for e in range(0, before, LANES):
                    simd.copy_vector(to + (e - before) * size, fill, before - e, BITS, LANES)
                for p in range(0, here, LANES):
                    simd.weave(
                        to + p * APART * size,
                        simd.progression(source + p * size, fill - source - p * size, APART),
                        room - p * APART, BITS, LANES,
                    )  # fmt: skip
                to += ((here - 1) * APART + 1) * size
                free = room - own + after
                for e in range(0, after, LANES):
                    if free - e >= LANES:
                        simd.store_tile(simd.load_tile(fill, BITS, LANES, 1), to + e * size)
                    else:
                        simd.copy_vector(to + e * size, fill, after - e, BITS, LANES)
            row, q, done = row + 1, 0, done + here

    return run
