"""Sums that meet padding, where a weight or an output gradient is no finite number.

The kernels of `not_finite`. They are slow where they have something to do, which is rare, and read
a few results where they have not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.program import reads

TAP = 8  #: words of a tap: byte offsets in source and weights; from where it meets the source
SPARE = 8  #: bytes for a number on its way

_BFLOAT16, _FLOAT32 = map(simd.ELEMENTS.index, ("bfloat16", "float32"))


def number(address, spare, bits):
    """A number of a result: one of bfloat16 where operands are pairs of those."""
    raise NotImplementedError("compiled code only")


@overload(number, prefer_literal=True)
def _number(address, spare, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS, kind, made, how = bits.literal_value, _BFLOAT16, _FLOAT32, simd.PLAIN

    def half(address, spare, bits):
        simd.convert(spare, address, kind, made, 1, how)
        return simd.peek(spare, 32)

    def whole(address, spare, bits):
        return simd.peek(address, BITS)

    return half if BITS == simd.PAIRS else whole


def write_number(address, value, spare, bits):
    """Write what `number` reads."""
    raise NotImplementedError("compiled code only")


@overload(write_number, prefer_literal=True)
def _write_number(address, value, spare, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    kind, made, how = _FLOAT32, _BFLOAT16, simd.PLAIN

    def half(address, value, spare, bits):
        simd.poke(spare, value)
        simd.convert(address, spare, kind, made, 1, how)

    def whole(address, value, spare, bits):
        simd.poke(address, value)

    return half if bits.literal_value == simd.PAIRS else whole


def product(x, w, spare, bits):
    """The product of two operands' elements; of pairs, both."""
    raise NotImplementedError("compiled code only")


