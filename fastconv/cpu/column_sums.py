"""Columns multiplied and added: the kernels of an input gradient that is a product and a fold.

A panel holds a few vectors of pixels of the output gradient, for all its channels. Multiplied by
the weights of one (input channel, tap) it is a line of im2col's column matrix; all such lines are
added, each moved to where its tap belongs, into planes that stay in cache. So zeros around the
output gradient are never multiplied, and input channels need not fill a vector.

Planes hold a stride's phases one after another, and their rows are longer than those of the output
gradient by what taps reach. Panels keep that pitch, zeros in its gaps, so that vectors run on from
row to row and a tap is one offset.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from fastconv.cpu import simd, tile
from fastconv.cpu.program import reads

RUNS, TRANSPOSED, GATHERED = 0, 1, 2  #: contiguous pixels, contiguous channels, neither


def fill_panel(target, source, place, count, grid, channels, channel_step, width, bits, lanes, how):
    """Write the panel of a band's ``count`` places from number ``place`` on, at ``target``.

    ``grid`` is (pixels in a row, row pitch in places, rows in a slice, slice pitch in rows, byte
    pitches of slices, rows and pixels). Places between rows, and after the last, are zero.
    """
    raise NotImplementedError("compiled code only")


@overload(fill_panel, prefer_literal=True)
def _fill_panel(
    target, source, place, count, grid, channels, channel_step, width, bits, lanes, how
):
    if not isinstance(how, types.IntegerLiteral):
        return None
    WIDTH, BITS, LANES = width.literal_value, bits.literal_value, lanes.literal_value
    HOW, size = how.literal_value, bits.literal_value // 8
    line, VECTORS = WIDTH * size, WIDTH // LANES

    def run(target, source, place, count, grid, channels, channel_step, width, bits, lanes, how):
        Q, pitch, rows = grid[:3]
        row, q = place // pitch, place % pitch
        if count < WIDTH or q + WIDTH > Q or row % grid[3] >= rows:
            simd.clear_bytes(target, channels * line)
        done = 0
        while done < count:
            here = min(Q - q, count - done)
            if row % grid[3] < rows and here > 0:
                to = target + done * size
                start = address(source, row, q, grid)
                if HOW == TRANSPOSED:
                    for p in range(0, here, LANES):
                        for k in range(0, channels, LANES):
                            simd.transpose_block(
                                start + p * grid[6] + k * size, grid[6], here - p,
                                to + p * size + k * line, line, channels - k, BITS, LANES,
                            )  # fmt: skip
                elif HOW == RUNS and here == WIDTH:
                    for _ in range(channels):
                        simd.store_tile(simd.load_tile(start, BITS, LANES, VECTORS), to)
                        start += channel_step
                        to += line
                elif HOW == RUNS:
                    for _ in range(channels):
                        for p in range(0, here, LANES):
                            simd.copy_vector(to + p * size, start + p * size, here - p, BITS, LANES)
                        start += channel_step
                        to += line
                else:
                    for k in range(channels):
                        for p in range(here):
                            value = simd.peek(start + k * channel_step + p * grid[6], BITS)
                            simd.poke(to + k * line + p * size, value)
            done += pitch - q
            row, q = row + 1, 0

    return run


def address(source, row, q, grid):
    """Where the source's pixel ``q`` of row ``row``, counted through slices, is."""
    raise NotImplementedError("compiled code only")


@overload(address, jit_options={"forceinline": True})
def _address(source, row, q, grid):
    def run(source, row, q, grid):
        _, _, _, slice_rows, slice_step, row_step, step = grid
        return source + row // slice_rows * slice_step + row % slice_rows * row_step + q * step

    return run


def deliver(planes, others, count, row, image, biases, sizes, floor, bits, lanes, step):
    """Write ``count`` slices of the planes, from number ``row`` of an image on, as results.

    ``others``, if not 0, is where slices lie that are added to them first. ``sizes`` are what
    `SIZES` names. ``step`` is the stride of contiguous results, or 0 for results at any pitch.
    """
    raise NotImplementedError("compiled code only")


#: What `deliver` reads of geometry: planes and their pitches, and of each axis its stride, the
#: number of its first target in the planes, its targets and their pitch.
SIZES = (
    "targets", "plane", "slice_rows", "pitch", "y_channel",
    "a_stride", "a_first", "a_targets", "y_a",
    "b_stride", "b_first", "b_targets", "y_b",
    "c_stride", "c_first", "c_targets", "y_c",
)  # fmt: skip


