"""Vectors whose lanes are output channels: scalars of the image times packed weights or gradients.

The image is only ever read one element at a time, so it needs no particular layout, a stride costs
nothing, and no lane is wasted on small images. Results for images with contiguous pixels leave
through a transpose in registers.
"""

from __future__ import annotations

from typing import Any

from fastconv.cpu import simd, tile
from fastconv.cpu.program import reads

ROWS, COLUMNS, SCATTERED = 0, 1, 2  #: how a tile leaves: channels contiguous, pixels, neither


def store_kind(channel: int, pixel: int, size: int) -> int:
    """How tiles leave for a target of these pitches."""
    return ROWS if channel == size else COLUMNS if pixel == size else SCATTERED


@reads(
    "units", "row_parts", "row_tiles", "last_row", "x_rows", "y_rows",
    "length", "x_step", "y_step", "blocks", "block_parts", "x_blocks", "y_blocks", "valid",
    "channels", "x_channel", "taps", "tap_table", "y_channel",
    "staged", "x_offset", "weights", "block_bytes", "packer", "bias_from",
    "store", "near", "floor", "ahead", "scratch", "scratch_bytes",
)  # fmt: skip
def correlate(bits: int, lanes: int, rho: int, m: int, vectors: int, fixed: int, runs: int) -> Any:
    """Correlate: tiles of ``rho`` image rows x ``m`` pixels by ``vectors`` vectors of channels.

    ``fixed`` is the source's pixel pitch in bytes where it is known when compiling, else 0. A unit
    is a part of the image rows of all images by a part of the channel blocks. Weights were packed
    before, or ``packer`` packs each block when its turn comes. ``runs`` 1: there is one tap, and
    ``ahead`` bytes of every pixel are asked for one tile ahead.
    """
    fields = len(correlate.fields)  # type: ignore[attr-defined]
    width = vectors * lanes
    line = width * (bits // 8)
    height = rho * m

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, row_parts, row_tiles, last_row, x_rows, y_rows,
         length, x_step, y_step, blocks, block_parts, x_blocks, y_blocks, valid,
         channels, x_channel, taps, tap_table, y_channel,
         staged, x_offset, weights, block_bytes, packer, bias_from, store,
         near, floor, ahead, scratch, scratch_bytes) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        spill = workspace + scratch + slot * scratch_bytes
        place, held = workspace + weights, -1
        if packer:
            place += slot * block_bytes
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            block_part, row_part = unit // row_parts, unit % row_parts
            first_block = block_part * blocks // block_parts
            last_block = (block_part + 1) * blocks // block_parts
            first_tile = row_part * row_tiles // row_parts
            last_tile = (row_part + 1) * row_tiles // row_parts
            for block in range(first_block, last_block):
                if packer and held != block:
                    # The packer puts a block at its number from the workspace on: here at
                    # ``place``.
                    moved = place - block * block_bytes
                    pack, constants = simd.word(packer, 0), simd.word(packer, 1)
                    simd.call(pack, (constants, x, w, y, bias, moved, block, blocks))
                    held = block
                packed = (place if packer else place + block * block_bytes,)
                start = workspace + bias_from + block * line
                x_base = source + simd.word(x_blocks, block)
                y_base = y + simd.word(y_blocks, block)
                present = simd.word(valid, block)
                for row in range(first_tile, last_tile):
                    x_row = simd.lookup(x_base, x_rows, row * rho, last_row, rho)
                    y_row = simd.lookup(y_base, y_rows, row * rho, last_row, rho)
                    for q in range(0, length, m):
                        pixel = min(q, length - m)
                        sums = simd.repeat_rows(start, bits, lanes, height, vectors)
                        if runs:
                            later = x_row[0] + (pixel + m) * x_step
                            later_step = ahead * m // taps if block == first_block else 0
                            sums = tile.contract_channels(
                                sums, simd.shifted(x_row, pixel * x_step), x_step, fixed, m,
                                packed, vectors, taps, tap_table, later, later_step,
                            )  # fmt: skip
                        else:
                            sums = tile.contract_taps(
                                sums, simd.shifted(x_row, pixel * x_step), x_step, fixed, m,
                                packed, vectors, channels, x_channel, taps, tap_table,
                            )  # fmt: skip
                        sums = simd.raised(sums, floor)
                        target = simd.shifted(y_row, pixel * y_step)
                        if store == ROWS:
                            simd.store_rows(sums, target, y_step, m, vectors, present, near)
                        elif store == COLUMNS and present == width:
                            simd.store_columns(sums, target, y_channel, m, vectors)
                        else:
                            tile.scatter(
                                sums, spill, target, m, m * line, line, present, y_step, y_channel
                            )
        if not near:
            simd.settle()

    return kernel