@overload(product, prefer_literal=True)
def _product(x, w, spare, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS = bits.literal_value

    def pair(x, w, spare, bits):
        first = number(x, spare, BITS) * number(w, spare, BITS)
        return first + number(x + 2, spare, BITS) * number(w + 2, spare, BITS)

    def alone(x, w, spare, bits):
        return simd.peek(x, BITS) * simd.peek(w, BITS)

    return pair if BITS == simd.PAIRS else alone


def is_finite(address, spare, bits):
    """Whether an operand's element, or both of a pair, are finite."""
    raise NotImplementedError("compiled code only")


@overload(is_finite, prefer_literal=True)
def _is_finite(address, spare, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS, paired = bits.literal_value, bits.literal_value == simd.PAIRS

    def run(address, spare, bits):
        first = number(address, spare, BITS)
        second = number(address + 2, spare, BITS) if paired else first
        return first - first == 0 and second - second == 0

    return run


def meets(taps, t, d, p, q):
    """Whether tap ``t`` meets the source, and not its padding, from target (d, p, q)."""
    raise NotImplementedError("compiled code only")


@overload(meets, jit_options={"forceinline": True})
def _meets(taps, t, d, p, q):
    step = 8 * TAP

    def run(taps, t, d, p, q):
        low_d, end_d, low_p, end_p, low_q, end_q = simd.words(taps + t * step + 16, 6)
        return low_d <= d < end_d and low_p <= p < end_p and low_q <= q < end_q

    return run


def summed(total, x, x_step, w, w_step, channels, tap_table, taps, d, p, q, spare, bits):
    """``total`` and all products with the source: of result (d, p, q), whose source is at ``x``."""
    raise NotImplementedError("compiled code only")


@overload(summed, prefer_literal=True)
def _summed(total, x, x_step, w, w_step, channels, tap_table, taps, d, p, q, spare, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS, step = bits.literal_value, 8 * TAP

    def run(total, x, x_step, w, w_step, channels, tap_table, taps, d, p, q, spare, bits):
        for t in range(taps):
            if meets(tap_table, t, d, p, q):
                x_at, w_at = simd.words(tap_table + t * step, 2)
                for c in range(channels):
                    if total != total:
                        return total
                    total += product(x + x_at + c * x_step, w + w_at + c * w_step, spare, BITS)
        return total

    return run


def all_finite(address, count, zero, spare, bits, lanes):
    """Whether ``count`` numbers side by side are; ``zero`` is where a vector of zeros lies."""
    raise NotImplementedError("compiled code only")


@overload(all_finite, prefer_literal=True)
def _all_finite(address, count, zero, spare, bits, lanes):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS, LANES, size = bits.literal_value, lanes.literal_value, bits.literal_value // 8

    def run(address, count, zero, spare, bits, lanes):
        sums = simd.zeros(BITS, LANES, 1)
        for i in range(0, count, LANES):
            sums = simd.inner(sums, (address + i * size,), (zero,), count - i, 1)
        simd.clear_bytes(spare, size)
        simd.add_sums(sums, spare)
        return simd.peek(spare, BITS) == 0

    return run


@reads(
    "N", "groups", "channels", "targets", "side_by_side", "zero", "probes", "probe_table",
    "taps", "tap_table",
    "d_count", "h_count", "w_count", "x_image", "x_channel", "d_move", "h_move", "w_move",
    "w_group", "w_source", "w_target",
    "y_offset", "y_image", "y_channel", "d_step", "h_step", "w_step", "floor", "spare",
)  # fmt: skip
def mend_results(bits: int, lanes: int, again: int) -> Any:
    """Mend results of a part that a tap meets padding from, with a weight that is not finite.

    With ``again`` 1 those that are NaN are summed again, over the source alone; with 0 they become
    NaN. A channel has no such weight where a finite result above the floor has met all of them;
    where weights are few, and ``side_by_side``, they are looked at themselves.
    """
    fields = len(mend_results.fields)  # type: ignore[attr-defined]
    size, tap, last = bits // 8, 8 * TAP, TAP - 1
    infinity = np.float64(np.inf) if bits == 64 else np.float32(np.inf)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (N, groups, channels, targets, side_by_side, zero, probes, probe_table, taps, tap_table,
         D, P, Q, x_image, x_channel, d_move, h_move, w_move, w_group, w_source, w_target,
         y_offset, y_image, y_channel, d_step, h_step, w_step,
         floor, spare) = simd.words(args, fields)  # fmt: skip
        spare += workspace
        least = simd.raised(-infinity, floor)
        if side_by_side and all_finite(w, side_by_side, zero, spare, bits, lanes):
            return
        for k in range(groups * targets):
            y_base, clean = y + y_offset + k * y_channel, False
            for i in range(probes):
                value = number(y_base + simd.word(probe_table, i), spare, bits)
                clean = value - value == 0 and value > least
                if clean:
                    break
            if clean:
                continue
            w_base = w + k // targets * w_group + k % targets * w_target
            x_base = x + k // targets * channels * x_channel
            for t in range(taps):
                clean = True
                for c in range(channels):
                    at = w_base + c * w_source + simd.word(tap_table + t * tap, 1)
                    clean = clean and is_finite(at, spare, bits)
                for place in range(0 if clean else N * D * P):
                    p, d, n = place % P, place // P % D, place // P // D
                    y_row = y_base + n * y_image + d * d_step + p * h_step
                    x_row = x_base + n * x_image + d * d_move + p * h_move
                    q = 0
                    while q < Q:
                        to = y_row + q * w_step
                        if meets(tap_table, t, d, p, q):
                            q = simd.word(tap_table + t * tap, last)
                            continue
                        total = number(to, spare, bits)
                        if not again:
                            write_number(to, infinity - infinity, spare, bits)
                        elif total != total:
                            total = summed(
                                simd.peek(bias + k * size, bits), x_row + q * w_move, x_channel,
                                w_base, w_source, channels, tap_table, taps, d, p, q, spare, bits,
                            )  # fmt: skip
                            write_number(to, simd.raised(total, floor), spare, bits)
                        q += 1

    return kernel


@reads(
    "N", "groups", "channels", "targets", "probes", "probe_table", "taps", "tap_table",
    "d_count", "h_count", "w_count", "dy_image", "dy_channel", "d_step", "h_step", "w_step",
    "y_target", "y_channel", "spare",
)  # fmt: skip
def mend_weights(bits: int) -> Any:
    """Make NaN of weight gradients whose tap meets padding where the output gradient is not finite.

    A channel has no such output gradient where one of its weight gradients has met all of it and is
    finite; where none has, it is looked at itself.
    """
    fields = len(mend_weights.fields)  # type: ignore[attr-defined]
    tap, last, sums = 8 * TAP, TAP - 1, 32 if bits == simd.PAIRS else bits
    infinity = np.float64(np.inf) if bits == 64 else np.float32(np.inf)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (N, groups, channels, targets, probes, probe_table, taps, tap_table,
         D, P, Q, dy_image, dy_channel, d_step, h_step, w_step,
         y_target, y_channel, spare) = simd.words(args, fields)  # fmt: skip
        spare += workspace
        for k in range(groups * targets):
            y_base, clean = y + k * y_target, False
            for i in range(probes):
                value = simd.peek(y_base + simd.word(probe_table, i), sums)
                clean = value - value == 0
                if clean:
                    break
            if not clean:
                clean = True
                for place in range(N * D * P):
                    p, d, n = place % P, place // P % D, place // P // D
                    row = w + k * dy_channel + n * dy_image + d * d_step + p * h_step
                    for q in range(Q):
                        clean = clean and is_finite(row + q * w_step, spare, bits)
            for t in range(0 if clean else taps):
                spoilt = False
                for place in range(N * D * P):
                    p, d, n = place % P, place // P % D, place // P // D
                    row = w + k * dy_channel + n * dy_image + d * d_step + p * h_step
                    q = 0
                    while q < Q:
                        if meets(tap_table, t, d, p, q):
                            q = simd.word(tap_table + t * tap, last)
                        else:
                            finite = is_finite(row + q * w_step, spare, bits)
                            spoilt = spoilt or not finite
                            q += 1
                if spoilt:
                    to = y_base + simd.word(tap_table + t * tap, 1)
                    for c in range(channels):
                        simd.poke(to + c * y_channel, infinity - infinity)

    return kernel
