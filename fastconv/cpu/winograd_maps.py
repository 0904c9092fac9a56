"""Winograd's maps over whole arrays: images, weights and products, with lanes over channels.

Everything between the maps lies as [point][item][channel]: an item is a tile of pixels, or an input
channel of the weights. Lanes over channels waste none on small images, and make the products at a
point a plain product of matrices.

These kernels are called by others, tile row by tile row, so that what they make stays in cache.
Their arguments after the constants are named by each; all are 64-bit integers.
"""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd
from fastconv.cpu.program import reads
from fastconv.cpu.simd import FILTER, OUTPUT

PIXELS, CHANNELS, ANY = 0, 1, 2  #: what lies contiguous in an image
WHOLE, TAPS = 0, 1  #: what lies contiguous in weights: channels and taps, or taps alone; or ANY


@reads("units", "inner", "target", "scratch", "scratch_bytes")
def ahead() -> Any:
    """Run an inner kernel's units, each slot with scratch memory of its own."""
    fields = len(ahead.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        units, inner, target, scratch, scratch_bytes = simd.words(args, fields)
        own = workspace + scratch + slot * scratch_bytes
        first, last = slot * units // slots, (slot + 1) * units // slots
        constants = simd.word(inner, 1)
        simd.call(simd.word(inner, 0), (constants, x, w, workspace + target, own, 0, first, last))

    return kernel


@reads(
    "operand", "high", "across", "parts", "part_from", "present", "image", "channel", "row",
    "pixel", "H", "W", "before_h", "before_w", "part_bytes", "point", "line",
)  # fmt: skip
def map_images(bits: int, lanes: int, kind: int, span: int, step: int, points: int, mode: int):
    """Map tiles of ``span`` x ``span`` pixels, ``step`` apart: the input, or an output gradient.

    An item of work is a row of ``across`` tiles by a part of the channels. ``mode``: what lies
    contiguous in memory.
    """
    fields = len(map_images.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size

    def kernel(args, x, w, target, scratch, unused, first, last):
        (operand, high, across, parts, part_from, present, image, channel, down, pixel,
         H, W, before_h, before_w, part_bytes, point, line) = simd.words(args, fields)  # fmt: skip
        origin = x if operand == 0 else w
        width = (across - 1) * step + span
        left, skipped = min(max(before_w, 0), width), max(-before_w, 0)
        middle = max(min(W - skipped, width - left), 0)
        pitch = width * vector
        for item in range(first, last):
            strip, part = item // parts, item % parts
            top = strip % high * step - before_h
            source = origin + strip // high * image + simd.word(part_from, part)
            channels = simd.word(present, part)
            out = target + part * part_bytes + strip * across * line
            for c in range(0, channels, lanes):
                here = channels - c
                start = source + c * channel
                for i in range(span):
                    to, row = scratch + i * pitch, top + i
                    if row < 0 or row >= H or middle == 0:
                        simd.clear_bytes(to, pitch)
                        continue
                    simd.clear_bytes(to, left * vector)
                    simd.clear_bytes(
                        to + (left + middle) * vector, pitch - (left + middle) * vector
                    )
                    to += left * vector
                    pixels = start + row * down + skipped * pixel
                    if mode == PIXELS:
                        for q in range(0, middle, lanes):
                            simd.transpose_block(
                                pixels + q * size, channel, here,
                                to + q * vector, vector, middle - q, bits, lanes,
                            )  # fmt: skip
                    elif mode == CHANNELS:
                        for q in range(middle):
                            if here >= lanes:
                                simd.copy_bytes(to + q * vector, pixels + q * pixel, vector)
                            else:
                                simd.copy_vector(
                                    to + q * vector, pixels + q * pixel, here, bits, lanes
                                )
                    else:
                        for q in range(middle):
                            for lane in range(min(here, lanes)):
                                value = simd.peek(pixels + q * pixel + lane * channel, bits)
                                simd.poke(to + q * vector + lane * size, value)
                # Down the columns once for all tiles of the row, then along each tile's rows.
                for q in range(0, pitch, vector):
                    at = scratch + q
                    simd.map_line(kind, span, points, at, pitch, at, pitch, bits, lanes)
                for t in range(across):
                    place = out + t * line + c * size
                    for i in range(points):
                        simd.map_line(
                            kind, span, points, scratch + i * pitch + t * step * vector, vector,
                            place + i * points * point, point, bits, lanes,
                        )  # fmt: skip

    return kernel


@reads(
    "parts", "block_from", "valid", "part_from", "present", "channel", "lane_step",
    "tap_table", "first_tap", "tap_row", "tap_column", "mode", "part_bytes", "point",
)  # fmt: skip
def map_weights(bits: int, lanes: int, taps: int, points: int, vectors: int) -> Any:
    """Map weights of ``taps`` x ``taps``: an item of work is a block of output channels by a part
    of the input channels.
    """
    fields = len(map_weights.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size
    area = taps * taps

    def kernel(args, x, w, target, scratch, unused, first, last):
        (parts, block_from, valid, part_from, present, channel, lane_step,
         tap_table, first_tap, tap_row, tap_column, mode, part_bytes,
         point) = simd.words(args, fields)  # fmt: skip
        for item in range(first, last):
            block, part = item // parts, item % parts
            source = w + simd.word(block_from, block) + simd.word(part_from, part)
            channels = simd.word(present, part)
            out = target + item * part_bytes
            for k in range(0, simd.word(valid, block), lanes):
                here = simd.word(valid, block) - k
                start = source + k * lane_step
                runs, run = (1, channels * area) if mode == WHOLE else (channels, area)
                for i in range(runs):
                    at, to = start + i * channel, scratch + i * run * vector
                    if mode == ANY:
                        for j in range(run):
                            for lane in range(min(here, lanes)):
                                place = at + simd.word(tap_table, j) + lane * lane_step
                                simd.poke(to + j * vector + lane * size, simd.peek(place, bits))
                    else:
                        for j in range(0, run, lanes):
                            simd.transpose_block(
                                at + j * size, lane_step, here, to + j * vector, vector, run - j,
                                bits, lanes,
                            )  # fmt: skip
                for c in range(channels):
                    simd.map_square(
                        FILTER, taps, points, scratch + c * area * vector + first_tap,
                        tap_row, tap_column, out + (c * vectors * lanes + k) * size,
                        points * point, point, 0, 0, bits, lanes,
                    )  # fmt: skip

    return kernel


@reads(
    "high", "across", "P", "Q", "image", "channel", "row", "pixel", "y_blocks", "valid", "point",
    "contiguous", "floor",
)  # fmt: skip
def map_outputs(bits: int, lanes: int, m: int, points: int, vectors: int) -> Any:
    """Map the products of one block of output channels to ``m`` x ``m`` outputs a tile.

    ``first`` to ``last`` are rows of tiles, the first of them at the start of the products.
    """
    fields = len(map_outputs.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size
    line = vectors * vector

    def kernel(args, products, scratch, y, bias, block, first, last):
        (high, across, P, Q, image, channel, down, pixel, y_blocks, valid, point,
         contiguous, floor) = simd.words(args, fields)  # fmt: skip
        pitch = across * m * vector
        start = bias + block * line
        for strip in range(first, last):
            top = strip % high * m
            for k in range(0, simd.word(valid, block), lanes):
                here = simd.word(valid, block) - k
                for t in range(across):
                    tile = (strip - first) * across + t
                    simd.map_square(
                        OUTPUT, m, points, products + tile * line + k * size, points * point,
                        point, scratch + t * m * vector, pitch, vector, start + k * size, floor,
                        bits, lanes,
                    )  # fmt: skip
                origin = y + simd.word(y_blocks, block) + strip // high * image + k * channel
                for i in range(min(m, P - top)):
                    row, source = origin + (top + i) * down, scratch + i * pitch
                    if contiguous == PIXELS:
                        for q in range(0, Q, lanes):
                            simd.transpose_block(
                                source + q * vector, vector, Q - q, row + q * size, channel, here,
                                bits, lanes,
                            )  # fmt: skip
                    elif contiguous == CHANNELS:
                        for q in range(Q):
                            if here >= lanes:
                                simd.copy_bytes(row + q * pixel, source + q * vector, vector)
                            else:
                                simd.copy_vector(
                                    row + q * pixel, source + q * vector, here, bits, lanes
                                )
                    else:
                        for q in range(Q):
                            for lane in range(min(here, lanes)):
                                value = simd.peek(source + q * vector + lane * size, bits)
                                simd.poke(row + q * pixel + lane * channel, value)

    return kernel