@reads(
    "units", "splits", "chunks", "chunk_rows", "rows", "x_rows", "length", "x_step",
    "tiles", "tile_parts", "last_line", "lines", "pitch", "blocks", "block_parts", "x_blocks",
    "staged", "x_offset", "packer", "block_bytes", "scratch", "scratch_bytes",
    "dy_blocks", "dy_rows", "dy_step", "dy_pitch", "partial", "block_sums", "split_sums",
    "valid", "y_blocks", "y_lines", "y_pitch",
)  # fmt: skip
def correlate_gradient(
    bits: int, lanes: int, rho: int, m: int, vectors: int, fixed: int, final: int
) -> Any:
    """Weight gradient: tiles of ``rho`` lines x ``m`` elements by ``vectors`` vectors of channels.

    A line is ``m`` image elements ``pitch`` apart (``fixed`` bytes where known when compiling) that
    meet the same gradient pixel: taps side by side, or input channels. A unit is a split of the
    pixels by a part of the channel blocks by a part of the lines. It goes through its pixels in
    chunks: ``packer`` packs a block's gradient into the slot's scratch, where it stays in cache
    while all lines pass over it (0: pixels are read where they lie, ``dy_pitch`` bytes apart); sums
    wait in the workspace from one chunk to the next. ``final`` 1: there is one chunk, and its sums
    are the weights, a block's channels side by side: line l goes to ``y_lines[l]``, its elements
    ``y_pitch`` apart.
    """
    fields = len(correlate_gradient.fields)  # type: ignore[attr-defined]
    line = vectors * lanes * (bits // 8)
    count = rho * m * vectors
    tile_bytes = rho * m * line

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, splits, chunks, chunk_rows, rows, x_rows, length, x_step,
         tiles, tile_parts, last_line, lines, pitch, blocks, block_parts, x_blocks,
         staged, x_offset, packer, block_bytes, scratch, scratch_bytes,
         dy_blocks, dy_rows, dy_step, dy_pitch, partial, block_sums, split_sums,
         valid, y_blocks, y_lines, y_pitch) = simd.words(args, fields)  # fmt: skip
        source = (workspace if staged else x) + x_offset
        gradient = workspace + scratch + slot * scratch_bytes
        unit, end = slot * units // slots, (slot + 1) * units // slots
        while unit < end:
            # Units that differ in their lines alone share each packed chunk.
            tile_part = unit % tile_parts
            parts = min(tile_parts - tile_part, end - unit)
            block_part = unit // tile_parts % block_parts
            split = unit // tile_parts // block_parts
            unit += parts
            first_tile = tile_part * tiles // tile_parts
            last_tile = (tile_part + parts) * tiles // tile_parts
            first_block = block_part * blocks // block_parts
            last_block = (block_part + 1) * blocks // block_parts
            first_chunk, last_chunk = split * chunks // splits, (split + 1) * chunks // splits
            for chunk in range(first_chunk, last_chunk):
                row = chunk * chunk_rows
                here = min(chunk_rows, rows - row)
                after = min(row + here, rows - here)
                for block in range(first_block, last_block):
                    dy_at = w + simd.word(dy_blocks, block)
                    if packer:
                        # The packer puts row r of a block at its place from the workspace on.
                        moved = gradient - block * block_bytes - row * length * line
                        pack, constants = simd.word(packer, 0), simd.word(packer, 1)
                        for r in range(block * rows + row, block * rows + row + here):
                            simd.call(pack, (constants, x, w, y, bias, moved, r, blocks * rows))
                    else:
                        gradient = dy_at + simd.word(dy_rows, row)
                    x_base = source + simd.word(x_blocks, block)
                    sums_at = workspace + partial + split * split_sums + block * block_sums
                    # While the first block is multiplied, the next chunk's image comes from memory;
                    # with each block, its gradient.
                    later = x_rows + 8 * (after if dy_step and block == first_block else row)
                    for t in range(first_tile, last_tile):
                        if t - first_tile < line // 64 and dy_step:
                            later_b = (dy_at + (t - first_tile) * 64, dy_rows + 8 * after, dy_step)
                        else:
                            later_b = (dy_at, dy_rows + 8 * row, 0)
                        place = sums_at + t * tile_bytes
                        if final or chunk == first_chunk:
                            sums = simd.zeros(bits, lanes, count)
                        else:
                            sums = simd.load_tile(place, bits, lanes, count)
                        if final:
                            present = simd.word(valid, block)
                            y_base = y + simd.word(y_blocks, block)
                            targets = simd.lookup(y_base, y_lines, t * rho, last_line, rho)
                            for i in range(m):
                                for j in range(0, line, 64):
                                    simd.prefetch_target(targets[0] + i * y_pitch + j)
                        scalars = simd.lookup(x_base, lines, t * rho, last_line, rho)
                        sums = tile.contract_rows(
                            sums, scalars, pitch, fixed, m, (gradient, dy_pitch), vectors,
                            here, x_rows + 8 * row, length, x_step, later, later_b,
                        )  # fmt: skip
                        if final:
                            y_base, present = (
                                y + simd.word(y_blocks, block),
                                simd.word(valid, block),
                            )
                            targets = simd.lookup(y_base, y_lines, t * rho, last_line, rho)
                            simd.store_rows(sums, targets, y_pitch, m, vectors, present, 1)
                        else:
                            simd.store_tile(sums, place)

    return kernel


