"""Sliding windows: each loaded vector of an image serves every row of sums that a kernel reaches.

A tile is ``rho`` rows of sums. Row ``j`` meets tap ``r`` of a kernel's column at image row
``j * move + r`` for a stride ``move``, so one image row often serves several rows of sums: it is
loaded once.
"""

from __future__ import annotations

from collections import defaultdict

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import (
    I64,
    as_pointer,
    literals,
    llvm_scalar,
    masked_load,
    multiply_add,
    prefix_mask,
    size_of,
    splat,
)


def meetings(rho: int, taps: int, move: int) -> dict[int, list[tuple[int, int]]]:
    """The (row of sums, tap) that meet at each image row, in the rows' order."""
    met = defaultdict(list)
    for j in range(rho):
        for r in range(taps):
            met[j * move + r].append((j, r))
    return dict(sorted(met.items()))


@intrinsic(prefer_literal=True)
def slide(
    typingctx, tile, x, x_row, w, w_row, begin, end, rho, vectors, taps, move, broadcast
):  # fmt: skip
    """Correlate image rows ``begin`` to ``end - 1`` with a kernel's column of ``taps`` taps.

    Row ``j < rho`` of the tile, ``vectors`` vectors long, gains tap ``r`` at ``w + r * w_row``
    times the image row at ``x + i * x_row`` where ``i = j * move + r``. A tap is a scalar if
    ``broadcast`` is 1, else as many vectors as a row of the tile.
    """
    if not literals(begin, end, rho, vectors, taps, move, broadcast):
        return None
    shape = [a.literal_value for a in (rho, taps, move)]
    met = meetings(*shape)
    rows = [i for i in met if begin.literal_value <= i < end.literal_value]
    count, lanes, size = vectors.literal_value, tile.lanes, size_of(tile.dtype)

    def codegen(context, b, signature, args):
        value, image, image_row, weight, weight_row = args[:5]
        scalar = llvm_scalar(tile.dtype)
        vector = ir.VectorType(scalar, lanes)
        kept = {}

        def load(address, v):
            place = b.add(address, I64(v * lanes * size))
            return b.load(as_pointer(b, place, vector), align=1)

        def tap(r, v):
            at = (r, 0 if broadcast.literal_value else v)
            if at not in kept:
                address = b.add(weight, b.mul(weight_row, I64(r)))
                if broadcast.literal_value:
                    kept[at] = splat(b, b.load(as_pointer(b, address, scalar), align=1), lanes)
                else:
                    kept[at] = load(address, v)
            return kept[at]

        for i in rows:
            line = b.add(image, b.mul(image_row, I64(i)))
            loaded = [load(line, v) for v in range(count)]
            for j, r in met[i]:
                for v in range(count):
                    k = j * count + v
                    total = multiply_add(b, tap(r, v), loaded[v], b.extract_value(value, k))
                    value = b.insert_value(value, total, k)
        return value

    places = [types.int64] * 4
    signature = tile(tile, *places, begin, end, rho, vectors, taps, move, broadcast)
    return signature, codegen


@intrinsic(prefer_literal=True)
def slide_gradient(
    typingctx, tile, columns, x_row, dy, dy_row, valid, masked, rho, taps, move
):  # fmt: skip
    """Add ``rho`` rows of an output gradient times the image to the sums of a kernel's taps.

    Sum ``(r, s)`` of the tile, ``r < taps``, gains the gradient's row at ``dy + j * dy_row`` times
    the image's at ``columns[s] + (j * move + r) * x_row``, for each ``j < rho``. With ``masked``
    1 only the first ``valid`` lanes of both are read: zero times a neighbour's NaN would be NaN.
    """
    if not literals(masked, rho, taps, move):
        return None
    met = meetings(*[a.literal_value for a in (rho, taps, move)])
    width, height = len(columns), rho.literal_value
    lanes = tile.lanes

    def codegen(context, b, signature, args):
        value, bases, image_row, gradient, gradient_row, count = args[:6]
        starts = cgutils.unpack_tuple(b, bases, width)
        vector = ir.VectorType(llvm_scalar(tile.dtype), lanes)
        mask = prefix_mask(b, lanes, count) if masked.literal_value else None

        def load(address):
            if mask is not None:
                return masked_load(b, address, vector, mask)
            return b.load(as_pointer(b, address, vector), align=1)

        rows = [load(b.add(gradient, b.mul(gradient_row, I64(j)))) for j in range(height)]
        for i, pairs in met.items():
            shift = b.mul(image_row, I64(i))
            for s, start in enumerate(starts):
                pixels = load(b.add(start, shift))
                for j, r in pairs:
                    k = r * width + s
                    total = multiply_add(b, rows[j], pixels, b.extract_value(value, k))
                    value = b.insert_value(value, total, k)
        return value

    places = [types.int64] * 4
    signature = tile(tile, columns, *places, masked, rho, taps, move)
    return signature, codegen
