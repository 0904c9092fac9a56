"""Staging for one unit of work: bands of an image's rows, padded, in a slot's own memory.

A band is copied, used and overwritten by the next while it is in cache, so that no padded image
ever goes through memory. `in_cache` runs the kernels of a unit one after the other. They are called
``kernel(args, x, w, y, bias, own, unit, workspace)``: ``own`` is the slot's memory.

A unit is ``together`` places, one after the other in the order (slow, fast, depth, band), where
slow and fast are the image and the plane, or the plane and the image. Places are found once a unit
and counted on from there, as divisions cost more than a small plane's sums.
"""

from __future__ import annotations

from typing import Any

from numba.extending import overload

from fastconv.cpu import simd
from fastconv.cpu.program import reads
from fastconv.cpu.views import OPERAND_X


@reads("units", "inner", "count", "scratch", "scratch_bytes", "cleared")
def in_cache() -> Any:
    """Run the ``count`` kernels of ``inner`` for each unit, after clearing the slot's memory."""
    fields = len(in_cache.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        units, inner, count, scratch, scratch_bytes, cleared = simd.words(args, fields)
        own = workspace + scratch + slot * scratch_bytes
        simd.clear_bytes(own, cleared)
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            for i in range(count):
                entry = simd.word(inner, i)
                simd.call(
                    simd.word(entry, 0),
                    (simd.word(entry, 1), x, w, y, bias, own, unit, workspace),
                )

    return kernel


def find_place(item, fast_count, depths, bands):
    """The (slow, fast, depth, band) of place number ``item``."""
    raise NotImplementedError("compiled code only")


@overload(find_place, jit_options={"forceinline": True})
def _find_place(item, fast_count, depths, bands):
    def run(item, fast_count, depths, bands):
        band, rest = item % bands, item // bands
        depth, rest = rest % depths, rest // depths
        return rest // fast_count, rest % fast_count, depth, band

    return run


def next_place(slow, fast, depth, band, fast_count, depths, bands):
    """The place after that."""
    raise NotImplementedError("compiled code only")


@overload(next_place, jit_options={"forceinline": True})
def _next_place(slow, fast, depth, band, fast_count, depths, bands):
    def run(slow, fast, depth, band, fast_count, depths, bands):
        band += 1
        if band == bands:
            band = 0
            depth += 1
            if depth == depths:
                depth = 0
                fast += 1
                if fast == fast_count:
                    fast = 0
                    slow += 1
        return slow, fast, depth, band

    return run


#: what every kernel of a unit reads of its places; ``band_from``: the first row of sums of each
PLACES = ("together", "places", "fast_count", "depths", "bands", "band_from")

_SOURCE = (
    "slow_from", "fast_from", "depth", "depth_move", "depth_gap", "depth_taps",
    "depth_before", "D", "row", "move", "reach", "before", "H", "plane", "pitch",
)  # fmt: skip


def clear_rows(target, first, last, pitch, bits, lanes):
    """Zero rows ``first`` to ``last - 1``, ``pitch`` bytes apart and long."""
    raise NotImplementedError("compiled code only")


@overload(clear_rows, prefer_literal=True, jit_options={"forceinline": True})
def _clear_rows(target, first, last, pitch, bits, lanes):
    BITS, LANES = bits.literal_value, lanes.literal_value
    VECTOR = BITS * LANES // 8

    def run(target, first, last, pitch, bits, lanes):
        for at in range(target + first * pitch, target + last * pitch, VECTOR):
            simd.store_tile(simd.zeros(BITS, LANES, 1), at)

    return run


def clear_outside(target, inside, bands, low, high, height, pitch, bits, lanes):
    """Zero the rows of a plane that lie outside the image: all, or those around low to high."""
    raise NotImplementedError("compiled code only")


@overload(clear_outside, prefer_literal=True, jit_options={"forceinline": True})
def _clear_outside(target, inside, bands, low, high, height, pitch, bits, lanes):
    BITS, LANES = bits.literal_value, lanes.literal_value

    def run(target, inside, bands, low, high, height, pitch, bits, lanes):
        if not inside:
            clear_rows(target, 0, height, pitch, BITS, LANES)
        elif bands > 1:  # else nothing was ever written there
            clear_rows(target, 0, low, pitch, BITS, LANES)
            clear_rows(target, max(high, low), height, pitch, BITS, LANES)

    return run


@reads(*PLACES, *_SOURCE, "held", "channel", "start", "pixel", "count", "phases", "phase_target")
def stage_rows(bits: int, lanes: int, step: int) -> Any:
    """Copy bands of rows with pixels contiguous, the phases of a stride ``step`` side by side.

    ``step`` 0 reads pixels at any pitch, ``phases`` of them in turn, and leaves out the phases
    whose target is below 0. Columns outside the image were cleared before and stay so.
    """
    fields = len(stage_rows.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (together, places, fast_count, depths, bands, band_from,
         slow_from, fast_from, depth, depth_move, depth_gap, depth_taps,
         depth_before, D, row, move, reach, before, H, plane, pitch, held, channel,
         start, pixel, count, phases, phase_target) = simd.words(args, fields)  # fmt: skip
        first, last = unit * together, min((unit + 1) * together, places)
        slow, fast, o, band = find_place(first, fast_count, depths, bands)
        target = own
        for _ in range(first, last):
            top, bottom = simd.word(band_from, band), simd.word(band_from, band + 1)
            origin = x + start + simd.word(slow_from, slow) + simd.word(fast_from, fast)
            high = top * move - before
            height = (bottom - top - 1) * move + reach + 1
            low_row, high_row = min(max(-high, 0), height), max(min(H - high, height), 0)
            for c in range(held):
                for t in range(depth_taps):
                    d = o * depth_move + t * depth_gap - depth_before
                    source = origin + c * channel + d * depth + high * row
                    inside = 0 <= d < D
                    clear_outside(
                        target, inside, bands, low_row, high_row, height, pitch, bits, lanes
                    )
                    if not inside:
                        target += plane
                        continue
                    if step:
                        outs = simd.lookup(target, phase_target, 0, step - 1, step)
                        if count <= step * lanes:
                            for i in range(low_row, high_row):
                                simd.split(
                                    simd.shifted(outs, i * pitch), source + i * row, count,
                                    bits, lanes,
                                )  # fmt: skip
                        else:
                            for i in range(low_row, high_row):
                                for j in range(0, count, step * lanes):
                                    simd.split(
                                        simd.shifted(outs, i * pitch + j // step * size),
                                        source + i * row + j * size, count - j, bits, lanes,
                                    )  # fmt: skip
                    else:
                        for i in range(low_row, high_row):
                            for f in range(phases):
                                out = simd.word(phase_target, f)
                                if out >= 0:
                                    out += target + i * pitch
                                    for j in range(f, count, phases):
                                        value = simd.peek(source + i * row + j * pixel, bits)
                                        simd.poke(out + j // phases * size, value)
                    target += plane
            slow, fast, o, band = next_place(slow, fast, o, band, fast_count, depths, bands)

    return kernel


@reads(*PLACES, "operand", *_SOURCE, "start", "left", "count", "pixel", "by_slow", "present")
def stage_channels(bits: int, lanes: int, vectors: int) -> Any:
    """Copy bands of rows of a block of ``vectors`` vectors of channels, which are contiguous.

    Absent channels become zeros. Columns outside the image were cleared before and stay so.
    """
    fields = len(stage_channels.fields)  # type: ignore[attr-defined]
    vector = lanes * bits // 8
    line = vectors * vector

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (together, places, fast_count, depths, bands, band_from,
         operand, slow_from, fast_from, depth, depth_move, depth_gap, depth_taps,
         depth_before, D, row, move, reach, before, H, plane, pitch,
         start, left, count, pixel, by_slow, present) = simd.words(args, fields)  # fmt: skip
        first, last = unit * together, min((unit + 1) * together, places)
        slow, fast, o, band = find_place(first, fast_count, depths, bands)
        target = own
        for _ in range(first, last):
            top, bottom = simd.word(band_from, band), simd.word(band_from, band + 1)
            origin = x if operand == OPERAND_X else own
            origin += start + simd.word(slow_from, slow) + simd.word(fast_from, fast)
            high = top * move - before
            height = (bottom - top - 1) * move + reach + 1
            low_row, high_row = min(max(-high, 0), height), max(min(H - high, height), 0)
            here = simd.word(present, slow if by_slow else fast)
            for t in range(depth_taps):
                d = o * depth_move + t * depth_gap - depth_before
                source = origin + d * depth + high * row
                inside = 0 <= d < D
                clear_outside(target, inside, bands, low_row, high_row, height, pitch, bits, lanes)
                if not inside:
                    target += plane
                    continue
                for i in range(low_row, high_row):
                    to, line_from = target + i * pitch + left, source + i * row
                    if here >= vectors * lanes:
                        for j in range(count):
                            pixels = simd.load_tile(line_from + j * pixel, bits, lanes, vectors)
                            simd.store_tile(pixels, to + j * line)
                    else:
                        for j in range(count):
                            for v in range(vectors):
                                simd.split(
                                    (to + j * line + v * vector,),
                                    line_from + j * pixel + v * vector, here - v * lanes,
                                    bits, lanes,
                                )  # fmt: skip
                target += plane
            slow, fast, o, band = next_place(slow, fast, o, band, fast_count, depths, bands)

    return kernel


@reads(*PLACES, "operand", "image", "channel", "pixels", "present", "by_slow", "base")
def gather_channels(bits: int, lanes: int, vectors: int) -> Any:
    """Copy the planes of a block of channels into the slot's memory, channels contiguous.

    A plane's pixels are contiguous, all of it is one band, and a unit one place.
    """
    fields = len(gather_channels.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size
    width = vectors * lanes

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (_, _, fast_count, depths, bands, _,
         operand, image, channel, pixels, present, by_slow,
         base) = simd.words(args, fields)  # fmt: skip
        slow, fast, _, _ = find_place(unit, fast_count, depths, bands)
        k, n = (slow, fast) if by_slow else (fast, slow)
        source = (x if operand == OPERAND_X else w) + n * image + k * width * channel
        target = own + base
        here = simd.word(present, k)
        for v in range(vectors):
            for column in range(0, pixels, lanes):
                # The last block moves back to end with the plane: whole blocks take no masks.
                p = max(min(column, pixels - lanes), 0)
                # What absent channels hold is never read: staging takes them for zeros.
                simd.transpose_block(
                    source + v * lanes * channel + p * size, channel, here - v * lanes,
                    target + p * width * size + v * vector, width * size, pixels - p, bits, lanes,
                )  # fmt: skip

    return kernel


@reads(*PLACES, "image", "channel", "pixels", "present", "base")
def scatter_channels(bits: int, lanes: int, vectors: int) -> Any:
    """Write the planes of a block of channels from the slot's memory, where they are contiguous."""
    fields = len(scatter_channels.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size
    width = vectors * lanes

    def kernel(args, x, w, y, bias, own, unit, workspace):
        (_, _, planes, depths, bands, _,
         image, channel, pixels, present, base) = simd.words(args, fields)  # fmt: skip
        n, k, _, _ = find_place(unit, planes, depths, bands)
        target = y + n * image + k * width * channel
        here = simd.word(present, k)
        for v in range(vectors):
            for column in range(0, pixels, lanes):
                p = max(min(column, pixels - lanes), 0)
                simd.transpose_block(
                    own + base + p * width * size + v * vector, width * size, pixels - p,
                    target + v * lanes * channel + p * size, channel, here - v * lanes, bits, lanes,
                )  # fmt: skip

    return kernel
