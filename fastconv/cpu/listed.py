"""Small problems: every product listed ahead, added up one after another by one kernel.

Padding, stride, dilation and groups are settled when the plan is made: what a result sums is a list
of places in the two operands. So nothing is staged or packed, which takes longer than a few hundred
multiply-adds, and the three passes are one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.operands import Operands
from fastconv.cpu.program import Constant, Step, compiled, reads
from fastconv.cpu.views import Workspace
from fastconv.lowering import Correlation, Lowered

MOST = 512  #: multiply-adds; beyond, vectors win (Zen 4), and a list would take much memory


def refusal(pass_name: str, low: Lowered, arrays: Operands) -> str | None:
    """Why a pass cannot be done, or None."""
    if low.multiply_adds > MOST:
        return f"is for up to {MOST} multiply-adds, and this pass has {low.multiply_adds}"
    results = _results(low, pass_name == "weight_gradient")
    return None if results <= MOST else f"is for up to {MOST} results, and this pass has {results}"


def skips_padding(low: Lowered, arrays: Operands) -> bool:
    """Whether products with zeros of padding are left out."""
    return True


def correlate(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The step of a forward pass or an input gradient."""
    x, w, y = _products(low, arrays.x, arrays.w, arrays.y)
    channels = low.groups * low.target_channels
    pixels = [range(size) for size in _target_extents(low)]
    places = [
        (n * arrays.y[0] + k * arrays.y[1] + _offset(index, arrays.y[2:]), k * arrays.size)
        for n, k, *index in product(range(low.N), range(channels), *pixels)
    ]
    targets, starts = np.array(places, np.int64).T
    return [_step(arrays, x, w, y, targets, starts, biased=True)]


def weight_gradient(low: Lowered, arrays: Operands, space: Workspace, threads: int) -> list[Step]:
    """The step of a weight gradient; ``low`` is the forward pass, ``arrays.w`` is dy."""
    x, dw, dy = _products(low, arrays.x, arrays.y, arrays.w)
    channels = low.groups * low.target_channels
    kernel = [range(len(axis.taps)) for axis in low.parts[0].axes]
    places = [
        _offset(index, arrays.y)
        for index in product(range(channels), range(low.source_channels), *kernel)
    ]
    targets = np.array(places, np.int64)
    return [_step(arrays, x, dy, dw, targets, np.zeros_like(targets), biased=False)]


def _results(low: Lowered, weights: bool) -> int:
    if weights:
        per_channel = low.source_channels * len(low.parts[0].taps)
    else:
        per_channel = low.N * int(np.prod(_target_extents(low)))
    return low.groups * low.target_channels * per_channel


def _target_extents(low: Lowered) -> tuple[int, ...]:
    """The target's size along each axis: the last element that any part reaches."""
    ends = ([a.start + (a.length - 1) * a.step for a in part.axes] for part in low.parts)
    return tuple(max(axis) + 1 for axis in zip(*ends, strict=True))


def _offset(index: Sequence[int], strides: tuple[int, ...]) -> int:
    return sum(i * s for i, s in zip(index, strides, strict=True))


def _products(
    low: Lowered, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Byte offsets of every product's factors, in source and weights, and of its target."""
    per_source, per_target = low.source_channels, low.target_channels
    channels = []
    for n, g, c, k in product(
        range(low.N), range(low.groups), range(per_source), range(per_target)
    ):
        # The weight's first axis runs over all groups, its second over one.
        first, second = (g * per_source + c, k) if low.transposed else (g * per_target + k, c)
        channels.append(
            (
                n * x[0] + (g * per_source + c) * x[1],
                first * w[0] + second * w[1],
                n * y[0] + (g * per_target + k) * y[1],
            )
        )
    pixels = [place for part in low.parts for place in _pixels(low, part, x[2:], w[2:], y[2:])]
    over_channels = np.array(channels, np.int64)[:, None]
    over_pixels = np.array(pixels, np.int64).reshape(1, -1, 3)
    offsets = (over_channels + over_pixels).reshape(-1, 3)
    return offsets[:, 0], offsets[:, 1], offsets[:, 2]


def _pixels(
    low: Lowered, part: Correlation, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """Offsets in source, weights and target of each (target pixel, tap) that meets the source."""
    met = []
    for index in product(*map(range, part.counts)):
        target = _offset(index, tuple(a.step * s for a, s in zip(part.axes, y, strict=True)))
        target += _offset(tuple(a.start for a in part.axes), y)
        for tap, offsets in part.taps:
            at = tuple(
                i * axis.move + offset - before
                for i, axis, offset, before in zip(
                    index, part.axes, offsets, low.before, strict=True
                )
            )
            if all(0 <= place < size for place, size in zip(at, low.source, strict=True)):
                met.append((_offset(at, x), _offset(tap, w), target))
    return met


def _step(
    arrays: Operands,
    first: np.ndarray,
    second: np.ndarray,
    result: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    *,
    biased: bool,
) -> Step:
    """The step that adds products into the results at ``targets``, found by their offsets."""
    by_result = np.argsort(result, kind="stable")
    order = np.argsort(targets)
    ends = np.searchsorted(result[by_result], targets[order], side="right")
    kernel = compiled(add_products, arrays.bits)
    constants: dict[str, Constant] = {
        "units": len(targets),
        "targets": targets[order],
        "starts": starts[order],
        "ends": ends.astype(np.int64),
        "first": first[by_result],
        "second": second[by_result],
        "biased": int(biased),
        "zero": np.zeros(1, np.int64),
        "floor": arrays.floor,
    }
    return Step(kernel, len(targets), constants)


@reads("units", "targets", "starts", "ends", "first", "second", "biased", "zero", "floor")
def add_products(bits: int) -> Any:
    """Add the products of scalars of x at ``first`` and of w at ``second`` into each target.

    Result i owns the products from the end of result i - 1 to its own, and starts at its bias.
    """
    fields = len(add_products.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        units, targets, starts, ends, first, second, biased, zero, floor = simd.words(args, fields)
        origin = bias if biased else zero
        begin, end = slot * units // slots, (slot + 1) * units // slots
        e = simd.word(ends, begin - 1) if begin else 0
        for unit in range(begin, end):
            total = simd.peek(origin + simd.word(starts, unit), bits)
            last = simd.word(ends, unit)
            while e < last:
                left = simd.peek(x + simd.word(first, e), bits)
                total += left * simd.peek(w + simd.word(second, e), bits)
                e += 1
            simd.poke(y + simd.word(targets, unit), simd.raised(total, floor))

    return kernel
