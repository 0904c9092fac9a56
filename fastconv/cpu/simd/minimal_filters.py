"""The linear maps of Winograd's minimal filters F(m, r), on vectors in registers.

F(m, r) gives ``m`` outputs of a filter of ``r`` taps for ``n = m + r - 1`` products: it evaluates
the polynomials of filter and signal at ``n`` points, multiplies them there, and interpolates
(Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, arXiv:1509.09308).
The points are 0, pairs +-p, and, where their number is even, infinity, in this order: a pair shares
nearly all of its work.

A signal's map takes ``n`` samples to ``n`` points, a filter's ``r`` taps to ``n`` points, and an
output's ``n`` products to ``m`` outputs. Which is which does not matter: a weight gradient is
F(3, 4), whose four taps are the output gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import prod

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastconv.cpu.simd.emit import (
    I64,
    as_pointer,
    at_least,
    literals,
    llvm_scalar,
    multiply_add,
    scalar_of,
    splat,
)

SIGNAL, FILTER, OUTPUT = 0, 1, 2  #: which of the three maps

# Points that balance the sizes of the maps' factors: with 3/4 and 3/2 F(4, 3) rounds a sixth as
# coarsely as with the textbook's 1 and 2 (Barabasz and others 2020, arXiv:1803.10986, search more);
# F(3, 3) at five points is twice as fine as that.
_PAIRS = {
    4: (Fraction(1),),
    5: (Fraction(3, 4), Fraction(2)),
    6: (Fraction(3, 4), Fraction(3, 2)),
}
POINTS = tuple(_PAIRS)  #: the numbers of points that there are, beside 1, the map that does nothing


class _Emitter:
    """Linear combinations of vectors."""

    def __init__(self, b: ir.IRBuilder, vector: ir.VectorType) -> None:
        self.b, self.vector = b, vector

    def constant(self, value: Fraction) -> ir.Value:
        return splat(self.b, ir.Constant(self.vector.element, float(value)), self.vector.count)

    def combine(self, terms: list[tuple[Fraction, ir.Value]]) -> ir.Value:
        """The sum of factor times vector; factors of 1 cost nothing."""
        terms = sorted((t for t in terms if t[0]), key=lambda t: abs(t[0]) != 1)
        (factor, total), *rest = terms
        if factor != 1:
            total = self.b.fmul(total, self.constant(factor))
        for factor, x in rest:
            if factor == 1:
                total = self.b.fadd(total, x)
            elif factor == -1:
                total = self.b.fsub(total, x)
            else:
                total = multiply_add(self.b, x, self.constant(factor), total)
        return total

    def pair(self, even: ir.Value, odd: ir.Value, p: Fraction) -> list[ir.Value]:
        """What an even and an odd part give at +p and at -p."""
        return [self.combine([(Fraction(1), even), (f, odd)]) for f in (p, -p)]


def _expanded(pairs: tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients of the product of (z - p**2) over ``pairs``, lowest first."""
    coefficients = [Fraction(1)]
    for p in pairs:
        shifted = [Fraction(0), *coefficients]
        scaled = [*(-p * p * c for c in coefficients), Fraction(0)]
        coefficients = [a + b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _reaches_infinity(points: int, pairs: tuple[Fraction, ...]) -> bool:
    """Whether the last point is infinity, beside 0 and the pairs."""
    return points > 1 + 2 * len(pairs)


def _signal(e: _Emitter, d: list[ir.Value], pairs: tuple[Fraction, ...]) -> list[ir.Value]:
    """Row i holds the coefficients of the product of (x - q) over all finite points q but i."""

    def apply(coefficients: list[Fraction], first: int) -> ir.Value:
        return e.combine([(c, d[first + 2 * i]) for i, c in enumerate(coefficients)])

    whole = _expanded(pairs)
    points = [apply(whole, 0)]
    for p in pairs:
        others = _expanded(tuple(q for q in pairs if q != p))
        points += e.pair(apply(others, 2), apply(others, 1), p)
    return [*points, apply(whole, 1)] if _reaches_infinity(len(d), pairs) else points


def _filter(e: _Emitter, g: list[ir.Value], pairs: tuple[Fraction, ...], n: int) -> list[ir.Value]:
    """The filter's value at each point, over the product of the point's distances to the others."""
    points = [e.combine([(1 / prod((-p * p for p in pairs), start=Fraction(1)), g[0])])]
    for p in pairs:
        distances = 2 * p * p * prod((p * p - q * q for q in pairs if q != p), start=Fraction(1))
        even = e.combine([(p**i / distances, g[i]) for i in range(0, len(g), 2)])
        odd = e.combine([(p ** (i - 1) / distances, g[i]) for i in range(1, len(g), 2)])
        points += e.pair(even, odd, p)
    return [*points, g[-1]] if _reaches_infinity(n, pairs) else points


def _output(
    e: _Emitter, products: list[ir.Value], pairs: tuple[Fraction, ...], m: int
) -> list[ir.Value]:
    """Output j sums the products, each times the j-th power of its point."""
    zero, *finite = products[: 1 + 2 * len(pairs)]
    infinity = products[1 + 2 * len(pairs) :]
    sums = [e.b.fadd(finite[2 * i], finite[2 * i + 1]) for i in range(len(pairs))]
    differences = [e.b.fsub(finite[2 * i], finite[2 * i + 1]) for i in range(len(pairs))]
    outputs = []
    for j in range(m):
        parts = differences if j % 2 else sums
        terms = [(p**j, part) for p, part in zip(pairs, parts, strict=True)]
        terms += [(Fraction(1), zero)] * (j == 0)
        terms += [(Fraction(1), last) for last in infinity if j == m - 1]
        outputs.append(e.combine(terms))
    return outputs


def _mapped(e: _Emitter, kind: int, given: list[ir.Value], points: int, m: int) -> list[ir.Value]:
    if points == 1:
        return given
    pairs = _PAIRS[points]
    if kind == SIGNAL:
        return _signal(e, given, pairs)
    if kind == FILTER:
        return _filter(e, given, pairs, points)
    return _output(e, given, pairs, m)


@intrinsic(prefer_literal=True)
def map_line(typingctx, kind, count, points, source, source_step, target, target_step, bits, lanes):
    """Map a line of vectors, ``source_step`` bytes apart, to one ``target_step`` bytes apart.

    ``count``: the samples, taps or outputs of the map, beside its ``points``.
    """
    if not literals(kind, count, points, bits, lanes):
        return None
    which, number, n = kind.literal_value, count.literal_value, points.literal_value

    def codegen(context, b, signature, args):
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), lanes.literal_value)
        start, step, out, out_step = args[3:7]
        given = n if which == OUTPUT else number
        line = [_load(b, b.add(start, b.mul(step, I64(i))), vector) for i in range(given)]
        for i, value in enumerate(_mapped(_Emitter(b, vector), which, line, n, number)):
            _store(b, value, b.add(out, b.mul(out_step, I64(i))))
        return context.get_dummy_value()

    signature = types.void(kind, count, points, *[types.int64] * 4, bits, lanes)
    return signature, codegen


