"""im2col's kernels: columns of the image gathered into a block in cache, then multiplied.

A column block holds, for a run of pixels, one row per (input channel, tap): im2col (Chellapilla,
Puri and Simard 2006), cut so that the whole column matrix never exists.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd, tile
from fastconv.cpu.channel_lanes import COLUMNS, ROWS
from fastconv.cpu.program import reads

PIXELS = 224  #: pixels of a column block; its rows lie so many elements apart

GATHERED, RUNS, TRANSPOSED = 0, 1, 2  #: pixels at any pitch, contiguous pixels, contiguous channels


def gather_columns(target, image, window, pixel, count, bits, lanes, mode):
    """Write the column block of ``count`` pixels from number ``pixel`` on, at ``target``.

    ``image`` is (address, table of row offsets, pixels in a row, pixel pitch): pixel p lies in row
    ``p // length``. ``window`` is (channels, channel pitch, taps, table of tap offsets).
    """
    raise NotImplementedError("compiled code only")


@overload(gather_columns, prefer_literal=True)
def _gather_columns(target, image, window, pixel, count, bits, lanes, mode):
    if not isinstance(mode, types.IntegerLiteral):
        return None
    BITS, LANES, how = bits.literal_value, lanes.literal_value, mode.literal_value
    size = BITS // 8
    pitch = PIXELS * size

    def run(target, image, window, pixel, count, bits, lanes, mode):
        source, rows, length, step = image
        channels, channel_step, taps, table = window
        first_row, first_q = pixel // length, pixel % length
        if how == TRANSPOSED:
            row, q, done = first_row, first_q, 0
            while done < count:
                here = min(length - q, count - done)
                start = source + simd.word(rows, row) + q * step
                for t in range(taps):
                    place = target + t * pitch + done * size
                    for p in range(0, here, LANES):
                        for c in range(0, channels, LANES):
                            simd.transpose_block(
                                start + simd.word(table, t) + p * step + c * size, step, here - p,
                                place + c * taps * pitch + p * size, taps * pitch, channels - c,
                                BITS, LANES,
                            )  # fmt: skip
                row, q, done = row + 1, 0, done + here
            return
        place = target
        for c in range(channels):
            for t in range(taps):
                row, q, done = first_row, first_q, 0
                start = source + c * channel_step + simd.word(table, t)
                while done < count:
                    here = min(length - q, count - done)
                    pixels, column = start + simd.word(rows, row) + q * step, place + done * size
                    if how == RUNS:
                        whole = here // LANES * LANES
                        for p in range(0, whole, LANES):
                            vector = simd.load_tile(pixels + p * size, BITS, LANES, 1)
                            simd.store_tile(vector, column + p * size)
                        simd.copy_vector(
                            column + whole * size, pixels + whole * size, here - whole, BITS, LANES
                        )
                    else:
                        for p in range(here):
                            simd.poke(column + p * size, simd.peek(pixels + p * step, BITS))
                    row, q, done = row + 1, 0, done + here
                place += pitch

    return run


def deliver(tile_at, pixel, count, target, rows, length, step, channels, channel_step, line, bits):
    """Write ``count`` pixels from number ``pixel`` on, rows of the tile at ``tile_at``, singly."""
    raise NotImplementedError("compiled code only")


@overload(deliver, prefer_literal=True)
def _deliver(tile_at, pixel, count, target, rows, length, step, channels, channel_step, line, bits):
    if not isinstance(bits, types.IntegerLiteral):
        return None
    BITS = bits.literal_value
    size = BITS // 8

    def run(tile_at, pixel, count, target, rows, length, step, channels, channel_step, line, bits):
        for i in range(count):
            row, q = (pixel + i) // length, (pixel + i) % length
            place = target + simd.word(rows, row) + q * step
            for c in range(channels):
                simd.poke(place + c * channel_step, simd.peek(tile_at + i * line + c * size, BITS))

    return run


@reads(
    "units", "block_parts", "run_tiles", "pixels", "y_rows", "y_length", "y_step",
    "x_rows", "length", "x_step", "x_blocks", "y_blocks", "valid", "channels", "chunk_channels",
    "cuts", "tap_cuts", "chunk_taps", "x_channel", "taps", "tap_table", "y_channel",
    "staged", "x_offset", "weights", "block_bytes", "bias_from", "store", "floor",
    "columns", "columns_bytes", "scratch", "scratch_bytes", "groups", "group_blocks",
)  # fmt: skip
def correlate(bits: int, lanes: int, m: int, vectors: int, mode: int) -> Any:
    """Correlate: tiles of ``m`` pixels of a column block by ``vectors`` vectors of channels.

    A unit is a run of pixels, counted through all images, by a part of a group's channel blocks.
    Long reductions are cut by channels, and very large kernels by taps: a tile's sums wait in the
    scratch from one chunk to the next.
    """
    fields = len(correlate.fields)  # type: ignore[attr-defined]
    width = vectors * lanes
    size = bits // 8
    line = width * size
    count = m * vectors
    tile_bytes = m * line
    pitch = PIXELS * size
    lowest = simd.lowest(bits)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, block_parts, run_tiles, pixels, y_rows, y_length, y_step,
         x_rows, length, x_step, x_blocks, y_blocks, valid, channels, chunk_channels,
         cuts, tap_cuts, chunk_taps, x_channel, taps, tap_table, y_channel,
         staged, x_offset, weights, block_bytes, bias_from, store, floor, columns, columns_bytes,
         scratch, scratch_bytes, groups, group_blocks) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        column = workspace + columns + slot * columns_bytes
        waiting = workspace + scratch + slot * scratch_bytes
        unit, end = slot * units // slots, (slot + 1) * units // slots
        while unit < end:
            # Units of one run that meet in a slot share its columns.
            part = unit % block_parts
            parts = min(block_parts - part, end - unit)
            group = unit // block_parts % groups
            run = unit // block_parts // groups
            unit += parts
            pixel = run * run_tiles * m
            here = min(run_tiles * m, pixels - pixel)
            first_block = group * group_blocks + part * group_blocks // block_parts
            last_block = group * group_blocks + (part + parts) * group_blocks // block_parts
            x_base = source + simd.word(x_blocks, first_block)
            for cut in range(cuts):
                channel, tap = cut // tap_cuts * chunk_channels, cut % tap_cuts * chunk_taps
                deep, held = min(chunk_channels, channels - channel), min(chunk_taps, taps - tap)
                image = (x_base + channel * x_channel, x_rows, length, x_step)
                window = (deep, x_channel, held, tap_table + 8 * tap)
                gather_columns(column, image, window, pixel, here, bits, lanes, mode)
                last = cut == cuts - 1
                first_line = (channel * taps + tap) * line
                for block in range(first_block, last_block):
                    packed = (workspace + weights + block * block_bytes + first_line,)
                    y_base = y + simd.word(y_blocks, block)
                    present = simd.word(valid, block)
                    place = waiting + (block - first_block) * run_tiles * tile_bytes
                    for p in range(0, here, m):
                        if cut == 0:
                            start = workspace + bias_from + block * line
                            sums = simd.repeat_rows(start, bits, lanes, m, vectors)
                        else:
                            sums = simd.load_tile(place, bits, lanes, count)
                        sums = tile.contract_steps(
                            sums, (column + p * size,), size, size, m,
                            packed, vectors, deep * held, pitch,
                        )  # fmt: skip
                        sums = simd.raised(sums, floor if last else lowest)
                        row, q = (pixel + p) // y_length, (pixel + p) % y_length
                        target = (y_base + simd.word(y_rows, row) + q * y_step,)
                        whole = q + m <= y_length and p + m <= here
                        if last and whole and store == ROWS:
                            simd.store_rows(sums, target, y_step, m, vectors, present, 1)
                        elif last and whole and store == COLUMNS and present == width:
                            simd.store_columns(sums, target, y_channel, m, vectors)
                        else:
                            simd.store_tile(sums, place)
                            if last:
                                deliver(
                                    place, pixel + p, min(m, here - p), y_base, y_rows, y_length,
                                    y_step, present, y_channel, line, bits,
                                )  # fmt: skip
                        place += tile_bytes

    return kernel


@reads(
    "units", "splits", "runs", "pixels", "x_rows", "length", "x_step", "channels", "line_parts",
    "x_channel", "taps", "tap_table", "tiles", "line_channels", "line_taps", "tap_parts",
    "x_blocks", "staged", "x_offset", "columns", "columns_bytes", "packed", "block_bytes",
    "partial", "block_sums", "split_sums", "groups", "group_blocks",
)  # fmt: skip
def correlate_gradient(bits: int, lanes: int, m: int, vectors: int, mode: int) -> Any:
    """Weight gradient: tiles of ``m`` rows of a column block by ``vectors`` vectors of channels.

    A unit is a split of the pixels by a group by a part of its input channels, or of the taps of
    one; its sums go to the workspace, block by block of pixels.
    """
    fields = len(correlate_gradient.fields)  # type: ignore[attr-defined]
    size = bits // 8
    line = vectors * lanes * size
    count = m * vectors
    tile_bytes = m * line
    pitch = PIXELS * size

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, runs, pixels, x_rows, length, x_step, channels, line_parts,
         x_channel, taps, tap_table, tiles, line_channels, line_taps, tap_parts,
         x_blocks, staged, x_offset, columns, columns_bytes, packed, block_bytes, partial,
         block_sums, split_sums, groups, group_blocks) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        column = workspace + columns + slot * columns_bytes
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            part = unit % line_parts
            group = unit // line_parts % groups
            split = unit // line_parts // groups
            first_channel, tap = part // tap_parts * line_channels, part % tap_parts * line_taps
            here, held = min(line_channels, channels - first_channel), min(line_taps, taps - tap)
            first_block = group * group_blocks
            x_base = source + simd.word(x_blocks, first_block) + first_channel * x_channel
            first_run, last_run = split * runs // splits, (split + 1) * runs // splits
            rows_here = here * held
            for run in range(first_run, last_run):
                pixel = run * PIXELS
                present = min(PIXELS, pixels - pixel)
                image = (x_base, x_rows, length, x_step)
                window = (here, x_channel, held, tap_table + 8 * tap)
                gather_columns(column, image, window, pixel, present, bits, lanes, mode)
                for block in range(first_block, first_block + group_blocks):
                    gradient = (workspace + packed + block * block_bytes + pixel * line,)
                    sums_at = workspace + partial + split * split_sums + block * block_sums
                    sums_at += part * tiles * tile_bytes
                    for t in range((rows_here + m - 1) // m):
                        place = sums_at + t * tile_bytes
                        if run == first_run:
                            sums = simd.zeros(bits, lanes, count)
                        else:
                            sums = simd.load_tile(place, bits, lanes, count)
                        sums = tile.contract_steps(
                            sums, (column + t * m * pitch,), pitch, pitch, m,
                            gradient, vectors, present, size,
                        )  # fmt: skip
                        simd.store_tile(sums, place)

    return kernel