@reads(
    "units", "outer", "valid", "splits", "partial", "block_sums", "split_sums",
    "entries", "sources", "targets", "y_blocks", "y_channel", "scratch", "scratch_bytes",
)  # fmt: skip
def finish_gradient(bits: int, lanes: int, vectors: int, in_order: int) -> Any:
    """Add the splits' sums in order and write them, channels first, as the weight gradient.

    Entry e of a channel is found in line ``sources[e]`` of the sums and goes ``targets[e]`` bytes
    into the channel's weights; with ``in_order`` 1, e elements.
    """
    fields = len(finish_gradient.fields)  # type: ignore[attr-defined]
    width = vectors * lanes
    size = bits // 8
    line = width * size

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, outer, valid, splits, partial, block_sums, split_sums,
         entries, sources, targets, y_blocks, y_channel, scratch,
         scratch_bytes) = simd.words(args, fields)  # fmt: skip
        spill = workspace + scratch + slot * scratch_bytes
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            block, part = unit // outer, unit % outer
            sums = workspace + partial + block * block_sums
            y_base = y + simd.word(y_blocks, block)
            present = simd.word(valid, block)
            first, last = part * entries // outer, (part + 1) * entries // outer
            for e in range(first, last, lanes):
                here = min(lanes, last - e)
                for i in range(here):
                    at = simd.word(sources, e + i)
                    total = simd.load_tile(sums + at * line, bits, lanes, vectors)
                    for split in range(1, splits):
                        total = simd.add_tile(total, sums + at * line + split * split_sums)
                    simd.store_tile(total, spill + i * line)
                for lane in range(0, present, lanes):
                    if in_order:
                        simd.transpose_block(
                            spill + lane * size, line, here,
                            y_base + lane * y_channel + e * size, y_channel, present - lane,
                            bits, lanes,
                        )  # fmt: skip
                if not in_order:
                    for lane in range(present):
                        target = y_base + lane * y_channel
                        for i in range(here):
                            value = simd.peek(spill + i * line + lane * size, bits)
                            simd.poke(target + simd.word(targets, e + i), value)

    return kernel
