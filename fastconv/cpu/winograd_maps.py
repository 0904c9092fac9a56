"""Winograd's maps over whole arrays: images, weights and products, with lanes over channels.

Everything between the maps lies as [point][item][channel]: an item is a tile of pixels, or an input
channel of the weights. Lanes over channels waste none on small images, and make the products at a
point a plain product of matrices.

An image here is one that tiles cover without a gap: a piece of an image's width, for a dilated
kernel of every d-th pixel. Tables say where each lies (see `winograd_images`).

These kernels are called by others, tile row by tile row, so that what they make stays in cache.
Their arguments after the constants are named by each; all are 64-bit integers.
"""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd
from fastconv.cpu.program import reads

PIXELS, CHANNELS, ANY = 0, 1, 2  #: what lies contiguous in an image
WHOLE, TAPS = 0, 1  #: what lies contiguous in weights: channels and taps, or taps alone; or ANY
GATHERED = 16  #: channels whose weights are gathered at a time


@reads("units", "inner", "staged", "x_offset", "target", "scratch", "scratch_bytes")
def ahead() -> Any:
    """Run an inner kernel's units, each slot with scratch memory of its own."""
    fields = len(ahead.fields)  # type: ignore[attr-defined]

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, inner, staged, x_offset, target, scratch,
         scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        own = workspace + scratch + slot * scratch_bytes
        first, last = slot * units // slots, (slot + 1) * units // slots
        constants = simd.word(inner, 1)
        simd.call(
            simd.word(inner, 0), (constants, source, w, workspace + target, own, 0, first, last)
        )

    return kernel