@intrinsic(prefer_literal=True)
def map_taps(
    typingctx, high, wide, points_high, points_wide, source, table, absent, target, target_step,
    bits, lanes,
):  # fmt: skip
    """Map a filter of ``high`` x ``wide`` taps, and put its points ``target_step`` bytes apart.

    Tap number i is the vector ``table[i]`` bytes from ``source`` on, or, where that is negative,
    the one at ``absent``.
    """
    if not literals(high, wide, points_high, points_wide, bits, lanes):
        return None
    sizes = tuple(n.literal_value for n in (high, wide, points_high, points_wide))

    def codegen(context, b, signature, args):
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), lanes.literal_value)
        start, entries, missing, out, out_step = args[4:9]
        pointer = as_pointer(b, entries, I64)

        def tap(i, j):
            shift = b.load(b.gep(pointer, [I64(i * sizes[1] + j)]))
            there = b.icmp_signed(">=", shift, I64(0))
            return _load(b, b.select(there, b.add(start, shift), missing), vector)

        for i, value in enumerate(_square(_Emitter(b, vector), FILTER, sizes, tap)):
            _store(b, value, b.add(out, b.mul(out_step, I64(i))))
        return context.get_dummy_value()

    places = [types.int64] * 5
    return types.void(high, wide, points_high, points_wide, *places, bits, lanes), codegen


@intrinsic(prefer_literal=True)
def map_outputs(
    typingctx, high, wide, points_high, points_wide, source, source_step, target, target_step,
    target_right, added, floor, bits, lanes,
):  # fmt: skip
    """Map products, ``source_step`` bytes apart, to ``high`` x ``wide`` outputs.

    To each output the vector at ``added`` is added and the sum raised to ``floor``, as `raised`
    does, unless ``added`` is the literal 0.
    """
    if not literals(high, wide, points_high, points_wide, bits, lanes):
        return None
    plain = isinstance(added, types.IntegerLiteral) and added.literal_value == 0
    sizes = tuple(n.literal_value for n in (high, wide, points_high, points_wide))

    def codegen(context, b, signature, args):
        vector = ir.VectorType(llvm_scalar(scalar_of(bits)), lanes.literal_value)
        start, step, out, out_down, out_right = args[4:9]

        def product(i, j):
            return _load(b, b.add(start, b.mul(step, I64(i * sizes[3] + j))), vector)

        addend = None if plain else _load(b, args[9], vector)
        for i, value in enumerate(_square(_Emitter(b, vector), OUTPUT, sizes, product)):
            total = value if plain else at_least(b, b.fadd(value, addend), args[10])
            left = b.add(out, b.mul(out_down, I64(i // sizes[1])))
            _store(b, total, b.add(left, b.mul(out_right, I64(i % sizes[1]))))
        return context.get_dummy_value()

    places = [types.int64] * 5
    bias = added if plain else types.int64
    sizes_given = high, wide, points_high, points_wide
    signature = types.void(*sizes_given, *places, bias, types.int64, bits, lanes)
    return signature, codegen


def _square(
    e: _Emitter, kind: int, sizes: tuple[int, ...], load: Callable[[int, int], ir.Value]
) -> Iterator[ir.Value]:
    """Map down the columns, then along the rows; the results row by row."""
    high, wide, points_high, points_wide = sizes
    rows, width = (points_high, points_wide) if kind == OUTPUT else (high, wide)
    columns = [
        _mapped(e, kind, [load(i, j) for i in range(rows)], points_high, high) for j in range(width)
    ]
    for i in range(len(columns[0])):
        yield from _mapped(e, kind, [column[i] for column in columns], points_wide, wide)


def _load(b: ir.IRBuilder, address: ir.Value, vector: ir.VectorType) -> ir.Value:
    return b.load(as_pointer(b, address, vector), align=1)


def _store(b: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    b.store(value, as_pointer(b, address, value.type), align=1)
