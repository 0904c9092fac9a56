"""Sliding windows over images that nobody padded: what lies outside is neither read nor added.

The same sums as in `slides`, with lanes over channels. Whether an image's row or column is inside
is asked at each, of all its products at once: a branch that is nearly always taken.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import I64, as_pointer, literals, llvm_scalar, multiply_add, size_of
from fastconv.cpu.simd.slides import meetings


@intrinsic(prefer_literal=True)
def slide_inside(
    typingctx, tile, x, x_row, w, w_row, h, h_row, H, begin, end, rho, vectors, taps, move
):  # fmt: skip
    """`slides.slide` with taps that are vectors.

    Image row ``i`` is row ``h + i * h_row`` of ``H``.
    """
    if not literals(begin, end, rho, vectors, taps, move):
        return None
    met = meetings(*(a.literal_value for a in (rho, taps, move)))
    rows = [i for i in met if begin.literal_value <= i < end.literal_value]
    count, lanes, size = vectors.literal_value, tile.lanes, size_of(tile.dtype)

    def codegen(context, b, signature, args):
        value, image, image_row, weight, weight_row, first, step, extent = args[:8]
        vector = ir.VectorType(llvm_scalar(tile.dtype), lanes)

        def load(address):
            places = [b.add(address, I64(v * lanes * size)) for v in range(count)]
            return [b.load(as_pointer(b, place, vector), align=1) for place in places]

        used = sorted({r for i in rows for _, r in met[i]})
        weights = {r: load(b.add(weight, b.mul(weight_row, I64(r)))) for r in used}
        sums = [b.extract_value(value, k) for k in range(tile.count)]

        def products(i):
            pixels = load(b.add(image, b.mul(image_row, I64(i))))
            for j, r in met[i]:
                for v in range(count):
                    yield j * count + v, weights[r][v], pixels[v]

        for i in rows:
            _add_where(b, _within(b, first, step, i, extent), sums, products, i)
        return _gathered(b, value, sums)

    places = [types.int64] * 7
    signature = tile(tile, *places, begin, end, rho, vectors, taps, move)
    return signature, codegen


@intrinsic(prefer_literal=True)
def slide_gradient_inside(
    typingctx, tile, x, x_row, x_column, dy, dy_row, h, h_row, H, c, c_column, W,
    rho, taps, across, move,
):  # fmt: skip
    """`slides.slide_gradient` for ``taps`` x ``across`` taps, ``x_column`` bytes apart in a row.

    Image row ``i`` is row ``h + i * h_row`` of ``H``; tap ``s`` is in column ``c + s * c_column``
    of ``W``.
    """
    if not literals(rho, taps, across, move):
        return None
    met = meetings(*(a.literal_value for a in (rho, taps, move)))
    height, width, lanes = rho.literal_value, across.literal_value, tile.lanes

    def codegen(context, b, signature, args):
        (value, image, image_row, image_column, gradient, gradient_row,
         first, step, extent, left, apart, breadth) = args[:12]  # fmt: skip
        vector = ir.VectorType(llvm_scalar(tile.dtype), lanes)

        def load(address):
            return b.load(as_pointer(b, address, vector), align=1)

        rows = [load(b.add(gradient, b.mul(gradient_row, I64(j)))) for j in range(height)]
        columns = [b.add(image, b.mul(image_column, I64(s))) for s in range(width)]
        across_inside = [_within(b, left, apart, s, breadth) for s in range(width)]
        sums = [b.extract_value(value, k) for k in range(tile.count)]

        def products(i, s):
            pixels = load(b.add(columns[s], b.mul(image_row, I64(i))))
            return [(r * width + s, rows[j], pixels) for j, r in met[i]]

        for i in met:
            down_inside = _within(b, first, step, i, extent)
            for s in range(width):
                inside = b.and_(down_inside, across_inside[s])
                _add_where(b, inside, sums, products, i, s)
        return _gathered(b, value, sums)

    places = [types.int64] * 11
    return tile(tile, *places, rho, taps, across, move), codegen


def _within(b, first, step, i, extent):
    """Whether ``first + i * step`` is inside 0 .. ``extent``."""
    return b.icmp_unsigned("<", b.add(first, b.mul(step, I64(i))), extent)


def _add_where(b, condition, sums, products, *place):
    """Where ``condition`` holds, add to the ``sums`` the ``products(*place)``: (number, x, y)."""
    before = b.block
    with b.if_then(condition, likely=True):
        totals: dict[int, ir.Value] = {}
        for k, x, y in products(*place):
            totals[k] = multiply_add(b, x, y, totals.get(k, sums[k]))
        inside = b.block
    for k, total in totals.items():
        merged = b.phi(total.type)
        merged.add_incoming(total, inside)
        merged.add_incoming(sums[k], before)
        sums[k] = merged


def _gathered(b, tile, sums):
    """The tile of these sums."""
    for k, total in enumerate(sums):
        tile = b.insert_value(tile, total, k)
    return tile