@reads(
    "operand", "high", "across", "parts", "part_from", "present", "images", "H", "W",
    "before_h", "before_w", "channel", "row", "pixel", "part_bytes", "point", "line",
)  # fmt: skip
def map_images(
    bits: int, lanes: int, kind: int, span_h: int, span_w: int, step_h: int, step_w: int,
    points_h: int, points_w: int, mode: int,
) -> Any:  # fmt: skip
    """Map tiles of ``span`` pixels, ``step`` apart, along each axis: the input, or a gradient.

    An item of work is a row of ``across`` tiles by a part of the channels. ``mode``: what lies
    contiguous in memory.
    """
    fields = len(map_images.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size

    def kernel(args, x, w, target, scratch, unused, first, last):
        (operand, high, across, parts, part_from, present, images, heights, widths,
         befores_h, befores_w, channel, down, pixel, part_bytes, point,
         line) = simd.words(args, fields)  # fmt: skip
        origin = x if operand == 0 else w
        width = (across - 1) * step_w + span_w
        pitch = width * vector
        for item in range(first, last):
            strip, part = item // parts, item % parts
            image = strip // high
            H, before_w = simd.word(heights, image), simd.word(befores_w, image)
            left, skipped = min(max(before_w, 0), width), max(-before_w, 0)
            middle = max(min(simd.word(widths, image) - skipped, width - left), 0)
            top = strip % high * step_h - simd.word(befores_h, image)
            source = origin + simd.word(images, image) + simd.word(part_from, part)
            channels = simd.word(present, part)
            out = target + part * part_bytes + strip * across * line
            for c in range(0, channels, lanes):
                here = channels - c
                start = source + c * channel
                for i in range(span_h):
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
                        # Lanes past the channels are never used, but a number of some sort.
                        for q in range(middle):
                            if here < lanes:
                                simd.clear_bytes(to + q * vector, vector)
                            for lane in range(min(here, lanes)):
                                value = simd.peek(pixels + q * pixel + lane * channel, bits)
                                simd.poke(to + q * vector + lane * size, value)
                # Down the columns once for all tiles of the row, then along each tile's rows.
                if points_h > 1:
                    for q in range(0, pitch, vector):
                        at = scratch + q
                        simd.map_line(kind, span_h, points_h, at, pitch, at, pitch, bits, lanes)
                for t in range(across):
                    place = out + t * line + c * size
                    for i in range(points_h):
                        simd.map_line(
                            kind, span_w, points_w, scratch + i * pitch + t * step_w * vector,
                            vector, place + i * points_w * point, point, bits, lanes,
                        )  # fmt: skip

    return kernel


@reads(
    "parts", "block_from", "valid", "block_taps", "present", "channels", "gather_from",
    "gather_count", "channel_at", "channel_taps", "tap_table", "area", "run_table", "channel",
    "lane_step", "mode", "part_bytes", "point",
)  # fmt: skip
def map_weights(
    bits: int, lanes: int, taps_h: int, taps_w: int, points_h: int, points_w: int, vectors: int
) -> Any:
    """Map weights of ``taps_h`` x ``taps_w``: an item of work is a block of output channels by a
    part of the input channels.

    ``GATHERED`` channels at a time, all ``area`` weights of the channels that they come from are
    laid out with lanes over output channels. Where a channel's lie there and which of them are its
    taps, tables tell: with a stride, several channels come from one, each with taps of its own.
    """
    fields = len(map_weights.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size

    def kernel(args, x, w, target, scratch, unused, first, last):
        (parts, block_from, valid, block_taps, present, part_channels, gather_from,
         gather_count, channel_at, channel_taps, tap_table, area, run_table, channel,
         lane_step, mode, part_bytes, point) = simd.words(args, fields)  # fmt: skip
        absent, gathered = scratch, scratch + vector
        simd.clear_bytes(absent, vector)
        for item in range(first, last):
            block, part = item // parts, item % parts
            channels = simd.word(present, part)
            out = target + item * part_bytes
            taps = tap_table + simd.word(block_taps, block)
            for k in range(0, simd.word(valid, block), lanes):
                here = simd.word(valid, block) - k
                start = w + simd.word(block_from, block) + k * lane_step
                for first_channel in range(0, channels, GATHERED):
                    index = (part * part_channels + first_channel) // GATHERED
                    at, count = (
                        start + simd.word(gather_from, index),
                        simd.word(gather_count, index),
                    )
                    runs, run = (1, count * area) if mode == WHOLE else (count, area)
                    for i in range(runs):
                        source, to = at + i * channel, gathered + i * run * vector
                        if mode == ANY:
                            for j in range(run):
                                for lane in range(min(here, lanes)):
                                    place = source + simd.word(run_table, j) + lane * lane_step
                                    value = simd.peek(place, bits)
                                    simd.poke(to + j * vector + lane * size, value)
                        else:
                            for j in range(0, run, lanes):
                                simd.transpose_block(
                                    source + j * size, lane_step, here, to + j * vector, vector,
                                    run - j, bits, lanes,
                                )  # fmt: skip
                    for c in range(first_channel, min(first_channel + GATHERED, channels)):
                        index = part * part_channels + c
                        simd.map_taps(
                            taps_h, taps_w, points_h, points_w,
                            gathered + simd.word(channel_at, index),
                            taps + simd.word(channel_taps, index), absent,
                            out + (c * vectors * lanes + k) * size, point, bits, lanes,
                        )  # fmt: skip

    return kernel


@reads(
    "high", "across", "phases", "block_phase", "images", "P", "Q", "channel", "row", "pixel",
    "y_blocks", "valid", "point", "contiguous", "floor",
)  # fmt: skip
def map_outputs(
    bits: int, lanes: int, step_h: int, step_w: int, points_h: int, points_w: int, vectors: int
) -> Any:
    """Map the products of one block of output channels to ``step_h`` x ``step_w`` outputs a tile.

    ``first`` to ``last`` are rows of tiles, the first of them at the start of the products. An
    image has several targets where a strided pass is transposed: one a phase of the stride.
    """
    fields = len(map_outputs.fields)  # type: ignore[attr-defined]
    size = bits // 8
    vector = lanes * size
    line = vectors * vector

    def kernel(args, products, scratch, y, bias, block, first, last):
        (high, across, phases, block_phase, images, heights, widths, channel, down, pixel,
         y_blocks, valid, point, contiguous,
         floor) = simd.words(args, fields)  # fmt: skip
        pitch = across * step_w * vector
        start = bias + block * line
        for strip in range(first, last):
            top = strip % high * step_h
            image = strip // high * phases + simd.word(block_phase, block)
            P, Q = simd.word(heights, image), simd.word(widths, image)
            for k in range(0, simd.word(valid, block), lanes):
                here = simd.word(valid, block) - k
                for t in range(across):
                    tile = (strip - first) * across + t
                    simd.map_outputs(
                        step_h, step_w, points_h, points_w, products + tile * line + k * size,
                        point, scratch + t * step_w * vector, pitch, vector, start + k * size,
                        floor, bits, lanes,
                    )  # fmt: skip
                origin = y + simd.word(y_blocks, block) + simd.word(images, image) + k * channel
                for i in range(min(step_h, P - top)):
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