@overload(deliver, prefer_literal=True)
def _deliver(planes, others, count, row, image, biases, sizes, floor, bits, lanes, step):
    if not isinstance(step, types.IntegerLiteral):
        return None
    BITS, LANES, STEP = bits.literal_value, lanes.literal_value, step.literal_value
    size = BITS // 8

    def run(planes, others, count, row, image, biases, sizes, floor, bits, lanes, step):
        (targets, plane, slice_rows, pitch, y_channel,
         a_stride, a_first, a_targets, y_a,
         b_stride, b_first, b_targets, y_b,
         c_stride, c_first, c_targets, y_c) = sizes  # fmt: skip
        phases = a_stride * b_stride * c_stride
        elements = count * slice_rows * pitch
        for c in range(targets):
            start = biases + c * size
            for phase in range(phases):
                at = planes + (c * phases + phase) * plane
                other = others + (c * phases + phase) * plane if others else 0
                for e in range(0, elements, LANES):
                    total = simd.repeat_columns(start, BITS, LANES, 1, 1)
                    total = simd.add_tile(total, at + e * size)
                    if others:
                        total = simd.add_tile(total, other + e * size)
                    simd.store_tile(simd.raised(total, floor), at + e * size)
            for a in range(count * a_stride):
                t_a = (row + a // a_stride) * a_stride + a % a_stride - a_first
                if not 0 <= t_a < a_targets:
                    continue
                for t_b in range(b_targets):
                    b = (t_b + b_first) // b_stride
                    phase = (a % a_stride * b_stride + (t_b + b_first) % b_stride) * c_stride
                    at = planes + (c * phases + phase) * plane
                    at += (a // a_stride * slice_rows + b) * pitch * size
                    at += c_first // c_stride * size
                    to = image + c * y_channel + t_a * y_a + t_b * y_b
                    if STEP:
                        for t in range(0, c_targets, STEP * LANES):
                            sources = simd.progression(at + t // STEP * size, plane, STEP)
                            simd.weave(to + t * size, sources, c_targets - t, BITS, LANES)
                    else:
                        for f in range(min(c_stride, c_targets)):
                            for t in range(f, c_targets, c_stride):
                                value = simd.peek(at + t // c_stride * size, BITS)
                                simd.poke(to + t * y_c, value)
                            at += plane

    return run


@reads(
    "units", "groups", "bands", "band_from", "reach", "lead", "slices",
    "channels", "image", "group", "channel", "a_step", "b_step", "c_step",
    "rows", "Q", "later_step", "later_block", "weights", "group_weights", "blocks", "last_column",
    "columns", "y_image", "y_group", "bias_group", "floor",
    "seams", "seam", "seam_plane", "seam_bytes", "scratch", "scratch_bytes",
    "cleared", "panel", *SIZES,
)  # fmt: skip
def multiply(
    bits: int, lanes: int, m: int, vectors: int, taps: int, turns: int, how: int, step: int
) -> Any:
    """Multiply panels by all taps' weights, ``m`` at a time, and add the lines where they belong.

    Each ``taps`` lines are folded into one for each of ``turns`` phases: see `simd.add_folded`.

    A unit is a band of slices of one image's gradient in one group. What taps carry over its ends
    is left to `join`, as the last and the first slices of two neighbours' planes.
    """
    fields = len(multiply.fields)  # type: ignore[attr-defined]
    own = fields - len(SIZES)
    size = bits // 8
    width = vectors * lanes
    count = m * vectors
    sums_each = m // taps * min(taps, turns)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        words = simd.words(args, fields)
        (units, groups, bands, band_from, reach, lead, slices,
         channels, image, group, channel, a_step, b_step, c_step,
         rows, Q, later_step, later_block, weights, group_weights, blocks, last_column, columns,
         y_image, y_group, bias_group, floor, seams, seam, seam_plane, seam_bytes,
         scratch, scratch_bytes, cleared, panel_at) = words[:own]  # fmt: skip
        sizes = words[own:]
        plane, slice_rows, pitch = sizes[1:4]
        planes = workspace + scratch + slot * scratch_bytes
        panel = planes + panel_at
        slice_bytes = slice_rows * pitch * size
        held = cleared // plane
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            band = unit % bands
            g, n = unit // bands % groups, unit // bands // groups
            first, last = simd.word(band_from, band), simd.word(band_from, band + 1)
            ahead = 0 if band else lead
            simd.clear_bytes(planes, cleared)
            source = x + n * image + g * group + first * a_step
            places = ((last - first - 1) * slice_rows + rows - 1) * pitch + Q
            grid = (Q, pitch, rows, slice_rows, a_step, b_step, c_step)
            packed = workspace + weights + g * group_weights
            for place in range(0, places, width):
                here = min(width, places - place)
                fill_panel(
                    panel, source, place, here, grid, channels, channel, width, bits, lanes, how
                )
                base = planes + ahead * slice_bytes + place * size
                at = packed
                after = place + width
                later = address(source, after // pitch, after % pitch, grid)
                for block in range(blocks):
                    # The next panel is asked for: a line of each channel with each block.
                    sums = simd.zeros(bits, lanes, count)
                    sums = tile.contract_ahead(
                        sums, (at,), size, size, m, (panel,), vectors, channels, m * size,
                        later, later_step if block <= vectors else 0,
                    )  # fmt: skip
                    lines = simd.lookup(base, columns, block * sums_each, last_column, sums_each)
                    simd.add_folded(sums, lines, vectors, taps, turns)
                    at += channels * m * size
                    later += later_block
            # Slices of the planes: the first and last ``reach`` are shared with the neighbours.
            begin, end = 0, last - first + ahead
            if band:
                side = workspace + seams + ((n * groups + g) * (bands - 1) + band - 1) * seam
                side += seam_bytes
                for p in range(held):
                    simd.copy_bytes(side + p * seam_plane, planes + p * plane, reach * slice_bytes)
                begin = reach
            if band < bands - 1:
                side = workspace + seams + ((n * groups + g) * (bands - 1) + band) * seam
                for p in range(held):
                    simd.copy_bytes(
                        side + p * seam_plane, planes + p * plane + end * slice_bytes,
                        reach * slice_bytes,
                    )  # fmt: skip
            else:
                end = slices - first - (lead if band else 0)
            result = y + n * y_image + g * y_group
            number = first + begin + (lead if band else 0)
            deliver(
                planes + begin * slice_bytes, 0, end - begin, number, result,
                bias + g * bias_group, sizes, floor, bits, lanes, step,
            )  # fmt: skip

    return kernel


@reads(
    "units", "groups", "bands", "band_from", "reach", "lead", "y_image", "y_group", "bias_group",
    "floor", "seams", "seam", "seam_bytes", *SIZES,
)  # fmt: skip
def join(bits: int, lanes: int, step: int) -> Any:
    """Add up and write the slices that neighbouring bands share: a unit is one seam."""
    fields = len(join.fields)  # type: ignore[attr-defined]
    own = fields - len(SIZES)

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        words = simd.words(args, fields)
        (units, groups, bands, band_from, reach, lead, y_image, y_group, bias_group,
         floor, seams, seam, seam_bytes) = words[:own]  # fmt: skip
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            band, image = unit % (bands - 1), unit // (bands - 1)
            g, n = image % groups, image // groups
            side = workspace + seams + unit * seam
            number = simd.word(band_from, band + 1) + lead
            deliver(
                side, side + seam_bytes, reach, number, y + n * y_image + g * y_group,
                bias + g * bias_group, words[own:], floor, bits, lanes, step,
            )  # fmt: skip

    return kernel


@reads(
    "units", "weights", "blocks", "channels", "m", "w_group", "w_channel", "columns",
)  # fmt: skip
def pack_columns(bits: int) -> Any:
    """Lay out weights as [group][block of ``m`` columns][source channel][m]; a unit is a block."""
    fields = len(pack_columns.fields)  # type: ignore[attr-defined]
    size = bits // 8

    def kernel(args, x, w, y, bias, workspace, slot, slots):
        (units, weights, blocks, channels, m, w_group, w_channel,
         columns) = simd.words(args, fields)  # fmt: skip
        for unit in range(slot * units // slots, (slot + 1) * units // slots):
            g, block = unit // blocks, unit % blocks
            to = workspace + weights + unit * channels * m * size
            for i in range(m):
                at = w + g * w_group + simd.word(columns, block * m + i)
                for k in range(channels):
                    simd.poke(to + (k * m + i) * size, simd.peek(at + k * w_channel, bits))

    return kernel
