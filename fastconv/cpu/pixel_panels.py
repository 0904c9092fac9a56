"""Panels: columns of the image for a few vectors of pixels, multiplied by all output channels.

A panel holds, for neighbouring pixels, one line per (input channel, tap): the columns of im2col, so
thin a cut of them that they stay in the first two cache levels while all weights pass over them.
Lanes run over pixels, so results leave as they lie in memory where pixels are contiguous.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd, tile
from fastconv.cpu.program import reads
from fastconv.cpu.woven import deliver_woven

RUNS, PAIRS, GATHERED = 0, 1, 2  #: pixels side by side, every other one, at any pitch


def gather_panel(target, image, window, pixel, count, vectors, bits, lanes, mode):
    """Write the panel of ``count`` pixels from number ``pixel`` on, at ``target``.

    ``image`` is (address, table of row offsets, pixels in a row, pixel pitch): pixel p lies in row
    ``p // length``. ``window`` is (channels, channel pitch, taps, table of tap offsets).
    """
    raise NotImplementedError("compiled code only")


@overload(gather_panel, prefer_literal=True)
def _gather_panel(target, image, window, pixel, count, vectors, bits, lanes, mode):
    if not isinstance(mode, types.IntegerLiteral):
        return None
    BITS, LANES, V = bits.literal_value, lanes.literal_value, vectors.literal_value
    how = mode.literal_value
    size = BITS // 8
    width = V * LANES
    line = width * size

    def run(target, image, window, pixel, count, vectors, bits, lanes, mode):
        source, rows, length, step = image
        channels, channel_step, taps, table = window
        row, q, done = pixel // length, pixel % length, 0
        while done < count:
            here = min(length - q, count - done)
            start = source + simd.word(rows, row) + q * step
            place = target + done * size
            for c in range(channels):
                at = start + c * channel_step
                for t in range(taps):
                    pixels = at + simd.word(table, t)
                    if how == RUNS:
                        if here == width:
                            panel = simd.load_tile(pixels, BITS, LANES, V)
                            simd.store_tile(panel, place)
                        else:
                            for p in range(0, here, LANES):
                                simd.copy_vector(
                                    place + p * size, pixels + p * size, here - p, BITS, LANES
                                )
                    elif how == PAIRS:
                        for p in range(0, here, LANES):
                            simd.copy_pairs(
                                place + p * size, pixels + p * step, here - p, BITS, LANES
                            )
                    else:
                        for p in range(here):
                            simd.poke(place + p * size, simd.peek(pixels + p * step, BITS))
                    place += line
            row, q, done = row + 1, 0, done + here

    return run


@reads(
    "units", "block_parts", "run_panels", "pixels", "x_rows", "x_count", "length", "x_step",
    "channels", "chunk_channels", "cuts", "tap_cuts", "chunk_taps", "x_channel", "taps",
    "tap_table", "staged", "x_offset",
    "blocks", "weights", "block_bytes", "bias_from", "y_blocks", "y_rows", "y_length", "y_channel",
    "image_rows", "trails", "lead", "span",
    "near", "floor", "columns", "columns_bytes", "scratch", "scratch_bytes",
)  # fmt: skip
def correlate(bits: int, lanes: int, m: int, vectors: int, mode: int, apart: int) -> Any:
    """Correlate: tiles of ``m`` output channels by a panel of ``vectors`` vectors of pixels.

    A unit is a run of panels, counted through all images, by a part of the blocks of channels. Long
    reductions are cut by input channels, and very large kernels by taps: a panel's sums wait in the
    scratch from one chunk to the next. Where ``apart`` is not 0, results lie so many elements apart
    and are woven with what fills the rest of the target.
    """
    fields = len(correlate.fields)  # type: ignore[attr-defined]
    size = bits // 8
    width = vectors * lanes
    steps = max(apart, 1)
    line = width * size
    count = m * vectors
    tile_bytes = m * line

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, block_parts, run_panels, pixels, x_rows, x_count, length, x_step,
         channels, chunk_channels, cuts, tap_cuts, chunk_taps, x_channel, taps,
         tap_table, staged, x_offset,
         blocks, weights, block_bytes, bias_from, y_blocks, y_rows, y_length, y_channel,
         image_rows, trails, lead, span, near, floor, columns, columns_bytes, scratch,
         scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        panel = workspace + columns + slot * columns_bytes
        spill = workspace + scratch + slot * scratch_bytes
        fills = spill + tile_bytes
        waiting = fills + (m * lanes * size if apart else 0)
        woven = (y_rows, y_length, y_channel, image_rows, trails, lead)
        unit, last_unit = slot * units // slots, (slot + 1) * units // slots
        while unit < last_unit:
            # Units of one run share each gathered panel.
            run, block_part = unit // block_parts, unit % block_parts
            parts = min(block_parts - block_part, last_unit - unit)
            unit += parts
            first_block = block_part * blocks // block_parts
            last_block = (block_part + parts) * blocks // block_parts
            end = min((run + 1) * run_panels * width, pixels)
            for pixel in range(run * run_panels * width, end, width):
                here = min(width, pixels - pixel)
                row, q = pixel // y_length, pixel % y_length
                inside = not apart and here == width and q + width <= y_length
                for cut in range(cuts):
                    channel, tap = cut // tap_cuts * chunk_channels, cut % tap_cuts * chunk_taps
                    held = min(chunk_channels, channels - channel)
                    held_taps = min(chunk_taps, taps - tap)
                    image = (source + channel * x_channel, x_rows, length, x_step)
                    window = (held, x_channel, held_taps, tap_table + 8 * tap)
                    gather_panel(panel, image, window, pixel, here, vectors, bits, lanes, mode)
                    packed = workspace + weights + (channel * taps + tap) * m * size
                    depth, is_last = held * held_taps, cut == cuts - 1
                    # What the next panel reads: a line of each channel with every block.
                    after = pixel + width
                    later = image[0] + simd.word(x_rows, after // length % x_count)
                    later += after % length * x_step
                    later_step = x_channel if taps == 1 else 0
                    spread = min(64, span * m // depth)
                    for block in range(first_block, last_block):
                        sums_at = waiting + (block - first_block) * tile_bytes
                        if cut == 0:
                            start = workspace + bias_from + block * m * size
                            sums = simd.repeat_columns(start, bits, lanes, m, vectors)
                        else:
                            sums = simd.load_tile(sums_at, bits, lanes, count)
                        target = y + simd.word(y_blocks, block)
                        to = target + simd.word(y_rows, row) + q * size
                        if is_last and inside and near:
                            for i in range(m):
                                for j in range(0, line, 64):
                                    simd.prefetch_target(to + i * y_channel + j)
                        ahead = later + (block - first_block) * 64 % (width * x_step + 63)
                        if apart:
                            # What will be written is asked for channel by channel: see `spread`.
                            for i in range(m):
                                first, last = i * depth // m, (i + 1) * depth // m
                                sums = tile.contract_between(
                                    sums, (packed + block * block_bytes + first * m * size,),
                                    size, size, m, (panel + first * line,), vectors,
                                    last - first, m * size, ahead + first * later_step, later_step,
                                    to + i * y_channel, spread,
                                )  # fmt: skip
                        else:
                            sums = tile.contract_ahead(
                                sums, (packed + block * block_bytes,), size, size, m, (panel,),
                                vectors, depth, m * size, ahead, later_step,
                            )  # fmt: skip
                        if not is_last:
                            simd.store_tile(sums, sums_at)
                            continue
                        sums = simd.raised(sums, floor)
                        if inside:
                            simd.store_windows(sums, (to,), y_channel, m, vectors, width, near)
                            continue
                        simd.store_tile(sums, spill)
                        if apart:
                            start = workspace + bias_from + block * m * size
                            fill = simd.repeat_columns(start, bits, lanes, m, 1)
                            simd.store_tile(simd.raised(fill, floor), fills)
                            deliver_woven(
                                spill, fills, target, pixel, here, woven, m, line, bits, lanes,
                                steps,
                            )  # fmt: skip
                            continue
                        at, from_row, from_q = 0, row, q
                        while at < here:
                            part = min(y_length - from_q, here - at)
                            to = target + simd.word(y_rows, from_row) + from_q * size
                            for i in range(m):
                                for p in range(0, part, lanes):
                                    simd.copy_vector(
                                        to + i * y_channel + p * size,
                                        spill + i * line + (at + p) * size, part - p, bits, lanes,
                                    )  # fmt: skip
                            at, from_row, from_q = at + part, from_row + 1, 0
        if not near:
            simd.settle()

    return kernel
