"""Vectors whose lanes are pixels side by side, for output channels too few to fill a vector.

Pixels must be contiguous: the source is staged one stride phase after another, so that neighbours
in the output are neighbours in each phase.
"""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd, tile
from fastconv.cpu.program import reads


@reads(
    "units", "row_parts", "row_tiles", "last_row", "x_rows", "y_rows", "length", "y_step",
    "blocks", "block_parts", "x_blocks", "y_blocks", "channels", "x_channel", "taps", "tap_table",
    "y_channel", "staged", "x_offset", "weights", "block_bytes", "bias_from", "contiguous",
    "near", "floor", "scratch", "scratch_bytes",
)  # fmt: skip
def correlate(bits: int, lanes: int, rho: int, m: int, vectors: int) -> Any:
    """Correlate: ``m`` output channels by ``rho`` image rows x ``vectors`` vectors of pixels.

    ``contiguous`` 1: the target's pixels lie side by side. Sources shorter than a tile are read
    past their end, which staging allows for; targets never are.
    """
    fields = len(correlate.fields)  # type: ignore[attr-defined]
    width = vectors * lanes
    size = bits // 8
    line = width * size
    columns = rho * vectors

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, row_parts, row_tiles, last_row, x_rows, y_rows, length, y_step,
         blocks, block_parts, x_blocks, y_blocks, channels, x_channel, taps, tap_table,
         y_channel, staged, x_offset, weights, block_bytes, bias_from, contiguous,
         near, floor, scratch, scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        spill = workspace + scratch + slot * scratch_bytes
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            block_part, row_part = unit // row_parts, unit % row_parts
            first_block = block_part * blocks // block_parts
            last_block = (block_part + 1) * blocks // block_parts
            first_tile = row_part * row_tiles // row_parts
            last_tile = (row_part + 1) * row_tiles // row_parts
            for block in range(first_block, last_block):
                packed = workspace + weights + block * block_bytes
                start = workspace + bias_from + block * m * size
                x_base = source + simd.word(x_blocks, block)
                y_base = y + simd.word(y_blocks, block)
                for row in range(first_tile, last_tile):
                    x_row = simd.lookup(x_base, x_rows, row * rho, last_row, rho)
                    y_row = simd.lookup(y_base, y_rows, row * rho, last_row, rho)
                    for q in range(0, length, width):
                        # The last tile moves back to end with the row, where the row is long
                        # enough.
                        pixel = max(min(q, length - width), 0)
                        sums = simd.repeat_columns(start, bits, lanes, m, columns)
                        sums = tile.contract_windows(
                            sums, packed, m, simd.shifted(x_row, pixel * size), vectors,
                            channels, x_channel, taps, tap_table,
                        )  # fmt: skip
                        sums = simd.raised(sums, floor)
                        target = simd.shifted(y_row, pixel * y_step)
                        here = min(length, width)
                        if not contiguous:
                            tile.scatter(
                                sums, spill, target, m, line, rho * line, here, y_channel, y_step
                            )
                        else:
                            simd.store_windows(sums, target, y_channel, m, vectors, here, near)
        if not near:
            simd.settle()

    return kernel


@reads(
    "units", "splits", "chunks", "chunk_rows", "rows", "x_rows", "dy_rows", "length",
    "blocks", "x_blocks", "dy_blocks", "dy_channel", "tiles", "last_entry", "entries",
    "x_staged", "x_offset", "dy_staged", "dy_offset", "partial", "block_sums", "split_sums",
)  # fmt: skip
def correlate_gradient(bits: int, lanes: int, m: int, n: int) -> Any:
    """Weight gradient: tiles of ``m`` output channels by ``n`` entries (input channel, tap).

    Each is a dot product over pixels, kept as a vector and summed over its lanes once a chunk of
    image rows. A unit is a split of the rows, a block of channels and a tile of entries.
    """
    fields = len(correlate_gradient.fields)  # type: ignore[attr-defined]
    size = bits // 8
    count = m * n
    sums_bytes = count * size

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, chunks, chunk_rows, rows, x_rows, dy_rows, length,
         blocks, x_blocks, dy_blocks, dy_channel, tiles, last_entry, entries,
         x_staged, x_offset, dy_staged, dy_offset, partial, block_sums,
         split_sums) = simd.words(args, fields)  # fmt: skip
        image = (workspace if x_staged else x) + x_offset
        gradient = (workspace if dy_staged else w) + dy_offset
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            t = unit % tiles
            block = unit // tiles % blocks
            split = unit // tiles // blocks
            x_base = image + simd.word(x_blocks, block)
            windows = simd.lookup(x_base, entries, t * n, last_entry, n)
            dy_base = gradient + simd.word(dy_blocks, block)
            place = workspace + partial + split * split_sums + block * block_sums + t * sums_bytes
            simd.clear_bytes(place, sums_bytes)
            for chunk in range(split * chunks // splits, (split + 1) * chunks // splits):
                sums = simd.zeros(bits, lanes, count)
                first = chunk * chunk_rows
                for row in range(first, min(first + chunk_rows, rows)):
                    b_rows = simd.shifted(windows, simd.word(x_rows, row))
                    a_rows = simd.progression(dy_base + simd.word(dy_rows, row), dy_channel, m)
                    full = length // lanes * lanes
                    for q in range(0, full, lanes):
                        sums = simd.inner(
                            sums,
                            simd.shifted(a_rows, q * size),
                            simd.shifted(b_rows, q * size),
                            0,
                            0,
                        )
                    if full < length:
                        # Both sides are masked: zero times a neighbour's NaN would be NaN.
                        sums = simd.inner(
                            sums, simd.shifted(a_rows, full * size),
                            simd.shifted(b_rows, full * size), length - full, 1,
                        )  # fmt: skip
                simd.add_sums(sums, place)

    return kernel


@reads(
    "units", "splits", "partial", "block_sums", "split_sums", "entries", "targets",
    "y_blocks", "y_channel", "skip", "m", "n",
)  # fmt: skip
def finish_gradient(bits: int) -> Any:
    """Add the splits' sums in order and write them as the weight gradient.

    Sums lie in tiles of ``m`` channels by ``n`` entries. Of a block's ``m`` channels the first
    ``skip[block]`` are another block's and are left to it.
    """
    fields = len(finish_gradient.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, partial, block_sums, split_sums, entries, targets,
         y_blocks, y_channel, skip, m, n) = simd.words(args, fields)  # fmt: skip
        for block in range(slot * units // slots, (slot + 1) * units // slots):
            for i in range(simd.word(skip, block), m):
                target = y + simd.word(y_blocks, block) + i * y_channel
                for e in range(entries):
                    at = workspace + partial + block * block_sums
                    at += ((e // n * m + i) * n + e % n) * size
                    total = simd.peek(at, bits)
                    for split in range(1, splits):
                        total += simd.peek(at + split * split_sums, bits)
                    simd.poke(target + simd.word(targets, e), total)

    return kernel
