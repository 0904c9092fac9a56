"""Staging: images copied with their zero padding, as the tiles read them.

``padded_copy`` writes an image (or, for a stride, one phase of it) with either pixels or channels
contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from fastconv.cpu import simd
from fastconv.cpu.program import Constant, Step, compiled, reads
from fastconv.cpu.views import View, Workspace

_AXES = ("a", "b", "c", "e")
_MOST_APART = 4  # elements of a source that vectors can be picked from
_FEW = 16  # zeros of a row that cost less one by one than by a call


@reads(
    "units", "operand", "source", "target",
    "a_count", "a_low", "a_high", "a_source", "a_target",
    "b_count", "b_low", "b_high", "b_source", "b_target",
    "c_count", "c_low", "c_high", "c_source", "c_target",
    "e_count", "e_low", "e_high", "e_source",
    "n_source", "n_target",
)  # fmt: skip
def padded_copy(bits: int, lanes: int, step: int) -> Any:
    """Copy (n, a, b, c, e) with zeros outside [low, high) of each axis; e becomes contiguous.

    Elements of e are ``step`` elements apart in the source, or, for 0, at any pitch.
    """
    size = bits // 8
    fields = len(padded_copy.fields)  # type: ignore[attr-defined]
    zero = (np.int32 if size == 4 else np.int64)(0)
    few = _FEW

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, operand, source, target,
         a_count, a_low, a_high, a_source, a_target,
         b_count, b_low, b_high, b_source, b_target,
         c_count, c_low, c_high, c_source, c_target,
         e_count, e_low, e_high, e_source,
         n_source, n_target) = simd.words(args, fields)  # fmt: skip
        origin = (x if operand == 0 else w) + source
        middle, e_after = max(e_high - e_low, 0), e_count - e_high
        reach = (e_low + -(-middle // lanes) * lanes) * size  # of a row's last vector
        vectors = step and e_low + e_after < few and c_target == e_count * size
        single = step == 1 and middle == e_count == lanes and c_high - c_low == c_count
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            b = unit % b_count
            a = unit // b_count % a_count
            n = unit // b_count // a_count
            inside = a_low <= a < a_high and b_low <= b < b_high
            to = workspace + target + n * n_target + a * a_target + b * b_target
            start = origin + n * n_source + a * a_source + b * b_source + e_low * e_source
            if single and inside:
                # One vector each: no more than to load and to store it.
                for c in range(c_count):
                    vector = simd.load_tile(start + c * c_source, bits, lanes, 1)
                    simd.store_tile(vector, to + c * c_target)
                continue
            for c in range(c_count):
                row = to + c * c_target
                if not inside or c < c_low or c >= c_high or middle == 0:
                    simd.clear_bytes(row, e_count * size)
                    continue
                first = start + c * c_source
                if vectors and reach <= (c_count - c) * c_target:
                    # Whole vectors: what they overhang the next rows have still to overwrite.
                    for e in range(e_low):
                        simd.poke(row + e * size, zero)
                    for e in range(0, middle, lanes):
                        simd.every(
                            row + (e_low + e) * size, first + e * e_source, middle - e,
                            step, bits, lanes,
                        )  # fmt: skip
                    for e in range(e_high, e_count):
                        simd.poke(row + e * size, zero)
                    continue
                simd.clear_bytes(row, e_low * size)
                if step == 1:
                    simd.copy_bytes(row + e_low * size, first, middle * size)
                else:
                    for e in range(middle):
                        value = simd.peek(first + e * e_source, bits)
                        simd.poke(row + (e_low + e) * size, value)
                simd.clear_bytes(row + e_high * size, e_after * size)

    return kernel


class Padding(NamedTuple):
    """A zero-padded (N, C, *spatial) operand: extents, zeros in front, and the padded extents."""

    N: int
    C: int
    spatial: tuple[int, ...]
    before: tuple[int, ...]
    padded: tuple[int, ...]


def stage_planes(
    strides: Sequence[int],
    p: Padding,
    phases: tuple[int, ...],
    operand: int,
    bits: int,
    space: Workspace,
    used: set[tuple[int, ...]] | None = None,
) -> tuple[list[Step], View]:
    """Stage with pixels contiguous: (n, c, phases, *spatial).

    ``phases`` splits each axis by its stride: phase f of axis i holds padded pixels f, f + s, ...
    The view's spatial strides step through one phase. Only phases that are ``used`` are there, if
    those are told: of a stride far beyond the kernel, hardly any.
    """
    size = bits // 8
    held = tuple(-(-e // s) for e, s in zip(p.padded, phases, strict=True))
    pitches = _contiguous(held, size)
    plane = prod(held) * size
    there = list(np.ndindex(*phases)) if used is None else sorted(used)
    channel = plane * len(there)
    # Windows of up to three vectors may overhang the last row.
    offset = space.take(p.N * p.C * channel + 3 * simd.VECTOR_BITS // 8)
    steps = []
    for index, phase in enumerate(there):
        axes = [
            _axis(
                p.spatial[i], p.before[i], held[i], strides[2 + i], pitches[i], phases[i], phase[i]
            )
            for i in range(len(held))
        ]
        channels = (p.C, 0, p.C, strides[1], channel, 0)
        place = offset + index * plane
        images = (p.N, strides[0], p.C * channel)
        steps.append(_copy_step(images, [channels, *axes], place, operand, bits))
    return steps, View(True, offset, p.C * channel, channel, pitches)


def stage_pixels(
    strides: Sequence[int],
    p: Padding,
    operand: int,
    bits: int,
    space: Workspace,
    phases: tuple[int, ...] | None = None,
) -> tuple[list[Step], View]:
    """Stage with channels contiguous: (n, *spatial, phases, c).

    ``phases`` splits each axis by its stride as in `stage_planes`: a pixel then holds the channels
    of one phase after those of another. A pixel pitch that is a multiple of 2048 bytes is widened
    by a cache line: pixels side by side would otherwise meet in the same few sets of the
    first-level cache.
    """
    phases = phases or (1,) * len(p.padded)
    size = bits // 8
    pixel = p.C * size * prod(phases)
    if pixel % 2048 == 0:
        pixel += 64
    held = tuple(-(-e // s) for e, s in zip(p.padded, phases, strict=True))
    pitches = _contiguous(held, pixel)
    image = prod(held) * pixel
    offset = space.take(p.N * image)
    channels = (p.C, 0, p.C, strides[1], size, 0)
    steps = []
    for index, phase in enumerate(np.ndindex(*phases)):
        axes = [
            _axis(
                p.spatial[i], p.before[i], held[i], strides[2 + i], pitches[i], phases[i], phase[i]
            )
            for i in range(len(held))
        ]
        place = offset + index * p.C * size
        images = (p.N, strides[0], image)
        inner = [axes[-1], channels]
        if strides[1] == size and strides[-1] == pitches[-1] == p.C * size:
            # Pixels side by side are one run: a copy each would cost more than the copying.
            extent, before, wide = (n * p.C for n in (p.spatial[-1], p.before[-1], held[-1]))
            inner = [_axis(extent, before, wide, size, size, 1, 0)]
        steps.append(_copy_step(images, [*axes[:-1], *inner], place, operand, bits))
    return steps, View(True, offset, image, size, pitches)


def stage_groups(
    strides: Sequence[int],
    p: Padding,
    groups: int,
    operand: int,
    bits: int,
    space: Workspace,
) -> tuple[list[Step], View]:
    """Stage with a group's channels contiguous, each group an image: (n, group, *spatial, c).

    Of an image with channels contiguous, a vector of them to a group, and at most two spatial axes.
    A group's pixels, which lie apart there and meet in few sets of the first-level cache, then
    share its lines.
    """
    size, channels = bits // 8, p.C // groups
    pitches = _contiguous(p.padded, channels * size)
    plane = prod(p.padded) * channels * size
    offset = space.take(p.N * groups * plane)
    axes: list[tuple[int, ...]] = [
        _axis(p.spatial[i], p.before[i], p.padded[i], strides[2 + i], pitches[i], 1, 0)
        for i in range(len(p.padded))
    ]
    # Pixel by pixel, as they lie in the source.
    axes.append((groups, 0, groups, channels * strides[1], plane, 0))
    axes.append((channels, 0, channels, strides[1], size, 0))
    step = _copy_step((p.N, strides[0], groups * plane), axes, offset, operand, bits, channels)
    return [step], View(True, offset, groups * plane, size, pitches, plane)


def _contiguous(extents: Sequence[int], innermost: int) -> tuple[int, ...]:
    return tuple(innermost * prod(extents[i + 1 :]) for i in range(len(extents)))


def _axis(
    extent: int, before: int, held: int, stride: int, pitch: int, move: int, phase: int
) -> tuple[int, int, int, int, int, int]:
    """(count, low, high, source stride, target pitch, source shift) of one axis of a copy."""
    # Held element i is padded element phase + i * move, source element phase + i * move - before.
    low = min(held, max(0, -(-(before - phase) // move)))
    high = max(low, min(held, -(-(extent + before - phase) // move)))
    return held, low, high, stride * move, pitch, (phase - before) * stride


def _copy_step(
    images: tuple[int, int, int],
    axes: list[tuple[int, ...]],
    target: int,
    operand: int,
    bits: int,
    lanes: int | None = None,
) -> Step:
    axes = [(1, 0, 1, 0, 0, 0)] * (4 - len(axes)) + axes
    N, n_source, n_target = images
    constants: dict[str, Constant] = {
        "units": N * axes[0][0] * axes[1][0],
        "operand": operand,
        "source": sum(axis[5] for axis in axes),
        "target": target,
        "n_source": n_source,
        "n_target": n_target,
    }
    for name, (count, low, high, source, pitch, _) in zip(_AXES, axes, strict=True):
        constants |= {f"{name}_count": count, f"{name}_low": low, f"{name}_high": high}
        constants |= {f"{name}_source": source, f"{name}_target": pitch}
    del constants["e_target"]  # the innermost axis is contiguous
    apart = axes[3][3] // (bits // 8) if axes[3][3] % (bits // 8) == 0 else 0
    step = apart if 1 <= apart <= _MOST_APART else 0
    lanes = lanes or simd.VECTOR_BITS // (8 * (bits // 8))
    kernel = compiled(padded_copy, bits, lanes, step)
    return Step(kernel, int(constants["units"]), constants)  # type: ignore[arg-type]
